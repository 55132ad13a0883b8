"""The supervisor with real processes: what is killed comes back, what is stopped leaves nothing."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
from ports import free_port
from site_rig import RunningSite, Specs, running_site

CONTROL = ("control", "parts:control")
QUIET = ("service", "parts:quiet")


def starts(site: RunningSite) -> list[dict[str, int]]:
    path = site.directory / "starts"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_part_that_is_killed_ten_times_comes_back_and_its_neighbours_stay(tmp_path: Path) -> None:
    with running_site(tmp_path, {"control": CONTROL, "panel": QUIET}) as site:
        panel = site.runs("panel")
        for _ in range(10):
            site.runs("control", not_pid=site.kill("control"))
        assert site.row("control")["restarts"] == 10
        assert site.runs("panel") == panel
        assert site.row("panel")["restarts"] == 0


def test_control_that_is_started_again_is_given_its_last_state_and_its_number_of_restarts(tmp_path: Path) -> None:
    with running_site(tmp_path, {"control": CONTROL}) as site:
        for number in range(1, 4):
            site.wait(lambda n=number: len(starts(site)) == n and journaled(site) == n, "the state is journaled")
            site.runs("control", not_pid=site.kill("control"))
        site.wait(lambda: len(starts(site)) == 4, "control has started")
        assert [(s["starts"], s["restarts"]) for s in starts(site)] == [(1, 0), (2, 1), (3, 2), (4, 3)]


def journaled(site: RunningSite) -> int:
    """Starts in the last state that reached the supervisor: it takes the ring every tick, so one more tick is enough."""
    time.sleep(0.5)
    return len(starts(site))


def test_the_state_outlives_the_site(tmp_path: Path) -> None:
    for number in (1, 2):
        with running_site(tmp_path, {"control": CONTROL}) as site:
            site.wait(lambda n=number: len(starts(site)) == n, "control has started")
            assert site.stop() == 0
    assert [s["starts"] for s in starts(site)] == [1, 2]


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("parts:failing", "RuntimeError: there is no coffee"),
        ("parts:crashing", "killed by SIGSEGV"),
        ("parts:unknown", "AttributeError: module 'parts' has no attribute 'unknown'"),
        ("no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
def test_a_part_that_cannot_run_says_why_and_the_others_run(tmp_path: Path, target: str, reason: str) -> None:
    with running_site(tmp_path, {"control": CONTROL, "gateway": ("service", target)}) as site:
        site.wait(lambda: site.row("gateway").get("reason") == reason, reason)
        site.wait(lambda: any(a["source"] == "gateway" and reason in a["text"] for a in site.status()["alarms"]), "an alarm")
        assert site.status()["state"] == "degraded"
        assert site.row("control")["restarts"] == 0


def test_a_site_is_starting_until_every_part_has_said_that_it_is_ready(tmp_path: Path) -> None:
    with running_site(tmp_path, {"control": CONTROL, "panel": ("service", "parts:late")}, until=("starting",)) as site:
        site.runs("control")
        site.wait(lambda: site.row("panel").get("state") == "starting", "the panel is starting")
        assert site.status()["state"] == "starting"
        (tmp_path / "go").touch()
        site.runs("panel")
        site.wait(lambda: site.status()["state"] == "running", "the site runs")


def test_a_part_that_does_not_become_ready_is_told_and_the_site_is_up_without_it(tmp_path: Path) -> None:
    hurry = "from server.runtime import process; process.READY_WITHIN_S = 1.0"
    with running_site(tmp_path, {"control": CONTROL, "panel": ("service", "parts:late")}, hurry) as site:
        assert site.status()["state"] == "degraded"
        assert site.row("panel")["reason"] == "it has not been ready for 1 s"
        site.wait(lambda: any("has not been ready" in a["text"] for a in site.status()["alarms"]), "an alarm")
        (tmp_path / "go").touch()
        site.wait(lambda: site.status()["state"] == "running", "the site runs")


def test_parts_end_in_order_services_drivers_control_server(tmp_path: Path) -> None:
    specs: Specs = {"control": CONTROL, "modbus": ("driver", "parts:quiet"), "opcua": ("opcua", "parts:quiet"), "panel": QUIET}
    with running_site(tmp_path, specs) as site:
        for name in specs:
            site.runs(name)
        assert site.stop() == 0
        assert (tmp_path / "ends").read_text().split() == ["panel", "modbus", "control", "opcua"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_when_the_supervisor_ends(tmp_path: Path, number: int) -> None:
    specs: Specs = {"control": CONTROL, "stubborn": ("driver", "parts:stubborn"), "parent": ("service", "parts:parent")}
    with running_site(tmp_path, specs) as site:
        for name in specs:
            site.runs(name)
        children = site.wait(lambda: (tmp_path / "children").exists() and (tmp_path / "children").read_text().split(), "children")
        site.status()
        site.pids |= {int(pid) for pid in children}
        site.stop(number)
        assert site.nothing_left(), site.left()
        if number != signal.SIGKILL:
            assert list((tmp_path / "run").iterdir()) == []


def test_a_supervisor_that_cannot_go_on_stops_the_site_and_says_so(tmp_path: Path) -> None:
    sabotage = (
        "from server.runtime import running; running.RunningSite.take_records = lambda site: 1 / (site.frames.cycle() < 20)"
    )
    with running_site(tmp_path, {"control": CONTROL}, sabotage) as site:
        site.runs("control")
        assert site.process.wait(30) == 1
        assert "the supervisor failed: ZeroDivisionError" in site.output.read_text()
        assert site.nothing_left(), site.left()


def test_what_cannot_be_started_for_want_of_something_is_tried_again(tmp_path: Path) -> None:
    with running_site(tmp_path, {"control": CONTROL}) as site:
        control = site.runs("control")
        log = tmp_path / "data" / "log"
        log.rename(tmp_path / "data" / "gone")
        zygote = site.kill("zygote-lean")
        site.wait(lambda: "zygote lean cannot be executed" in site.output.read_text(), "it is told")
        assert site.runs("control") == control
        log.mkdir()
        site.runs("zygote-lean", not_pid=zygote)
        site.runs("control", not_pid=site.kill("control"))


def test_a_site_runs_again_after_its_supervisor_was_killed(tmp_path: Path) -> None:
    with running_site(tmp_path, {"control": CONTROL}) as site:
        site.stop(signal.SIGKILL)
        assert site.nothing_left()
    with running_site(tmp_path, {"control": CONTROL}) as site:
        site.runs("control")


@pytest.mark.parametrize("zygote", ["zygote-lean", "zygote-heavy"])
def test_a_zygote_that_is_killed_takes_nobody_along_and_is_replaced(tmp_path: Path, zygote: str) -> None:
    with running_site(tmp_path, {"control": CONTROL}) as site:
        control = site.runs("control")
        site.runs(zygote, not_pid=site.kill(zygote))
        assert site.runs("control") == control
        site.runs("control", not_pid=site.kill("control"))
        assert len(starts(site)) >= 2 or site.wait(lambda: len(starts(site)) == 2, "control was started by the new zygote")


def test_a_site_is_not_run_twice(tmp_path: Path) -> None:
    with running_site(tmp_path, {"control": CONTROL}) as site:
        second = RunningSite(tmp_path, {"control": CONTROL})
        assert second.process.wait(30) == 1
        assert f"is being run already, by process {site.process.pid}" in second.output.read_text()
        assert site.status()["state"] == "running"


def test_reports_of_all_kinds_are_taken_and_strange_ones_harm_nobody(tmp_path: Path) -> None:
    with running_site(tmp_path, {"control": CONTROL, "talker": ("driver", "parts:talker")}) as site:
        site.wait(lambda: "the talker warns" in site.output.read_text(), "the warning is shown")
        site.stop()
    (journal,) = (tmp_path / "data" / "journal").glob("*.jsonl")
    kinds = [json.loads(line)["kind"] for line in journal.read_text().splitlines()]
    assert {"started", "running", "down", "huge", "stopping"} <= set(kinds)
    assert "the talker prints" in (tmp_path / "data" / "log" / "talker.log").read_text()


def test_a_wrong_entry_is_shown_with_its_reason_and_the_rest_runs(tmp_path: Path) -> None:
    (tmp_path / "entries").mkdir()
    (tmp_path / "entries" / "meter0.toml").write_text('driver = "smoke-signals"\n')
    with running_site(tmp_path, {"control": CONTROL}) as site:
        (entry,) = site.status()["entries"]
        assert (entry["alias"], entry["state"]) == ("meter0", "SetupError")
        assert entry["reason"].startswith("entries/meter0.toml: driver: 'smoke-signals': there is no such driver")
        assert site.row("control")["state"] == "running"
        assert [a["source"] for a in site.status()["alarms"]] == ["meter0"]


def test_status_tells_memory_and_endpoints(tmp_path: Path) -> None:
    port = free_port()
    text = f'[site]\nid = "rig00"\nname = "Rig"\n[opcua]\nport = {port}\n[services.ui]\nmodule = "parts:quiet"\nport = 8444\n'
    (tmp_path / "site.toml").write_text(text)
    with running_site(tmp_path, {"control": CONTROL}) as site:
        status = site.status()
        assert status["endpoints"] == {"opcua": f"opc.tcp://127.0.0.1:{port}", "panel": "https://localhost:8444"}
        assert all(row["memory_mb"] > 1 for row in status["processes"])
        assert status["cycle"]["period_ms"] == 50
