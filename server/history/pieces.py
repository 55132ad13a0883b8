"""Which stored parts a stretch of time is composed of: as coarse as may be, as fine as must be.

For the averages of days over a year that is 8,760 folds of an hour. Where a boundary cuts an hour, or where something has
arrived that is not sealed yet, the hour is taken apart into quarters, these into minutes, these into samples. Where retention
has taken the finer parts away, the finest that is left stands for its whole interval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from server.core.series import Series, join
from server.core.status import BAD, GOOD
from server.core.ticks import TICKS

from .database import read_mark
from .folds import Folds, Integers, fold_by, fold_each, join_folds
from .packed import HOUR, RESOLUTIONS_S, cell_of, decode_block, read_blocks, read_folds, read_recent
from .samples import EMPTY, overlay, part

HOURS_AT_ONCE: Final = 48
Treatment = Callable[[Series], Series]


def as_stored(samples: Series) -> Series:
    """Samples as they are."""
    return samples


def without_bad(samples: Series) -> Series:
    """Samples as interpolation sees them: Bad ones are not there, what held before holds on."""
    return part(samples, samples.status < BAD)


def uncertain_as_good(samples: Series) -> Series:
    """Samples of which the Uncertain ones count like Good ones."""
    status = np.where(samples.status < BAD, GOOD, samples.status).astype(np.uint32)
    return Series(samples.times, samples.values, status)


class Composer:
    """Composes stretches of one series from what is stored in one state of the database."""

    def __init__(self, connection: Connection, number: int) -> None:
        self._connection = connection
        self._number = number

    def fold(self, boundaries: Integers) -> Folds:
        """Folds of everything between the boundaries (ticks, rising), none of which crosses one."""
        low, high = int(boundaries[0]), int(boundaries[-1])
        arrived = read_recent(self._connection, self._number, low, high)
        ranges = np.array([[low, high]])
        narrowest = int(np.diff(boundaries).min())
        parts: list[Folds] = []
        for seconds, finer in zip(RESOLUTIONS_S, (*RESOLUTIONS_S[1:], 0), strict=True):
            gone_before = read_mark(self._connection, f"from/{finer}")
            if narrowest < seconds * TICKS and gone_before <= low:
                continue
            cells = _cells(ranges, seconds, gone_before)
            cut = np.isin(cells, cell_of(boundaries[boundaries % (seconds * TICKS) > 0], seconds)) & (cells >= gone_before)
            cells = cells[~cut & ~np.isin(cells, cell_of(arrived.times, seconds))]
            parts.append(read_folds(self._connection, self._number, seconds, cells))
            ranges = _without(ranges, cells, seconds * TICKS)
        parts += self._fold_samples(ranges, arrived, boundaries, as_stored)
        return join_folds(parts)

    def fold_samples(self, boundaries: Integers, treatment: Treatment) -> Folds:
        """Folds made from the samples alone, each treated first; one at least for each interval that has some."""
        low, high = int(boundaries[0]), int(boundaries[-1])
        arrived = read_recent(self._connection, self._number, low, high)
        return join_folds(list(self._fold_samples(np.array([[low, high]]), arrived, boundaries, treatment)))

    def _fold_samples(
        self, ranges: NDArray[np.int64], arrived: Series, boundaries: Integers, treatment: Treatment
    ) -> Iterator[Folds]:
        """Folds of the samples in these ranges, some hours at a time; none reaches over the end of a range."""
        hours = _hours(ranges)
        for start in range(0, len(hours), HOURS_AT_ONCE):
            chunk = hours[start : start + HOURS_AT_ONCE]
            stored = [decode_block(row) for row in read_blocks(self._connection, self._number, chunk)]
            fresh = part(arrived, np.isin(cell_of(arrived.times, 3600), chunk))
            samples = treatment(_inside(overlay(join(stored) if stored else EMPTY, fresh), ranges))
            between = np.searchsorted(boundaries, samples.times, "right") * (len(ranges) + 1)
            yield fold_by(fold_each(samples), between + np.searchsorted(ranges[:, 0], samples.times, "right"))


def _hours(ranges: NDArray[np.int64]) -> Integers:
    """Starts of the hours that the ranges touch."""
    found = [np.arange(cell_of(low, 3600), high, HOUR) for low, high in ranges.tolist()]
    return np.unique(np.concatenate([np.empty(0, np.int64), *found]))


def _inside(samples: Series, ranges: NDArray[np.int64]) -> Series:
    """The samples that lie in one of the ranges."""
    place = np.searchsorted(ranges[:, 0], samples.times, "right") - 1
    return part(samples, (place >= 0) & (samples.times < ranges[place, 1]))


def _cells(ranges: NDArray[np.int64], seconds: int, gone_before: int) -> Integers:
    """Starts of the whole intervals in the ranges; before `gone_before` also of those that reach beyond."""
    step = seconds * TICKS
    found = [np.empty(0, np.int64)]
    for low, high in ranges.tolist():
        first = low - low % step if low < gone_before else low + -low % step
        end = high + -high % step if high <= gone_before else high - high % step
        found.append(np.arange(first, end, step))
    return np.unique(np.concatenate(found))


def _without(ranges: NDArray[np.int64], cells: Integers, step: int) -> NDArray[np.int64]:
    """What is left of the ranges without these intervals."""
    if not len(cells):
        return ranges
    breaks = np.flatnonzero(np.diff(cells) != step)
    starts = cells[np.append(0, breaks + 1)].tolist()
    ends = (cells[np.append(breaks, len(cells) - 1)] + step).tolist()
    left: list[tuple[int, int]] = []
    for low, high in ranges.tolist():
        first = int(np.searchsorted(ends, low, "right"))
        for start, end in zip(starts[first:], ends[first:], strict=True):
            if start >= high:
                break
            if start > low:
                left.append((low, start))
            low = max(low, end)
        if low < high:
            left.append((low, high))
    return np.array(left, np.int64).reshape(-1, 2)
