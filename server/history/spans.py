"""What is known of each interval that an aggregate is asked for: the fold of its samples, and what held before and after them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.core.series import Series
from server.core.status import BAD_NO_DATA

from .folds import Codes, Floats, Folds, Integers, fold_by, hold


@dataclass(frozen=True, slots=True)
class Spans:
    """Intervals [low, high), ticks, as columns.

    has: it has samples; folds: what they were (rows without samples hold anything). start, start_status: what held at `low`, Bad
    where nothing did; exact: there is a sample at `low`. known: ticks of the interval for which there is data of any quality.
    integral, good_time, uncertain_time, on_time: as in Folds, from `low` to `high`. after: it begins after the end of the data.
    """

    low: Integers
    high: Integers
    has: NDArray[np.bool_]
    folds: Folds
    start: Floats
    start_status: Codes
    exact: NDArray[np.bool_]
    known: Integers
    integral: Floats
    good_time: Integers
    uncertain_time: Integers
    on_time: Integers
    after: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.low)


def span(boundaries: Integers, parts: Folds, before: Series, until: int) -> Spans:
    """Put folds into the intervals between the boundaries.

    before: the last sample before the first boundary, or nothing. until: the end of the data; what held last holds until then.
    """
    low, high = boundaries[:-1], boundaries[1:]
    place = np.clip(np.searchsorted(boundaries, parts.first_time, "right") - 1, 0, len(low) - 1)
    has = np.zeros(len(low), np.bool_)
    has[place] = True
    folds = _spread(fold_by(parts, place), has)
    exact = has & (folds.first_time == low)
    start, start_status, begun = _held(folds, has, exact, before)
    until = max(until, int(parts.last_time[-1]) + 1 if len(parts) else 0)
    ends = np.minimum(high, until)
    to_first = np.where(has, np.minimum(folds.first_time, high), ends) - low
    head = np.where(begun & ~exact, np.maximum(to_first, 0), 0)
    tail = np.where(has, np.maximum(ends - folds.last_time, 0), 0)
    inner = np.where(has, folds.last_time - folds.first_time, 0)
    before_first, after_last = hold(start, start_status, head), hold(folds.last, folds.last_status, tail)
    return Spans(
        low, high, has, folds, start, start_status, exact, head + inner + tail,
        before_first[0] + after_last[0] + np.where(has, folds.integral, 0.0),
        before_first[1] + after_last[1] + np.where(has, folds.good_time, 0),
        before_first[2] + after_last[2] + np.where(has, folds.uncertain_time, 0),
        before_first[3] + after_last[3] + np.where(has, folds.on_time, 0),
        low >= until,
    )  # fmt: skip


def _spread(folds: Folds, has: NDArray[np.bool_]) -> Folds:
    """One row per interval; those without samples repeat some other."""
    if not len(folds):
        row: dict[str, Any] = {name: np.zeros(len(has), kind) for name, kind in _ZERO.items()}
        return Folds(**row)
    return folds.take(np.clip(np.cumsum(has) - 1, 0, len(folds) - 1))


def _held(
    folds: Folds, has: NDArray[np.bool_], exact: NDArray[np.bool_], before: Series
) -> tuple[Floats, Codes, NDArray[np.bool_]]:
    """Value and status that hold at the start of each interval, and whether there is data so early."""
    value = before.values[-1] if len(before) else np.nan
    status = before.status[-1] if len(before) else BAD_NO_DATA
    earlier: Integers = np.cumsum(has) - has  # intervals with samples before this one
    previous = np.maximum(np.arange(len(has)) - 1, 0)
    known = earlier > 0
    values = np.where(exact, folds.first, np.where(known, folds.last[previous], value))
    codes = np.where(exact, folds.first_status, np.where(known, folds.last_status[previous], np.uint32(status)))
    return values, codes.astype(np.uint32), exact | known | (len(before) > 0)


_ZERO = {
    name: {"Integers": np.int64, "Floats": np.float64, "Codes": np.uint32}[str(field.type)]
    for name, field in Folds.__dataclass_fields__.items()
}
