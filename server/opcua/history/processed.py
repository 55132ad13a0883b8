"""Aggregated values and values at given times (Part 11, 6.5.4 and 6.5.5; Part 13)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite
from typing import Final

import numpy as np
from asyncua import ua
from numpy.typing import NDArray

from server.core.channel import DataType
from server.core.layout import Channel
from server.core.series import Series
from server.core.status import BAD, BAD_NO_DATA, UNCERTAIN
from server.core.ticks import from_datetime
from server.history import (
    AGGREGATES,
    CALCULATED,
    INTERPOLATED,
    PARTIAL,
    UNCERTAIN_DATA_SUB_NORMAL,
    Configuration,
    HistoryReader,
    processed,
)
from server.history import Kind as ResultKind

from .answer import PAGE_VALUES_MAX, Answer, Refused, pack, wire_type

MS: Final = 10_000
"""Ticks in a millisecond, the shortest processing interval."""
FUNCTIONS: Final[Mapping[ua.NodeId, str]] = {
    ua.NodeId(getattr(ua.ObjectIds, f"AggregateFunction_{name}"), 0): name for name in AGGREGATES
}
"""Name of each aggregate that is offered, by the NodeId of its AggregateFunction."""
_WIRE: Final = {
    ResultKind.DOUBLE: wire_type(DataType.DOUBLE),
    ResultKind.COUNT: wire_type(DataType.INT32),
    ResultKind.STATUS: (ua.VariantType.StatusCode.value, "I"),
}


@dataclass(frozen=True, slots=True)
class ProcessedCursor:
    """Where reading the aggregate of one node goes on: intervals of `step` ticks from start to end, of which `done` are read."""

    channel: Channel
    aggregate: str
    start: int
    end: int
    step: int
    configuration: Configuration
    done: int = 0

    @property
    def count(self) -> int:
        """Number of intervals; the last may be shorter."""
        return -(-abs(self.end - self.start) // self.step)

    def read(self, reader: HistoryReader) -> Answer:
        """The next page."""
        until = min(self.done + PAGE_VALUES_MAX, self.count)
        aggregate = AGGREGATES[self.aggregate]
        forward = self.end >= self.start
        edges = self.start + np.arange(self.done, until + 1, dtype=np.int64) * (self.step if forward else -self.step)
        edges = np.minimum(edges, self.end) if forward else np.maximum(edges, self.end)[::-1]
        series = processed(reader, self.channel.node, edges, aggregate, self.configuration)
        series = self._shown(series, edges, forward)
        wire = _WIRE.get(aggregate.kind) or wire_type(self.channel.spec.data_type)
        following = replace(self, done=until) if until < self.count else None
        return Answer(pack(series, wire), False, following)

    def _shown(self, series: Series, edges: NDArray[np.int64], forward: bool) -> Series:
        """In the direction asked for, the last interval Partial when it is shorter than the others."""
        short = (np.diff(edges) < self.step) & (series.status & CALCULATED == CALCULATED)
        status = np.where(short, series.status | PARTIAL, series.status).astype(np.uint32)
        if forward:
            return Series(series.times, series.values, status)
        times = np.where(series.times == edges[:-1], edges[1:], series.times)
        return Series(times[::-1], series.values[::-1], status[::-1])


@dataclass(frozen=True, slots=True)
class AtTimeCursor:
    """Where reading the values at given times goes on, of which `done` are read. simple: a Bad value is not jumped over."""

    channel: Channel
    times: tuple[int, ...]
    simple: bool
    done: int = 0

    def read(self, reader: HistoryReader) -> Answer:
        """The next page."""
        until = self.done + PAGE_VALUES_MAX
        asked = np.array(self.times[self.done : until], np.int64)
        rising, place = np.unique(asked, return_inverse=True)
        held = at_times(reader, self.channel.node, rising, self.simple)
        series = Series(asked, held.values[place], held.status[place])
        following = replace(self, done=until) if until < len(self.times) else None
        return Answer(pack(series, wire_type(self.channel.spec.data_type)), not len(asked), following)


def at_times(reader: HistoryReader, node: str, times: NDArray[np.int64], simple: bool) -> Series:
    """What the node's value was at these times (rising): the sample there, or what held then, marked Interpolated."""
    any_quality, not_bad, until = reader.at(node, times)
    if not len(any_quality):
        return Series(times, np.full(len(times), np.nan), np.full(len(times), BAD_NO_DATA, np.uint32))
    held = any_quality if simple else not_bad
    doubtful = (held.status >= UNCERTAIN) | (any_quality.status >= BAD) | (times >= until)
    status = np.where(doubtful, INTERPOLATED | UNCERTAIN_DATA_SUB_NORMAL, INTERPOLATED)
    status = np.where(held.status >= BAD, BAD_NO_DATA, status)
    exact = any_quality.times == times
    values = np.where(exact, any_quality.values, held.values)
    return Series(times, values, np.where(exact, any_quality.status, status).astype(np.uint32))


def begin_processed(channel: Channel, details: ua.ReadProcessedDetails, function: ua.NodeId) -> ProcessedCursor:
    """Where to begin. Refused when the aggregate, its configuration or the interval cannot be."""
    name = FUNCTIONS.get(function)
    if name is None:
        raise Refused(ua.StatusCodes.BadAggregateNotSupported)
    start, end = from_datetime(details.StartTime), from_datetime(details.EndTime)
    interval_ms = details.ProcessingInterval
    if not start or not end or start == end or not isfinite(interval_ms) or (interval_ms and interval_ms < 1.0):
        raise Refused(ua.StatusCodes.BadInvalidArgument)
    step = round(min(interval_ms * MS, 1e18)) or abs(end - start)
    return ProcessedCursor(channel, name, start, end, step, _configuration(details.AggregateConfiguration))


def _configuration(asked: ua.AggregateConfiguration) -> Configuration:
    if asked.UseServerCapabilitiesDefaults:
        return Configuration()
    good, bad = asked.PercentDataGood, asked.PercentDataBad
    if max(good, bad) > 100 or good < 100 - bad:
        raise Refused(ua.StatusCodes.BadAggregateConfigurationRejected)
    return Configuration(asked.TreatUncertainAsBad, bad, good)


def begin_at_times(channel: Channel, details: ua.ReadAtTimeDetails) -> AtTimeCursor:
    """Where to begin. Refused without times."""
    times = tuple(map(from_datetime, details.ReqTimes or []))
    if not times:
        raise Refused(ua.StatusCodes.BadInvalidArgument)
    return AtTimeCursor(channel, times, details.UseSimpleBounds)
