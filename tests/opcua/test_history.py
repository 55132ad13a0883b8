"""History over OPC UA: our client and asyncua's against the server; what each user may do with it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asyncua import ua
from opcua_live import Live, live_site
from opcua_model import at
from opcua_site import PASSWORD

from server.client import Client, ClientError, Series
from server.core.ticks import TICKS, from_datetime, to_datetime
from server.history import AGGREGATES, HistoryWriter
from server.opcua.history import raw

SOC, POWER = "ess0/Soc", "ess0/ActivePower"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PEER = Path(__file__).parents[1] / "peers"


@pytest.fixture
async def live(directory: Path) -> AsyncIterator[Live]:
    """Soc was 0, 1, 2, ... minute by minute for an hour."""
    writer = HistoryWriter(f"sqlite:///{directory / 'history.sqlite'}")
    times = from_datetime(START) + np.arange(60) * 60 * TICKS
    ids = np.repeat(writer.ensure([SOC]), 60)
    writer.append(ids, times, np.arange(60.0), np.zeros(60, np.uint32), alive=from_datetime(START + 60 * MINUTE))
    writer.seal()
    writer.close()
    async with live_site(directory) as site:
        yield site


@pytest.fixture
async def client(live: Live) -> AsyncIterator[Client]:
    async with Client(live.identity()) as connected:
        yield connected


@pytest.fixture
async def engineer(live: Live) -> AsyncIterator[Client]:
    async with Client(live.identity("emil")) as connected:
        yield connected


def minutes(*numbers: float) -> list[datetime]:
    return [START + number * MINUTE for number in numbers]


def one(minute: float, value: float, status: int = 0) -> Series:
    time = from_datetime(START + minute * MINUTE)
    return Series(np.array([time]), np.array([value]), np.array([status], np.uint32))


async def refused(awaitable: Any) -> str:
    with pytest.raises(ClientError) as caught:
        await awaitable
    return caught.value.status


# Our client.


@pytest.mark.parametrize(
    ("aggregate", "values"),
    [
        ("Average", [7.0, 22.0, 37.0, 52.0]),
        ("Maximum", [14.0, 29.0, 44.0, 59.0]),
        ("Count", [15.0] * 4),
        ("PercentGood", [100.0] * 4),
        ("TimeAverage2", [7.0, 22.0, 37.0, 52.0]),
        ("WorstQuality", [0.0] * 4),
        ("Interpolative", [0.0, 15.0, 30.0, 45.0]),
    ],
)
async def test_aggregates_of_quarters(client, aggregate, values) -> None:
    series = await client.history_aggregate(SOC, START, START + 60 * MINUTE, 900, aggregate)
    assert series.values.tolist() == values
    assert [to_datetime(t) for t in series.times] == minutes(0, 15, 30, 45)


async def test_intervals_may_run_backwards_and_the_last_may_be_short(client) -> None:
    series = await client.history_aggregate(SOC, START + 40 * MINUTE, START, 900, "Count")
    assert series.values.tolist() == [15.0, 15.0, 10.0]
    assert [to_datetime(t) for t in series.times] == minutes(40, 25, 10)
    assert [status & 4 for status in series.status.tolist()] == [0, 0, 4]


async def test_many_intervals_come_in_pages(client) -> None:
    series = await client.history_aggregate(SOC, START, START + 50 * MINUTE, 0.1, "Interpolative")
    assert len(series) == 30_000
    assert series.values[[0, 599, 600, 29_999]].tolist() == [0.0, 0.0, 1.0, 49.0]


async def test_one_value_for_the_whole_range(client) -> None:
    assert (await client.history_aggregate(SOC, START, START + 60 * MINUTE, 0)).values.tolist() == [29.5]


@pytest.mark.parametrize(
    ("simple", "values", "status"),
    [(True, [7.0, 7.0, None, None], [0, 0x402, 0x80310000, 0x809B0000]), (False, [7.0, 7.0, None, 7.0], None)],
    ids=["simple bounds", "interpolated bounds"],
)
async def test_values_at_times_are_held_from_the_one_before(engineer, simple, values, status) -> None:
    assert await engineer.history_update(SOC, one(8, float("nan"), 0x80310000)) == ["GoodEntryReplaced"]
    series = await engineer.history_read_at(SOC, minutes(7, 7.5, 8, 8.5), simple=simple)
    assert [None if np.isnan(v) else v for v in series.values] == values
    if status is not None:
        assert series.status.tolist() == status


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ((SOC, START, START + MINUTE, 60, "Median"), "BadAggregateNotSupported"),
        ((SOC, START, START + MINUTE, 60, "AnnotationCount"), "BadAggregateNotSupported"),
        ((SOC, START, START, 60, "Average"), "BadInvalidArgument"),
        ((SOC, START, START + MINUTE, 1e-12, "Average"), "BadInvalidArgument"),
        ((SOC, START, START + MINUTE, float("nan"), "Average"), "BadInvalidArgument"),
        (("cycle/Counter", START, START + MINUTE, 60, "Average"), "BadHistoryOperationUnsupported"),
        (("nobody/Knows", START, START + MINUTE, 60, "Average"), "BadNodeIdUnknown"),
    ],
)
async def test_what_cannot_be_computed_is_refused_with_the_reason(client, arguments, status) -> None:
    assert await refused(client.history_aggregate(*arguments)) == status


@pytest.mark.parametrize(
    ("kind", "minute", "outcome"),
    [
        ("Insert", 3.5, "GoodEntryInserted"),
        ("Insert", 3, "BadEntryExists"),
        ("Replace", 3, "GoodEntryReplaced"),
        ("Replace", 3.5, "BadNoEntryExists"),
        ("Update", 3, "GoodEntryReplaced"),
        ("Update", 3.5, "GoodEntryInserted"),
        ("Insert", 60 * 24 * 3650, "BadInvalidTimestamp"),
    ],
)
async def test_an_engineer_corrects_history(engineer, kind, minute, outcome) -> None:
    assert await engineer.history_update(SOC, one(minute, 99.0), kind) == [outcome]
    stored = (await engineer.history_read(SOC, START, START + 60 * MINUTE)).values.tolist()
    assert (99.0 in stored) is outcome.startswith("Good")


async def test_what_was_deleted_is_remembered_and_audited(live, engineer) -> None:
    await engineer.history_delete(SOC, START, START + 5 * MINUTE)
    series = await engineer.history_read(SOC, START, START + 60 * MINUTE)
    assert series.values[0] == 5.0
    request = ua.HistoryReadRequest()
    request.Parameters.HistoryReadDetails = ua.ReadRawModifiedDetails(True, START, START + 60 * MINUTE, 3, False)
    request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Source
    request.Parameters.ReleaseContinuationPoints = False
    request.Parameters.NodesToRead = [ua.HistoryReadValueId(NodeId=at(SOC))]
    values, users = [], set()
    while True:
        result = (await engineer.ask(request, ua.HistoryReadResponse)).Results[0]
        page = result.HistoryData
        values += [v.Value.Value for v in page.DataValues]
        users |= {(info.UserName, info.UpdateType.name) for info in page.ModificationInfos}
        if not result.ContinuationPoint:
            break
        request.Parameters.NodesToRead[0].ContinuationPoint = result.ContinuationPoint
    assert values == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert users == {("emil", "Delete")}
    *_, told = [row for row in live.site.audited() if row["event"] == "history-update"]
    assert (told["user"], told["node"], told["kind"], told["values"]) == ("emil", SOC, "delete", 5)


NO_TIME = datetime(1601, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("start", "end", "count", "pages"),
    [
        (0, 30, 0, [[1.0, 99.0, 2.0, 3.0, 4.0]]),
        (30, 0, 0, [[4.0, 3.0, 2.0, 99.0, 1.0]]),
        (0, 30, 2, [[1.0, 99.0], [2.0, 3.0], [4.0]]),
        (30, 0, 2, [[4.0, 3.0], [2.0, 99.0], [1.0]]),
        (1, 4, 0, [[1.0, 99.0, 2.0, 3.0]]),
        (4, 1, 0, [[4.0, 3.0, 2.0, 99.0]]),
        (2, 2, 0, [[99.0, 2.0]]),
        (2, None, 2, [[99.0, 2.0]]),
        (None, 30, 2, [[4.0, 3.0]]),
        (None, 30, 9, [[4.0, 3.0, 2.0, 99.0, 1.0]]),
    ],
)
async def test_modified_values_come_in_the_direction_asked_for(engineer, start, end, count, pages) -> None:
    for minute, value in ((1, 91.0), (2, 99.0), (3, 93.0), (4, 94.0), (2, 92.0)):
        await engineer.history_update(SOC, one(minute, value), "Replace")
    first, last = (NO_TIME if minute is None else START + minute * MINUTE for minute in (start, end))
    assert await _pages(engineer, ua.ReadRawModifiedDetails(True, first, last, count, False)) == pages


async def test_a_long_answer_with_one_time_only_is_paged_too(engineer, monkeypatch) -> None:
    monkeypatch.setattr(raw, "PAGE_VALUES_MAX", 2)
    await engineer.history_delete(SOC, START, START + 6 * MINUTE)
    details = ua.ReadRawModifiedDetails(True, NO_TIME, START + 30 * MINUTE, 5, False)
    assert await _pages(engineer, details) == [[5.0, 4.0], [3.0, 2.0], [1.0]]


async def test_modified_values_have_no_bounds(engineer) -> None:
    details = ua.ReadRawModifiedDetails(True, START, START + 5 * MINUTE, 0, True)
    with pytest.raises(ua.UaStatusCodeError, match="BadInvalidArgument"):
        await _pages(engineer, details)


@pytest.mark.parametrize(
    ("start", "end", "count", "pages"),
    [
        (5.5, 8.5, 0, [[5.0, 6.0, 7.0, 8.0, 9.0]]),
        (5.5, 8.5, 4, [[5.0, 6.0, 7.0, 8.0], [9.0]]),
        (5.5, 8.5, 2, [[5.0, 6.0], [7.0, 8.0], [9.0]]),
        (8.5, 5.5, 4, [[9.0, 8.0, 7.0, 6.0], [5.0]]),
        (5, 8, 3, [[5.0, 6.0, 7.0], [8.0]]),
        (5, 8, 4, [[5.0, 6.0, 7.0, 8.0]]),
        (5, 5, 1, [[5.0]]),
    ],
)
async def test_the_bound_at_the_end_comes_though_the_last_page_is_full(engineer, start, end, count, pages) -> None:
    first, last = START + start * MINUTE, START + end * MINUTE
    assert await _pages(engineer, ua.ReadRawModifiedDetails(False, first, last, count, True)) == pages


async def _pages(engineer: Client, details: ua.ReadRawModifiedDetails) -> list[list[float]]:
    """The values of each answer until there is no continuation point."""
    request = ua.HistoryReadRequest()
    request.Parameters.HistoryReadDetails = details
    request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Source
    request.Parameters.ReleaseContinuationPoints = False
    request.Parameters.NodesToRead = [ua.HistoryReadValueId(NodeId=at(SOC))]
    pages: list[list[float]] = []
    while not pages or request.Parameters.NodesToRead[0].ContinuationPoint:
        result = (await engineer.ask(request, ua.HistoryReadResponse)).Results[0]
        result.StatusCode.check()
        pages.append([v.Value.Value for v in result.HistoryData.DataValues])
        request.Parameters.NodesToRead[0].ContinuationPoint = result.ContinuationPoint
    return pages


@pytest.mark.parametrize("user", ["anna", "otto"])
async def test_others_may_read_history_but_not_change_it(live, user) -> None:
    async with Client(live.identity(user)) as client:
        assert len(await client.history_read(SOC, START, START + MINUTE)) == 1
        assert await refused(client.history_update(SOC, one(3, 1.0))) == "BadUserAccessDenied"
        assert await refused(client.history_delete(SOC, START, START + MINUTE)) == "BadUserAccessDenied"


async def test_a_correction_of_the_wrong_type_is_refused_alone(engineer) -> None:
    details = ua.UpdateDataDetails(
        NodeId=at(SOC),
        PerformInsertReplace=ua.PerformUpdateType.Update,
        UpdateValues=[
            ua.DataValue(ua.Variant("text"), SourceTimestamp=START),
            ua.DataValue(ua.Variant(float("inf")), SourceTimestamp=START),
            ua.DataValue(ua.Variant(5.0)),
            ua.DataValue(ua.Variant(5.0), SourceTimestamp=START),
        ],
    )
    request = ua.HistoryUpdateRequest()
    request.Parameters.HistoryUpdateDetails = [details]
    result = (await engineer.ask(request, ua.HistoryUpdateResponse)).Results[0]
    names = [status.name for status in result.OperationResults]
    assert names == ["BadTypeMismatch", "BadOutOfRange", "BadInvalidTimestamp", "GoodEntryReplaced"]


async def test_a_long_read_keeps_nobody_else_waiting(live, client) -> None:
    slow = [asyncio.create_task(client.history_aggregate(SOC, START - 300_000 * MINUTE, START, 60)) for _ in range(4)]
    async with Client(live.identity("otto")) as other:
        assert len(await other.history_read(SOC, START, START + MINUTE)) == 1
    assert not all(task.done() for task in slow)
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)


# asyncua's client, unmodified.


async def test_asyncua_reads_raw_processed_and_at_times(live) -> None:
    theirs = await live.site.client(user="anna")
    async with theirs:
        node = theirs.get_node(at(SOC))
        raw = await node.read_raw_history(START, START + 10 * MINUTE)
        assert [v.Value.Value for v in raw] == list(map(float, range(11)))  # it asks for bounds
        assert await node.read_attribute(ua.AttributeIds.Historizing)
        processed = await _read(theirs, ua.ReadProcessedDetails(
            START, START + 60 * MINUTE, 1_800_000, [ua.NodeId(ua.ObjectIds.AggregateFunction_Average)],
            ua.AggregateConfiguration(UseServerCapabilitiesDefaults=True),
        ))  # fmt: skip
        assert [(v.Value.Value, hex(v.StatusCode.value)) for v in processed] == [(14.5, "0x401"), (44.5, "0x401")]
        held = await _read(theirs, ua.ReadAtTimeDetails(minutes(1, 2.5), True))
        assert [(v.Value.Value, hex(v.StatusCode.value)) for v in held] == [(1.0, "0x0"), (2.0, "0x402")]


async def _read(client: Any, details: Any) -> list[Any]:
    parameters = ua.HistoryReadParameters(
        HistoryReadDetails=details,
        TimestampsToReturn=ua.TimestampsToReturn.Source,
        ReleaseContinuationPoints=False,
        NodesToRead=[ua.HistoryReadValueId(NodeId=at(SOC))],
    )
    result = (await client.uaclient.history_read(parameters))[0]
    result.StatusCode.check()
    return list(result.HistoryData.DataValues)


async def test_who_loses_his_rights_reads_no_further(live, engineer) -> None:
    request = ua.HistoryReadRequest()
    request.Parameters.HistoryReadDetails = ua.ReadRawModifiedDetails(False, START, START + 30 * MINUTE, 3, False)
    request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Source
    request.Parameters.ReleaseContinuationPoints = False
    request.Parameters.NodesToRead = [ua.HistoryReadValueId(NodeId=at(SOC))]
    first = (await engineer.ask(request, ua.HistoryReadResponse)).Results[0]
    request.Parameters.NodesToRead[0].ContinuationPoint = first.ContinuationPoint
    people = live.site.server.users.people
    people["emil"] = replace(people["emil"], roles=frozenset())
    live.site.server.recheck_users()
    second = (await engineer.ask(request, ua.HistoryReadResponse)).Results[0]
    assert second.StatusCode.name == "BadContinuationPointInvalid"


async def test_asyncua_finds_how_history_is_to_be_read(live) -> None:
    theirs = await live.site.client(user="anna")
    async with theirs:
        functions = await theirs.get_node(ua.ObjectIds.HistoryServerCapabilities_AggregateFunctions).get_children()
        names = {(await node.read_browse_name()).Name for node in functions}
        assert names == set(AGGREGATES)
        (configuration,) = await theirs.get_node(at(SOC)).get_referenced_nodes(ua.ObjectIds.HasHistoricalConfiguration)
        assert await (await configuration.get_child("Stepped")).read_value() is True
        bad = await configuration.get_child(["AggregateConfiguration", "PercentDataBad"])
        assert await bad.read_value() == 100
        for name, told in (("InsertData", True), ("DeleteRaw", True), ("InsertAnnotation", False)):
            node = theirs.get_node(getattr(ua.ObjectIds, f"HistoryServerCapabilities_{name}Capability"))
            assert await node.read_value() is told


# node-opcua's client.


async def test_node_opcua_reads_aggregates_and_corrects(live) -> None:
    own = live.site.directory / "certs" / "own"
    files = str(own / "client.pem"), str(own / "client.key.pem")
    command = ("node", "history.cjs", live.site.url, *files, "urn:test:client", "emil", PASSWORD)
    process = await asyncio.create_subprocess_exec(*command, cwd=PEER, stdout=-1, stderr=-1)
    said, complained = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, complained.decode()
    found = json.loads(said.splitlines()[-1])
    assert found["averages"] == [[7, "Good"], [22, "Good"], [37, "Good"], [52, "Good"]]
    assert found["pages"] == [25, 25, 10]
    assert found["released"] == "BadContinuationPointInvalid"
    assert found["inserted"] == ["GoodEntryInserted", "BadEntryExists"]
    assert found["deleted"] == ["Good", 9]
    assert found["mismatch"] == "BadAggregateListMismatch"
    assert found["timestamps"] == "BadTimestampsToReturnInvalid"
