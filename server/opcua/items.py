"""Monitored items of the process image, as columns.

Problem: a hundred clients watch ten thousand channels each, most of which change every cycle. An object per item and a
call per change cost tens of microseconds; a core has half a microsecond.

Idea: the items of a subscription that share sampling interval, wire type, timestamps and queue capacity are one Group, and
a row of the group's columns is one item. A sample compares whole columns and writes the changes straight into records that
already have the shape of the wire (`cells`): a MonitoredItemNotification with an explicit status. What is published is a slice
of those records, copied once.

              row 0     row 1     row 2        handle mask kind value status source server
    ring[0]   ######    ######    ......       \\______________ one cell, 34 bytes ________/
    ring[1]   ......    ######    ......
    start       0         0         0          oldest notification of the row is in ring[start]
    count       1         2         0          how many it has

Changed means different bits (an unchanged NaN is no change) or a different status. A deadband compares with the value
reported last, and only while the status stays and both values are finite. Rows whose slot did not change since the group's
last sample, by the image's `changed` column, are not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from asyncua import ua
from numpy.typing import NDArray

from server.core.channel import DataType
from server.core.image import Image

from . import cells

DISABLED, SAMPLING, REPORTING = 0, 1, 2
ON_STATUS, ON_VALUE, ON_TIMESTAMP = 0, 1, 2
OVERFLOW: Final = 0x480
"""StatusCode info bits: InfoType DataValue, Overflow (Part 4, 7.39.1)."""

_NEVER: Final = 0
"""Generation of a group that saw no image yet; those of images begin at 1."""
_COLUMNS: Final = {
    "ids": np.uint32,
    "slots": np.int64,
    "modes": np.uint8,
    "triggers": np.uint8,
    "limits": np.int32,
    "keep_old": np.bool_,
    "deadbands": np.float64,
    "last": np.float64,
    "last_status": np.uint32,
    "last_source": np.int64,
    "fresh": np.bool_,
    "released": np.bool_,
    "start": np.int32,
    "count": np.int32,
}

Rows = slice | NDArray[np.intp]
ALL: Final = slice(None)


class Key(NamedTuple):
    """What the items of a group share. interval_ns: between samples; capacity: of the queues, a power of two."""

    interval_ns: int
    data_type: DataType
    timestamps: ua.TimestampsToReturn
    capacity: int


class Row(NamedTuple):
    """One item as asked for. deadband: in the unit of the value, NaN for none; keep_old: a full queue drops the newest."""

    id: int
    handle: int
    slot: int
    mode: int
    trigger: int
    limit: int
    keep_old: bool
    deadband: float


class Group:
    """Items of one subscription with the same Key. Rows are in order of their ids."""

    ids: NDArray[np.uint32]
    slots: NDArray[np.int64]
    modes: NDArray[np.uint8]
    triggers: NDArray[np.uint8]
    limits: NDArray[np.int32]
    keep_old: NDArray[np.bool_]
    deadbands: NDArray[np.float64]
    last: NDArray[np.float64]
    last_status: NDArray[np.uint32]
    last_source: NDArray[np.int64]
    fresh: NDArray[np.bool_]
    released: NDArray[np.bool_]
    start: NDArray[np.int32]
    count: NDArray[np.int32]

    def __init__(self, key: Key) -> None:
        self.key = key
        self.cell = cells.cell_type(key.data_type, key.timestamps, keyed=True)
        self._fields = frozenset(self.cell.names or ())
        self.ring = np.zeros((key.capacity, 0), self.cell)
        for name, form in _COLUMNS.items():
            setattr(self, name, np.zeros(0, form))
        self._slot = -1
        self._cycle = 0
        self._generation = _NEVER
        self._cursor = 0
        self.overflows = 0
        self.arrange()

    def __len__(self) -> int:
        return len(self.ids)

    # -- items come and go -------------------------------------------------------------------------------------------

    def add(self, rows: list[Row]) -> None:
        """Add items; each reports its first sample whatever it is."""
        count = len(rows)
        ids, handles, slots, modes, triggers, limits, keep_old, deadbands = zip(*rows, strict=True)
        columns: dict[str, NDArray[Any]] = {
            name: np.array(values, _COLUMNS[name])
            for name, values in (
                ("ids", ids),
                ("slots", slots),
                ("modes", modes),
                ("triggers", triggers),
                ("limits", limits),
                ("keep_old", keep_old),
                ("deadbands", deadbands),
            )
        }
        columns["fresh"] = np.ones(count, np.bool_)
        ring = cells.blank((self.key.capacity, count), self.key.data_type, self.key.timestamps, keyed=True)
        ring["handle"] = np.array(handles, np.uint32)
        self._insert(columns, ring)

    def _insert(self, columns: Mapping[str, NDArray[Any]], ring: NDArray[Any]) -> None:
        count = ring.shape[1]
        ids = np.concatenate([self.ids, columns["ids"]])
        order = ALL if np.all(ids[1:] > ids[:-1]) else np.argsort(ids)
        for name, form in _COLUMNS.items():
            new = columns.get(name, np.zeros(count, form))
            setattr(self, name, np.concatenate([getattr(self, name), new])[order])
        self.ring = np.ascontiguousarray(np.concatenate([self.ring, ring], axis=1)[:, order])
        self.arrange()

    def remove(self, rows: NDArray[np.intp]) -> None:
        """Remove items with what they have queued."""
        keep = np.ones(len(self), np.bool_)
        keep[rows] = False
        for name in _COLUMNS:
            setattr(self, name, getattr(self, name)[keep])
        self.ring = np.ascontiguousarray(self.ring[:, keep])
        self.arrange()

    def hand_over(self, item: int, target: Group) -> None:
        """Copy an item's state and queue to `target`, which has the item already; here it is to be removed then."""
        there = target.row(item)
        row, hit = self.row(item), np.array([there])
        for name in ("modes", "last", "last_status", "last_source", "fresh", "released"):
            getattr(target, name)[there] = getattr(self, name)[row]
        target.look_again()
        for age in range(int(self.count[row])):
            cell = self.ring[(self.start[row] + age) % self.key.capacity, row]
            source, server = (cell[name] if name in self._fields else 0 for name in ("source", "server"))
            target._enqueue(hit, cell["value"], cell["status"], source, server)

    def row(self, item: int) -> int:
        """Row of an item. KeyError when it is not here."""
        row = int(np.searchsorted(self.ids, item))
        if row == len(self) or self.ids[row] != item:
            raise KeyError(item)
        return row

    def set_mode(self, rows: NDArray[np.intp], mode: int) -> None:
        """Change the monitoring mode. A disabled item forgets what it queued; an enabled one reports its next sample."""
        awake = self.modes[rows] == DISABLED
        self.modes[rows] = mode
        self.fresh[rows] |= awake & (mode != DISABLED)
        if mode == DISABLED:
            self.count[rows] = 0
            self.released[rows] = False
        self.arrange()

    def amend(self, changed: Row) -> None:
        """Change an item's handle, filter and queue; what no longer fits is lost from the end that overflows."""
        row = self.row(changed.id)
        self.ring["handle"][:, row] = changed.handle
        self.triggers[row] = changed.trigger
        self.limits[row] = changed.limit
        self.keep_old[row] = changed.keep_old
        self.deadbands[row] = changed.deadband
        excess = max(0, int(self.count[row]) - changed.limit)
        self.count[row] -= excess
        if not changed.keep_old:
            self.start[row] = (self.start[row] + excess) % self.key.capacity
        self.look_again()

    def look_again(self) -> None:
        """Have the next sample compare every row: what a row held back, or had not seen where it was, may count now."""
        self._generation = _NEVER

    def refresh(self) -> None:
        """Have every reporting item report its next sample."""
        self.fresh |= self.modes == REPORTING
        self.arrange()

    def arrange(self) -> None:
        """Derive what depends on the rows there are; to be called after `amend` and `hand_over`."""
        count = len(self)
        first = int(self.slots[0]) if count else 0
        contiguous = count > 0 and bool(np.all(np.diff(self.slots) == 1))
        self._where: slice | NDArray[np.int64] = slice(first, first + count) if contiguous else self.slots
        self._every_row = np.arange(count)
        self._awake = bool(np.all(self.modes != DISABLED))
        self._reporting = bool(np.all(self.modes == REPORTING))
        self._stamped = bool(np.any((self.triggers == ON_TIMESTAMP) & np.isnan(self.deadbands)))
        self._plain = bool(np.all((self.triggers == ON_VALUE) & np.isnan(self.deadbands)))
        self._fresh = bool(np.any(self.fresh & (self.modes != DISABLED)))

    # -- sampling ----------------------------------------------------------------------------------------------------

    def sample(self, image: Image, grid_ns: int) -> NDArray[np.intp] | None:
        """Look at the image if the group's time has come. Rows that queued a notification, None for none.

        grid_ns: time on the grid of the control cycle. New items are looked at whether it is the group's time or not.
        """
        slot = grid_ns // self.key.interval_ns
        due = slot > self._slot
        if due:
            self._slot = slot
            rows = self._candidates(image)
        elif self._fresh:
            rows = np.flatnonzero(self.fresh)
        else:
            return None
        return None if rows is None else self._look(image, rows)

    def _candidates(self, image: Image) -> Rows | None:
        """Rows whose slot changed since the last sample."""
        seen, restarted = self._cycle, image.cycle < self._cycle or image.generation != self._generation
        self._cycle, self._generation = image.cycle, image.generation
        if restarted or self._stamped:
            return ALL
        recent = (image.changed[self._where] - np.uint32(seen & 0xFFFFFFFF)).view(np.int32) > 0
        if self._fresh:
            recent |= self.fresh
        count = int(np.count_nonzero(recent))
        if count == len(recent):
            return ALL
        return np.flatnonzero(recent) if count else None

    def _look(self, image: Image, rows: Rows) -> NDArray[np.intp] | None:
        """Compare the rows with what they were, and queue what differs."""
        where = self._where if isinstance(rows, slice) else self.slots[rows]
        value = image.value[where]
        status = cells.true_status(self.key.data_type, value, image.status[where])
        changed = self._differs(image, rows, where, value, status)
        if not changed.all():
            pick = np.flatnonzero(changed)
            if not len(pick):
                return None
            rows = pick if isinstance(rows, slice) else rows[pick]
            where, value, status = self.slots[rows], value[pick], status[pick]
        self.last[rows] = value
        self.last_status[rows] = status
        source = image.source[where]
        if self._stamped:
            self.last_source[rows] = source
        if self._fresh:
            self.fresh[rows] = False
            self._fresh = bool(np.any(self.fresh & (self.modes != DISABLED)))
        self._enqueue(rows, value, status, source, image.time)
        return self._every_row if isinstance(rows, slice) else rows

    def _differs(
        self, image: Image, rows: Rows, where: Any, value: NDArray[np.float64], status: NDArray[np.uint32]
    ) -> NDArray[np.bool_]:
        last = self.last[rows]
        changed: NDArray[np.bool_] = value.view(np.int64) != last.view(np.int64)
        if not self._plain:
            with np.errstate(invalid="ignore"):
                changed &= ~(np.abs(value - last) <= self.deadbands[rows])
            changed &= self.triggers[rows] != ON_STATUS
            if self._stamped:
                stamped = (self.triggers[rows] == ON_TIMESTAMP) & np.isnan(self.deadbands[rows])
                changed |= stamped & (image.source[where] != self.last_source[rows])
        changed |= status != self.last_status[rows]
        if self._fresh:
            changed |= self.fresh[rows]
        if not self._awake:
            changed &= self.modes[rows] != DISABLED
        return changed

    def _enqueue(self, rows: Rows, value: Any, status: Any, source: Any, server: Any) -> None:
        """Write one notification into each row's queue."""
        if self.key.capacity == 1:
            cells.fill(self.ring[0], rows, self.key.data_type, value, status, source, server)
            self.count[rows] = 1
            return
        hit = self._every_row if isinstance(rows, slice) else rows
        count, limit = self.count[hit], self.limits[hit]
        full = count >= limit
        newest = full & self.keep_old[hit]
        oldest = full & ~newest
        start = self.start[hit] + oldest
        place = (self.start[hit] + count - newest) % self.key.capacity
        cells.fill(self.ring, (place, hit), self.key.data_type, value, status, source, server)
        self.start[hit] = start % self.key.capacity
        self.count[hit] = np.minimum(count + 1, limit)
        if full.any():
            self.overflows += int(np.count_nonzero(full))
            flagged = self.ring["status"]
            flagged[place[newest], hit[newest]] |= OVERFLOW
            flagged[self.start[hit[oldest]], hit[oldest]] |= OVERFLOW

    # -- publishing --------------------------------------------------------------------------------------------------

    def release(self, rows: NDArray[np.intp]) -> None:
        """Have sampling items report what they have queued (SetTriggering)."""
        self.released[rows] = True

    def _ready(self) -> NDArray[np.bool_]:
        ready = self.count > 0
        if not self._reporting:
            ready &= (self.modes == REPORTING) | self.released
        return ready

    @property
    def ready(self) -> bool:
        """True when there is something to report."""
        return bool(self._ready().any())

    def take(self, most: int) -> tuple[int, list[bytes]]:
        """Remove at most `most` notifications from the queues, oldest first per item. Their number and encoded records."""
        ready = self._ready()
        if self.key.capacity == 1 and most >= len(self) and ready.all():
            self.count[:] = 0
            self.released[:] = False
            return len(self), [cells.encode(self.ring[0])]
        rows = np.flatnonzero(ready)
        rows = np.roll(rows, -int(np.searchsorted(rows, self._cursor)))
        taken, blocks = 0, []
        while most > taken and len(rows):
            pick = rows[: most - taken]
            blocks.append(cells.encode(self.ring[self.start[pick], pick]))
            self.start[pick] = (self.start[pick] + 1) % self.key.capacity
            self.count[pick] -= 1
            taken += len(pick)
            self._cursor = int(pick[-1]) + 1
            rows = rows[self.count[rows] > 0]
        self.released[self.count == 0] = False
        return taken, blocks
