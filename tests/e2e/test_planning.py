"""Plans, calendars and parameters over OPC UA: taken, refused, in force in control, and there again after every restart."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from demo_site import EMS, DemoSite
from ports import free_port

from server.client import Client, ClientError, Identity
from server.runtime.audit import tail
from server.runtime.demo import make_demo

pytestmark = pytest.mark.slow

SITE_TOML = """
[[controller]]
id = "follow0"
type = "FollowSchedule"
priority = 15
ess = "ess0"
max_age_s = 86400

[[schedule]]
title = "Always"
start = 2026-01-01T00:00:00
duration = "P1D"
recurrenceRules = [{ frequency = "daily" }]
controllers.limits0 = { export_max_w = 7000 }

[[schedule]]
title = "Wrong"
from = "22:00"
to = "late"
controllers.limits0 = { Enabled = false }
"""
PASSWORD = "a person's very long password"
PEOPLE = {"emil": "Engineer", "olga": "Operator", "paula": "Controller"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoSite]:
    directory = tmp_path_factory.mktemp("planning") / "site"
    make_demo(directory)
    with (directory / "site.toml").open("a") as file:
        file.write(SITE_TOML)
    for name, role in PEOPLE.items():
        ems("users", "add", name, "--role", role, "--password-stdin", "--dir", directory)
    with DemoSite(directory, free_port(), free_port(), healthy=False) as running:
        yield running


def ems(*arguments: str | Path) -> None:
    command = [str(a) for a in (EMS, *arguments)]
    done = subprocess.run(command, input=PASSWORD, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@asynccontextmanager
async def person(site: DemoSite, name: str) -> AsyncIterator[Client]:
    own, ca = site.directory / "certs" / "own", site.directory / "certs" / "ca" / "ca.der"
    endpoint = site.status()["endpoints"]["opcua"]
    identity = Identity(endpoint, own / "panel.der", own / "panel.key.pem", ca=ca, user=name, password=PASSWORD)
    async with Client(identity) as client:
        yield client


@pytest.fixture
async def emil(site: DemoSite) -> AsyncIterator[Client]:
    async with person(site, "emil") as client:
        yield client


async def value(client: Client, node: str) -> Any:
    (found,) = await client.read([node])
    return found.Value.Value if found.Value is not None else None


async def eventually(ask: Callable[[], Awaitable[Any]], what: str) -> Any:
    """What is asked for, as soon as it is true."""
    for _ in range(400):
        try:
            if found := await ask():
                return found
        except ClientError:
            pass
        await asyncio.sleep(0.1)
    raise AssertionError(what)


async def shows(client: Client, node: str, expected: Any) -> None:
    async def same() -> bool:
        return bool(await value(client, node) == expected)

    await eventually(same, f"{node} is {expected}")


def audited(site: DemoSite, event: str, **facts: Any) -> dict[str, Any]:
    """The row of the audit trail that has these facts, as soon as it is on the disk."""

    def found() -> dict[str, Any] | None:
        rows = [row for row in tail(site.directory, 200) if row["event"] == event]
        return next((row for row in reversed(rows) if facts.items() <= row.items()), None)

    row: dict[str, Any] = site.wait(found, 10, f"{event} with {facts} is audited")
    return row


def kill(site: DemoSite, name: str) -> None:
    subprocess.run(["kill", "-9", str(site.processes()[name]["pid"])], check=True)


def plan(power: float, minutes: float = 60) -> str:
    start = datetime.now(UTC) - timedelta(minutes=1)
    return json.dumps({"start": f"{start:%Y-%m-%dT%H:%M:%SZ}", "step_s": 60 * minutes, "columns": {"power_w": [power]}})


def calendar(seconds: float, **controllers: Any) -> str:
    """An event that began a minute ago and ends in so many seconds."""
    start = datetime.now(UTC) - timedelta(minutes=1)
    event = {"title": "Drill", "start": f"{start:%Y-%m-%dT%H:%M:%S}", "timeZone": "UTC", "duration": f"PT{60 + seconds:.0f}S"}
    return json.dumps({"entries": [{**event, "controllers": controllers}]})


# Parameters.


async def test_parameters_are_set_together_and_audited_with_what_they_were(site: DemoSite, emil: Client) -> None:
    await emil.call("peak0", "SetParameters", ["import_max_w", "recharge_below_w"], [7500.0, 3500.0])
    assert [await value(emil, f"peak0/{n}") for n in ("import_max_w", "recharge_below_w")] == [7500.0, 3500.0]
    row = audited(site, "set-parameters", object="peak0", user="emil", status="Good")
    assert row["changes"] == {"peak0/import_max_w": [8000.0, 7500.0], "peak0/recharge_below_w": [4000.0, 3500.0]}


async def test_parameters_of_several_controllers_are_set_together(site: DemoSite, emil: Client) -> None:
    await emil.call("site", "SetParameters", ["peak0/import_max_w", "ceiling0/max_soc", "floor0/Enabled"], [7600.0, 93.0, 0.0])
    assert [await value(emil, n) for n in ("peak0/import_max_w", "ceiling0/max_soc", "floor0/Enabled")] == [7600.0, 93.0, False]
    await emil.call("floor0", "Enable")


async def test_when_one_parameter_is_wrong_none_is_set_and_it_is_named(site: DemoSite, emil: Client) -> None:
    before = await value(emil, "peak0/import_max_w")
    with pytest.raises(ClientError, match=r"BadInvalidArgument.*peak0\.recharge_below_w: -5 is not in 0\.\."):
        await emil.call("peak0", "SetParameters", ["import_max_w", "recharge_below_w"], [1000.0, -5.0])
    with pytest.raises(ClientError, match=r"peak0\.import_max: there is no such parameter; known: Enabled, "):
        await emil.call("peak0", "SetParameters", ["import_max"], [1000.0])
    with pytest.raises(ClientError, match="2 names and 1 values"):
        await emil.call("peak0", "SetParameters", ["import_max_w", "recharge_below_w"], [1000.0])
    with pytest.raises(ClientError, match="import_max_w: is named more than once"):
        await emil.call("peak0", "SetParameters", ["import_max_w", "import_max_w"], [1000.0, 2000.0])
    assert await value(emil, "peak0/import_max_w") == before
    row = audited(site, "set-parameters", status="BadInvalidArgument", values={"import_max": 1000.0})
    assert row["refusals"][0].startswith("peak0.import_max: there is no such parameter")


async def test_only_who_may_configure_sets_parameters_and_calendars(site: DemoSite) -> None:
    async with person(site, "olga") as olga, person(site, "paula") as paula:
        for refused in (
            olga.call("peak0", "SetParameters", ["import_max_w"], [1.0]),
            olga.call("site", "SetDocument", "schedule/ess0", 0, plan(0)),
            paula.call("site", "SetDocument", "calendar/mine", 0, calendar(60, peak0={"Enabled": False})),
        ):
            with pytest.raises(ClientError, match="BadUserAccessDenied"):
                await refused
        (revision, _) = await paula.call("site", "SetDocument", "forecast/consumption", 0, plan(900))
        assert revision == 1


# Documents.


async def test_a_plan_is_followed_in_the_next_cycles_and_its_revisions_grow(site: DemoSite, emil: Client) -> None:
    assert (await emil.call("site", "SetDocument", "schedule/ess0", 0, plan(-1200)))[0] == 1
    await shows(emil, "follow0/planned_w", -1200.0)
    assert (await emil.call("site", "SetDocument", "schedule/ess0", 1, plan(-1300)))[0] == 2
    await shows(emil, "follow0/planned_w", -1300.0)
    with pytest.raises(ClientError, match=r"BadInvalidState.*revision 1 was expected, but 2 is there"):
        await emil.call("site", "SetDocument", "schedule/ess0", 1, plan(5))
    names, revisions, users, *_ = await emil.call("site", "ListDocuments")
    assert dict(zip(names, zip(revisions, users, strict=True), strict=True))["schedule/ess0"] == (2, "emil")
    revision, content = await emil.call("site", "GetDocument", "schedule/ess0")
    assert (revision, json.loads(content)["columns"]) == (2, {"power_w": [-1300]})
    row = audited(site, "set-document", name="schedule/ess0", revision=2, status="Good")
    assert len(row["sha256"]) == 64


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("plans/ess0", "{}", "'plans' is no kind of document; known: calendar, schedule"),
        ("schedule/ess9", "{}", "'ess9' is none of grid, "),
        ("schedule/ess0", "[1", "the content is no JSON"),
        ("schedule/ess0", '{"columns": {"power_w": [1]}}', "schedule/ess0: start: is missing"),
        ("schedule/ess0", '{"start": "2026-01-01", "step_s": 60, "columns": {"power_w": [1]}}', "schedule/ess0: start: "),
        (
            "schedule/ess0",
            '{"start": "2026-01-01T00:00:00Z", "step_s": 60, "columns": {"watts": [1]}}',
            "is not one of power_w, mode",
        ),
        ("schedule/ess0", '{"start": "2026-01-01T00:00:00Z", "step_s": 60, "columns": {"power_w": [NaN]}}', "NaN is no number"),
        ("calendar/a/b", "{}", "a name such as calendar/night is expected"),
        ("calendar/night", '{"entries": [{"from": "1"}]}', "entries[0].from: '1' is not a time of day"),
    ],
)
async def test_a_wrong_document_is_refused_with_where_and_why(emil: Client, name: str, content: str, problem: str) -> None:
    with pytest.raises(ClientError, match="BadInvalidArgument") as refused:
        await emil.call("site", "SetDocument", name, 0, content)
    assert problem in str(refused.value)


async def test_a_removed_plan_is_followed_no_more_and_its_numbers_go_on(emil: Client) -> None:
    await emil.call("site", "SetDocument", "schedule/pv0", 0, plan(1))
    await emil.call("site", "RemoveDocument", "schedule/pv0")
    with pytest.raises(ClientError, match="BadNotFound"):
        await emil.call("site", "GetDocument", "schedule/pv0")
    assert (await emil.call("site", "SetDocument", "schedule/pv0", 0, plan(1)))[0] == 3


# Calendars.


async def test_an_event_sets_a_controller_and_gives_back_what_it_set(site: DemoSite, emil: Client) -> None:
    await emil.call(
        "site", "SetDocument", "calendar/drill", 0, calendar(12, peak0={"import_max_w": 6000}, floor0={"Enabled": False})
    )
    await shows(emil, "peak0/import_max_w", 6000.0)
    assert await value(emil, "floor0/Enabled") is False
    assert (await value(emil, "peak0/Schedule")).startswith("Drill until ")
    await shows(emil, "floor0/Enabled", True)
    await shows(emil, "peak0/import_max_w", 7600.0)
    assert await value(emil, "peak0/Schedule") == ""
    told = {"schedule", "schedule_over"}
    site.wait(
        lambda: {row["kind"] for row in journal(site) if row.get("event") == "Drill"} == told, 10, "the journal tells of it"
    )


async def test_a_person_outranks_an_event_over_restarts_of_control_and_server(site: DemoSite, emil: Client) -> None:
    document = calendar(3600, peak0={"import_max_w": 6000, "recharge_below_w": 2000})
    await emil.call("site", "SetDocument", "calendar/drill", 0, document)
    await shows(emil, "peak0/recharge_below_w", 2000.0)
    await emil.call("peak0", "SetParameters", ["import_max_w"], [7000.0])
    await shows(emil, "peak0/import_max_w", 7000.0)

    async def told() -> bool:
        return "set by hand: import_max_w" in await value(emil, "peak0/Schedule")

    await eventually(told, "the controller's text tells of the hand")
    restarts = site.processes()["control"]["restarts"]
    kill(site, "control")
    site.wait(lambda: site.processes()["control"]["restarts"] > restarts, 20, "control is back")
    for node, expected in {"peak0/import_max_w": 7000.0, "peak0/recharge_below_w": 2000.0, "follow0/planned_w": -1300.0}.items():
        await shows(emil, node, expected)
    kill(site, "opcua")
    async with await eventually_back(site) as again:
        assert await value(again, "peak0/recharge_below_w") == 2000.0
        await again.call("site", "RemoveDocument", "calendar/drill")
        await shows(again, "peak0/recharge_below_w", 3500.0)
        assert await value(again, "peak0/import_max_w") == 7000.0, "what a person set stays"


async def test_the_schedules_of_the_site_file_hold_and_a_wrong_one_is_told(site: DemoSite, emil: Client) -> None:
    await shows(emil, "limits0/export_max_w", 7000.0)
    assert await value(emil, "limits0/Enabled") is True
    assert "'late' is not a time of day such as 22:00" in json.dumps(site.status())


async def eventually_back(site: DemoSite) -> Any:
    async def opened() -> Any:
        try:
            async with person(site, "emil"):
                return True
        except (ClientError, OSError):
            return False

    await eventually(opened, "the server answers again")
    return person(site, "emil")


def journal(site: DemoSite) -> list[dict[str, Any]]:
    files = sorted((site.directory / "data" / "journal").glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


async def test_documents_and_parameters_are_there_after_a_restart_of_the_site(site: DemoSite) -> None:
    """The last of this file: it starts the site anew."""
    ports = site.status()["endpoints"]
    site.stop()
    opcua = int(ports["opcua"].rsplit(":", 1)[1])
    with DemoSite(site.directory, opcua, free_port(), healthy=False) as anew:
        async with person(anew, "emil") as emil:
            await shows(emil, "follow0/planned_w", -1300.0)
            await shows(emil, "limits0/export_max_w", 7000.0)
            assert await value(emil, "peak0/import_max_w") == 7000.0
            assert (await emil.call("site", "GetDocument", "schedule/ess0"))[0] == 2
