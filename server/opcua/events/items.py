"""Monitored items of events: their queues, and what happens when one is full (Part 4, 5.13.1.5 and 7.21).

An event is encoded when it happens, because what it tells may have changed when the client asks. A queue is bounded in number
and bytes; what a client asks for by ConditionRefresh is let through, because a second refresh has to wait for the first to be
fetched. Lost events are told by one EventQueueOverflowEvent, before the oldest or after the newest that is left.
"""

from __future__ import annotations

import struct
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from asyncua import ua

from .. import limits
from ..items import DISABLED, REPORTING
from .filter import EventFilter

_HANDLE: Final = struct.Struct("<I")
_NO_FIELDS: Final = struct.pack("<i", 0)


@dataclass(eq=False, slots=True)
class EventItem:
    """One item. notifier: the node it monitors; lost: the event that tells of lost ones, encoded, until it is fetched.

    since_ns: CLOCK_MONOTONIC, when it began to listen; what happened before is not for it, however late it is delivered.
    refreshing: a refresh was asked for and is not yet fetched; refreshed, refreshed_size: what it lets through beyond the limit.
    """

    id: int
    notifier: ua.NodeId
    mode: int
    filter: EventFilter
    handle: int = 0
    limit: int = limits.EVENT_QUEUE_LENGTH
    keep_old: bool = False
    released: bool = False
    lost: bytes = b""
    refreshing: bool = False
    refresh_end: bytes | None = None
    refreshed: int = 0
    refreshed_size: int = 0
    size: int = 0
    since_ns: int = 0
    queue: deque[bytes] = field(default_factory=deque)

    def copy(self) -> EventItem:
        """The same item with an empty queue, to plan with; `amend` takes over what was planned."""
        return replace(self, queue=deque())

    def amend(self, planned: EventItem) -> None:
        """Take over the parameters of a changed copy."""
        self.filter, self.handle, self.keep_old = planned.filter, planned.handle, planned.keep_old
        self.resize(planned.limit)

    def listens(self, time_ns: int) -> bool:
        """True when what happened then is for this item. time_ns: CLOCK_MONOTONIC."""
        return self.mode != DISABLED and self.since_ns <= time_ns

    def put(self, block: bytes) -> bool:
        """Queue an encoded event; a full queue loses its oldest or the new one. False when it did."""
        count, size = len(self.queue) - self.refreshed, self.size - self.refreshed_size
        fits = count < self.limit and size + len(block) <= limits.EVENT_QUEUE_BYTES_MAX
        if fits:
            self.append(block)
        elif not self.keep_old and self.queue and len(block) <= limits.EVENT_QUEUE_BYTES_MAX:
            self._pop()
            self.put(block)
        return fits

    def append(self, block: bytes) -> None:
        """Queue an encoded event whatever waits already."""
        self.queue.append(block)
        self.size += len(block)

    def refresh(self, block: bytes, end: bool = False) -> None:
        """Queue an event of a refresh; the last one is its end."""
        self.append(block)
        self.refreshing = True
        self.refreshed += 1
        self.refreshed_size += len(block)
        self.refresh_end = block if end else None

    def _pop(self) -> bytes:
        block = self.queue.popleft()
        self.size -= len(block)
        if block is self.refresh_end:
            self._refresh_over()
        return block

    def _refresh_over(self) -> None:
        self.refresh_end, self.refreshing, self.refreshed, self.refreshed_size = None, False, 0, 0

    def set_mode(self, mode: int) -> None:
        """Change the monitoring mode; a disabled item forgets what it queued."""
        if self.mode == DISABLED:
            self.since_ns = time.monotonic_ns()
        self.mode = mode
        if mode == DISABLED:
            self.queue.clear()
            self.size, self.lost, self.released = 0, b"", False
            self._refresh_over()

    def resize(self, limit: int) -> None:
        """Change the queue's length; what no longer fits is lost from the end that overflows."""
        self.limit = limit
        while len(self.queue) > limit and not self.refreshing:
            block = self.queue.pop() if self.keep_old else self.queue.popleft()
            self.size -= len(block)

    @property
    def ready(self) -> bool:
        """True when there is something to report."""
        return bool(self.queue or self.lost) and (self.mode == REPORTING or self.released)

    def next(self) -> bytes:
        """Remove what comes next: the oldest event, or the tale of lost ones where they were."""
        if self.lost and not (self.keep_old and self.queue):
            told, self.lost = self.lost, b""
            return told
        return self._pop()

    def put_back(self, block: bytes) -> None:
        """Have a block that was removed come next again."""
        self.queue.appendleft(block)
        self.size += len(block)


class EventLane:
    """All event items of one subscription."""

    def __init__(self) -> None:
        self.items: dict[int, EventItem] = {}
        self._fired: set[int] = set()

    def add(self, item: EventItem) -> None:
        """Take an item in."""
        self.items[item.id] = item
        item.since_ns = time.monotonic_ns()

    def remove(self, item: EventItem) -> None:
        """Forget an item; nothing that is on its way reaches it any more."""
        del self.items[item.id]
        item.set_mode(DISABLED)

    def listening(self, notifiers: frozenset[ua.NodeId]) -> Iterator[EventItem]:
        """The items that monitor one of these nodes."""
        for item in self.items.values():
            if item.mode != DISABLED and item.notifier in notifiers:
                yield item

    def put(self, item: EventItem, block: bytes, lost: Callable[[], bytes]) -> None:
        """Queue an encoded event at an item. lost: makes the encoded event that tells of lost ones."""
        if not item.put(block) and not item.lost:
            item.lost = lost()
        self._fired.add(item.id)

    def fired_since(self) -> set[int]:
        """Ids of the items that got an event since the last call."""
        fired, self._fired = self._fired, set()
        return fired

    @property
    def ready(self) -> bool:
        """True when there is something to report."""
        return any(item.ready for item in self.items.values())

    def take(self, most: int, size_max: int) -> tuple[int, list[bytes]]:
        """Remove at most `most` events of together at most `size_max` bytes: their number and the encoded EventFieldLists.

        One that is larger than that by itself is reported without fields.
        """
        blocks: list[bytes] = []
        size = 0
        for item in [item for item in self.items.values() if item.ready]:
            while item.ready and len(blocks) < most:
                block = item.next()
                told = _HANDLE.pack(item.handle) + block
                if blocks and size + len(told) > size_max:
                    item.put_back(block)
                    return len(blocks), blocks
                blocks.append(told if len(told) <= size_max else _HANDLE.pack(item.handle) + _NO_FIELDS)
                size += len(told)
            item.released &= bool(item.queue)
        return len(blocks), blocks
