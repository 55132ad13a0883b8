"""Monitored items that are not one number of the image: texts, arrays, index ranges, properties, other attributes.

They are few and change seldom, so they are objects, read through the same `attribute.read` as the Read service and compared
by their encoded bytes. What lives in the image is read only after its slots changed; what is constant is read once; what is
computed is read each time. However many there are, one tick reads a bounded number of them and the next goes on.
"""

from __future__ import annotations

import math
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

import numpy as np
from asyncua import ua
from asyncua.ua.ua_binary import variant_to_binary

from server.core.image import Image
from server.core.layout import Channel
from server.core.status import BAD

from . import limits
from .items import DISABLED, ON_STATUS, ON_TIMESTAMP, ON_VALUE, OVERFLOW, REPORTING

Read = Callable[[ua.ReadValueId, ua.TimestampsToReturn], ua.DataValue]

_HEAD: Final = struct.Struct("<IB")
_STATUS: Final = struct.Struct("<I")
_TIME: Final = struct.Struct("<q")
_NULL: Final = b"\0"


class Entry(NamedTuple):
    """One queued notification. source, server: 100 ns since 1601, None where not sent."""

    value: bytes
    status: int
    source: int | None
    server: int | None

    def encode(self, handle: int) -> bytes:
        """As MonitoredItemNotification."""
        has_value = self.value != _NULL and self.status < BAD
        mask = has_value | 0x02 | (self.source is not None) << 2 | (self.server is not None) << 3
        parts = [_HEAD.pack(handle, mask), self.value if has_value else b"", _STATUS.pack(self.status)]
        parts += [_TIME.pack(time) for time in (self.source, self.server) if time is not None]
        return b"".join(parts)


@dataclass(eq=False, slots=True)
class SlowItem:
    """One item. channel: where its value lives in the image, if there; computed: its value may change without the image."""

    id: int
    target: ua.ReadValueId
    mode: int
    channel: Channel | None
    computed: bool
    handle: int = 0
    timestamps: ua.TimestampsToReturn = ua.TimestampsToReturn.Both
    interval_ns: int = 0
    trigger: int = ON_VALUE
    limit: int = 1
    keep_old: bool = False
    deadband: float = math.nan
    fresh: bool = True
    released: bool = False
    last: Entry | None = None
    number: Any = None
    overflows: int = 0
    queue: deque[Entry] = field(default_factory=deque)

    def copy(self) -> SlowItem:
        """The same item with an empty queue, to plan with; `amend` takes over what was planned."""
        return replace(self, queue=deque())

    def amend(self, planned: SlowItem) -> None:
        """Take over the parameters of a changed copy."""
        self.handle, self.timestamps, self.interval_ns = planned.handle, planned.timestamps, planned.interval_ns
        self.trigger, self.deadband, self.keep_old = planned.trigger, planned.deadband, planned.keep_old
        self.resize(planned.limit)

    def look(self, read: Read) -> bool:
        """Read the value, and queue it when it changed. True when it did."""
        data = read(self.target, self.timestamps)
        entry = _entry(data)
        number = _number(data) if not np.isnan(self.deadband) else None
        changed = self.fresh or self.last is None or self._differs(self.last, entry, number)
        self.fresh = False
        if changed:
            self.last, self.number = entry, number
            self._put(entry)
        return changed

    def _differs(self, last: Entry, entry: Entry, number: Any) -> bool:
        if entry.status != last.status:
            return True
        if self.trigger == ON_STATUS:
            return False
        if self.trigger == ON_TIMESTAMP and np.isnan(self.deadband) and entry.source != last.source:
            return True
        return entry.value != last.value and not self._within(number)

    def _within(self, number: Any) -> bool:
        """True when the deadband holds the change back: no element exceeds it."""
        if number is None or self.number is None or np.shape(number) != np.shape(self.number):
            return False
        with np.errstate(invalid="ignore"):
            return bool(np.all(np.abs(number - self.number) <= self.deadband))

    def _put(self, entry: Entry) -> None:
        """Queue a notification; a full queue loses its oldest or its newest and says so."""
        flag = OVERFLOW if self.limit > 1 else 0
        full = len(self.queue) >= self.limit
        self.overflows += full and self.limit > 1
        if full and self.keep_old:
            self.queue.pop()
            entry = entry._replace(status=entry.status | flag)
        self.queue.append(entry)
        if full and not self.keep_old:
            self.queue.popleft()
            self.queue[0] = self.queue[0]._replace(status=self.queue[0].status | flag)

    def set_mode(self, mode: int) -> None:
        """Change the monitoring mode, as `Group.set_mode` does."""
        self.fresh |= self.mode == DISABLED and mode != DISABLED
        self.mode = mode
        if mode == DISABLED:
            self.queue.clear()
            self.released = False

    def resize(self, limit: int) -> None:
        """Change the queue's length; what no longer fits is lost from the end that overflows."""
        self.limit = limit
        while len(self.queue) > limit:
            if self.keep_old:
                self.queue.pop()
            else:
                self.queue.popleft()

    @property
    def ready(self) -> bool:
        """True when there is something to report."""
        return bool(self.queue) and (self.mode == REPORTING or self.released)


