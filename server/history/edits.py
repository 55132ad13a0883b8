"""Corrections by people: insert, replace, update, delete; what was there before is kept (Part 11, 6.8)."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Final

import numpy as np
from sqlalchemy import Connection

from server.core.errors import EmsError
from server.core.series import Series

from .database import failures, read_mark
from .folds import Integers
from .packed import HOUR
from .reader import read_raw
from .samples import DELETED, part
from .schema import modified
from .writer import HistoryWriter, append_records

VALUES_MAX: Final = 100_000
"""Most values that one deletion takes away."""


class Edit(IntEnum):
    """What an edit does; the numbers are those of PerformUpdateType and HistoryUpdateType."""

    INSERT = 1
    REPLACE = 2
    UPDATE = 3
    DELETE = 4


class Outcome(IntEnum):
    """What became of one value."""

    INSERTED = 0
    REPLACED = 1
    DELETED = 2
    EXISTS = 3
    MISSING = 4
    TOO_OLD = 5


class TooMany(EmsError):
    """A deletion would take away more values than one may."""


class HistoryEditor:
    """Corrects one history in transactions of its own, beside the historian."""

    def __init__(self, writer: HistoryWriter) -> None:
        self.writer = writer

    def put(self, node: str, values: Series, kind: Edit, user: str, now: int) -> list[Outcome]:
        """Insert, replace or update values; what became of each, in their order. Raises HistoryError.

        Inserting takes times at which there is nothing, replacing those at which there is something, updating both.
        """
        number = int(self.writer.ensure([node])[0])
        with failures(self.writer.url), self.writer.engine.begin() as connection:
            old = _existing(connection, number, values.times)
            begins = read_mark(connection, "from/0")
            outcomes = [_outcome(kind, time in old, time < begins) for time in values.times.tolist()]
            taken = np.array([o in (Outcome.INSERTED, Outcome.REPLACED) for o in outcomes], np.bool_)
            replaced = [old[t] for t in np.unique(values.times[taken]).tolist() if t in old]
            _remember(connection, number, replaced, kind, user, now)
            append_records(connection, np.full(int(taken.sum()), number), part(values, taken))
        return outcomes

    def delete(self, node: str, low: int, high: int, user: str, now: int) -> int:
        """Delete the values with low <= time < high; how many there were. Raises HistoryError, TooMany."""
        number = int(self.writer.ensure([node])[0])
        with failures(self.writer.url), self.writer.engine.begin() as connection:
            found = read_raw(connection, number, low, high, VALUES_MAX + 1)
            if len(found) > VALUES_MAX:
                raise TooMany(f"{node}: more than {VALUES_MAX} values would be deleted at once; delete a shorter range")
            _delete(connection, number, found, user, now)
        return len(found)

    def delete_at(self, node: str, times: Integers, user: str, now: int) -> list[Outcome]:
        """Delete the values at these times; what became of each. Raises HistoryError."""
        number = int(self.writer.ensure([node])[0])
        with failures(self.writer.url), self.writer.engine.begin() as connection:
            old = _existing(connection, number, times)
            _delete(connection, number, _series([old[t] for t in np.unique(times).tolist() if t in old]), user, now)
        return [Outcome.DELETED if t in old else Outcome.MISSING for t in times.tolist()]

    def forget_modified(self, node: str, low: int, high: int) -> int:
        """Delete what is remembered of modified values with low <= time < high; how many there were. Raises HistoryError."""
        number = int(self.writer.ensure([node])[0])
        where = (modified.c.series == number, modified.c.time >= low, modified.c.time < high)
        with failures(self.writer.url), self.writer.engine.begin() as connection:
            return int(connection.execute(modified.delete().where(*where)).rowcount)


Sample = tuple[int, float, int]


def _outcome(kind: Edit, exists: bool, too_old: bool) -> Outcome:
    if too_old:
        return Outcome.TOO_OLD
    if exists:
        return Outcome.EXISTS if kind is Edit.INSERT else Outcome.REPLACED
    return Outcome.MISSING if kind is Edit.REPLACE else Outcome.INSERTED


def _existing(connection: Connection, number: int, times: Integers) -> dict[int, Sample]:
    """The samples at these times."""
    found: dict[int, Sample] = {}
    wanted = np.unique(times)
    for hour in np.unique(wanted // HOUR).tolist():
        inside = wanted[wanted // HOUR == hour]
        stored = read_raw(connection, number, int(inside[0]), int(inside[-1]) + 1, 1 << 30)
        for row in np.flatnonzero(np.isin(stored.times, inside)).tolist():
            found[int(stored.times[row])] = (int(stored.times[row]), float(stored.values[row]), int(stored.status[row]))
    return found


def _delete(connection: Connection, number: int, old: Series, user: str, now: int) -> None:
    rows = list(zip(old.times.tolist(), old.values.tolist(), old.status.tolist(), strict=True))
    _remember(connection, number, rows, Edit.DELETE, user, now)
    gone = np.full(len(old), DELETED, np.uint32)
    append_records(connection, np.full(len(old), number), Series(old.times, np.full(len(old), np.nan), gone))


def _remember(connection: Connection, number: int, old: Sequence[Sample], kind: Edit, user: str, now: int) -> None:
    rows = [
        {
            "series": number,
            "time": time,
            "value": None if np.isnan(value) else value,
            "status": status,
            "changed": now,
            "kind": int(kind),
            "user": user[:128],
        }
        for time, value, status in old
    ]
    if rows:
        connection.execute(modified.insert(), rows)


def _series(rows: Sequence[Sample]) -> Series:
    times, values, status = zip(*rows, strict=True) if rows else ((), (), ())
    return Series(np.array(times, np.int64), np.array(values, np.float64), np.array(status, np.uint32))
