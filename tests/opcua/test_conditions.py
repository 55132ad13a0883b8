"""Alarms over OPC UA as our own client sees them: rows, what people do, who may, groups, floods, restarts, and raw events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from opcua_live import Live, live_site
from opcua_model import at, site_layout
from opcua_site import running

import certs
from server.client import Alarm, Alarms, Client, ClientError
from server.core.layout import DEVICE, ChannelUse, ObjectSpec, build_layout
from server.core.natures import Device, ManagedEss
from server.core.roles import Role
from server.core.ticks import TICKS
from server.history import HistoryError
from server.opcua.conditions import conditions
from server.opcua.conditions.certificates import look
from server.opcua.events.recorder import pack, unpack
from server.opcua.history import events as history_events
from server.opcua.session import User
from server.runtime.memory import utc_now
from server.runtime.process_board import process_objects

LOW_SOC = {"channel": "ess0/Soc", "low": 20.0, "low_low": 10.0, "hysteresis": 2.0, "confirm": True}
LATCHED = {"channel": "meter0/ActivePower", "high": 100.0, "latch": True}
SOC, COMM, FAULT, POWER = "ess0/SocLimitAlarm", "ess0/CommLostAlarm", "ess0/DeviceFaultAlarm", "meter0/ActivePowerLimitAlarm"


@pytest.fixture
async def live(directory: Path) -> AsyncIterator[Live]:
    async with live_site(directory, LOW_SOC, LATCHED) as running_site:
        running_site.set("ess0/Soc", 50.0)
        yield running_site


class Desk:
    """A person at the alarm list."""

    def __init__(self, alarms: Alarms) -> None:
        self.alarms = alarms
        self._news = asyncio.Event()
        alarms.on_change(self._news.set)

    async def until(self, condition: Callable[[dict[str, Alarm]], Any]) -> dict[str, Alarm]:
        """Wait until the rows are so."""
        async with asyncio.timeout(20):
            while not condition(self.alarms.rows):
                self._news.clear()
                await self._news.wait()
        return self.alarms.rows

    async def row(self, node: str, **state: Any) -> Alarm:
        """Wait until an alarm is there with these fields."""
        rows = await self.until(lambda r: node in r and all(getattr(r[node], k) == v for k, v in state.items()))
        return rows[node]


@asynccontextmanager
async def desk(live: Live, user: str = "anna") -> AsyncIterator[Desk]:
    async with Client(live.identity(user)) as client, client.alarms() as alarms:
        yield Desk(alarms)


def refused(status: str) -> Any:
    return pytest.raises(ClientError, match=status)


# What people do.


async def test_an_alarm_comes_is_acknowledged_and_goes(live: Live) -> None:
    async with desk(live) as anna:
        live.set("ess0/Soc", 15.0)
        row = await anna.row(SOC)
        assert (row.source, row.source_name, row.name, row.severity) == ("ess0", "Battery", "SocLimit", 500)
        assert (row.message, row.active, row.acked, row.confirmed) == ("State of charge is 15 %, below 20 %", True, False, False)
        assert row.active_since == row.time
        await anna.alarms.acknowledge(row, "charging soon")
        row = await anna.row(SOC, acked=True)
        assert (row.comment, row.user) == ("charging soon", "anna")
        live.set("ess0/Soc", 5.0)
        row = await anna.row(SOC, severity=800)
        assert (row.message, row.acked) == ("State of charge is 5 %, below 10 %", True)
        live.set("ess0/Soc", 50.0)
        row = await anna.row(SOC, active=False)
        assert (row.message, row.retain, row.active_since) == ("State of charge is 50 % again", True, None), "not yet confirmed"
        await anna.alarms.confirm(row)
        await anna.until(lambda rows: SOC not in rows)


async def test_comments_are_kept_with_who_said_them(live: Live) -> None:
    async with desk(live) as anna:
        live.set("ess0/Soc", 15.0)
        await anna.alarms.comment(await anna.row(SOC), "somebody looks at it")
        row = await anna.row(SOC, comment="somebody looks at it")
        assert (row.user, row.acked) == ("anna", False)
        with refused("BadOutOfRange"):
            await anna.alarms.comment(row, "x" * 2_000)


async def test_an_alarm_is_put_aside_and_taken_back(live: Live) -> None:
    async with desk(live) as anna:
        live.set("ess0/Soc", 15.0)
        row = await anna.row(SOC)
        await anna.alarms.shelve(row, 60)
        await anna.row(SOC, shelved=True)
        await anna.alarms.unshelve(row)
        await anna.row(SOC, shelved=False)
        await anna.alarms.shelve(row)
        await anna.row(SOC, shelved=True)
        live.set("ess0/Soc", 50.0)
        await anna.row(SOC, shelved=False, active=False)
        with refused("BadConditionNotShelved"):
            await anna.alarms.unshelve(row)
        with refused("BadShelvingTimeOutOfRange"):
            await anna.alarms.shelve(row, 1e9)


async def test_shelving_ends_when_its_time_is_over(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk(live) as anna:
        live.set("ess0/Soc", 15.0)
        await anna.alarms.shelve(await anna.row(SOC), 60.0)
        await anna.row(SOC, shelved=True)
        for later_s, shelved in ((30.0, True), (90.0, False)):
            monkeypatch.setattr("server.opcua.conditions.conditions.utc_now", lambda s=later_s: utc_now() + int(s * TICKS))
            live.set("ess0/Soc", 15.0 - later_s / 100)
            await anna.alarms.comment(await anna.row(SOC), f"after {later_s} s")
            await anna.row(SOC, shelved=shelved, comment=f"after {later_s} s")


async def test_a_latched_alarm_stays_until_it_is_reset(live: Live) -> None:
    async with desk(live) as anna:
        live.set("meter0/ActivePower", 200.0)
        await anna.alarms.acknowledge(await anna.row(POWER))
        await anna.row(POWER, acked=True)
        live.set("meter0/ActivePower", 0.0)
        row = await anna.row(POWER, active=False)
        assert row.retain
        client = anna.alarms._client
        await client.call(POWER, "i=18199")
        await anna.until(lambda rows: POWER not in rows)


@pytest.mark.parametrize("act", ["acknowledge", "confirm", "comment"])
async def test_an_answer_to_an_alarm_of_before_is_refused(live: Live, act: str) -> None:
    async with desk(live) as anna:
        live.set("ess0/Soc", 15.0)
        first = await anna.row(SOC)
        live.set("ess0/Soc", 50.0)
        await anna.row(SOC, active=False)
        live.set("ess0/Soc", 15.0)
        await anna.row(SOC, active=True)
        with refused("BadEventIdUnknown"):
            await getattr(anna.alarms, act)(first, "late")


async def test_twice_is_once_too_much(live: Live) -> None:
    async with desk(live) as anna:
        live.set("ess0/Soc", 15.0)
        row = await anna.row(SOC)
        with refused("BadInvalidState"):
            await anna.alarms.confirm(row)
        await anna.alarms.acknowledge(row)
        with refused("BadConditionBranchAlreadyAcked"):
            await anna.alarms.acknowledge(row)
        await anna.alarms.confirm(row)
        with refused("BadConditionBranchAlreadyConfirmed"):
            await anna.alarms.confirm(row)


# Who may.


async def test_an_observer_sees_but_does_not_act(live: Live) -> None:
    async with desk(live, "otto") as otto:
        live.set("ess0/Soc", 15.0)
        row = await otto.row(SOC)
        alarms = otto.alarms
        for act in (alarms.acknowledge(row), alarms.comment(row, "x"), alarms.shelve(row), alarms.unshelve(row)):
            with refused("BadUserAccessDenied"):
                await act
        assert not live.site.server.conditions.live(SOC).condition.acked


@pytest.mark.parametrize(
    ("role", "granted"), [("Operator", False), ("Observer", False), ("Engineer", True), ("Supervisor", False)]
)
async def test_only_engineers_take_an_alarm_out_of_use(live: Live, role: str, granted: bool) -> None:
    users = live.site.server.identification._users
    users.people["anna"] = User("anna", frozenset({role}), 1)  # type: ignore[attr-defined]
    async with Client(live.identity()) as client:
        for method in ("i=9028", "i=9027", "i=16403", "i=17868"):  # Disable, Enable, Suppress, Unsuppress
            if granted:
                await client.call(SOC, method)
            else:
                with refused("BadUserAccessDenied"):
                    await client.call(SOC, method)


async def test_an_alarm_out_of_use_is_silent_and_tells_what_is_when_it_is_back(live: Live) -> None:
    users = live.site.server.identification._users
    users.people["anna"] = User("anna", frozenset({"Engineer"}), 1)  # type: ignore[attr-defined]
    async with desk(live) as anna:
        client = anna.alarms._client
        live.set("ess0/Soc", 15.0)
        await anna.row(SOC)
        await client.call(SOC, "i=9028")
        await anna.until(lambda rows: SOC not in rows)
        live.set("ess0/Soc", 5.0)
        live.set("ess0/State", 3.0)
        await anna.row(FAULT)
        assert SOC not in anna.alarms.rows
        await client.call(SOC, "i=9027")
        await anna.row(SOC, severity=800)


async def test_what_somebody_did_is_in_the_audit_trail(live: Live) -> None:
    async with desk(live) as anna:
        live.set("ess0/Soc", 15.0)
        await anna.alarms.acknowledge(await anna.row(SOC), "seen")
        await anna.alarms.comment(anna.alarms.rows[SOC], "and noted")
    *_, facts = [row for row in live.site.audited() if row["event"] == "condition"]
    assert {k: facts[k] for k in ("user", "condition", "action", "comment")} == {
        "user": "anna",
        "condition": SOC,
        "action": "AddComment",
        "comment": "and noted",
    }


# Groups and floods.


async def test_a_device_that_cannot_be_heard_silences_its_other_alarms(live: Live) -> None:
    async with desk(live) as anna:
        live.set("ess0/Soc", 15.0)
        await anna.row(SOC, suppressed=False)
        live.set("ess0/CommState", 2.0)
        async with asyncio.timeout(20):
            while COMM not in anna.alarms.rows or not anna.alarms.rows[COMM].active:
                live.freeze()
                await asyncio.sleep(0.05)
        await anna.row(COMM, active=True, suppressed=False)
        await anna.row(SOC, suppressed=True)
        live.set("ess0/CommState", 0.0)
        await anna.row(SOC, suppressed=False)
        await anna.row(COMM, active=False)


async def test_a_flood_of_alarms_is_told_in_full(directory: Path) -> None:
    count = 1_200
    specs = {**Device.channels(), **ManagedEss.channels()}
    wanted = [ChannelUse(specs["State"]), ChannelUse(specs["CommState"])]
    layout = build_layout([ObjectSpec(f"ess{n}", DEVICE, "d", (Device, ManagedEss), tuple(wanted)) for n in range(count)])
    async with running(directory, layout) as site:
        live = Live(site)
        async with desk(live) as anna:
            live.image.number += 1
            for node, channel in layout.by_node.items():
                if node.endswith("/State"):
                    live.image.records[channel.slot] = (3.0, 0, 0, 0, live.image.number)
            rows = await anna.until(lambda r: len(r) == count)
            assert {row.severity for row in rows.values()} == {800}
        async with desk(live, "otto") as otto:
            await otto.until(lambda r: len(r) == count)


# Restarts.


async def test_what_was_acknowledged_stays_so_when_the_server_is_killed(directory: Path) -> None:
    async with live_site(directory, LOW_SOC) as live, desk(live) as anna:
        live.set("ess0/Soc", 15.0)
        await anna.alarms.acknowledge(await anna.row(SOC), "charging soon")
        kept = (directory / "data" / "alarms.json").read_bytes()
        assert b"charging soon" in kept, "it is on disk when the answer is there"
    (directory / "data" / "alarms.json").write_bytes(kept)
    async with live_site(directory, LOW_SOC) as again:
        again.set("ess0/Soc", 15.0)
        async with desk(again) as anna:
            row = await anna.row(SOC)
            assert (row.acked, row.comment, row.user, row.active) == (True, "charging soon", "anna", True)
            await anna.alarms.confirm(row)
        again.set("ess0/Soc", 50.0)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"conditions": {"ess0/SocLimitAlarm": {"zone": "x"}}}', b"\xff\xfe"])
async def test_a_damaged_file_of_states_is_said_and_the_server_begins_anew(
    directory: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (directory / "data").mkdir(exist_ok=True)
    (directory / "data" / "alarms.json").write_bytes(content)
    async with live_site(directory, LOW_SOC) as live, desk(live) as anna:
        live.set("ess0/Soc", 15.0)
        await anna.row(SOC)
    assert "alarms" in caplog.text or "begins anew" in caplog.text


async def test_alarms_of_an_entry_that_is_away_are_remembered(directory: Path) -> None:
    async with live_site(directory, LOW_SOC) as live, desk(live) as anna:
        live.set("ess0/Soc", 15.0)
        await anna.alarms.acknowledge(await anna.row(SOC), "known")
    async with live_site(directory, LATCHED) as without, desk(without) as anna:
        without.set("meter0/ActivePower", 500.0)
        await anna.alarms.acknowledge(await anna.row(POWER))
    assert "known" in json.loads((directory / "data" / "alarms.json").read_text())["conditions"][SOC]["remark"]["text"]


async def test_the_list_is_current_again_after_the_connection_was_lost(live: Live) -> None:
    async with Client(live.identity()) as client, client.alarms() as alarms:
        anna = Desk(alarms)
        live.set("ess0/Soc", 15.0)
        live.set("meter0/ActivePower", 500.0)
        await anna.until(lambda rows: len(rows) == 2)
        client._link.abort()  # type: ignore[union-attr]
        live.set("ess0/Soc", 50.0)
        live.site.server.conditions.live(POWER).condition.acked = True
        await anna.until(lambda rows: rows[POWER].acked and not rows[SOC].active)


# Raw events.


async def events_of(client: Client, *, node: str = "i=2253", types: tuple[str, ...] = (), fields: tuple[str, ...] = ()) -> Any:
    return await client.subscribe_events(("EventType", "SourceName", "Message", *fields), node, types=types, interval_ms=20)


async def next_event(subscription: Any) -> dict[str, Any]:
    async with asyncio.timeout(5):
        return dict(await anext(subscription))


HEARING = [("i=2253", True), ("site", True), ("ess0", True), ("meter0", False), ("peak0", False)]


@pytest.mark.parametrize(("node", "hears"), HEARING)
async def test_events_go_up_from_their_source_to_the_server(live: Live, node: str, hears: bool) -> None:
    async with Client(live.identity()) as client:
        subscription = await events_of(client, node=node)
        live.set("ess0/Soc", 15.0)
        if hears:
            assert (await next_event(subscription))["SourceName"] == "Battery"
        else:
            live.set("meter0/State", 3.0)
            live.set("peak0/RunState", 3.0)
            assert (await next_event(subscription))["SourceName"] != "Battery"


async def test_only_events_of_the_types_asked_for_arrive(live: Live) -> None:
    async with Client(live.identity()) as client:
        subscription = await events_of(client, types=("i=10637", "i=2132", "i=2052"))  # OffNormal, ModelChange, Audit
        live.set("ess0/Soc", 15.0)
        live.set("meter0/State", 3.0)
        assert (await next_event(subscription))["Message"] == "The device reports a fault"


async def test_the_model_tells_what_came(live: Live) -> None:
    async with Client(live.identity()) as client:
        subscription = await events_of(client)
        live.site.server.events.model_changed(added=[live.layout.by_alias["ess0"]])
        told = await next_event(subscription)
        assert (told["EventType"], told["Message"]) == ("i=2133", "1 objects of the site changed")


async def test_audit_events_are_for_security_admins_only(live: Live) -> None:
    users = live.site.server.identification._users
    users.people["sec"] = User("sec", frozenset({Role.SECURITY_ADMIN}), 9)  # type: ignore[attr-defined]
    async with Client(live.identity("sec")) as sec, Client(live.identity("otto")) as otto:
        audit = await events_of(sec, types=("i=2052",), fields=("ClientUserId", "Status", "NewValue"))
        nothing = await events_of(otto)
        with refused("BadUserAccessDenied"):
            await otto.write("peak0/import_max_w", 9000)
        told = await next_event(audit)
        assert told["EventType"] == "i=2100"
        assert (told["ClientUserId"], told["Status"], told["NewValue"]) == ("otto", False, 9000.0)
        assert told["SourceName"] == "Attribute/Write"
        live.set("ess0/State", 3.0)
        assert (await next_event(nothing))["SourceName"] == "Battery", "the audit event did not come"


async def test_each_value_of_a_request_is_an_audit_event_while_a_security_admin_listens(live: Live) -> None:
    live.site.server.identification._users.people["sec"] = User("sec", frozenset({Role.SECURITY_ADMIN}), 9)  # type: ignore[attr-defined]
    request = ua.WriteRequest()
    request.Parameters.NodesToWrite = [
        ua.WriteValue(
            at("peak0/import_max_w"), ua.AttributeIds.Value, None, ua.DataValue(ua.Variant(float(i), ua.VariantType.Double))
        )
        for i in range(-1, 9)
    ]
    told = live.site.server.audit_events
    async with live.link("emil") as emil, Client(live.identity("otto")) as otto:
        await events_of(otto)
        assert not told.heard, "an observer has nothing to hear"
        async with Client(live.identity("sec")) as sec:
            audit = await events_of(sec, types=("i=2100",), fields=("SourceNode", "Status", "NewValue"))
            assert told.heard
            await emil.link.ask(request, ua.WriteResponse)
            events = [await next_event(audit) for _ in range(10)]
    assert [(e["Status"], e["NewValue"]) for e in events] == [(i >= 0, float(i)) for i in range(-1, 9)]
    assert {e["SourceNode"] for e in events} == {"peak0/import_max_w"}
    (row,) = [row for row in live.site.audited() if row["event"] == "write" and row["user"] == "emil"]
    assert row["values"] == [float(i) for i in range(-1, 9)]
    assert row["status"] == ["BadOutOfRange"] + ["Good"] * 9


async def test_a_filter_that_cannot_be_had_says_which_clause(live: Live) -> None:
    async with live.link() as talk:
        number = (await talk.subscribe()).SubscriptionId
        wanted = [_event_item(_select(*fields)) for fields in (["Nope"], ["Message", "Nope"], ["Message"])]
        none, some, all_ = await talk.monitor(number, *wanted)
        assert (none.StatusCode.name, _said(none)) == ("BadEventFilterInvalid", ["BadNodeIdUnknown"])
        assert (some.StatusCode.name, _said(some)) == ("Good", ["Good", "BadNodeIdUnknown"])
        assert all_.StatusCode.is_good()
        assert not all_.FilterResult or all_.FilterResult.TypeId.is_null()
        assert (some.RevisedQueueSize, all_.RevisedSamplingInterval) == (10, 0.0)


def _select(*fields: str) -> ua.EventFilter:
    names = [[ua.QualifiedName(field)] for field in fields]
    return ua.EventFilter([ua.SimpleAttributeOperand(ua.NodeId(2041), path, ua.AttributeIds.Value) for path in names])


def _said(result: Any) -> list[str]:
    return [status.name for status in result.FilterResult.SelectClauseResults]


def _event_item(wanted: ua.EventFilter, node: str = "i=2253") -> ua.MonitoredItemCreateRequest:
    target = ua.ReadValueId(NodeId=at(node), AttributeId=ua.AttributeIds.EventNotifier)
    return ua.MonitoredItemCreateRequest(target, ua.MonitoringMode.Reporting, ua.MonitoringParameters(5, 0, wanted, 1, True))


# Refresh.


async def call(talk: Any, target: ua.NodeId, method: int, *arguments: int) -> str:
    values = [ua.Variant(value, ua.VariantType.UInt32) for value in arguments]
    request = ua.CallRequest()
    request.Parameters.MethodsToCall = [ua.CallMethodRequest(target, ua.NodeId(method), values)]
    return str((await talk.ask(request)).Results[0].StatusCode.name)


async def test_a_refresh_is_the_callers_own_and_one_at_a_time(live: Live) -> None:
    conditions = ua.NodeId(2782)
    live.set("ess0/Soc", 15.0)
    async with live.link() as talk, live.link("otto") as other:
        slow = await talk.subscribe(10_000)
        (item,) = await talk.monitor(slow.SubscriptionId, _event_item(_select("EventType")))
        await asyncio.sleep(0.1)
        assert await call(other, conditions, 3875, slow.SubscriptionId) == "BadUserAccessDenied"
        assert await call(other, conditions, 3875, 9_999) == "BadSubscriptionIdInvalid"
        assert await call(talk, conditions, 12912, slow.SubscriptionId, 77) == "BadMonitoredItemIdInvalid"
        assert await call(talk, conditions, 12912, slow.SubscriptionId, item.MonitoredItemId) == "Good"
        assert await call(talk, conditions, 3875, slow.SubscriptionId) == "BadRefreshInProgress"
        assert await call(talk, at("ess0"), 3875, slow.SubscriptionId) == "BadMethodInvalid"


async def test_an_item_that_is_disabled_keeps_no_refresh_waiting(live: Live) -> None:
    live.set("ess0/Soc", 15.0)
    async with live.link() as talk:
        subscription = (await talk.subscribe(40)).SubscriptionId
        disabled = _event_item(_select("Message"))
        disabled.MonitoringMode = ua.MonitoringMode.Disabled
        await talk.monitor(subscription, _event_item(_select("EventType")), disabled)
        loud, mute = next(iter(live.site.server.subscriptions)).items.events.items.values()
        for _ in range(3):
            assert await call(talk, ua.NodeId(2782), 3875, subscription) == "Good"
            assert not mute.queue
            while loud.refreshing:
                await talk.publish()


# Nodes.


async def test_a_condition_is_a_node_whose_members_are_those_of_its_type(live: Live) -> None:
    async with Client(live.identity()) as client:
        members = {r.name: r for r in await client.browse(SOC)}
        assert {"EventId", "Retain", "AckedState", "ConfirmedState", "ActiveState", "ShelvingState", "LimitState"} < set(members)
        assert {"LowLimit", "LowLowLimit", "Acknowledge", "Confirm", "AddComment", "Enable", "Disable"} < set(members)
        assert not {"HighLimit", "LatchedState", "Reset", "NormalState"} & set(members)
        assert {"NormalState"} < {r.name for r in await client.browse(FAULT)}
        assert "ConfirmedState" not in {r.name for r in await client.browse(FAULT)}
        live.set("ess0/Soc", 15.0)
        await asyncio.sleep(0.1)
        paths = ("ActiveState/Id", "LowLimit", "LimitState/CurrentState", "Severity", "InputNode", "Retain")
        values = [v.Value.Value for v in await client.read([f"{SOC}/{path}" for path in paths])]
        assert values == [True, 20.0, ua.LocalizedText("Low", "en"), 500, at("ess0/Soc"), True]
        (inactive,) = await client.read([f"{POWER}/LimitState/CurrentState"])
        assert inactive.StatusCode.name == "BadStateNotActive"
        assert [r.node for r in await client.browse("ess0", "i=9006")] == [FAULT, COMM, "ess0/NoFailSafeAlarm", SOC]


async def test_every_node_of_a_condition_is_whole(live: Live) -> None:
    nodes = live.site.server.nodes
    waiting, seen = [at(SOC), at(FAULT), at(POWER)], 0
    while waiting:
        node = nodes.get(waiting.pop())
        assert node is not None
        seen += 1
        for reference in node.references:
            target = nodes.get(reference.target)
            assert target is not None, (node, reference)
            if reference.forward and str(reference.target.Identifier).startswith(f"{node.node_id.Identifier}/"):
                assert any(back.target == node.node_id and not back.forward for back in target.references)
                waiting.append(reference.target)
    assert seen > 100


# Certificates.


async def test_a_certificate_that_expires_raises_an_alarm_until_it_is_renewed(directory: Path) -> None:
    name = "server"
    certs.issue(directory, name, application_uri="urn:test:unified-ems:site1", hosts=["127.0.0.1", "localhost"], days=30)
    own = (name, "client")
    async with running(directory, site_layout(), certificates=own) as site:
        live = Live(site)
        async with desk(live) as anna:
            row = await anna.row("site/ServerCertificateAlarm")
            assert (row.severity, row.source, row.message[:31]) == (500, "site", "Own certificate server expires ")
            assert "site/ClientCertificateAlarm" not in anna.alarms.rows
            paths = ("ExpirationDate", "ExpirationLimit", "Certificate")
            values = await anna.alarms._client.read([f"{row.condition}/{path}" for path in paths])
            assert values[2].Value.Value == (directory / "certs" / "own" / "server.der").read_bytes()
            assert values[1].Value.Value == 42 * 86_400_000
            certs.issue(directory, name, application_uri="urn:test:unified-ems:site1", hosts=["127.0.0.1", "localhost"])
            await look(site.server)
            assert (await anna.row(row.condition, active=False)).message.startswith("The certificate is valid until 2")
            (directory / "certs" / "trusted" / "broken.der").write_bytes(b"nonsense")
            await look(site.server)
            assert "broken.der: not a certificate" in (await anna.row("site/CertificatesAlarm", active=True)).message
            (directory / "certs" / "trusted" / "broken.der").unlink()
            await look(site.server)
            await anna.row("site/CertificatesAlarm", active=False)


async def test_the_site_counts_its_alarms(live: Live) -> None:
    counts = [f"site/Alarms/{name}" for name in ("Active", "Unacknowledged", "Suppressed", "Shelved")]
    async with desk(live) as anna:
        client = anna.alarms._client
        live.set("ess0/Soc", 15.0)
        live.set("meter0/State", 3.0)
        await anna.until(lambda rows: len(rows) == 2)
        await anna.alarms.acknowledge(anna.alarms.rows[SOC])
        await anna.alarms.shelve(anna.alarms.rows[SOC])
        assert [v.Value.Value for v in await client.read(counts)] == [2, 1, 0, 1]
        assert {SOC, POWER} < {r.node for r in await client.browse("site/Alarms")}


async def test_control_that_stands_still_is_an_alarm(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conditions, "STANDSTILL_NS", 200_000_000)
    async with running(directory, build_layout(process_objects(["control"]))) as site, desk(Live(site)) as anna:
        row = await anna.row("process.control/StandstillAlarm", active=True)
        assert (row.severity, row.message) == (800, "Control freezes no image; every value is as it was")
        live = Live(site)
        while row.active:
            live.freeze()
            await asyncio.sleep(0.05)
            row = anna.alarms.rows[row.condition]
        assert row.message == "Over: Control freezes no image; every value is as it was"


# History.

TOLD = ("Message", "ActiveState/Id", "AckedState/Id", "ClientUserId", "Comment", "ConditionId", "EventId", "Severity")


async def test_what_happened_can_be_read_later(live: Live) -> None:
    server, begun = live.site.server, datetime.now(UTC)
    async with desk(live) as anna, Client(live.identity("otto")) as otto:
        live.set("ess0/Soc", 15.0)
        await anna.alarms.acknowledge(await anna.row(SOC), "seen")
        live.set("meter0/State", 3.0)
        await anna.row("meter0/DeviceFaultAlarm")
        await server.recorder.flush()
        ended = datetime.now(UTC)
        told = await otto.event_history(TOLD, begun, ended)
        assert [(e["ConditionId"], e["AckedState/Id"], e["ClientUserId"], e["Comment"]) for e in told] == [
            (SOC, False, "", ""),
            (SOC, True, "anna", "seen"),
            ("meter0/DeviceFaultAlarm", False, "", ""),
        ]
        assert told[1]["EventId"] == anna.alarms.rows[SOC].event_id
        newest = await otto.event_history(TOLD, ended, begun)
        assert newest == told[::-1]
        assert await otto.event_history(TOLD, begun, ended, "ess0") == told[:2]
        assert await otto.event_history(TOLD, begun, ended, types=("i=10637",)) == told[2:]
        assert await otto.event_history(TOLD, ended, ended + timedelta(hours=1)) == []
        for node, status in (("ess0/Soc", "BadHistoryOperationUnsupported"), ("nowhere", "BadNodeIdUnknown")):
            with refused(status):
                await otto.event_history(TOLD, begun, ended, node)
        with refused("BadEventFilterInvalid"):
            await otto.event_history(("Nope",), begun, ended)


async def test_history_of_events_comes_in_pages(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_events, "PAGE_EVENTS_MAX", 3)
    begun = datetime.now(UTC)
    for n in range(10):
        live.set("ess0/State", 3.0 * (n % 2))
        await asyncio.sleep(0.03)
    await live.site.server.recorder.flush()
    async with Client(live.identity()) as client:
        told = await client.event_history(("EventId", "ActiveState/Id"), begun, datetime.now(UTC))
        assert [e["ActiveState/Id"] for e in told] == [bool((n + 1) % 2) for n in range(len(told))]
        assert len({e["EventId"] for e in told}) == len(told) >= 8


async def test_events_wait_while_the_database_is_away(live: Live, caplog: pytest.LogCaptureFixture) -> None:
    server, begun = live.site.server, datetime.now(UTC)
    record = server.history.record

    async def fail(events: Any) -> None:
        raise HistoryError("the disk is gone")

    server.history.record = fail  # type: ignore[method-assign]
    live.set("ess0/State", 3.0)
    await asyncio.sleep(0.1)
    await server.recorder.flush()
    await server.recorder.flush()
    assert caplog.text.count("events wait for the history: the disk is gone") == 1
    server.history.record = record  # type: ignore[method-assign]
    await server.recorder.flush()
    async with Client(live.identity()) as client:
        assert len(await client.event_history(("Message",), begun, datetime.now(UTC))) == 1


def test_fields_survive_as_they_are() -> None:
    fields = {
        (): ua.Variant(at(SOC)),
        ("Message",): ua.Variant(ua.LocalizedText("Größer als", "en")),
        ("AckedState", "Id"): ua.Variant(True),
        ("LocalTime",): ua.Variant(ua.TimeZoneDataType(60, False), ua.VariantType.ExtensionObject),
    }
    assert unpack(pack(fields)) == fields
