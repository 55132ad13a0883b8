"""A fold says of its samples what looking at them would say, in whatever portions they are folded."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from history_rig import BAD, GOOD, NAN, STALE, series
from hypothesis import given
from hypothesis import strategies as st

from server.history.folds import columns, fold_by, fold_each

STATUS = st.sampled_from([GOOD, GOOD, GOOD, STALE, BAD])
VALUE = st.floats(-1e4, 1e4).map(lambda v: round(v, 3)) | st.just(NAN)
ROWS = st.lists(st.tuples(st.integers(0, 7200), VALUE, STATUS), min_size=1, max_size=40, unique_by=lambda row: row[0]).map(sorted)


def all_of(rows) -> list[float]:
    """What one fold of all rows must say, computed row by row."""
    good = [(t, v) for t, v, s in rows if s == GOOD and math.isfinite(v)]
    values = [v for _, v in good]
    mean = math.fsum(values) / len(values) if values else 0.0
    held = [(v, s, b[0] - t) for (t, v, s), b in pairwise(rows)]
    certain = [(v, d) for v, s, d in held if s == GOOD and math.isfinite(v)]
    return [
        len(good),
        sum(s == STALE for *_, s in rows),
        math.fsum(values),
        math.fsum((v - mean) ** 2 for v in values),
        min(values, default=NAN),
        max(values, default=NAN),
        good[0][1] if good else NAN,
        good[-1][1] if good else NAN,
        math.fsum(v * d for v, d in certain),
        sum(d for _, d in certain),
        sum(d for _, s, d in held if s == STALE),
        sum(d for v, d in certain if v),
    ]


def said(fold) -> list[float]:
    second = 10_000_000
    counts = [fold.good, fold.uncertain, fold.total, fold.squares, fold.low, fold.high, fold.first_good, fold.last_good]
    times = [fold.good_time / second, fold.uncertain_time / second, fold.on_time / second]
    return [float(column[0]) for column in (*counts, fold.integral, *times)]


@given(ROWS)
def test_a_fold_says_what_its_samples_say(rows) -> None:
    fold = fold_by(fold_each(series(rows)), np.zeros(len(rows), np.int64))
    np.testing.assert_allclose(said(fold), all_of(rows), rtol=1e-9, atol=1e-5)


@given(ROWS, st.lists(st.integers(1, 39), max_size=5))
def test_folding_folds_is_folding_their_samples(rows, cuts) -> None:
    each = fold_each(series(rows))
    cells = np.searchsorted(np.unique(cuts), np.arange(len(rows)), "right")
    portions = fold_by(each, cells)
    whole = fold_by(portions, np.zeros(len(portions), np.int64))
    at_once = fold_by(each, np.zeros(len(each), np.int64))
    for ours, theirs in zip(columns(whole), columns(at_once), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-5)


@pytest.mark.parametrize(
    ("rows", "low_time", "high_time", "worst"),
    [
        ([(0, 5, GOOD), (1, 2, GOOD), (2, 2, GOOD), (3, 5, GOOD)], 1, 0, GOOD),
        ([(0, 9, BAD), (1, 2, STALE), (2, 3, GOOD)], 2, 2, BAD),
        ([(0, 9, STALE), (1, 2, STALE + 0x10000), (2, 3, GOOD)], 2, 2, STALE),
    ],
    ids=["the first of equal extremes counts", "only Good samples are extremes", "the first of the worst severity"],
)
def test_extremes_and_quality(rows, low_time, high_time, worst) -> None:
    fold = fold_by(fold_each(series(rows)), np.zeros(len(rows), np.int64))
    found = series([(low_time, 0, 0), (high_time, 0, 0)]).times.tolist()
    assert [int(fold.low_time[0]), int(fold.high_time[0])] == found
    assert int(fold.worst[0]) == worst
