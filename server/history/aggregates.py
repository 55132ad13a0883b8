"""The aggregates of OPC 10000-13 (Aggregates) over what is known of intervals.

History here is *stepped*: a value is stored when it changes and holds until the next one, so interpolation means the value that
holds (Stepped = True in every HistoricalDataConfiguration). The clauses named are those of version 1.05.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.core.series import Series
from server.core.status import BAD, BAD_NO_DATA, GOOD, UNCERTAIN
from server.core.ticks import TICKS

from .folds import Codes, Floats, Integers, is_usable
from .pieces import Treatment, uncertain_as_good, without_bad
from .reader import HistoryReader
from .spans import Spans

UNCERTAIN_DATA_SUB_NORMAL: Final = 0x40A40000
CALCULATED: Final = 0x0401
"""InfoType DataValue with the aggregate bit Calculated (Part 13, 5.3.3); the same for the two below."""
INTERPOLATED: Final = 0x0402
PARTIAL: Final = 0x0404
MS: Final = TICKS // 1000


class Kind(Enum):
    """Data type of a result."""

    SOURCE = "source"
    DOUBLE = "double"
    COUNT = "count"
    STATUS = "status"


@dataclass(frozen=True, slots=True)
class Configuration:
    """AggregateConfiguration (Part 13, 4.2.1.2) with its defaults. Sloped extrapolation has no meaning in a stepped history."""

    uncertain_is_bad: bool = True
    percent_bad: int = 100
    percent_good: int = 100


DEFAULTS: Final = Configuration()


class Result(NamedTuple):
    """Value, StatusCode and time of each interval."""

    values: Floats
    status: Codes
    times: Integers


Function = Callable[[Spans, Configuration], Result]


class Aggregate(NamedTuple):
    """How an aggregate is computed. interpolated: bounds jump over Bad samples; at_start: only what is at the start matters."""

    function: Function
    kind: Kind = Kind.DOUBLE
    interpolated: bool = False
    at_start: bool = False


def processed(
    reader: HistoryReader, node: str, boundaries: Integers, aggregate: Aggregate, configuration: Configuration = DEFAULTS
) -> Series:
    """One value per interval between the boundaries (ticks, rising). Raises HistoryError.

    Roll-ups are used wherever they are exact. Where Uncertain values count as Good, or Bad ones are jumped over, and there are
    such, the samples are looked at themselves.
    """
    spans = reader.spans(node, boundaries)
    if spans is None:
        count = len(boundaries) - 1
        return Series(boundaries[:-1], np.full(count, np.nan), np.full(count, BAD_NO_DATA, np.uint32))
    uncertain, doubtful = _doubts(spans, aggregate.at_start)
    treatment = _treatment(aggregate, configuration, bool(uncertain.any()), bool(doubtful.any()))
    used = spans if treatment is None else reader.spans(node, boundaries, treatment) or spans
    values, status, times = aggregate.function(used, configuration)
    if treatment is not None:
        status = _doubt(status, doubtful if aggregate.interpolated else uncertain)
    partial = (spans.known < spans.high - spans.low) & (status != BAD_NO_DATA) & (status & 0x0F & CALCULATED > 0)
    status = np.where(partial, status | PARTIAL, status).astype(np.uint32)
    return Series(times, np.where(_bad(status), np.nan, values), status)


def _doubts(spans: Spans, at_start: bool) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which intervals rest on Uncertain values, and which on any that are not Good."""
    start = spans.start_status
    if at_start:
        return (start >= UNCERTAIN) & ~_bad(start), start >= UNCERTAIN
    uncertain = (spans.has & (spans.folds.uncertain > 0)) | (spans.uncertain_time > 0)
    return uncertain, uncertain | (spans.has & (spans.folds.bad > 0)) | (spans.good_time < spans.known) | _bad(start)


def _treatment(aggregate: Aggregate, configuration: Configuration, uncertain: bool, doubtful: bool) -> Treatment | None:
    """How the samples must be changed first; None when they are right as they are."""
    count_uncertain = uncertain and not configuration.uncertain_is_bad
    if aggregate.interpolated and doubtful:
        return (lambda samples: uncertain_as_good(without_bad(samples))) if count_uncertain else without_bad
    return uncertain_as_good if count_uncertain else None


def _doubt(status: Codes, where: NDArray[np.bool_]) -> Codes:
    """Good results that rest on values of doubtful quality are Uncertain."""
    return np.where(where & (status < UNCERTAIN), status | UNCERTAIN_DATA_SUB_NORMAL, status).astype(np.uint32)


