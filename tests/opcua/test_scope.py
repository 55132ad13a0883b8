"""A user with a scope sees what belongs to his tenants, and nothing else, by whatever service he asks."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from opcua_live import VALUE, Live, live_site
from opcua_model import at, device, site_objects
from opcua_site import Site, running

from server.client import Client, ClientError, Identity
from server.core.layout import Layout, build_layout
from server.core.natures import ManagedEss, Meter, Pv
from server.runtime.users import UserError, Users

PASSWORDS = {name: f"the words of {name}" for name in ("tenant", "both", "boss", "warden")}
OWN, FOREIGN = "ess1", "ess2"


def shared_layout() -> Layout:
    """A site with devices of two tenants beside its own."""
    rented = [
        device("ess1", (ManagedEss,), properties={"Tenant": "tenant-a", "Label": "Cellar"}),
        device("ess2", (ManagedEss,), properties={"Tenant": "tenant-b"}),
        device("meter2", (Meter,), properties={"Tenant": "tenant-b"}),
        device("pv2", (Pv,), properties={"Tenant": ""}),
    ]
    return build_layout([*site_objects(), *rented])


@pytest.fixture(scope="module")
def with_users(tmp_path_factory: pytest.TempPathFactory, certificates: Path) -> Path:
    folder = tmp_path_factory.mktemp("scopes") / "site"
    shutil.copytree(certificates, folder)
    users = Users(folder)
    users.add("boss", ["SecurityAdmin", "Engineer"], password=PASSWORDS["boss"])
    users.add("tenant", ["Engineer"], password=PASSWORDS["tenant"], scope=["tenant-a"])
    users.add("both", ["Observer"], password=PASSWORDS["both"], scope=["tenant-a", "tenant-b"])
    users.add("warden", ["SecurityAdmin"], password=PASSWORDS["warden"], scope=["tenant-a"])
    return folder


@pytest.fixture
async def site(with_users: Path, tmp_path: Path) -> AsyncIterator[Site]:
    directory = tmp_path / "site"
    shutil.copytree(with_users, directory)
    async with running(directory, shared_layout(), users=Users(directory)) as site:
        yield site


@contextlib.asynccontextmanager
async def logged_in(site: Site, user: str) -> AsyncIterator[Client]:
    own = site.directory / "certs" / "own"
    ca = site.directory / "certs" / "ca" / "ca.pem"
    identity = Identity(site.url, own / "client.der", own / "client.key.pem", ca=ca, user=user, password=PASSWORDS[user])
    async with Client(identity) as client:
        yield client


async def names(client: Client, node: str) -> set[str]:
    return {reference.name for reference in await client.browse(node)}


async def test_browsing_leads_to_the_tenants_devices_only(site: Site) -> None:
    async with logged_in(site, "tenant") as tenant, logged_in(site, "both") as both, logged_in(site, "boss") as boss:
        assert await names(tenant, "site/Devices") == {"ess1"}
        assert await names(both, "site/Devices") == {"ess1", "ess2", "meter2"}
        assert await names(boss, "site/Devices") >= {"ess0", "ess1", "ess2", "meter2", "pv2"}
        assert await names(tenant, "site") == {"Devices", "Security", "ess1"}
        assert {"Soc", "SetActivePower"} <= await names(tenant, OWN)
        for node in (
            FOREIGN,
            "ess0",
            "pv2",
            "peak0",
            "cycle",
            "bridge",
            "decisions",
            "site/Controllers",
            "site/Overview",
            f"{FOREIGN}/Soc",
        ):
            with pytest.raises(ClientError, match="BadNodeIdUnknown"):
                await tenant.browse(node)


async def test_nothing_of_others_is_read(site: Site) -> None:
    nodes = [f"{FOREIGN}/Soc", "ess0/Soc", "site/GridPower", "peak0/import_max_w", "cycle/Counter", "pv2/ActivePower"]
    async with logged_in(site, "tenant") as tenant:
        for attribute in (VALUE, ua.AttributeIds.DisplayName, ua.AttributeIds.Description):
            found = await tenant.read(nodes, attribute)
            assert [v.StatusCode.name for v in found] == ["BadUserAccessDenied"] * len(nodes)


async def test_what_is_read_in_one_request_is_judged_node_by_node(site: Site) -> None:
    nodes = [f"{OWN}/Soc", f"{FOREIGN}/Soc", f"{OWN}/ActivePower", f"{FOREIGN}/ActivePower"] * 10
    async with logged_in(site, "boss") as boss, logged_in(site, "tenant") as tenant:
        for _ in range(2):
            assert {v.StatusCode.name for v in await boss.read(nodes)} != {"BadUserAccessDenied"}
            found = [v.StatusCode.name == "BadUserAccessDenied" for v in await tenant.read(nodes)]
            assert found == [False, True] * 20


async def test_paths_do_not_lead_to_others(site: Site) -> None:
    async with await site.client(user="tenant", password=PASSWORDS["tenant"]) as client:
        folder = client.get_node(at("site/Devices"))
        assert (await folder.get_child("4:ess1")).nodeid == at("ess1")
        with pytest.raises(ua.uaerrors.BadNoMatch):
            await folder.get_child("4:ess2")


async def test_nothing_of_others_is_subscribed(site: Site) -> None:
    async with logged_in(site, "tenant") as tenant:
        subscription = await tenant.subscribe([f"{OWN}/Soc", f"{FOREIGN}/Soc"], 100)
        assert [s.name if hasattr(s, "name") else s for s in subscription.refused.values()] == ["BadUserAccessDenied"]


async def test_nothing_of_others_is_written_or_called(site: Site) -> None:
    async with await site.client(user="tenant", password=PASSWORDS["tenant"]) as client:
        value = ua.DataValue(ua.Variant(1000.0, ua.VariantType.Double))
        for node in (f"{FOREIGN}/SetActivePower", "peak0/import_max_w"):
            with pytest.raises(ua.uaerrors.BadUserAccessDenied):
                await client.get_node(at(node)).write_attribute(VALUE, value)
        for target, method in (("site", "site/EmergencyStop"), ("peak0", "peak0/Disable"), ("decisions", "decisions/List")):
            with pytest.raises(ua.uaerrors.BadUserAccessDenied):
                await client.get_node(at(target)).call_method(at(method))
    assert site.image.writes == []


# Events.


@contextlib.asynccontextmanager
async def hearing(site: Site, user: str, node: str = "i=2253") -> AsyncIterator[Any]:
    """The events that a user is told at a node: SourceNode and Message of each."""
    async with logged_in(site, user) as client:
        yield await client.subscribe_events(("SourceNode", "Message"), node, interval_ms=20)


async def sources(events: Any, *wanted: str) -> list[str]:
    """Where the events come from, up to when all of `wanted` were among them."""
    found: list[str] = []
    async with asyncio.timeout(20):
        while not set(wanted) <= set(found):
            found.append((await anext(events))["SourceNode"])
    return found


async def test_only_events_of_the_own_devices_are_told(site: Site) -> None:
    live = Live(site)
    async with hearing(site, "tenant") as tenant, hearing(site, "both") as both, hearing(site, "boss") as boss:
        for alias in ("ess0", FOREIGN, "pv2"):
            live.set(f"{alias}/State", 3.0)
        assert sorted(await sources(boss, "ess0", FOREIGN, "pv2")) == ["ess0", FOREIGN, "pv2"]
        live.set(f"{OWN}/State", 3.0)  # after the others, which have had their chance
        assert await sources(boss, OWN) == [OWN]
        assert await sources(both, OWN) == [FOREIGN, OWN]
        assert await sources(tenant, OWN) == [OWN]


async def test_events_of_others_cannot_be_asked_for(site: Site) -> None:
    async with logged_in(site, "tenant") as tenant:
        for node in (FOREIGN, "ess0", "peak0"):
            with pytest.raises(ClientError, match=r"BadNodeIdUnknown|BadUserAccessDenied"):
                await tenant.subscribe_events(("SourceNode",), node, interval_ms=20)


async def test_a_refresh_tells_only_alarms_of_the_own_devices(site: Site) -> None:
    live = Live(site)
    async with hearing(site, "boss") as boss:
        for alias in ("ess0", FOREIGN, OWN):
            live.set(f"{alias}/State", 3.0)
        await sources(boss, "ess0", FOREIGN, OWN)
    async with logged_in(site, "tenant") as tenant, tenant.alarms() as alarms:
        async with asyncio.timeout(20):
            while not alarms.rows:
                await asyncio.sleep(0.02)
        assert {row.source for row in alarms.rows.values()} == {OWN}


async def test_alarms_of_others_cannot_be_acknowledged(site: Site) -> None:
    live = Live(site)
    async with logged_in(site, "boss") as boss, boss.alarms() as alarms, logged_in(site, "tenant") as tenant:
        live.set(f"{FOREIGN}/State", 3.0)
        async with asyncio.timeout(20):
            while not alarms.rows:
                await asyncio.sleep(0.02)
        ((condition, row),) = alarms.rows.items()
        assert row.source == FOREIGN
        event, comment = ua.Variant(row.event_id, ua.VariantType.ByteString), ua.Variant(ua.LocalizedText("not mine"))
        request = ua.CallRequest()
        acknowledge = ua.NodeId(ua.ObjectIds.AcknowledgeableConditionType_Acknowledge)
        request.Parameters.MethodsToCall = [ua.CallMethodRequest(at(condition), acknowledge, [event, comment])]
        result = (await tenant.ask(request, ua.CallResponse)).Results[0]
        assert result.StatusCode.name in ("BadNodeIdUnknown", "BadUserAccessDenied")
        assert not alarms.rows[condition].acked


async def test_the_history_of_events_is_that_of_the_own_devices(site: Site) -> None:
    live = Live(site)
    async with logged_in(site, "boss") as boss, logged_in(site, "tenant") as tenant:
        events = await boss.subscribe_events(("SourceNode", "Message"), "i=2253", interval_ms=20)
        for alias in (FOREIGN, OWN):
            live.set(f"{alias}/State", 3.0)
        await sources(events, FOREIGN, OWN)
        await site.server.recorder.flush()
        span = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
        assert {event["SourceNode"] for event in await boss.event_history(("SourceNode",), *span)} == {OWN, FOREIGN}
        assert {event["SourceNode"] for event in await tenant.event_history(("SourceNode",), *span)} == {OWN}


async def test_nothing_of_others_is_read_from_history(site: Site) -> None:
    async with logged_in(site, "tenant") as tenant:
        with pytest.raises(ClientError, match="BadUserAccessDenied"):
            await tenant.history_read(f"{FOREIGN}/Soc", limit=10)


async def test_a_scope_confines_a_security_admin_too(site: Site) -> None:
    async with logged_in(site, "warden") as warden:
        assert await names(warden, "security") == {"ChangeOwnPassword"}
        with pytest.raises(ClientError, match="BadUserAccessDenied"):
            await warden.call("security", "ListUsers")


async def test_another_scope_counts_at_once(site: Site) -> None:
    async with logged_in(site, "boss") as boss, logged_in(site, "tenant") as tenant:
        assert (await boss.call("security", "ListScopes"))[1] == ["", "tenant-a", "tenant-a, tenant-b", "tenant-a"]
        await boss.call("security", "SetScope", "tenant", "tenant-b")
        assert await names(tenant, "site/Devices") == {"ess2", "meter2"}
        await boss.call("security", "SetScope", "tenant", "")
        assert await names(tenant, "site/Devices") >= {"ess0", "ess1", "ess2"}


async def test_the_own_client_finds_its_model(site: Site) -> None:
    async with logged_in(site, "tenant") as tenant:
        model = await tenant.model()
        assert {alias for alias, o in model.objects.items() if o.kind == "device"} == {"ess1"}


@pytest.mark.parametrize("scope", [[], ["*"], [""], ["two words"], "tenant-a"])
def test_a_scope_is_a_list_of_names(with_users: Path, scope: Any) -> None:
    with pytest.raises(UserError):
        Users(with_users).confine("tenant", scope)


def test_the_last_admin_of_the_whole_site_cannot_be_confined(with_users: Path) -> None:
    with pytest.raises(UserError, match="boss is the last SecurityAdmin of the whole site"):
        Users(with_users).confine("boss", ["tenant-a"])


async def test_a_site_without_tenants_shows_all_to_users_of_the_whole_site(directory: Path) -> None:
    async with live_site(directory) as live, Client(live.identity()) as client:
        assert await names(client, "site/Devices") >= {"ess0", "pv0"}
