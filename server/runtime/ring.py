"""Bounded queues between two processes: client writes and orders into control, journal records out of it.

The producer owns the segment with the items and a count of items put, the consumer a second one with its count of items taken:
each writes only what is its own. A producer that finds the ring full says so and goes on; it never waits. Counts only
grow and live in the memory, so either side may be killed and its successor goes on; items that a killed consumer had
not yet counted as taken are delivered again.

    producer's segment:  put   | items, index = count mod capacity
    consumer's segment:  taken
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from server.core.commands import TOGETHER
from server.core.step import Write

from .fence import fence
from .segment import LINE, Segment

TAKEN_BYTES: Final = LINE
_WRITE: Final = struct.Struct("<IId")
_ITEM: Final = np.dtype([("slot", "<u4"), ("user", "<u4"), ("value", "<f8")])
_LENGTH: Final = struct.Struct("<I")


class Counts:
    """The two counters of a ring. A consumer sees at most `capacity` items, whatever the producer's memory says.

    put, taken: a word each, of the producer and of the consumer.
    """

    def __init__(self, put: memoryview, taken: memoryview, capacity: int) -> None:
        self.capacity = capacity
        self._put, self._taken = put, taken

    @property
    def put(self) -> int:
        """Items ever put."""
        return self._put[0]

    @property
    def free(self) -> int:
        """Producer: items that still fit."""
        return self.capacity - (self._put[0] - self._taken[0])

    def publish(self, count: int) -> None:
        """Producer: `count` more items are complete."""
        fence()
        self._put[0] += count

    def waiting(self) -> tuple[int, int]:
        """Consumer: (first, end) of what waits. Counts that make no sense, from a broken producer, drop everything waiting."""
        first, end = self._taken[0], self._put[0]
        fence()
        if not 0 <= end - first <= self.capacity:
            self._taken[0] = first = end
        return first, end

    def release(self, end: int) -> None:
        """Consumer: everything before `end` may be overwritten."""
        fence()
        self._taken[0] = end


class Lane:
    """Writes in the order in which they came, `capacity` of them at most, from an offset of the producer's segment on. taken: the
    consumer's count of them."""

    def __init__(self, items: Segment, offset: int, taken: memoryview, capacity: int) -> None:
        self.counts = Counts(items.words(offset, 1), taken, capacity)
        self._items = items.bytes(offset + LINE, capacity * _WRITE.size)

    @staticmethod
    def room(capacity: int) -> int:
        """Bytes of the producer's memory."""
        return LINE + capacity * _WRITE.size

    def put(self, *writes: tuple[int, int, float]) -> bool:
        """Append (slot, user, value) of each; False, and nothing is appended, when there is no room for all."""
        if self.counts.free < len(writes):
            return False
        for i, write in enumerate(writes, self.counts.put):
            _WRITE.pack_into(self._items, i % self.counts.capacity * _WRITE.size, *write)
        self.counts.publish(len(writes))
        return True

    def put_all(self, slots: NDArray[np.integer[Any]], values: NDArray[np.float64], user: int) -> int:
        """Append what there is room for; how many."""
        count = min(len(slots), max(self.counts.free, 0))
        items = np.frombuffer(self._items, _ITEM)
        where = (self.counts.put + np.arange(count)) % self.counts.capacity
        for name, given in (("slot", slots[:count]), ("user", user), ("value", values[:count])):
            items[name][where] = given
        self.counts.publish(count)
        return count

    def take(self, most: int) -> list[Write]:
        """The oldest that wait: so many, less where the next of them go together, more where the first of them do."""
        first, end = self.counts.waiting()
        if first == end:
            return []
        found = self._read(first, min(end, first + most))
        whole = _whole(found)
        found = found[:whole] + self._read(first + len(found), min(end, first + whole))
        self.counts.release(first + len(found))
        return found

    def _read(self, first: int, end: int) -> list[Write]:
        if first >= end:
            return []
        low, high = (number % self.counts.capacity * _WRITE.size for number in (first, end))
        items = self._items[low:high] if low < high else bytes(self._items[low:]) + bytes(self._items[:high])
        return [Write(slot, value, user) for slot, user, value in _WRITE.iter_unpack(items)]


