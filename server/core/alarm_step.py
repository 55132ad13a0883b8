"""All alarms of a site evaluated at once: a frame in, what changed its zone out. Pure.

Problem: a site has thousands of alarms, of which in most cycles none changes, and it has twenty cycles a second.

Idea: one column per property of an alarm. A step gathers the watched values, classifies them by comparing whole columns, and
looks at single alarms only where the classification differs from what is reported. When no watched slot changed since the last
step and no delay is running, even that is left out.

    value ──► zone seen ──(on/off delay)──► zone reported ──► Change

A value whose status is Bad tells nothing: its alarm stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .alarms import NORMAL, AlarmSpec, Limits, LimitZone
from .image import Image
from .layout import Layout
from .status import BAD

_STATES: Final = 32
_NS: Final = 1e9


class Change(NamedTuple):
    """An alarm came, went or moved to another zone. alarm: its index in the sequence of specs; value: that it saw."""

    alarm: int
    zone: int
    value: float


class AlarmStep:
    """Evaluates the alarms that watch a channel. `zones` holds what is reported, by index of the spec."""

    def __init__(self, specs: Sequence[AlarmSpec], layout: Layout) -> None:
        watching = [i for i, spec in enumerate(specs) if spec.channel]
        self._indexes = np.array(watching, np.intp)
        self._slots = np.array([layout.by_node[specs[i].channel].slot for i in watching], np.intp)
        chosen = [specs[i] for i in watching]
        limited = [row for row, spec in enumerate(chosen) if spec.limits is not None]
        stated = [row for row, spec in enumerate(chosen) if spec.limits is None]
        self._states = _States(np.array(stated, np.intp), [chosen[row] for row in stated])
        self._limits = _Limits(np.array(limited, np.intp), [spec.limits for spec in chosen if spec.limits is not None])
        self._echoes = _Echoes(chosen)
        self._on_ns = np.array([spec.on_delay_s * _NS for spec in chosen], np.int64)
        self._off_ns = np.array([spec.off_delay_s * _NS for spec in chosen], np.int64)
        count = len(chosen)
        self._seen = np.zeros(count, np.int8)
        self._reported = np.zeros(count, np.int8)
        self._differing = np.zeros(count, np.bool_)
        self._since = np.zeros(count, np.int64)
        self._cycle = -1

    def __len__(self) -> int:
        return len(self._indexes)

    def resume(self, zones: Sequence[int]) -> None:
        """Go on from zones reported before, by index of the spec."""
        known = np.asarray(zones, np.int8)[self._indexes]
        self._seen[:] = self._reported[:] = known
        self._cycle = -1

    def step(self, image: Image) -> list[Change]:
        """Evaluate a frame; delays count in its `frozen_at`."""
        if not self._news(image):
            return []
        value, status = image.value[self._slots], image.status[self._slots]
        known = (status < BAD) & np.isfinite(value)
        seen = self._seen.copy()
        self._states.classify(value, seen)
        self._limits.classify(value, seen)
        self._seen = np.where(known, seen, self._seen)
        due = self._due(self._echoes.hush(self._seen, self._reported), image.frozen_at)
        self._reported[due] = self._wanted[due]
        zones = self._reported[due].tolist()
        return [Change(*row) for row in zip(self._indexes[due].tolist(), zones, value[due].tolist(), strict=True)]

    def _news(self, image: Image) -> bool:
        """True when there is something to look at: a watched slot changed, a delay is running, or this is the first frame."""
        seen, self._cycle = self._cycle, image.cycle
        if not 0 <= seen <= image.cycle or self._differing.any():
            return bool(len(self._indexes))
        return bool(((image.changed[self._slots] - np.uint32(seen & 0xFFFFFFFF)).view(np.int32) > 0).any())

    def _due(self, wanted: NDArray[np.int8], now_ns: int) -> NDArray[np.intp]:
        """Rows whose zone has differed for as long as their delay asks."""
        self._wanted = wanted
        differing = wanted != self._reported
        self._since[differing & ~self._differing] = now_ns
        delay = np.where(wanted == NORMAL, self._off_ns, np.where(self._reported == NORMAL, self._on_ns, 0))
        due = differing & (now_ns - self._since >= delay)
        self._differing = differing & ~due
        return np.flatnonzero(due)


class _States:
    """Alarms whose zone is the value itself, where that is one of the raising states."""

    def __init__(self, rows: NDArray[np.intp], specs: Sequence[AlarmSpec]) -> None:
        self._rows = rows
        masks = [sum(1 << zone for zone in spec.zones if zone < _STATES) for spec in specs]
        self._masks = np.array(masks, np.int64)

    def classify(self, value: NDArray[np.float64], zones: NDArray[np.int8]) -> None:
        """Write the zones of my rows."""
        state = np.nan_to_num(value[self._rows], nan=0.0, posinf=0.0, neginf=0.0).clip(0, _STATES - 1).astype(np.int8)
        zones[self._rows] = np.where((self._masks >> state) & 1, state, NORMAL)


class _Limits:
    """Alarms on numbers: the zone between limits, each with a hysteresis towards normal."""

    def __init__(self, rows: NDArray[np.intp], limits: Sequence[Limits]) -> None:
        self._rows = rows
        self._hysteresis = np.array([each.hysteresis for each in limits], np.float64)
        self._high = _column([each.high for each in limits], np.inf)
        self._high_high = _column([each.high_high for each in limits], np.inf)
        self._low = _column([each.low for each in limits], -np.inf)
        self._low_low = _column([each.low_low for each in limits], -np.inf)

    def classify(self, value: NDArray[np.float64], zones: NDArray[np.int8]) -> None:
        """Write the zones of my rows; `zones` holds those seen before."""
        value, before = value[self._rows], zones[self._rows]
        was_high = np.isin(before, (LimitZone.High, LimitZone.HighHigh)) * self._hysteresis
        was_low = np.isin(before, (LimitZone.Low, LimitZone.LowLow)) * self._hysteresis
        outer_high = (before == LimitZone.HighHigh) * self._hysteresis
        outer_low = (before == LimitZone.LowLow) * self._hysteresis
        conditions = [
            value > self._high_high - outer_high,
            value < self._low_low + outer_low,
            value > self._high - was_high,
            value < self._low + was_low,
        ]
        found = (LimitZone.HighHigh, LimitZone.LowLow, LimitZone.High, LimitZone.Low)
        zones[self._rows] = np.select(conditions, found, LimitZone.Normal)


def _column(values: Sequence[float | None], missing: float) -> NDArray[np.float64]:
    return np.array([missing if value is None else value for value in values], np.float64)


class _Echoes:
    """Alarms that do not come while another state of the same source tells as much, and more exactly."""

    def __init__(self, specs: Sequence[AlarmSpec]) -> None:
        sources = {source: number for number, source in enumerate(dict.fromkeys(spec.source for spec in specs))}
        self._sources = np.array([sources[spec.source] for spec in specs], np.intp)
        self._count = len(sources)
        self._echo = np.array([spec.echo for spec in specs], np.bool_)
        self._exact = np.array([not spec.echo and spec.limits is None for spec in specs], np.bool_)
        self._severity = np.zeros((len(specs), _STATES), np.int16)
        for row, spec in enumerate(specs):
            for zone, (severity, _) in spec.zones.items():
                self._severity[row, zone] = severity

    def hush(self, zones: NDArray[np.int8], reported: NDArray[np.int8]) -> NDArray[np.int8]:
        """The zones, with those echoes normal that would come and add nothing."""
        if not self._echo.any() or not zones[self._echo].any():
            return zones
        severity = self._severity[np.arange(len(zones)), zones]
        told = np.zeros(self._count, np.int16)
        np.maximum.at(told, self._sources[self._exact], severity[self._exact])
        idle = self._echo & (reported == NORMAL) & (told[self._sources] >= severity)
        return np.where(idle, NORMAL, zones).astype(np.int8)
