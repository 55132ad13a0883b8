"""The aggregates of Part 13: values and StatusCodes, as tables."""

from __future__ import annotations

import numpy as np
import pytest
from history_rig import BAD, GOOD, NAN, NODE, STALE, edges, seconds, store

from server.core.status import BAD_NO_DATA
from server.history import AGGREGATES, Configuration, HistoryWriter, database_url, processed

MINUTES = (0, 60, 120, 180, 240)
ROWS = [
    (0, 10.0, GOOD), (10, 20.0, GOOD), (25, 5.0, GOOD),
    (70, 8.0, GOOD), (80, NAN, BAD), (90, 9.0, GOOD),
    (130, 7.0, STALE), (140, 0.0, GOOD),
]  # fmt: skip
"""A Good minute, one with a Bad sample, one with an Uncertain one and half of it without data, one after the end of the data."""
END = 150

CALCULATED, RAW, INTERPOLATED, PARTIAL = 0x401, 0x000, 0x402, 0x404
SUB = 0x40A40000
LESS = SUB | CALCULATED
PART = LESS | PARTIAL
NO = BAD_NO_DATA

CASES = {
    "Interpolative": ((10, RAW), (5, INTERPOLATED), (9, INTERPOLATED), (0, SUB | INTERPOLATED)),
    "Average": ((35 / 3, CALCULATED), (8.5, LESS), (0, PART), (NAN, NO)),
    "TimeAverage": ((575 / 60, CALCULATED), (480 / 60, LESS), (9 * 10 / 20, PART), (NAN, NO)),
    "TimeAverage2": ((575 / 60, CALCULATED), (400 / 50, LESS), (9 * 10 / 20, PART), (NAN, NO)),
    "Total": ((575, CALCULATED), (480, LESS), (90, PART), (NAN, NO)),
    "Total2": ((575, CALCULATED), (400, LESS), (90, PART), (NAN, NO)),
    "Minimum": ((5, CALCULATED), (8, LESS), (0, PART), (NAN, NO)),
    "Maximum": ((20, CALCULATED), (9, LESS), (0, PART), (NAN, NO)),
    "Range": ((15, CALCULATED), (1, LESS), (0, PART), (NAN, NO)),
    "Minimum2": ((5, CALCULATED), (5, LESS), (0, PART), (NAN, NO)),
    "Maximum2": ((20, CALCULATED), (9, LESS), (9, PART), (NAN, NO)),
    "Range2": ((15, CALCULATED), (4, LESS), (9, PART), (NAN, NO)),
    "Count": ((3, CALCULATED), (2, LESS), (1, PART), (NAN, NO)),
    "DurationInStateZero": ((0, CALCULATED), (0, LESS), (10_000, PART), (NAN, NO)),
    "DurationInStateNonZero": ((60_000, CALCULATED), (50_000, LESS), (10_000, PART), (NAN, NO)),
    "Start": ((10, RAW), (8, RAW), (7, STALE), (NAN, NO)),
    "End": ((5, RAW), (9, RAW), (0, RAW), (NAN, NO)),
    "Delta": ((-5, CALCULATED), (1, CALCULATED), (0, PART), (NAN, NO)),
    "StartBound": ((10, RAW), (5, INTERPOLATED), (9, INTERPOLATED), (0, SUB | INTERPOLATED)),
    "EndBound": ((5, INTERPOLATED), (9, INTERPOLATED), (0, INTERPOLATED), (NAN, NO)),
    "DeltaBounds": ((-5, CALCULATED), (4, CALCULATED), (-9, CALCULATED | PARTIAL), (NAN, NO)),
    "DurationGood": ((60_000, CALCULATED), (50_000, CALCULATED), (20_000, CALCULATED | PARTIAL), (NAN, NO)),
    "DurationBad": ((0, CALCULATED), (10_000, CALCULATED), (0, CALCULATED | PARTIAL), (NAN, NO)),
    "PercentGood": ((100, CALCULATED), (500 / 6, CALCULATED), (200 / 3, CALCULATED | PARTIAL), (NAN, NO)),
    "PercentBad": ((0, CALCULATED), (100 / 6, CALCULATED), (0, CALCULATED | PARTIAL), (NAN, NO)),
    "WorstQuality": ((GOOD, CALCULATED), (BAD, CALCULATED), (STALE, CALCULATED | PARTIAL), (NAN, NO)),
    "WorstQuality2": ((GOOD, CALCULATED), (BAD, CALCULATED), (STALE, CALCULATED | PARTIAL), (NAN, NO)),
    "StandardDeviationSample": ((np.std([10, 20, 5], ddof=1), CALCULATED), (np.std([8, 9], ddof=1), LESS), (0, PART), (NAN, NO)),
    "StandardDeviationPopulation": ((np.std([10, 20, 5]), CALCULATED), (0.5, LESS), (0, PART), (NAN, NO)),
    "VarianceSample": ((np.var([10, 20, 5], ddof=1), CALCULATED), (0.5, LESS), (0, PART), (NAN, NO)),
    "VariancePopulation": ((np.var([10, 20, 5]), CALCULATED), (0.25, LESS), (0, PART), (NAN, NO)),
}
AT_THEIR_TIME = {
    "MinimumActualTime": ((5, RAW, 25), (8, SUB, 70), (0, SUB, 140)),
    "MaximumActualTime": ((20, RAW, 10), (9, SUB, 90), (0, SUB, 140)),
    "Start": ((10, RAW, 0), (8, RAW, 70), (7, STALE, 130)),
    "End": ((5, RAW, 25), (9, RAW, 90), (0, RAW, 140)),
}