def _bad(status: Codes) -> NDArray[np.bool_]:
    return np.asarray(status >= BAD)


# Status (5.4.3.2).


def _by_ratio(good: Floats | Integers, whole: Floats | Integers, configuration: Configuration) -> Codes:
    """Good, Uncertain or Bad by the share of what is good in the whole; Good where there is nothing."""
    with np.errstate(invalid="ignore", divide="ignore"):
        percent = np.where(whole > 0, 100.0 * good / whole, 100.0)
    bad = 100.0 - percent >= configuration.percent_bad
    status = np.where(bad, BAD_NO_DATA, UNCERTAIN_DATA_SUB_NORMAL)
    return np.where(percent >= configuration.percent_good, GOOD, status).astype(np.uint32)


def _by_count(spans: Spans, configuration: Configuration) -> Codes:
    f = spans.folds
    good, whole = (np.where(spans.has, column, 0) for column in (f.good, f.good + f.uncertain + f.bad))
    return _by_ratio(good, whole, configuration) | np.uint32(CALCULATED)


def _by_time(spans: Spans, configuration: Configuration) -> Codes:
    return _by_ratio(spans.good_time, spans.known, configuration) | np.uint32(CALCULATED)


def _result(spans: Spans, values: Floats, status: Codes, missing: NDArray[np.bool_], times: Integers | None = None) -> Result:
    """A result; BadNoData where it is missing."""
    gone = missing | _bad(status)
    code = np.where(missing, np.uint32(BAD_NO_DATA), status).astype(np.uint32)
    stamps = spans.low if times is None else np.where(gone, spans.low, times)
    return Result(np.where(gone, np.nan, values), code, stamps)


def _without_samples(spans: Spans) -> NDArray[np.bool_]:
    return ~spans.has


def _without_good(spans: Spans) -> NDArray[np.bool_]:
    return np.asarray(~spans.has | (spans.folds.good == 0))


def _without_time(spans: Spans) -> NDArray[np.bool_]:
    return np.asarray(spans.good_time == 0)


def _divide(numerator: NDArray[Any], denominator: NDArray[Any]) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(numerator / denominator, np.float64)


# Of the samples of an interval.


def _average(spans: Spans, configuration: Configuration) -> Result:
    """5.4.3.5: the mean of the Good samples, each counting alike."""
    values = _divide(spans.folds.total, spans.folds.good)
    return _result(spans, values, _by_count(spans, configuration), _without_good(spans))


def _count(spans: Spans, configuration: Configuration) -> Result:
    """5.4.3.18: the number of Good samples."""
    values = np.where(spans.has, spans.folds.good, 0).astype(np.float64)
    return _result(spans, values, _by_count(spans, configuration), spans.known == 0)


def _extreme(high: bool, actual: bool) -> Function:
    """5.4.3.10 to 5.4.3.13: the least or greatest Good sample; `actual` stamps it with its own time."""

    def function(spans: Spans, configuration: Configuration) -> Result:
        f = spans.folds
        values, times = (f.high, f.high_time) if high else (f.low, f.low_time)
        status = _raw_doubt(spans, np.where(actual | (times == spans.low), GOOD, CALCULATED))
        return _result(spans, values, status, _without_good(spans), times if actual else None)

    return function


def _raw_doubt(spans: Spans, bits: Integers) -> Codes:
    """Uncertain where a sample of the interval was not Good."""
    doubtful = spans.folds.uncertain + spans.folds.bad > 0
    return np.where(doubtful, bits | UNCERTAIN_DATA_SUB_NORMAL, bits).astype(np.uint32)


def _range(spans: Spans, configuration: Configuration) -> Result:
    """5.4.3.14: the greatest less the least."""
    calculated = np.full(len(spans), CALCULATED)
    return _result(spans, spans.folds.high - spans.folds.low, _raw_doubt(spans, calculated), _without_good(spans))


def _edge(last: bool) -> Function:
    """5.4.3.26, 5.4.3.27: the first or last sample of the interval, as it is."""

    def function(spans: Spans, configuration: Configuration) -> Result:
        f = spans.folds
        values, status, times = (f.last, f.last_status, f.last_time) if last else (f.first, f.first_status, f.first_time)
        missing = _without_samples(spans)
        code = np.where(missing, np.uint32(BAD_NO_DATA), status)
        return Result(np.where(missing, np.nan, values), code, np.where(missing, spans.low, times))

    return function


