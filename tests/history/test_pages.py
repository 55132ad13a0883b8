"""HistoryRead raw: pages, bounds and directions of Part 11, as tables."""

from __future__ import annotations

import struct
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary

from server.core.channel import DataType
from server.core.layout import Channel
from server.core.natures import Meter
from server.core.series import Series
from server.core.ticks import from_datetime
from server.history import HistoryReader, HistoryWriter, database_url
from server.opcua.history import raw as history
from server.opcua.history.answer import pack, wire_type
from server.opcua.history.raw import RawCursor, read_page

CHANNEL = Channel("meter0/ActivePower", "meter0", Meter.ActivePower, 0, 1, "modbus", 0.05)
NOT_FOUND = ua.StatusCodes.BadBoundNotFound


@pytest.fixture
def reader(tmp_path: Path):
    writer = HistoryWriter(database_url(tmp_path))
    ids = np.repeat(writer.ensure([CHANNEL.node]), 5)
    times = np.arange(10, 60, 10)
    writer.append(ids, times, times / 10.0, np.zeros(5, np.uint32))
    writer.close()
    reader = HistoryReader(database_url(tmp_path))
    yield reader
    reader.close()


def read_all(reader: HistoryReader, cursor: RawCursor | None) -> tuple[list[int], int]:
    times: list[int] = []
    pages = 0
    while cursor is not None:
        page, cursor = read_page(reader, cursor)
        times += page.times.tolist()
        pages += 1
    return times, pages


@pytest.mark.parametrize(
    ("start", "end", "left", "bounds", "times"),
    [
        (10, 50, 0, False, [10, 20, 30, 40]),
        (50, 10, 0, False, [50, 40, 30, 20]),
        (15, 35, 0, False, [20, 30]),
        (15, 35, 0, True, [10, 20, 30, 40]),
        (10, 40, 0, True, [10, 20, 30, 40]),
        (35, 15, 0, True, [40, 30, 20, 10]),
        (0, 100, 3, False, [10, 20, 30]),
        (20, 21, 0, False, [20]),
        (11, 19, 0, False, []),
    ],
    ids=["forward", "backward", "inside", "bounds around", "bounds on values", "bounds backward", "three", "one moment", "none"],
)
def test_raw_reads_follow_part_11(reader, start, end, left, bounds, times) -> None:
    assert read_all(reader, RawCursor(CHANNEL, start, end, left, bounds))[0] == times


def test_a_missing_bound_is_said_so(reader) -> None:
    page, _ = read_page(reader, RawCursor(CHANNEL, 5, 100, 0, True))
    assert page.times[[0, -1]].tolist() == [5, 100]
    assert page.status[[0, -1]].tolist() == [NOT_FOUND, NOT_FOUND]


@pytest.mark.parametrize(("start", "end", "times"), [(0, 100, [10, 20, 30, 40, 50]), (100, 0, [50, 40, 30, 20, 10])])
def test_pages_neither_lose_nor_repeat_a_value(reader, start, end, times) -> None:
    assert read_all(reader, RawCursor(CHANNEL, start, end, 0, False, page=2)) == (times, 3)


@pytest.mark.parametrize("page", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    ("start", "end", "times"),
    [
        (15, 35, [10, 20, 30, 40]),
        (35, 15, [40, 30, 20, 10]),
        (10, 40, [10, 20, 30, 40]),
        (21, 29, [20, 30]),
        (29, 21, [30, 20]),
        (20, 19, [20, 10]),
        (25, 24, [30, 20]),
        (20, 21, [20]),
        (25, 26, [20, 30]),
        (5, 100, [5, 10, 20, 30, 40, 50, 100]),
        (100, 5, [100, 50, 40, 30, 20, 10, 5]),
    ],
)
def test_no_page_is_too_full_for_the_bound_at_the_end(reader, start, end, times, page) -> None:
    assert read_all(reader, RawCursor(CHANNEL, start, end, 0, True, page)) == (times, -(-len(times) // page))


@pytest.mark.parametrize(
    ("start", "end", "count", "answers"),
    [
        (10, 60, 2, [[10, 20], [30, 40], [50]]),
        (0, 30, 2, [[30, 20]]),
        (20, 0, 2, [[20, 30]]),
        (10, 60, 0, [[10, 20, 30, 40, 50]]),
    ],
    ids=["a range is paged", "backwards from the end", "on from the start", "no number"],
)
def test_num_values_per_node_limits_an_answer_within_a_range_and_the_whole_without_one(
    reader, start, end, count, answers
) -> None:
    details = ua.ReadRawModifiedDetails(False, moment(start), moment(end), count, False)
    cursor = history.begin(CHANNEL, details)
    read = []
    while cursor is not None:
        page, cursor = read_page(reader, cursor)
        read.append(page.times.tolist())
    assert read == answers


def moment(ticks: int) -> datetime | None:
    return datetime(1601, 1, 1) + timedelta(microseconds=ticks / 10) if ticks else None


@pytest.mark.parametrize("data_type", [DataType.DOUBLE, DataType.INT32, DataType.INT64, DataType.BOOLEAN])
def test_packed_history_decodes_as_the_standard_says(data_type) -> None:
    series = Series(np.array([10_000_000, 20_000_000]), np.array([1.0, 0.0]), np.array([0, 0x80310000], np.uint32))
    decoded = struct_from_binary(ua.HistoryData, Buffer(pack(series, wire_type(data_type))))
    assert [v.Value.Value if v.Value else None for v in decoded.DataValues] == [1, None]
    assert [v.StatusCode.value for v in decoded.DataValues] == [0, 0x80310000]
    assert [from_datetime(v.SourceTimestamp) for v in decoded.DataValues] == [10_000_000, 20_000_000]


def test_an_empty_history_is_an_empty_array() -> None:
    empty = Series(np.empty(0, np.int64), np.empty(0), np.empty(0, np.uint32))
    assert pack(empty, wire_type(DataType.DOUBLE)) == struct.pack("<i", 0)
