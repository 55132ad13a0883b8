"""The freeze: from blocks that change at any time to one image of one moment.

    owner banks ──copy──▶ ┌──────────────────┐ ──age──▶ ──mark changes──▶ publish
                          │ the spare of 8   │                ▲
    torn ────keep───────▶ │ shared frames    │                │
              ▲           └──────────────────┘                │
              └──────────── the frame before ─────────────────┘

The frame is made in place: nobody looks at the spare one until it is published. All owners are copied in one go between two
fences, by the rule of `banks.py`; an owner that cannot be had whole in a few tries keeps what the frame before said. Every pass
runs over all slots in one vectorised step, into scratch memory made once, so the cost is a few microseconds per thousand
channels whatever they hold.

Ageing makes silence visible, by the monotonic clock and only ever downwards (Good, Uncertain, Bad), so a status the owner gave
itself is never improved:

    polled channels      no news for 3 periods                 UncertainLastUsableValue
                         no news for 10 periods                BadNoCommunication
    all of a driver      no heartbeat for SILENT_NS, DEAD_NS   the same two

Changed means different bits: an unchanged NaN is no change, and -0.0 after 0.0 is one.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from server.core.image import SLOT, Image
from server.core.layout import CONTROL, SUPERVISOR, Layout
from server.core.status import BAD, BAD_NO_COMMUNICATION, UNCERTAIN, UNCERTAIN_LAST_USABLE_VALUE

from .fence import fence
from .memory import OWNER_BANKS, OwnerReader, SharedImage

UNCERTAIN_PERIODS: Final = 3
BAD_PERIODS: Final = 10
SILENT_NS: Final = 1_000_000_000
"""A driver that gave no sign of life for so long hangs or is gone: its values are Uncertain."""
DEAD_NS: Final = 3_000_000_000
"""A driver that gave no sign of life for so long has no values."""

_NEVER: Final = np.iinfo(np.int64).max


class _Source:
    """One owner as the freezer sees it."""

    def __init__(self, reader: OwnerReader) -> None:
        owner = reader.owner
        self.watched = owner.name not in (CONTROL, SUPERVISOR)  # without either of them control would not run
        self.slots = slice(owner.first, owner.first + owner.count)
        self.bytes = slice(self.slots.start * SLOT.itemsize, self.slots.stop * SLOT.itemsize)
        self.heartbeat = reader.heartbeat
        self.banks = reader.banks


class _Columns:
    """The columns of one frame."""

    def __init__(self, records: NDArray[Any]) -> None:
        self.bits = records.view(np.int64).reshape(len(records), SLOT.itemsize // 8)[:, 0]  # value, as integers
        self.status: NDArray[np.uint32] = records["status"]
        self.arrival: NDArray[np.int64] = records["arrival"]
        self.changed: NDArray[np.uint32] = records["changed"]


class Freezer:
    """Makes one frame per cycle. All memory is allocated here; `freeze` allocates nothing per channel."""

    def __init__(self, image: SharedImage) -> None:
        layout = image.layout
        self._frames = image.frame_writer()
        self._columns = [_Columns(frame.records) for frame in self._frames.frames]
        self._sources = [_Source(image.owner_reader(o)) for o in layout.owners if o.count]
        self._counters = [s.banks.counter for s in self._sources]
        self._banks = [s.banks.views for s in self._sources]
        self._parts = [[frame.bytes[s.bytes] for s in self._sources] for frame in self._frames.frames]
        self._watched = [(s.heartbeat, s.slots) for s in self._sources if s.watched]
        self._uncertain_after = age_limits(layout, UNCERTAIN_PERIODS)
        self._bad_after = age_limits(layout, BAD_PERIODS)
        self._age = np.empty(layout.slots, np.int64)
        self._mask = np.empty(layout.slots, np.bool_)
        self._scratch = np.empty(layout.slots, np.bool_)

    @property
    def cycle(self) -> int:
        """Cycle of the newest frame: a restarted control counts on from here."""
        return self._frames.cycle

    def adopt(self, layout: Layout) -> None:
        """Frames are of this generation of the layout from now on."""
        self._frames.adopt(layout.generation)

    def freeze(self, cycle: int, now_ns: int, time: int) -> Image:
        """Freeze all owners now. now_ns: CLOCK_MONOTONIC; time: 100 ns since 1601 UTC. The image is reused after eight cycles."""
        self.rehearse(cycle, now_ns)
        return self._frames.commit(cycle, now_ns, time)

    def rehearse(self, cycle: int, now_ns: int) -> None:
        """All of `freeze` but the publication. Done just before the deadline, it brings code and data back into the caches."""
        before, spare = self._frames.newest, self._frames.spare()
        self._collect(spare, before)
        self._degrade_old(self._columns[spare], now_ns)
        self._mark_changed(self._columns[spare], self._columns[before], cycle)

    def _collect(self, spare: int, before: int) -> None:
        """Copy every owner's published bank into the spare frame."""
        numbers = [counter[0] for counter in self._counters]
        fence()
        for part, banks, number in zip(self._parts[spare], self._banks, numbers, strict=True):
            part[:] = banks[number % OWNER_BANKS]
        fence()
        if [counter[0] for counter in self._counters] != numbers:
            self._mend(numbers, spare, before)

    def _mend(self, numbers: list[int], spare: int, before: int) -> None:
        """Some owners published meanwhile: copy again those that may be torn, or keep what the frame before said."""
        for i, source in enumerate(self._sources):
            part = self._parts[spare][i]
            if source.banks.published - numbers[i] > OWNER_BANKS - 2 and source.banks.read(part) < 0:
                part[:] = self._parts[before][i]

    def _degrade_old(self, frame: _Columns, now_ns: int) -> None:
        np.subtract(now_ns, frame.arrival, out=self._age)
        if self._find_old(self._uncertain_after, now_ns - SILENT_NS):
            self._degrade(frame.status, UNCERTAIN, UNCERTAIN_LAST_USABLE_VALUE)
            self._find_old(self._bad_after, now_ns - DEAD_NS)
            self._degrade(frame.status, BAD, BAD_NO_COMMUNICATION)

    def _find_old(self, age_ns_max: NDArray[np.int64], heartbeat_min: int) -> bool:
        """Mask the slots that are too old or whose owner's heartbeat is."""
        np.greater(self._age, age_ns_max, out=self._mask)
        for heartbeat, slots in self._watched:
            if heartbeat[0] < heartbeat_min:
                self._mask[slots] = True
        return bool(self._mask.any())

    def _degrade(self, status: NDArray[np.uint32], limit: int, code: int) -> None:
        """Give masked slots the status `code` where it is still under `limit`."""
        np.less(status, limit, out=self._scratch)
        np.logical_and(self._scratch, self._mask, out=self._scratch)
        np.copyto(status, code, where=self._scratch)

    def _mark_changed(self, frame: _Columns, before: _Columns, cycle: int) -> None:
        np.not_equal(frame.bits, before.bits, out=self._mask)
        np.not_equal(frame.status, before.status, out=self._scratch)
        np.logical_or(self._mask, self._scratch, out=self._mask)
        np.copyto(frame.changed, before.changed)
        np.copyto(frame.changed, cycle & 0xFFFFFFFF, where=self._mask)


def age_limits(layout: Layout, periods: int) -> NDArray[np.int64]:
    """Longest age of each slot in ns; endless for pushed channels and for what control and supervisor compute."""
    limits = np.full(layout.slots, _NEVER, np.int64)
    for channel in layout.channels:
        if channel.period_s > 0 and channel.owner not in (CONTROL, SUPERVISOR):
            limits[channel.slot : channel.slot + channel.length] = round(periods * channel.period_s * 1e9)
    return limits