def _delta(spans: Spans, configuration: Configuration) -> Result:
    """5.4.3.28: the last Good sample less the first."""
    f = spans.folds
    doubtful = (f.first_status >= UNCERTAIN) | (f.last_status >= UNCERTAIN)
    status = np.where(doubtful, CALCULATED | UNCERTAIN_DATA_SUB_NORMAL, CALCULATED).astype(np.uint32)
    return _result(spans, f.last_good - f.first_good, status, _without_good(spans))


def _spread(root: bool, sample: bool) -> Function:
    """5.4.3.37 to 5.4.3.40: variance or standard deviation of the Good samples, of a sample (n - 1) or of the population (n)."""

    def function(spans: Spans, configuration: Configuration) -> Result:
        good = spans.folds.good
        values = _divide(spans.folds.squares, np.maximum(good - 1, 1) if sample else good)
        return _result(spans, np.sqrt(values) if root else values, _by_count(spans, configuration), _without_good(spans))

    return function


def _worst(bounds: bool) -> Function:
    """5.4.3.35, 5.4.3.36: the worst StatusCode of the samples, with `bounds` also of what holds at the start."""

    def function(spans: Spans, configuration: Configuration) -> Result:
        worst = np.where(spans.has, spans.folds.worst, np.uint32(GOOD))
        if bounds:
            worse = ~spans.has | (spans.start_status >> 30 > worst >> 30)
            worst = np.where(worse, spans.start_status, worst)
        calculated = np.full(len(spans), CALCULATED, np.uint32)
        missing = spans.known == 0 if bounds else _without_samples(spans)
        return _result(spans, worst.astype(np.float64), calculated, missing)

    return function


# Of what held during an interval.


def _time_average(spans: Spans, configuration: Configuration) -> Result:
    """5.4.3.6, 5.4.3.7: the mean over time of what was Good."""
    values = _divide(spans.integral, spans.good_time / TICKS)
    return _result(spans, values, _by_time(spans, configuration), _without_time(spans))


def _total(spans: Spans, configuration: Configuration) -> Result:
    """5.4.3.8, 5.4.3.9: the integral over time, value x seconds, of what was Good."""
    return _result(spans, spans.integral, _by_time(spans, configuration), _without_time(spans))


def _in_state(on: bool) -> Function:
    """5.4.3.33, 5.4.3.34: how long, in ms, the value was not 0, or 0."""

    def function(spans: Spans, configuration: Configuration) -> Result:
        ticks = spans.on_time if on else spans.good_time - spans.on_time
        return _result(spans, ticks / MS, _by_time(spans, configuration), _without_time(spans))

    return function


def _duration(bad: bool, percent: bool) -> Function:
    """5.4.3.29 to 5.4.3.32: how long, in ms or in per cent of the time with data, the value was Good, or Bad."""

    def function(spans: Spans, configuration: Configuration) -> Result:
        ticks = spans.known - spans.good_time - spans.uncertain_time if bad else spans.good_time
        values = _divide(100.0 * ticks, spans.known) if percent else ticks / MS
        return _result(spans, values, np.full(len(spans), CALCULATED, np.uint32), spans.known == 0)

    return function


def _extreme_held(high: bool) -> Function:
    """5.4.3.19, 5.4.3.20: as Minimum and Maximum, with the value that holds at the start."""

    def function(spans: Spans, configuration: Configuration) -> Result:
        inside = np.where(_without_good(spans), np.nan, spans.folds.high if high else spans.folds.low)
        bound = np.where(is_usable(spans.start, spans.start_status), spans.start, np.nan)
        values = np.fmax(inside, bound) if high else np.fmin(inside, bound)
        return _result(spans, values, _by_time(spans, configuration), _without_time(spans))

    return function


def _range_held(spans: Spans, configuration: Configuration) -> Result:
    """5.4.3.23: Maximum2 less Minimum2."""
    low, status, times = _extreme_held(False)(spans, configuration)
    return Result(_extreme_held(True)(spans, configuration).values - low, status, times)


# Of the bounds.


