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
from collections.abc import Mapping
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
    """The two counters of a ring. A consumer sees at most `capacity` items, whatever the producer's memory says."""

    def __init__(self, items: Segment, taken: Segment, capacity: int) -> None:
        self.capacity = capacity
        self._put = items.words(0, 1)
        self._taken = taken.words(0, 1)

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


class Inbox:
    """Client writes on their way to the next cycle: the OPC UA server puts, control takes."""

    CAPACITY: Final = 4096
    PER_CYCLE: Final = 512
    """Writes one cycle takes, more only to end what goes together: a parameter costs 20 µs, and a flood must not cost a cycle."""

    def __init__(self, items: Segment, taken: Segment) -> None:
        self._counts = Counts(items, taken, self.CAPACITY)
        self._items = items.bytes(LINE, self.CAPACITY * _WRITE.size)

    @classmethod
    def room(cls) -> int:
        """Bytes of the producer's segment."""
        return LINE + cls.CAPACITY * _WRITE.size

    def put(self, slot: int, value: float, user: int) -> bool:
        """Hand a write to the next cycle. False when the inbox is full: the client is told to try again."""
        if self._counts.free <= 0:
            return False
        _WRITE.pack_into(self._items, self._counts.put % self.CAPACITY * _WRITE.size, slot, user, value)
        self._counts.publish(1)
        return True

    def put_all(self, slots: NDArray[np.integer[Any]], values: NDArray[np.float64], user: int) -> int:
        """Hand many writes of a user to the next cycle. How many found room; the others are to be tried again."""
        count = min(len(slots), max(self._counts.free, 0))
        items = np.frombuffer(self._items, _ITEM)
        where = (self._counts.put + np.arange(count)) % self.CAPACITY
        for name, given in (("slot", slots[:count]), ("user", user), ("value", values[:count])):
            items[name][where] = given
        self._counts.publish(count)
        return count

    def put_together(self, values: Mapping[int, float], user: int) -> bool:
        """Hand writes by slot to the next cycle, which takes all of them or none. False when there is no room for them."""
        items = [(TOGETHER, user, float(len(values))), *((slot, user, value) for slot, value in values.items())]
        if self._counts.free < len(items):
            return False
        for i, item in enumerate(items, self._counts.put):
            _WRITE.pack_into(self._items, i % self.CAPACITY * _WRITE.size, *item)
        self._counts.publish(len(items))
        return True

    def take(self) -> list[Write]:
        """The oldest writes that no cycle took yet: PER_CYCLE, and what goes together with the last of them."""
        first, end = self._counts.waiting()
        if first == end:
            return []
        found = self._read(first, min(end, first + self.PER_CYCLE))
        whole = 0
        while whole < len(found):
            whole += 1 + (int(found[whole].value) if found[whole].slot == TOGETHER else 0)
        found += self._read(first + len(found), min(end, first + whole))
        self._counts.release(first + len(found))
        return found

    def _read(self, first: int, end: int) -> list[Write]:
        if first >= end:
            return []
        low, high = (number % self.CAPACITY * _WRITE.size for number in (first, end))
        items = self._items[low:high] if low < high else bytes(self._items[low:]) + bytes(self._items[:high])
        return [Write(slot, value, user) for slot, user, value in _WRITE.iter_unpack(items)]


class RecordRing:
    """Records of bytes: a 4-byte length and its bytes. Counts are in bytes; a record may wrap at the end of the memory."""

    CAPACITY: ClassVar[int]

    def __init__(self, items: Segment, taken: Segment) -> None:
        self._counts = Counts(items, taken, self.CAPACITY)
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

    def take(self) -> list[bytes]:
        """Every record since the last call, oldest first."""
        at, end = self._counts.waiting()
        found = []
        while end - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack(self._read(at, _LENGTH.size))
            at += _LENGTH.size
            if length > end - at:
                break
            found.append(self._read(at, length))
            at += length
        self._counts.release(end)
        return found

    def next(self) -> bytes | None:
        """The oldest record that waits, None when none does."""
        at, end = self._counts.waiting()
        if end - at < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack(self._read(at, _LENGTH.size))
        whole = _LENGTH.size + length <= end - at
        record = self._read(at + _LENGTH.size, length) if whole else None
        self._counts.release(at + _LENGTH.size + length if whole else end)
        return record

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
