"""What is known of a run of samples without looking at them again: the building block of roll-ups and of aggregates.

A *fold* says of some consecutive samples of one series how many there were, the extremes and when, sum and spread, the first and
the last, and the integral over time between the first and the last. Each sample holds until the next one, because the
historian stores a value when it changes. Folding is associative: the fold of an hour is the fold of its sixty minutes'
folds, exactly as it is of its samples, whatever the order of work. So

- a fold depends on the samples of its own interval and on nothing else: a late value changes one minute, one quarter, one hour;
- an interval without samples needs no row: what holds in it is the `last` of the fold before;
- any interval is composed of hours, and minutes and samples at its edges, without an error of method.

Numbers count only when Good and finite. Times are ticks, durations ticks, integrals value x seconds. NaN stands for "none".
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from server.core.series import Series
from server.core.status import BAD, UNCERTAIN
from server.core.ticks import TICKS

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Codes = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Folds:
    """Folds in the order of time, as columns.

    first, last: values of any quality at first_time and last_time; first_good, last_good: of the Good ones.
    good, uncertain, bad: numbers of samples. total: sum of the Good values; squares: of their squared distances from their mean.
    integral: of the Good values over time. good_time, uncertain_time, on_time: how long values were Good, Uncertain, Good and
    not 0. These four reach from first_time to last_time only. worst: the first StatusCode of the worst severity.
    """

    first_time: Integers
    last_time: Integers
    first: Floats
    last: Floats
    first_status: Codes
    last_status: Codes
    worst: Codes
    good: Integers
    uncertain: Integers
    bad: Integers
    total: Floats
    squares: Floats
    low: Floats
    low_time: Integers
    high: Floats
    high_time: Integers
    first_good: Floats
    last_good: Floats
    integral: Floats
    good_time: Integers
    uncertain_time: Integers
    on_time: Integers

    def __len__(self) -> int:
        return len(self.first_time)

    def take(self, rows: Any) -> Folds:
        """The folds at these rows, by index, mask or slice."""
        return Folds(*(column[rows] for column in columns(self)))


KINDS: Final = tuple(np.dtype({"Integers": "<i8", "Floats": "<f8", "Codes": "<u4"}[str(field.type)]) for field in fields(Folds))
"""Types of the columns, in their order."""


def columns(folds: Folds) -> list[NDArray[Any]]:
    """All columns, in the order of their declaration."""
    return [getattr(folds, field.name) for field in fields(Folds)]


NOTHING: Final = Folds(*(np.empty(0, kind) for kind in KINDS))


def join_folds(parts: list[Folds]) -> Folds:
    """All folds of the parts, in the order of time."""
    kept = [part for part in parts if len(part)]
    if len(kept) <= 1:
        return kept[0] if kept else NOTHING
    whole = Folds(*(np.concatenate(column) for column in zip(*map(columns, kept), strict=True)))
    return whole.take(np.argsort(whole.first_time, kind="stable"))


def is_usable(values: Floats, status: Codes) -> NDArray[np.bool_]:
    """Which values count: Good and finite."""
    return (status < UNCERTAIN) & np.isfinite(values)


def fold_each(series: Series) -> Folds:
    """Every sample as a fold of its own."""
    times, values, status = series.times, series.values, series.status
    usable = is_usable(values, status)
    number = usable.astype(np.int64)
    uncertain = ((status >= UNCERTAIN) & (status < BAD)).astype(np.int64)
    counted = np.where(usable, values, np.nan)
    nothing, none = np.zeros(len(times), np.int64), np.zeros(len(times))
    sums = np.where(usable, values, 0.0)
    return Folds(
        times, times, values, values, status, status, status,
        number, uncertain, 1 - number - uncertain, sums, none,
        counted, times, counted, times, counted, counted,
        none, nothing, nothing, nothing,
    )  # fmt: skip


def fold_by(folds: Folds, cells: Integers) -> Folds:
    """One fold per cell. cells: the number of the cell of each fold, never falling."""
    if not len(folds):
        return folds
    starts = np.flatnonzero(np.concatenate([[True], cells[1:] != cells[:-1]]))
    if len(starts) == len(folds):
        return folds
    return _Folder(folds, starts).fold()


class _Folder:
    """One pass of `fold_by`. starts: where each group begins; group: which group each row is in."""

    def __init__(self, folds: Folds, starts: NDArray[np.intp]) -> None:
        self._folds = folds
        self._starts = starts
        self._ends = np.append(starts[1:], len(folds)) - 1
        self._group = np.repeat(np.arange(len(starts)), self._ends - starts + 1)

    def fold(self) -> Folds:
        f, starts, ends = self._folds, self._starts, self._ends
        good = self._sum(f.good)
        total = self._sum(f.total)
        low, low_time = self._extreme(f.low, f.low_time, np.fmin)
        high, high_time = self._extreme(f.high, f.high_time, np.fmax)
        return Folds(
            f.first_time[starts], f.last_time[ends], f.first[starts], f.last[ends],
            f.first_status[starts], f.last_status[ends], self._worst(),
            good, self._sum(f.uncertain), self._sum(f.bad), total, self._squares(total, good),
            low, low_time, high, high_time, self._first_good(), self._last_good(), *self._held(),
        )  # fmt: skip

    def _sum(self, column: NDArray[Any]) -> Any:
        return np.add.reduceat(column, self._starts)

    def _squares(self, total: Floats, good: Integers) -> Floats:
        """Squared distances from the common mean: those from each mean, and of the means (Chan, Golub, LeVeque 1979)."""
        f = self._folds
        with np.errstate(invalid="ignore", divide="ignore"):
            means = np.where(f.good > 0, f.total / f.good, 0.0)
            mean = np.where(good > 0, total / good, 0.0)
        return np.asarray(self._sum(f.squares + f.good * (means - mean[self._group]) ** 2))

    def _extreme(self, values: Floats, times: Integers, choose: Any) -> tuple[Floats, Integers]:
        """The extreme of each group, and when it was first reached."""
        found = choose.reduceat(values, self._starts)
        return found, times[self._first_row(values == found[self._group])]

    def _first_row(self, wanted: NDArray[np.bool_]) -> NDArray[np.intp]:
        """The first row of each group that is wanted; the first of all where none is."""
        rows = np.where(wanted, np.arange(len(wanted)), len(wanted))
        found = np.minimum.reduceat(rows, self._starts)
        return np.where(found < len(wanted), found, self._starts)

    def _first_good(self) -> Floats:
        return self._folds.first_good[self._first_row(self._folds.good > 0)]

    def _last_good(self) -> Floats:
        rows = np.where(self._folds.good > 0, np.arange(len(self._folds)), -1)
        found = np.maximum.reduceat(rows, self._starts)
        return self._folds.last_good[np.where(found >= 0, found, self._ends)]

    def _worst(self) -> Codes:
        severity = self._folds.worst >> np.uint32(30)
        worst = np.maximum.reduceat(severity, self._starts)
        return self._folds.worst[self._first_row(severity == worst[self._group])]

    def _held(self) -> tuple[Floats, Integers, Integers, Integers]:
        """Integral and durations: inside the parts, and between one part and the next of the group."""
        f = self._folds
        gap = np.zeros(len(f), np.int64)
        gap[:-1] = f.first_time[1:] - f.last_time[:-1]
        gap[self._ends] = 0
        integral, good, uncertain, on = hold(f.last, f.last_status, gap)
        return (
            self._sum(f.integral + integral),
            self._sum(f.good_time + good),
            self._sum(f.uncertain_time + uncertain),
            self._sum(f.on_time + on),
        )


def hold(values: Floats, status: Codes, ticks: Integers) -> tuple[Floats, Integers, Integers, Integers]:
    """Integral, Good time, Uncertain time and time not 0 of values that hold for some ticks."""
    usable = is_usable(values, status)
    good = np.where(usable, ticks, 0)
    integral = np.where(usable, values, 0.0) * (good / TICKS)
    uncertain = np.where((status >= UNCERTAIN) & (status < BAD), ticks, 0)
    return integral, good, uncertain, np.where(usable & (values != 0.0), ticks, 0)
