"""A period of a site's history as columns: what came in, by step, and what went out.

    history      ──●───●──────────●────────●──────►      samples: a change each, held until the next
    steps        │ │ │ │ │ │ │ │ │ │ │ │ │ │ │ │ │       each sees the last sample before it
    changes        1   3          8        13            what is written into the image, step by step

Before the first sample and after the end of what is known a channel is Bad: nothing is made up. The historian looks at values
every `interval_s`; what came and went in between is not in the record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from server.core.channel import DataType
from server.core.errors import EmsError
from server.core.layout import CONTROL, SUPERVISOR, Channel, Layout
from server.core.series import Series, join
from server.core.status import BAD, BAD_NO_DATA
from server.core.ticks import to_datetime
from server.history import HistoryReader
from server.history.database import read_mark
from server.history.writer import ALIVE

SAMPLES_MAX: Final = 10_000_000
"""Samples of one channel read at once; a step of the reading is made so long that there are fewer."""

Times = NDArray[np.int64]
_OTHER: Final = (DataType.STRING, DataType.DATETIME)


@dataclass(frozen=True, slots=True)
class Changes:
    """What comes in, sorted by step: what of it belongs to step i lies from starts[i] to starts[i + 1]."""

    starts: NDArray[np.int64]
    slot: NDArray[np.int64]
    value: NDArray[np.float64]
    status: NDArray[np.uint32]
    source: Times


class Recording:
    """What the history of a database knows of the inputs of a layout. Raises HistoryError."""

    def __init__(self, reader: HistoryReader, layout: Layout) -> None:
        self._reader = reader
        self._alive = reader.query(lambda connection: read_mark(connection, ALIVE), 0)
        """Until when the historian listened."""
        self._ends: dict[str, int] = {}
        measured = [c for c in layout.channels if c.owner not in (CONTROL, SUPERVISOR)]
        self.inputs = [c for c in measured if layout.historized(c)]
        self.unrecorded = [c.node for c in measured if not layout.historized(c) and c.spec.data_type not in _OTHER]
        """Inputs with numbers of which no history is kept: arrays."""

    def check(self, start: int, end: int) -> None:
        """EmsError when the history tells nothing of a period, or has only roll-ups of it."""
        nodes = [c.node for c in self.inputs]
        if not any(self._is_known(node, start, end) for node in nodes):
            raise EmsError(self._extent(nodes))
        kept = self._reader.query(lambda connection: read_mark(connection, KEPT_FROM), 0)
        if start < kept:
            raise EmsError(f"of that period there are only averages: values are kept from {_shown(kept)} on")

    def _is_known(self, node: str, start: int, end: int) -> bool:
        return len(self._reader.raw(node, 0, end, 1)) > 0 and self._end(node, start) > start

    def _extent(self, nodes: Sequence[str]) -> str:
        """Of what there is history, in words."""
        firsts = {node: found for node in nodes if len(found := self._reader.raw(node, 0, _FOR_EVER, 1))}
        if not firsts:
            return "the site has no history yet"
        first = min(int(found.times[0]) for found in firsts.values())
        last = max(self._end(node, _FOR_EVER) for node in firsts)
        return f"there is no history of that period: it goes from {_shown(first)} to {_shown(last)}"

    def changes(self, steps: Times, after: int | None) -> Changes:
        """What comes in at each step, with what held at the first, or since `after`, the last step that was read."""
        begin = int(steps[0]) if after is None else after
        parts = [_by_step(c, self._samples(c.node, begin, int(steps[-1]), held=after is None), steps) for c in self.inputs]
        step = np.concatenate([p[0] for p in parts]) if parts else np.empty(0, np.int64)
        order = np.argsort(step, kind="stable")
        slot, value, status, source = (np.concatenate([p[i] for p in parts])[order] if parts else _NONE for i in range(1, 5))
        starts = np.searchsorted(step[order], np.arange(len(steps) + 1))
        return Changes(starts, slot.astype(np.int64), value, status.astype(np.uint32), source.astype(np.int64))

    def held(self, nodes: Sequence[str], times: Times) -> NDArray[np.float64]:
        """The value of each node that held at each time, a column per node; NaN where none is known."""
        columns = np.full((len(times), len(nodes)), np.nan)
        for i, node in enumerate(nodes):
            samples = self._samples(node, int(times[0]), int(times[-1]))
            place = np.searchsorted(samples.times, times, "right") - 1
            known = place >= 0
            good = np.where(samples.status < BAD, samples.values, np.nan)
            columns[known, i] = good[place[known]]
        return columns

    def _samples(self, node: str, begin: int, last: int, *, held: bool = True) -> Series:
        """Samples with begin < time <= last, before them the one that held at `begin`, after them the end of what is known."""
        parts = [self._reader.bound(node, begin + 1, before=True)] if held else []
        parts.append(self._reader.raw(node, begin + 1, last + 1, SAMPLES_MAX))
        end = self._end(node, last)
        if begin < end <= last or (held and len(parts[0]) and end <= begin):
            parts.append(Series(np.array([max(end, begin)]), np.array([np.nan]), np.array([BAD_NO_DATA], np.uint32)))
        return join(parts)

    def _end(self, node: str, needed: int) -> int:
        """Until when a channel is known (ticks); some time after `needed` where that is known too."""
        if self._alive > needed:
            return self._alive
        if node not in self._ends:
            last = self._reader.bound(node, _FOR_EVER, before=True).times
            self._ends[node] = max(self._alive, int(last[0]) + 1) if len(last) else 0
        return self._ends[node]


_FOR_EVER: Final = 1 << 62
KEPT_FROM: Final = "from/0"
"""The history's mark of when its values begin; what is older has only roll-ups."""
_NONE: Final = np.empty(0)


def _shown(time: int) -> str:
    return f"{to_datetime(time):%Y-%m-%dT%H:%M:%SZ}"


def _by_step(channel: Channel, samples: Series, steps: Times) -> tuple[NDArray[Any], ...]:
    """The last sample of each step: step, slot, value, status, source."""
    step = np.searchsorted(steps, samples.times, "left").astype(np.int64)
    last = np.append(step[1:] != step[:-1], True) & (step < len(steps)) if len(step) else np.empty(0, bool)
    count = int(last.sum())
    slots = np.full(count, channel.slot, np.int64)
    return step[last], slots, samples.values[last], samples.status[last], samples.times[last]
