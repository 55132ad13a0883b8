"""Samples of one series from several places: what came later wins, and what was deleted is gone."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from server.core.series import Series, join

DELETED: Final = 0xFFFFFFFF
"""Status of a record in `recent` that takes a value away; no StatusCode has these bits."""

EMPTY: Final = Series(np.empty(0, np.int64), np.empty(0), np.empty(0, np.uint32))


def between(series: Series, low: int, high: int) -> Series:
    """The samples with low <= time < high, of samples in the order of time."""
    first, last = np.searchsorted(series.times, (low, high))
    return part(series, slice(int(first), int(last)))


def part(series: Series, rows: slice | NDArray[np.intp] | NDArray[np.bool_]) -> Series:
    """The samples at these rows."""
    return Series(series.times[rows], series.values[rows], series.status[rows])


def overlay(older: Series, newer: Series) -> Series:
    """Samples in the order of time, one per time: the newer one, the last of several; without what was deleted."""
    if not len(newer):
        return older
    none = np.zeros(len(older) + len(newer), np.int64)
    return overlay_rows(none[: len(older)], older, none[len(older) :], newer)[1]


def overlay_rows(
    older_number: NDArray[np.int64], older: Series, newer_number: NDArray[np.int64], newer: Series
) -> tuple[NDArray[np.int64], Series]:
    """As `overlay`, for samples of several series at once, sorted by the number of the series and by time."""
    number = np.concatenate([older_number, newer_number])
    whole = join([older, newer])
    order = np.lexsort((whole.times, number))
    number, whole = number[order], part(whole, order)
    last = np.append((number[1:] != number[:-1]) | (whole.times[1:] != whole.times[:-1]), True)
    kept = last[: len(number)] & (whole.status != DELETED)
    return number[kept], part(whole, kept)
