"""The freeze: from blocks that change at any time to one image of one moment.

    owner banks ──copy──▶ ┌──────────────────┐ ──age──▶ ──mark changes──▶ publish
                          │ the spare of 8   │                ▲
    torn ────keep───────▶ │ shared frames    │                │
              ▲           └──────────────────┘                │
              └──────────── the frame before ─────────────────┘

The frame is made in place: nobody looks at the spare one until it is published. All owners are copied between two fences, by the
rule of `banks.py`; an owner that cannot be had whole in a few tries keeps what the frame before said. Work goes on by chunks of
neighbouring owners, each small enough to stay in the cache from the copy to the last mark, in vectorised steps into memory made
once, so the cost is a few microseconds per thousand channels whatever they hold. What the frame before said is kept beside it in
columns, because the records of a frame are far apart in memory: comparing them would read the whole frame once more.

Ageing makes silence visible, by the monotonic clock and only ever downwards (Good, Uncertain, Bad), so a status the owner gave
itself is never improved:

    polled channels      no news for 3 periods                 UncertainLastUsableValue
                         no news for 10 periods                BadNoCommunication
    all of a driver      no heartbeat for SILENT_NS, DEAD_NS   the same two

Changed means different bits: an unchanged NaN is no change, and -0.0 after 0.0 is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from server.core.image import SLOT, Image
from server.core.layout import CONTROL, SUPERVISOR, Layout
from server.core.status import BAD, BAD_NO_COMMUNICATION, UNCERTAIN, UNCERTAIN_LAST_USABLE_VALUE

from .fence import fence
from .memory import OWNER_BANKS, Frame, OwnerReader, SharedImage

UNCERTAIN_PERIODS: Final = 3
BAD_PERIODS: Final = 10
SILENT_NS: Final = 1_000_000_000
"""A driver that gave no sign of life for so long hangs or is gone: its values are Uncertain."""
DEAD_NS: Final = 3_000_000_000
"""A driver that gave no sign of life for so long has no values."""

CHUNK_SLOTS: Final = 16_384
"""Slots that are worked on in one go, half a megabyte of records."""

_NEVER: Final = np.iinfo(np.int64).max

Limits = NDArray[np.int64]
"""Longest age of each slot in ns."""


class _Source:
    """One owner as the freezer sees it."""

    def __init__(self, reader: OwnerReader) -> None:
        owner = reader.owner
        self.watched = owner.name not in (CONTROL, SUPERVISOR)  # without either of them control would not run
        self.slots = slice(owner.first, owner.first + owner.count)
        self.bytes = slice(self.slots.start * SLOT.itemsize, self.slots.stop * SLOT.itemsize)
        self.heartbeat = reader.heartbeat
        self.banks = reader.banks


class _Judged:
    """What changes are judged by, of some slots: value and status, and the cycle in which one of them last changed."""

    def __init__(self, slots: int) -> None:
        self.bits = np.empty(slots, np.int64)  # the value, as integers
        self.status = np.empty(slots, np.uint32)
        self.changed = np.empty(slots, np.uint32)


class _Columns:
    """The columns of some slots in one frame."""

    def __init__(self, records: NDArray[Any]) -> None:
        self.bits = records.view(np.int64).reshape(len(records), SLOT.itemsize // 8)[:, 0]  # value, as integers
        self.status: NDArray[np.uint32] = records["status"]
        self.arrival: NDArray[np.int64] = records["arrival"]
        self.changed: NDArray[np.uint32] = records["changed"]


class _Chunk:
    """Neighbouring owners whose slots are worked on in one go: what that touches fits a core's own cache."""

    def __init__(self, sources: Sequence[_Source], frames: Sequence[Frame], newest: int, limits: Sequence[Limits]) -> None:
        self.sources = sources
        first, end = sources[0].slots.start, sources[-1].slots.stop
        self._counters = [s.banks.counter for s in sources]
        self._banks = [s.banks.views for s in sources]
        self._parts = [[frame.bytes[s.bytes] for s in sources] for frame in frames]
        self._columns = [_Columns(frame.records[first:end]) for frame in frames]
        self._watched = [(s.heartbeat, slice(s.slots.start - first, s.slots.stop - first)) for s in sources if s.watched]
        self._uncertain_after, self._bad_after = (limit[first:end] for limit in limits)
        self._shortest_ns = int(self._uncertain_after.min())
        self._oldest = 0
        self._before, self._now = _Judged(end - first), _Judged(end - first)
        columns = self._columns[newest]
        for name in ("bits", "status", "changed"):
            getattr(self._before, name)[:] = getattr(columns, name)
        self._age = np.empty(end - first, np.int64)
        self._mask = np.empty(end - first, np.bool_)
        self._scratch = np.empty(end - first, np.bool_)

    def numbers(self) -> list[int]:
        """How often each owner has published."""
        return [counter[0] for counter in self._counters]

    def fill(self, spare: int, numbers: Sequence[int]) -> None:
        """Copy the owners' banks of these publications into the spare frame."""
        for part, banks, number in zip(self._parts[spare], self._banks, numbers, strict=True):
            part[:] = banks[number % OWNER_BANKS]

    def mend(self, spare: int, before: int, numbers: Sequence[int]) -> bool:
        """Some owners published meanwhile: copy again those that may be torn, or keep what the frame before said. False when
        there was none."""
        torn = [i for i, s in enumerate(self.sources) if s.banks.published - numbers[i] > OWNER_BANKS - 2]
        for i in torn:
            part = self._parts[spare][i]
            if self.sources[i].banks.read(part) < 0:
                part[:] = self._parts[before][i]
        return bool(torn)

    def judge(self, spare: int, cycle: int, now_ns: int) -> None:
        """Degrade what is old in the spare frame, and mark what is not as it was in the frame before."""
        frame = self._columns[spare]
        if self._may_be_old(frame, now_ns):
            self._degrade_old(frame, now_ns)
        before, now, mask = self._before, self._now, self._mask
        np.copyto(now.bits, frame.bits)
        np.copyto(now.status, frame.status)
        np.not_equal(now.bits, before.bits, out=mask)
        np.not_equal(now.status, before.status, out=self._scratch)
        np.logical_or(mask, self._scratch, out=mask)
        np.copyto(now.changed, before.changed)
        np.copyto(now.changed, cycle & 0xFFFFFFFF, where=mask)
        np.copyto(frame.changed, now.changed)

    def keep(self) -> None:
        """The spare frame is published: the next is compared with it."""
        self._before, self._now = self._now, self._before

    def _may_be_old(self, frame: _Columns, now_ns: int) -> bool:
        """The oldest arrival would be old for the fastest of the channels, or an owner is silent.

        Arrivals do not go back, so the oldest there was is good until it is old itself. One that does is found then.
        """
        if now_ns - self._oldest > self._shortest_ns:
            self._oldest = int(frame.arrival.min())
        silent_ns = now_ns - SILENT_NS
        return now_ns - self._oldest > self._shortest_ns or any(h[0] < silent_ns for h, _ in self._watched)

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


