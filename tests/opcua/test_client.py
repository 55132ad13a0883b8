"""The client against the server: reading, writing, calling, the model, subscriptions that outlive connections, and errors."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import struct
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asyncua import ua
from opcua_live import Live, live_site
from opcua_model import site_layout
from opcua_site import running

from server.client import CLOSED, CONNECTED, RECONNECTING, Client, ClientError, LoginRefused, Table
from server.client.decode import publish_response
from server.client.ending import ended
from server.client.subscription import Subscription
from server.client.table import concatenate, newest
from server.history import HistoryWriter
from server.opcua import limits, view

SOC, POWER, LABEL, CELLS = "ess0/Soc", "ess0/ActivePower", "site/Explanation", "bat0/CellVoltages"


@pytest.fixture
async def live(directory: Path) -> AsyncIterator[Live]:
    async with live_site(directory) as site:
        yield site


@pytest.fixture
async def client(live: Live) -> AsyncIterator[Client]:
    async with Client(live.identity()) as connected:
        yield connected


@pytest.fixture(autouse=True)
async def nothing_is_left_running() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    await asyncio.sleep(0)
    left = {t for t in asyncio.all_tasks() - before if "client" in t.get_name() or "publish" in t.get_name()}
    assert not left


async def following(subscription: Any, node: int) -> list[float]:
    """The values of one node in the next table that has it."""
    async with asyncio.timeout(5):
        async for table in subscription:
            found = table.value[table.index == node].tolist()
            if found:
                return found
    raise AssertionError("the subscription ended")


# -- logging in --------------------------------------------------------------------------------------------------------


async def test_it_logs_in_by_password_and_by_certificate(live):
    for user in ("anna", None):
        async with Client(live.identity(user)) as client:
            assert (await client.read([SOC]))[0].Value.Value == 0.0
            assert client.state == CONNECTED
        assert client.state == CLOSED


@pytest.mark.parametrize(("user", "password"), [("anna", "wrong"), ("nobody", "open sesame"), ("anna", "")])
async def test_a_refused_login_says_who_was_refused(live, user, password):
    with pytest.raises(LoginRefused, match=user):
        await Client(live.identity(user, password)).connect()


async def test_a_certificate_that_is_nobody_is_refused(live):
    with pytest.raises(LoginRefused, match="certificate"):
        await Client(live.identity(None, name="other")).connect()


async def test_a_pinned_server_is_the_only_one_accepted(live):
    own = live.site.directory / "certs" / "own"
    pinned = dataclasses.replace(live.identity(), ca=None, server_certificate=own / "server.der")
    async with Client(pinned) as client:
        assert client.state == CONNECTED
    with pytest.raises(ClientError, match="Bad"):
        await Client(dataclasses.replace(pinned, server_certificate=own / "other.der")).connect()


async def test_a_server_of_another_authority_is_not_trusted(live):
    foreign = live.site.directory / "elsewhere" / "certs" / "ca" / "ca.pem"
    with pytest.raises(ClientError, match="BadCertificateUntrusted"):
        await Client(dataclasses.replace(live.identity(), ca=foreign)).connect()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"ca": None}, "which server to trust"),
        ({"certificate": Path("/nowhere.der")}, "/nowhere.der: no certificate"),
        ({"key": Path("/nowhere.pem")}, "/nowhere.pem: no private key"),
        ({"endpoint": "http://x"}, "is not opc.tcp"),
        ({"endpoint": "opc.tcp://127.0.0.1:1"}, "BadNotConnected: connecting to opc.tcp://127.0.0.1:1"),
    ],
)
async def test_a_wrong_identity_is_explained(live, changes, problem):
    with pytest.raises(ClientError, match=problem):
        await Client(dataclasses.replace(live.identity(), **changes)).connect()


# -- calls -------------------------------------------------------------------------------------------------------------


async def test_values_and_other_attributes_are_read(live, client):
    live.set(SOC, 55.0)
    await asyncio.sleep(0.05)
    values = await client.read([SOC, "i=2259", "ess0/Nothing", *[POWER] * 2500])
    assert [v.Value.Value for v in values[:2]] == [55.0, 0]
    assert values[2].StatusCode.name == "BadNodeIdUnknown"
    assert len(values) == 2503
    (name,) = await client.read([SOC], ua.AttributeIds.BrowseName)
    assert name.Value.Value.Name == "Soc"


async def test_a_value_is_written_as_the_nodes_type(live, client):
    with pytest.raises(ClientError, match="BadInvalidState"):
        await client.write("ess0/SetActivePower", 1234)
    live.set("site/OverrideRemaining", 60.0)
    await asyncio.sleep(0.05)
    await client.write("ess0/SetActivePower", 1234)
    slot = live.layout.by_node["ess0/SetActivePower"].slot
    assert live.image.writes == [(slot, 1234.0, 1)]


@pytest.mark.parametrize(
    ("node", "value", "status"),
    [
        (SOC, 1.0, "BadNotWritable|BadUserAccessDenied"),
        ("ess0/Nothing", 1.0, "BadNodeIdUnknown"),
        ("ess0/SetActivePower", "much", "BadTypeMismatch"),
        ("i=what", 1.0, "BadNodeIdInvalid"),
    ],
)
async def test_a_refused_write_says_why(client, node, value, status):
    with pytest.raises(ClientError) as refused:
        await client.write(node, value)
    assert refused.value.status in status.split("|")


async def test_methods_are_called_by_name(live, client):
    assert await client.call("site", "AcquireManualOverride", 60) == []
    slot = live.layout.by_node["site/OverrideRemaining"].slot
    assert live.image.writes == [(slot, 60.0, 1)]
    with pytest.raises(ClientError, match=r"Bad.*calling site/Nothing"):
        await client.call("site", "Nothing")


async def test_children_are_browsed(client):
    names = {r.name: r for r in await client.browse("ess0")}
    assert names["Soc"].node == SOC
    assert names["Soc"].node_class == "Variable"
    with pytest.raises(ClientError, match="BadNodeIdUnknown: browsing nothing"):
        await client.browse("nothing")


async def test_browsing_goes_on_where_the_server_stops(client, monkeypatch):
    nodes = ["ess0", "bat0", "site", "pv0"]
    whole = await client.browse_many(nodes)
    monkeypatch.setattr(view, "REFERENCES_PER_NODE_MAX", 3)
    monkeypatch.setattr(limits, "BROWSE_CONTINUATION_POINTS", 2)
    assert await client.browse_many(nodes) == whole


async def test_the_model_tells_all_about_the_site(client):
    model = await client.model()
    kinds = {alias: o.kind for alias, o in model.objects.items()}
    assert kinds["site"] == "site"
    assert kinds["ess0"] == "device"
    assert kinds["peak0"] == "controller"
    assert kinds["cycle"] == "cycle"
    ess = model.objects["ess0"]
    assert {"ManagedEss"} <= set(ess.natures)
    assert ess.properties["Manufacturer"] == "ACME"
    soc, power = ess.channels["Soc"], ess.channels["ActivePower"]
    assert (soc.unit, soc.low, soc.high, soc.data_type, soc.writable) == ("%", 0.0, 100.0, "Double", False)
    assert (power.unit, power.low) == ("W", None)
    assert ess.channels["SetActivePower"].writable
    assert ess.channels["GridMode"].states == ("OnGrid", "OffGrid", "Genset")
    assert model.objects["bat0"].channels["CellVoltages"].length == 4
    assert model.objects["site"].methods["SetMode"] == "site/SetMode"
    assert model.channel(SOC) is soc
    assert [o.alias for o in model.objects.values() if "Pv" in o.natures] == ["pv0"]


async def test_history_is_read_over_continuation_points(live, client):
    writer = HistoryWriter(live.site.server.settings.history_url)
    (series_id,) = writer.ensure([SOC])
    count, first = 25_000, 133_000_000_000_000_000
    times = first + np.arange(count) * 10_000_000
    status = np.where(np.arange(count) % 100 == 7, 0x40900000, 0).astype(np.uint32)
    writer.append(np.full(count, series_id), times, np.arange(count, dtype=float), status)
    writer.close()
    start = datetime(1601, 1, 1, tzinfo=UTC) + timedelta(microseconds=first // 10)
    end = start + timedelta(days=1)
    whole = await client.history_read(SOC, start, end)
    assert np.array_equal(whole.times, times)
    assert np.array_equal(whole.values, np.arange(count))
    assert np.array_equal(whole.status, status)
    assert (await client.history_read(SOC, start, end, 12_345)).values.tolist() == list(range(12_345))
    newest = await client.history_read(SOC, end, start, 3)
    assert newest.values.tolist() == [count - 1.0, count - 2.0, count - 3.0]
    assert len(await client.history_read(SOC, start, None, 10)) == 10
    assert len(await client.history_read(SOC, end, end + timedelta(hours=1))) == 0
    with pytest.raises(ClientError, match="BadNodeIdUnknown: history of ess0/Nothing"):
        await client.history_read("ess0/Nothing", start, end)


# -- subscriptions -----------------------------------------------------------------------------------------------------


async def test_changes_come_as_tables(live, client):
    async with asyncio.timeout(5):
        subscription = await client.subscribe([SOC, LABEL, CELLS, "ess0/Nothing"], 40)
        assert subscription.refused == {3: "BadNodeIdUnknown"}
        first = await anext(subscription)
        rows = {int(i): row for row, i in enumerate(first.index)}
        assert first.value[rows[0]] == 0.0
        assert first.texts[rows[1]] == ""
        assert first.arrays[rows[2]].tolist() == [0.0] * 4
        live.set(LABEL, "because")
        assert list((await anext(subscription)).texts.values()) == ["because"]
        await subscription.close()
        with pytest.raises(StopAsyncIteration):
            await anext(subscription)
    assert len(live.site.server.subscriptions) == 0


async def test_a_slow_consumer_gets_the_newest_of_each_node(live, client):
    subscription = await client.subscribe([SOC, POWER], 20, buffer_rows=4)
    live.set(POWER, 7.0)
    for value in range(1, 11):
        live.set(SOC, value)
        await asyncio.sleep(0.03)
    seen: dict[int, float] = {}
    async with asyncio.timeout(5):
        while seen.get(0) != 10.0:
            table = await anext(subscription)
            seen |= dict(zip(table.index.tolist(), table.value.tolist(), strict=True))
    assert seen == {0: 10.0, 1: 7.0}
    assert subscription.coalesced > 0


async def test_a_lost_connection_is_made_again_and_no_sample_is_lost(live, client):
    states: list[str] = []
    client.on_state(lambda state, _: states.append(state))
    subscription = await client.subscribe([SOC], 40, queue=100, sampling_ms=20)
    assert await following(subscription, 0) == [0.0]
    client._link.abort()
    for value in range(1, 8):
        live.set(SOC, value)
        await asyncio.sleep(0.045)
    seen: list[float] = []
    while 7.0 not in seen:
        seen += await following(subscription, 0)
    assert [v for i, v in enumerate(seen) if i == 0 or v != seen[i - 1]] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    assert states == [RECONNECTING, CONNECTED]
    assert len(live.site.server.subscriptions) == 1


async def test_messages_that_were_on_their_way_are_sent_again(live, client):
    subscription = await client.subscribe([SOC], 40)
    await following(subscription, 0)
    live.site.server.subscriptions._all[subscription.id].number(0, [_one_change(0, 5.0)], 1 << 20)
    client._link.abort()
    assert await following(subscription, 0) == [5.0]


def _one_change(handle: int, value: float) -> list[bytes]:
    from server.opcua.publish import data_change

    return data_change(1, [struct.pack("<IBBdI", handle, 3, 11, value, 0)])


async def test_a_restarted_server_gets_the_subscriptions_anew(directory):
    async with running(directory, site_layout()) as site:
        live = Live(site)
        port = site.port
        client = Client(live.identity())
        await client.connect()
        subscription = await client.subscribe([SOC, LABEL], 40)
        assert await following(subscription, 0) == [0.0]
        server = site.server
    async with asyncio.timeout(5):
        while client.state != RECONNECTING:
            await asyncio.sleep(0.01)
        with pytest.raises(ClientError, match="BadNotConnected"):
            await client.read([SOC])
    server_settings = dataclasses.replace(server.settings, port=port)
    again = type(server)(server_settings, server.layout, live.image, server.security, server.identification._users)  # type: ignore[arg-type]
    live.set(SOC, 9.0)
    await again.start()
    try:
        assert await following(subscription, 0) == [9.0]
        assert client.state == CONNECTED
    finally:
        await client.close()
        await again.stop()


async def test_a_subscription_that_expired_is_made_anew(live, client):
    subscription = await client.subscribe([SOC], 40)
    await following(subscription, 0)
    manager = live.site.server.subscriptions
    manager.end(manager._all[subscription.id], ua.StatusCodes.BadTimeout)
    assert await following(subscription, 0) == [0.0]
    live.set(SOC, 4.0)
    assert await following(subscription, 0) == [4.0]


async def test_many_subscriptions_share_the_waiting_requests(live, client):
    subscriptions = [await client.subscribe([SOC], 40) for _ in range(12)]
    for subscription in subscriptions:
        assert await following(subscription, 0) == [0.0]
    for subscription in subscriptions[:6]:
        await subscription.close()
    live.set(SOC, 3.0)
    for subscription in subscriptions[6:]:
        assert await following(subscription, 0) == [3.0]


async def test_what_is_published_before_we_know_of_the_subscription_is_not_lost(live, client, monkeypatch):
    before = await client.subscribe([SOC], 40)
    assert await following(before, 0) == [0.0]
    create = Subscription.create

    async def create_slowly(self, link):
        await create(self, link)
        await asyncio.sleep(0.3)

    monkeypatch.setattr(Subscription, "create", create_slowly)
    assert await following(await client.subscribe([SOC], 40), 0) == [0.0]


async def test_more_nodes_than_one_message_may_carry(live, client, monkeypatch):
    monkeypatch.setattr(limits, "NOTIFICATIONS_PER_PUBLISH_MAX", 100)
    subscription = await client.subscribe([SOC, POWER] * 1200, 40)
    seen = 0
    async with asyncio.timeout(5):
        while seen < 2400:
            seen += len(await anext(subscription))


async def test_closing_twice_or_while_reconnecting_leaves_nothing(live):
    client = Client(live.identity())
    await client.connect()
    subscription = await client.subscribe([SOC], 40)
    client._link.abort()
    await asyncio.sleep(0.05)
    await client.close()
    await client.close()
    async with asyncio.timeout(2):
        assert all([len(table) >= 0 async for table in subscription])
    assert client.state == CLOSED


async def test_a_task_that_swallows_a_cancellation_is_cancelled_again():
    async def stubborn() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await asyncio.sleep(60)

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await ended([task])
    assert task.cancelled()


async def test_a_cancelled_connect_leaves_nothing(live):
    task = asyncio.create_task(Client(live.identity()).connect())
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# -- decoding ----------------------------------------------------------------------------------------------------------


def _response(*items: ua.MonitoredItemNotification) -> bytes:
    response = ua.PublishResponse()
    response.Parameters.SubscriptionId = 3
    notification = ua.DataChangeNotification()
    notification.MonitoredItems = list(items)
    response.Parameters.NotificationMessage.NotificationData = [notification]
    response.Parameters.NotificationMessage.SequenceNumber = 9
    return bytes(ua.ua_binary.struct_to_binary(response))


def _changed(handle: int, value: Any, status: int = 0, kind: ua.VariantType | None = None) -> ua.MonitoredItemNotification:
    return ua.MonitoredItemNotification(handle, ua.DataValue(ua.Variant(value, kind), ua.StatusCode(status)))


def test_any_mix_of_types_and_masks_is_decoded():
    items = [_changed(i, float(i)) for i in range(20)]
    items += [_changed(20, "text"), _changed(21, [1.0, 2.0]), _changed(22, True), _changed(23, 7, 0, ua.VariantType.Int32)]
    items += [_changed(30 + i, i, 0x80310000 if i == 11 else 0, ua.VariantType.UInt16) for i in range(20)]
    items += [_changed(24, ua.LocalizedText("hello")), _changed(25, None), _changed(26, ua.NodeId(3, 2))]
    items[3].Value.SourceTimestamp = datetime(2026, 1, 1, tzinfo=UTC)
    published = publish_response(_response(*items))
    assert (published.subscription, published.sequence, published.notified) == (3, 9, True)
    table = published.table
    assert table.index.tolist() == [i.ClientHandle for i in items]
    assert table.value[:20].tolist() == [float(i) for i in range(20)]
    assert table.source[3] == ua.datetime_to_win_epoch(datetime(2026, 1, 1, tzinfo=UTC))
    by_row = {int(index): row for row, index in enumerate(table.index)}
    assert table.texts[by_row[20]] == "text"
    assert table.texts[by_row[24]] == "hello"
    assert table.arrays[by_row[21]].tolist() == [1.0, 2.0]
    assert table.value[by_row[22]] == 1.0
    assert table.value[by_row[41]] == 11.0
    assert table.status[by_row[41]] == 0x80310000
    assert np.isnan(table.value[by_row[25]])


@pytest.mark.parametrize("cut", [10, 30, 60, 100, 150])
def test_a_truncated_message_is_an_error(cut):
    whole = _response(*[_changed(i, float(i)) for i in range(12)])
    with pytest.raises(ClientError, match="BadDecodingError"):
        publish_response(whole[:cut])


HEAD = (
    struct.pack("<BBHqIIBi3s", 1, 0, 829, 0, 0, 0, 0, 0, bytes(3)) + struct.pack("<Ii", 1, 0) + b"\0" + struct.pack("<Iq", 1, 0)
)
CHANGE = b"\x01\x00\x2b\x03\x01"


@pytest.mark.parametrize(
    "body",
    [
        struct.pack("<i", 2**31 - 1),
        struct.pack("<i", 1) + CHANGE + struct.pack("<ii", 8, 2**31 - 1) + bytes(4),
        struct.pack("<i", 1) + CHANGE + struct.pack("<i", 2**31 - 1),
        struct.pack("<i", 1) + CHANGE + struct.pack("<ii", 17, 1) + struct.pack("<IBBi", 0, 1, 0x80, 2**31 - 1) + bytes(4),
        struct.pack("<i", 1) + CHANGE + struct.pack("<ii", 17, 1) + struct.pack("<IBBi", 0, 1, 0x8B, 2**31 - 1) + bytes(4),
        struct.pack("<i", 1) + CHANGE + struct.pack("<ii", 17, 1) + struct.pack("<IBBi", 0, 1, 0x98, 2**31 - 1) + bytes(4),
        struct.pack("<i", 1) + CHANGE + struct.pack("<ii", 17, 1) + struct.pack("<IBBi", 0, 1, 0x8C, 2**31 - 1) + bytes(4),
    ],
    ids=["messages", "items", "body", "array of nothing", "doubles", "variants", "strings"],
)
def test_counts_beyond_the_message_are_refused_at_once(body):
    with pytest.raises(ClientError, match="BadDecodingError"):
        publish_response(HEAD + body + bytes(8))


def test_a_header_with_more_than_usual_is_refused():
    data = bytearray(_response(_changed(0, 1.0)))
    data[20] = 1
    with pytest.raises(ClientError, match="additional header or diagnostics"):
        publish_response(bytes(data))


# -- tables ------------------------------------------------------------------------------------------------------------


def test_tables_are_joined_and_reduced_to_the_newest():
    one = Table(np.array([0, 1]), np.array([1.0, 2.0]), np.zeros(2, np.uint32), np.zeros(2, np.int64), {1: "old"})
    two = Table(
        np.array([1, 2]), np.array([3.0, 4.0]), np.zeros(2, np.uint32), np.zeros(2, np.int64), {0: "new"}, {1: np.ones(2)}
    )
    whole = concatenate([one, two])
    assert (whole.index.tolist(), whole.texts, list(whole.arrays)) == ([0, 1, 1, 2], {1: "old", 2: "new"}, [3])
    kept = newest(whole)
    assert (kept.index.tolist(), kept.value.tolist(), kept.texts, list(kept.arrays)) == (
        [0, 1, 2],
        [1.0, 3.0, 4.0],
        {1: "new"},
        [2],
    )
