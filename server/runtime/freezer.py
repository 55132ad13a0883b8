"""The freeze: from blocks that change at any time to one image of one moment.

    owner banks ──copy──▶ ┌──────────────────┐ ──age──▶ ──mark changes──▶ publish
                          │ the spare of 8   │                ▲
    torn ────keep───────▶ │ shared frames    │                │
    no news ────keep────▶ └──────────────────┘                │
              ▲                                               │
              └──────────── the frame before ─────────────────┘

The frame is made in place: nobody looks at the spare one until it is published. An owner that published is copied by the rule of
`banks.py`; one that cannot be had whole in a few tries keeps what the frame before said. An owner without news is copied from the
frame before as it is, unless the spare frame says the same already. Neighbours with news are worked on together, in runs small
enough to stay in the cache from the copy to the last mark, in vectorised steps into memory made once: a few microseconds per
thousand channels, whatever they hold. What the frame before said is kept beside it in columns, because the records of a frame are
far apart in memory: comparing them would read the whole frame once more.

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

RUN_SLOTS: Final = 16_384
"""Slots that are worked on in one go, half a megabyte of records."""

_NEVER: Final = np.iinfo(np.int64).max // 2
_NONE: Final = -1
"""Number of no publication."""

Limits = NDArray[np.int64]
"""Longest age of each slot in ns."""


class _Columns:
    """The columns of one frame."""

    def __init__(self, records: NDArray[Any]) -> None:
        self.bits = records.view(np.int64).reshape(len(records), SLOT.itemsize // 8)[:, 0]  # value, as integers
        self.status: NDArray[np.uint32] = records["status"]
        self.arrival: NDArray[np.int64] = records["arrival"]
        self.changed: NDArray[np.uint32] = records["changed"]


class _Source:
    """One owner as the freezer sees it, and which frames have it as it was judged last."""

    def __init__(self, reader: OwnerReader, frames: Sequence[Frame], uncertain_after: Limits) -> None:
        owner = reader.owner
        self.first, self.end = owner.first, owner.first + owner.count
        self._banks, self._counter, self._views = reader.banks, reader.banks.counter, reader.banks.views
        watched = owner.name not in (CONTROL, SUPERVISOR)  # without either of them control would not run
        self._heartbeat: Sequence[int] = reader.heartbeat if watched else (_NEVER,)
        self._parts = [frame.bytes[self.first * SLOT.itemsize : self.end * SLOT.itemsize] for frame in frames]
        self._arrivals = [frame.records["arrival"][self.first : self.end] for frame in frames]
        self._number = self._judged = _NONE
        self._version = 0  # counts what was judged
        self._held = [_NONE] * len(frames)  # version in each frame
        self._limits = uncertain_after[self.first : self.end]
        self._times = np.empty(owner.count, np.int64)
        self._good_until = 0
        self._old = False
        self.suspect = False
        """Something may be old, or the owner is silent."""

    def has_news(self, now_ns: int, heard_ns: int) -> bool:
        """There is another publication than the one judged last, or something is old or may be. heard_ns: silent if not since."""
        self._number = self._counter[0]
        self.suspect = now_ns > self._good_until or self._heartbeat[0] < heard_ns
        return self._number != self._judged or self.suspect or self._old

    def carry(self, spare: int, before: int) -> None:
        """No news: the spare frame is to say what the frame before says."""
        if self._held[spare] != self._version:
            self._parts[spare][:] = self._parts[before]
            self._held[spare] = self._version

    def copy(self, spare: int, before: int, *, keep: bool) -> None:
        """Bring the newest publication into the spare frame, or what the frame before said when it cannot be had whole. The other
        frames do not have it. keep: it is judged now, and only another one will be news."""
        part, number = self._parts[spare], self._number
        part[:] = self._views[number % OWNER_BANKS]
        fence()
        if self._counter[0] - number > OWNER_BANKS - 2:
            number = self._banks.read(part)
            if number < 0:
                part[:] = self._parts[before]
        self._judged = number if keep else _NONE
        self._old = False
        self._version += 1
        self._held[spare] = self._version

    def is_old(self, spare: int, now_ns: int) -> bool:
        """What was suspected is true of what was copied.

        Arrivals do not go back, so nothing is old before the first of what is there now would be. One that does is found then.
        """
        np.add(self._arrivals[spare], self._limits, out=self._times)
        self._good_until = int(self._times.min())
        self._old = now_ns > self._good_until or self.silent(now_ns - SILENT_NS)
        return self._old

    def silent(self, since_ns: int) -> bool:
        """A driver that gave no sign of life since."""
        return self._heartbeat[0] < since_ns


class _Judge:
    """What changes are judged by: value and status of each slot in the frame before, and the cycle of their last change."""

    def __init__(self, frames: Sequence[Frame], newest: int, limits: Sequence[Limits]) -> None:
        self._columns = [_Columns(frame.records) for frame in frames]
        columns, slots = self._columns[newest], len(frames[newest].records)
        self._bits, self._status, self._changed = columns.bits.copy(), columns.status.copy(), columns.changed.copy()
        self._uncertain_after, self._bad_after = limits
        self._age = np.empty(slots, np.int64)
        self._mask = np.empty(slots, np.bool_)
        self._scratch = np.empty(slots, np.bool_)

    def mark(self, run: slice, spare: int, cycle: int, *, keep: bool) -> None:
        """Mark what is not as it was in the frame before. keep: the next is compared with this one."""
        frame, mask, scratch = self._columns[spare], self._mask[run], self._scratch[run]
        bits, status, changed = frame.bits[run], frame.status[run], self._changed[run]
        np.not_equal(bits, self._bits[run], out=mask)
        np.not_equal(status, self._status[run], out=scratch)
        np.logical_or(mask, scratch, out=mask)
        if keep:
            np.copyto(self._bits[run], bits)
            np.copyto(self._status[run], status)
            np.copyto(changed, cycle & 0xFFFFFFFF, where=mask)
        np.copyto(frame.changed[run], changed)

    def age(self, run: slice, sources: Iterable[_Source], spare: int, now_ns: int) -> None:
        """Degrade what is old."""
        frame = self._columns[spare]
        np.subtract(now_ns, frame.arrival[run], out=self._age[run])
        if self._find_old(self._uncertain_after, run, sources, now_ns - SILENT_NS):
            self._degrade(frame.status, run, UNCERTAIN, UNCERTAIN_LAST_USABLE_VALUE)
            self._find_old(self._bad_after, run, sources, now_ns - DEAD_NS)
            self._degrade(frame.status, run, BAD, BAD_NO_COMMUNICATION)

    def _find_old(self, age_ns_max: Limits, run: slice, sources: Iterable[_Source], heard_ns: int) -> bool:
        """Mask the slots that are too old or whose owner was not heard since."""
        np.greater(self._age[run], age_ns_max[run], out=self._mask[run])
        for source in sources:
            if source.silent(heard_ns):
                self._mask[source.first : source.end] = True
        return bool(self._mask[run].any())

    def _degrade(self, status: NDArray[np.uint32], run: slice, limit: int, code: int) -> None:
        """Give masked slots the status `code` where it is still under `limit`."""
        np.less(status[run], limit, out=self._scratch[run])
        np.logical_and(self._scratch[run], self._mask[run], out=self._scratch[run])
        np.copyto(status[run], code, where=self._scratch[run])


class Freezer:
    """Makes one frame per cycle. All memory is allocated here; `freeze` allocates nothing per channel."""

    def __init__(self, image: SharedImage) -> None:
        self._frames = image.frame_writer()
        frames = self._frames.frames
        periods = slot_periods(image.layout)
        limits = [age_limits(periods, count) for count in (UNCERTAIN_PERIODS, BAD_PERIODS)]
        self._sources = [_Source(image.owner_reader(o), frames, limits[0]) for o in image.layout.owners if o.count]
        self._judge = _Judge(frames, self._frames.newest, limits)

    @property
    def cycle(self) -> int:
        """Cycle of the newest frame: a restarted control counts on from here."""
        return self._frames.cycle

    def adopt(self, layout: Layout) -> None:
        """Frames are of this generation of the layout from now on."""
        self._frames.adopt(layout.generation)

    def freeze(self, cycle: int, now_ns: int, time: int) -> Image:
        """Freeze all owners now. now_ns: CLOCK_MONOTONIC; time: 100 ns since 1601 UTC. The image is reused after eight cycles."""
        self._make(cycle, now_ns, keep=True)
        return self._frames.commit(cycle, now_ns, time)

    def rehearse(self, cycle: int, now_ns: int) -> None:
        """All of `freeze` that leaves no trace. Done just before the deadline, it brings code and data back into the caches."""
        self._make(cycle, now_ns, keep=False)

    def _make(self, cycle: int, now_ns: int, *, keep: bool) -> None:
        before, spare = self._frames.newest, self._frames.spare()
        news, heard_ns = [], now_ns - SILENT_NS
        for source in self._sources:
            if source.has_news(now_ns, heard_ns):
                news.append(source)
            else:
                source.carry(spare, before)
        fence()
        for sources in _runs(news):
            run = slice(sources[0].first, sources[-1].end)
            for source in sources:
                source.copy(spare, before, keep=keep)
            old = [source for source in sources if source.suspect and source.is_old(spare, now_ns)]
            if old:
                self._judge.age(run, old, spare, now_ns)
            self._judge.mark(run, spare, cycle, keep=keep)


def _runs(sources: Iterable[_Source]) -> Iterator[list[_Source]]:
    """Neighbours together, until they have RUN_SLOTS."""
    run: list[_Source] = []
    for source in sources:
        if run and (source.first != run[-1].end or run[-1].end - run[0].first >= RUN_SLOTS):
            yield run
            run = []
        run.append(source)
    if run:
        yield run


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