def _bound_status(spans: Spans) -> Codes:
    """Status of what holds at the start: as it is where there is a sample, else interpolated (3.1.8, 3.1.9)."""
    held = np.where(spans.start_status < UNCERTAIN, INTERPOLATED, INTERPOLATED | UNCERTAIN_DATA_SUB_NORMAL)
    held = np.where(spans.after, INTERPOLATED | UNCERTAIN_DATA_SUB_NORMAL, held)
    held = np.where(_bad(spans.start_status), BAD_NO_DATA, held)
    return np.where(spans.exact, spans.start_status, held).astype(np.uint32)


def _start_bound(spans: Spans, configuration: Configuration) -> Result:
    """5.4.3.4 (Interpolative), 5.4.3.24 (StartBound): the value at the start of the interval."""
    status = _bound_status(spans)
    return Result(np.where(_bad(status), np.nan, spans.start), status, spans.low)


def _end_bound(spans: Spans, configuration: Configuration) -> Result:
    """5.4.3.25: the value that holds until the end of the interval."""
    held = np.where(spans.has, spans.folds.last_status, spans.start_status)
    status = np.where(held < UNCERTAIN, INTERPOLATED, INTERPOLATED | UNCERTAIN_DATA_SUB_NORMAL)
    status = np.where(_bad(held) | (spans.known == 0), BAD_NO_DATA, status).astype(np.uint32)
    values = np.where(spans.has, spans.folds.last, spans.start)
    return Result(np.where(_bad(status), np.nan, values), status, spans.high)


def _delta_bounds(spans: Spans, configuration: Configuration) -> Result:
    """5.4.3.28 with bounds: the value at the end less the value at the start."""
    start, end = _start_bound(spans, configuration), _end_bound(spans, configuration)
    doubtful = (start.status >= UNCERTAIN) | (end.status >= UNCERTAIN)
    status = np.where(doubtful, CALCULATED | UNCERTAIN_DATA_SUB_NORMAL, CALCULATED).astype(np.uint32)
    return _result(spans, end.values - start.values, status, _bad(start.status) | _bad(end.status))


AGGREGATES: Final[Mapping[str, Aggregate]] = {
    "Interpolative": Aggregate(_start_bound, Kind.SOURCE, interpolated=True, at_start=True),
    "Average": Aggregate(_average),
    "TimeAverage": Aggregate(_time_average, interpolated=True),
    "TimeAverage2": Aggregate(_time_average),
    "Total": Aggregate(_total, interpolated=True),
    "Total2": Aggregate(_total),
    "Minimum": Aggregate(_extreme(high=False, actual=False), Kind.SOURCE),
    "Maximum": Aggregate(_extreme(high=True, actual=False), Kind.SOURCE),
    "MinimumActualTime": Aggregate(_extreme(high=False, actual=True), Kind.SOURCE),
    "MaximumActualTime": Aggregate(_extreme(high=True, actual=True), Kind.SOURCE),
    "Range": Aggregate(_range),
    "Minimum2": Aggregate(_extreme_held(high=False), Kind.SOURCE),
    "Maximum2": Aggregate(_extreme_held(high=True), Kind.SOURCE),
    "Range2": Aggregate(_range_held),
    "Count": Aggregate(_count, Kind.COUNT),
    "DurationInStateZero": Aggregate(_in_state(on=False)),
    "DurationInStateNonZero": Aggregate(_in_state(on=True)),
    "Start": Aggregate(_edge(last=False), Kind.SOURCE),
    "End": Aggregate(_edge(last=True), Kind.SOURCE),
    "Delta": Aggregate(_delta),
    "StartBound": Aggregate(_start_bound, Kind.SOURCE, at_start=True),
    "EndBound": Aggregate(_end_bound, Kind.SOURCE),
    "DeltaBounds": Aggregate(_delta_bounds),
    "DurationGood": Aggregate(_duration(bad=False, percent=False)),
    "DurationBad": Aggregate(_duration(bad=True, percent=False)),
    "PercentGood": Aggregate(_duration(bad=False, percent=True)),
    "PercentBad": Aggregate(_duration(bad=True, percent=True)),
    "WorstQuality": Aggregate(_worst(bounds=False), Kind.STATUS),
    "WorstQuality2": Aggregate(_worst(bounds=True), Kind.STATUS),
    "StandardDeviationSample": Aggregate(_spread(root=True, sample=True)),
    "StandardDeviationPopulation": Aggregate(_spread(root=True, sample=False)),
    "VarianceSample": Aggregate(_spread(root=False, sample=True)),
    "VariancePopulation": Aggregate(_spread(root=False, sample=False)),
}
"""By the name that the standard's AggregateFunction object has."""
