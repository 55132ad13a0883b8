"""A value is stored when it was true: at its source time, or when it was seen to hold still, or to have changed its quality."""

from __future__ import annotations

import numpy as np
import pytest

from analytics.historian.dating import Dating
from server.client import Table
from server.core.status import BAD_NO_DATA, UNCERTAIN_LAST_USABLE_VALUE

BEGUN = 1000
GOOD, STALE = 0, UNCERTAIN_LAST_USABLE_VALUE


def row(time: int, value: float = 1.0, status: int = GOOD) -> Table:
    return Table(np.array([0]), np.array([value]), np.array([status], np.uint32), np.array([time]))


def dated(*rows: tuple[Table, int]) -> list[list[int]]:
    dating = Dating(1, BEGUN)
    return [dating.date(table, now).source.tolist() for table, now in rows]


@pytest.mark.parametrize(
    ("rows", "times"),
    [
        ([(row(1100), 1101)], [[1100]]),
        ([(row(20), 1001)], [[BEGUN]]),
        ([(row(1100), 1101), (row(1200), 1201)], [[1100], [1200]]),
        ([(row(1100), 1101), (row(1100), 1201)], [[1100], []]),
        ([(row(1100), 1101), (row(1100, status=STALE), 1400)], [[1100], [1400]]),
        ([(row(1100), 1101), (row(1100, status=STALE), 1400), (row(1100), 1500)], [[1100], [1400], [1500]]),
        ([(row(1100), 1101), (row(1050), 1201)], [[1100], [1050]]),
        ([(row(0), 1101)], [[]]),
    ],
    ids=[
        "a value at its source time",
        "what is found at the beginning, at the beginning",
        "each change at its own",
        "the same value is not stored again",
        "a quality that changes, when it is seen to",
        "and when it changes back",
        "a clock that was set back",
        "no source time is no time",
    ],
)
def test_a_value_is_stored_when_it_was_true(rows, times) -> None:
    assert dated(*rows) == times


def test_a_gap_is_marked_for_what_was_known_and_ends_when_values_are_seen_again() -> None:
    dating = Dating(2, BEGUN)
    dating.date(row(1100), 1101)
    marks = dating.gap(1300, 1900)
    assert (marks.index.tolist(), marks.source.tolist(), marks.status.tolist()) == ([0], [1300], [BAD_NO_DATA])
    assert dating.date(row(1100), 1901).source.tolist() == [1900]
    assert dating.date(row(1950), 1951).source.tolist() == [1950]


def test_the_mark_of_a_gap_never_hides_a_value() -> None:
    dating = Dating(1, BEGUN)
    dating.date(row(1500), 1400)
    assert dating.gap(1450, 1900).source.tolist() == [1501]