@pytest.fixture(params=["recent", "sealed"])
def filled(request, tmp_path):
    """The rows, once as they arrived and once as roll-ups."""
    from server.history import HistoryReader

    writer = HistoryWriter(database_url(tmp_path))
    store(writer, ROWS, alive=END)
    if request.param == "sealed":
        writer.seal()
    writer.close()
    reader = HistoryReader(database_url(tmp_path))
    yield reader
    reader.close()


def ask(reader, name: str, at=MINUTES, **configuration):
    return processed(reader, NODE, edges(*at), AGGREGATES[name], Configuration(**configuration))


@pytest.mark.parametrize("name", CASES)
def test_an_aggregate_says_value_and_status_of_each_interval(filled, name) -> None:
    found = ask(filled, name)
    np.testing.assert_allclose(found.values, [value for value, _ in CASES[name]])
    assert list(map(hex, found.status.tolist())) == [hex(status) for _, status in CASES[name]]


@pytest.mark.parametrize("name", AT_THEIR_TIME)
def test_what_is_one_of_the_values_has_its_time(filled, name) -> None:
    found = ask(filled, name, MINUTES[:4])
    np.testing.assert_allclose(found.values, [value for value, _, _ in AT_THEIR_TIME[name]])
    assert [hex(s) for s in found.status.tolist()] == [hex(status) for _, status, _ in AT_THEIR_TIME[name]]
    assert seconds(found.times) == [time for *_, time in AT_THEIR_TIME[name]]


def test_every_aggregate_is_in_a_table() -> None:
    assert set(AGGREGATES) == set(CASES) | set(AT_THEIR_TIME)


@pytest.mark.parametrize(
    ("name", "configuration", "value", "status"),
    [
        ("Average", {}, 0.0, LESS | PARTIAL),
        ("Average", {"uncertain_is_bad": False}, 3.5, LESS | PARTIAL),
        ("TimeAverage2", {"uncertain_is_bad": False}, (90 + 70) / 30, LESS | PARTIAL),
        ("Average", {"percent_good": 50}, 0.0, CALCULATED | PARTIAL),
        ("Average", {"percent_good": 60, "percent_bad": 40}, NAN, BAD_NO_DATA | CALCULATED | PARTIAL),
        ("Minimum", {"uncertain_is_bad": False}, 0.0, LESS | PARTIAL),
    ],
)
def test_the_configuration_decides_what_counts_as_good(filled, name, configuration, value, status) -> None:
    found = ask(filled, name, (120, 180), **configuration)
    np.testing.assert_allclose(found.values, [value])
    assert hex(found.status[0]) == hex(status)


def test_an_unchanged_value_goes_on_where_nothing_was_stored(filled) -> None:
    assert ask(filled, "TimeAverage2", (30, 40, 50)).values.tolist() == [5.0, 5.0]
    assert ask(filled, "Average", (30, 40, 50)).status.tolist() == [BAD_NO_DATA, BAD_NO_DATA]
    assert ask(filled, "Count", (30, 40, 50)).values.tolist() == [0.0, 0.0]


def test_before_the_first_value_there_is_no_data(filled) -> None:
    for name in AGGREGATES:
        assert ask(filled, name, (-120, -60)).status.tolist() == [BAD_NO_DATA], name


def test_a_node_without_history_has_no_data(filled) -> None:
    found = processed(filled, "nobody/Knows", edges(0, 60), AGGREGATES["Average"])
    assert found.status.tolist() == [BAD_NO_DATA]


def test_a_gap_counts_as_bad_in_averages_and_percent(tmp_path) -> None:
    from server.history import HistoryReader

    writer = HistoryWriter(database_url(tmp_path))
    store(writer, [(0, 6.0, GOOD), (20, NAN, BAD_NO_DATA), (50, 6.0, GOOD)], alive=60)
    reader = HistoryReader(database_url(tmp_path))
    assert ask(reader, "PercentGood", (0, 60)).values.tolist() == [50.0]
    assert ask(reader, "TimeAverage2", (0, 60)).values.tolist() == [6.0]
    assert ask(reader, "Total2", (0, 60)).values.tolist() == [180.0]
    reader.close()
    writer.close()