class _Round:
    """The items of one sampling interval: which of them to look at when the time has come."""

    def __init__(self, interval_ns: int) -> None:
        self.interval_ns = interval_ns
        self.items: dict[int, SlowItem] = {}
        self._slot = -1
        self._cycle = -1
        self._slots = np.zeros(0, np.int64)
        self._owners = np.zeros(0, np.int64)
        self._others: list[SlowItem] = []
        self._channels: list[SlowItem] = []

    def arrange(self) -> None:
        """Derive what depends on which items there are."""
        awake = [i for i in self.items.values() if i.mode != DISABLED]
        self._channels = [i for i in awake if i.channel is not None]
        self._others = [i for i in awake if i.computed]
        spans = [range(i.channel.slot, i.channel.slot + i.channel.length) for i in self._channels if i.channel is not None]
        self._slots = np.fromiter((s for span in spans for s in span), np.int64)
        self._owners = np.repeat(np.arange(len(spans)), [len(span) for span in spans])

    def due(self, image: Image, grid_ns: int) -> list[SlowItem]:
        """Items to look at now."""
        slot = grid_ns // self.interval_ns
        if slot <= self._slot:
            return []
        self._slot = slot
        seen, self._cycle = self._cycle, image.cycle
        if not 0 <= seen <= image.cycle:
            return self._channels + self._others
        recent = (image.changed[self._slots] - np.uint32(seen & 0xFFFFFFFF)).view(np.int32) > 0
        return [self._channels[i] for i in np.unique(self._owners[recent])] + self._others


class SlowLane:
    """All such items of one subscription."""

    def __init__(self) -> None:
        self.items: dict[int, SlowItem] = {}
        self._rounds: dict[int, _Round] = {}
        self._waiting: dict[int, SlowItem] = {}
        self._ready: dict[int, SlowItem] = {}

    def add(self, item: SlowItem) -> None:
        """Take an item in; it is looked at in the next tick. Call `arrange` after the last one."""
        self.items[item.id] = item
        self._join(item)
        self.note(item)

    def remove(self, item: SlowItem) -> None:
        """Forget an item. Call `arrange` after the last one."""
        del self.items[item.id]
        self._waiting.pop(item.id, None)
        self._ready.pop(item.id, None)
        self._leave(item)

    def amend(self, planned: SlowItem) -> None:
        """Give an item the parameters of a changed copy; it is compared in the next tick. Call `arrange` after the last one."""
        item = self.items[planned.id]
        self._leave(item)
        item.amend(planned)
        self._join(item)
        self._waiting[item.id] = item

    def _join(self, item: SlowItem) -> None:
        self._rounds.setdefault(item.interval_ns, _Round(item.interval_ns)).items[item.id] = item

    def _leave(self, item: SlowItem) -> None:
        items = self._rounds[item.interval_ns].items
        del items[item.id]
        if not items:
            del self._rounds[item.interval_ns]

    def arrange(self) -> None:
        """After items came, went or changed their mode."""
        for each in self._rounds.values():
            each.arrange()
        for item in self.items.values():
            self.note(item)

    def note(self, item: SlowItem) -> None:
        """Whether an item reports may have changed."""
        if item.fresh and item.mode != DISABLED:
            self._waiting[item.id] = item
        if item.ready:
            self._ready[item.id] = item
        else:
            self._ready.pop(item.id, None)

    def sample(self, image: Image, grid_ns: int, read: Read) -> list[int]:
        """Look at what is due, at most SLOW_SAMPLES_PER_TICK items. Ids of those that queued a notification."""
        for each in self._rounds.values():
            for item in each.due(image, grid_ns):
                self._waiting.setdefault(item.id, item)
        changed = []
        for _ in range(min(len(self._waiting), limits.SLOW_SAMPLES_PER_TICK)):
            item = self._waiting.pop(next(iter(self._waiting)))
            if item.mode != DISABLED and item.look(read):
                changed.append(item.id)
                self.note(item)
        return changed

    def release(self, item: SlowItem) -> None:
        """Have a sampling item report what it has queued (SetTriggering)."""
        item.released = True
        self.note(item)

    @property
    def overflows(self) -> int:
        """Notifications lost because a queue was full."""
        return sum(item.overflows for item in self.items.values())

    def refresh(self) -> None:
        """Have every reporting item report its next sample."""
        for item in self.items.values():
            item.fresh |= item.mode == REPORTING
            self.note(item)

    @property
    def ready(self) -> bool:
        """True when there is something to report."""
        return bool(self._ready)

    def take(self, most: int, size_max: int) -> tuple[int, list[bytes]]:
        """Remove at most `most` notifications of together at most `size_max` bytes. Their number and encoded records.

        One that is larger than that by itself is reported as BadEncodingLimitsExceeded.
        """
        blocks: list[bytes] = []
        size = 0
        while self._ready and len(blocks) < most:
            item = next(iter(self._ready.values()))
            block = item.queue[0].encode(item.handle)
            if size + len(block) > size_max:
                if blocks:
                    break
                block = Entry(_NULL, ua.StatusCodes.BadEncodingLimitsExceeded, None, None).encode(item.handle)
            item.queue.popleft()
            blocks.append(block)
            size += len(block)
            del self._ready[item.id]
            if item.queue:
                self._ready[item.id] = item
            else:
                item.released = False
        return len(blocks), blocks


def _entry(data: ua.DataValue) -> Entry:
    value = variant_to_binary(data.Value) if data.Value is not None else _NULL
    status = data.StatusCode.value if data.StatusCode is not None else 0
    times = (None if t is None else ua.datetime_to_win_epoch(t) for t in (data.SourceTimestamp, data.ServerTimestamp))
    return Entry(value, status, *times)


def _number(data: ua.DataValue) -> Any:
    """The value as finite numbers for a deadband, None when it has none."""
    value = data.Value.Value if data.Value is not None else None
    if value is None:
        return None
    number = np.asarray(value)
    return number.astype(float) if number.dtype.kind in "fiu" and np.isfinite(number).all() else None