class Inbox:
    """Client writes on their way to the next cycle: the OPC UA server puts, control takes.

    REQ-SAFE-035: what is urgent, the emergency stop, has a lane of its own and is taken first and whole: no flood of others fills
    its place or makes it wait. urgent: its slot, -1 for none.
    """

    CAPACITY: Final = 4096
    URGENT: Final = 64
    PER_CYCLE: Final = 256
    """Writes one cycle takes: a parameter costs 20 µs, and a flood must not cost a cycle."""

    def __init__(self, items: Segment, taken: Segment, urgent: int = -1) -> None:
        self._urgent_slot = urgent
        self._usual = Lane(items, 0, taken.words(0, 1), self.CAPACITY)
        self._urgent = Lane(items, Lane.room(self.CAPACITY), taken.words(8, 1), self.URGENT)

    @classmethod
    def room(cls) -> int:
        """Bytes of the producer's segment."""
        return Lane.room(cls.CAPACITY) + Lane.room(cls.URGENT)

    def put(self, slot: int, value: float, user: int) -> bool:
        """Hand a write to the next cycle. False when the inbox is full: the client is told to try again."""
        if slot == self._urgent_slot:
            return self._put_urgent((slot, user, value))
        return self._usual.put((slot, user, value))

    def put_all(self, slots: NDArray[np.integer[Any]], values: NDArray[np.float64], user: int) -> int:
        """Hand many writes of a user to the next cycle. How many found room; the others are to be tried again."""
        if (slots != self._urgent_slot).all():
            return self._usual.put_all(slots, values, user)
        for taken, (slot, value) in enumerate(zip(slots.tolist(), values.tolist(), strict=True)):
            if not self.put(slot, value, user):
                return taken
        return len(slots)

    def put_together(self, values: Mapping[int, float], user: int) -> bool:
        """Hand writes by slot to the next cycle, which takes all of them or none. False when there is no room for them."""
        return self._usual.put((TOGETHER, user, float(len(values))), *((slot, user, v) for slot, v in values.items()))

    def _put_urgent(self, write: tuple[int, int, float]) -> bool:
        """A reset finds room in one half only. So when the lane is full a stop waits behind all resets, and says it already."""
        stops = bool(write[2])
        if not stops and self._urgent.counts.free <= self.URGENT // 2:
            return False
        return self._urgent.put(write) or stops

    def take(self) -> list[Write]:
        """What is urgent, then the oldest writes that no cycle took yet, about PER_CYCLE of them."""
        return [*self._urgent.take(self.URGENT), *self._usual.take(self.PER_CYCLE)]


def _whole(writes: Sequence[Write]) -> int:
    """How many to take so that what goes together stays so: a group that does not fit waits, unless it is the first."""
    count = 0
    while count < len(writes):
        after = count + 1 + (int(writes[count].value) if writes[count].slot == TOGETHER else 0)
        if after > len(writes) and count:
            break
        count = after
    return count


class RecordRing:
    """Records of bytes: a 4-byte length and its bytes. Counts are in bytes; a record may wrap at the end of the memory."""

    CAPACITY: ClassVar[int]

    def __init__(self, items: Segment, taken: Segment) -> None:
        self._counts = Counts(items.words(0, 1), taken.words(0, 1), self.CAPACITY)
        self._bytes = items.bytes(LINE, self.CAPACITY)

    @classmethod
    def room(cls) -> int:
        """Bytes of the producer's segment."""
        return LINE + cls.CAPACITY

    def put(self, record: bytes) -> bool:
        """Append a record. False when there is no room, because the consumer is slow or gone."""
        data = _LENGTH.pack(len(record)) + record
        if len(data) > self._counts.free:
            return False
        self._write(self._counts.put % self.CAPACITY, data)
        self._counts.publish(len(data))
        return True

    def take(self, enough: int | None = None) -> list[bytes]:
        """Every record since the last call, oldest first; not more once there are `enough` bytes."""
        at, end = self._counts.waiting()
        last = end if enough is None else min(end, at + enough)
        found = []
        while at < last:
            record = self._record(at, end)
            at = end if record is None else at + _LENGTH.size + len(record)
            found += [] if record is None else [record]
        self._counts.release(at)
        return found

    def next(self) -> bytes | None:
        """The oldest record that waits, None when none does."""
        at, end = self._counts.waiting()
        record = self._record(at, end)
        self._counts.release(end if record is None else at + _LENGTH.size + len(record))
        return record

    def _record(self, at: int, end: int) -> bytes | None:
        """The record that begins here; None when it is not whole, and so nothing behind it makes sense."""
        if end - at < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack(self._read(at, _LENGTH.size))
        at += _LENGTH.size
        return self._read(at, length) if length <= end - at else None

    def _write(self, at: int, data: bytes) -> None:
        head = min(len(data), self.CAPACITY - at)
        self._bytes[at : at + head] = data[:head]
        self._bytes[: len(data) - head] = data[head:]

    def _read(self, count: int, length: int) -> bytes:
        at = count % self.CAPACITY
        head = min(length, self.CAPACITY - at)
        return bytes(self._bytes[at : at + head]) + bytes(self._bytes[: length - head])


class OrderRing(RecordRing):
    """What control is told to load, on its way from the supervisor."""

    CAPACITY: ClassVar[int] = 1 << 19


class DocumentRing(RecordRing):
    """Documents and timetables, on their way from the supervisor into control."""

    CAPACITY = 1 << 20


class JournalRing(RecordRing):
    """On their way to the disk: control puts, the supervisor takes, writes and syncs."""

    CAPACITY = 1 << 20


class ProposalRing(RecordRing):
    """What foreign controllers propose: the OPC UA server puts, control takes."""

    CAPACITY = 1 << 18


class RemoteRing(RecordRing):
    """What control on another host decided: the OPC UA server puts, the receiver in control's place takes."""

    CAPACITY = 1 << 22