class Freezer:
    """Makes one frame per cycle. All memory is allocated here; `freeze` allocates nothing per channel."""

    def __init__(self, image: SharedImage) -> None:
        self._frames = image.frame_writer()
        frames, newest = self._frames.frames, self._frames.newest
        sources = [_Source(image.owner_reader(o)) for o in image.layout.owners if o.count]
        periods = slot_periods(image.layout)
        limits = [age_limits(periods, count) for count in (UNCERTAIN_PERIODS, BAD_PERIODS)]
        self._chunks = [_Chunk(part, frames, newest, limits) for part in _chunked(sources, CHUNK_SLOTS)]

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
        for chunk in self._chunks:
            chunk.keep()
        return self._frames.commit(cycle, now_ns, time)

    def rehearse(self, cycle: int, now_ns: int) -> None:
        """All of `freeze` but the publication. Done just before the deadline, it brings code and data back into the caches."""
        before, spare = self._frames.newest, self._frames.spare()
        numbers = [chunk.numbers() for chunk in self._chunks]
        fence()
        for chunk, published in zip(self._chunks, numbers, strict=True):
            chunk.fill(spare, published)
            chunk.judge(spare, cycle, now_ns)
        fence()
        for chunk, published in zip(self._chunks, numbers, strict=True):
            if chunk.numbers() != published and chunk.mend(spare, before, published):
                chunk.judge(spare, cycle, now_ns)


def _chunked(sources: Iterable[_Source], slots: int) -> Iterator[list[_Source]]:
    """Neighbours together, until they have so many slots."""
    chunk: list[_Source] = []
    for source in sources:
        chunk.append(source)
        if source.slots.stop - chunk[0].slots.start >= slots:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def slot_periods(layout: Layout) -> NDArray[np.float64]:
    """Polling period of each slot in s; 0 for pushed channels and for what control and supervisor compute."""
    periods = np.zeros(layout.slots)
    for channel in layout.channels:
        if channel.period_s > 0 and channel.owner not in (CONTROL, SUPERVISOR):
            periods[channel.slot : channel.slot + channel.length] = channel.period_s
    return periods


def age_limits(periods_s: NDArray[np.float64], count: int) -> Limits:
    """So many periods; endless where there is none."""
    limits = np.round(count * periods_s * 1e9).astype(np.int64)
    limits[periods_s <= 0] = _NEVER
    return limits
