"""Writing the history. One process appends and seals, the historian; the OPC UA server appends corrections beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, func, select

from server.core.series import Series

from .codec import RECORD
from .database import DamagedError, failures, file_of, is_sqlite, open_for_writing, read_mark, set_aside, set_mark
from .retention import forget
from .schema import recent, series
from .sealing import seal

ALIVE = "alive"


class HistoryWriter:
    """Appends values. Opening creates the tables; a damaged SQLite file is set aside, never overwritten."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.set_aside: Path | None = None
        self.damaged: list[str] = []
        self._sealing: Iterator[int] | None = None
        self._engine = self._open()

    @property
    def engine(self) -> Engine:
        """The database, for those who write beside us."""
        return self._engine

    def _open(self) -> Engine:
        try:
            return open_for_writing(self.url)
        except DamagedError:
            if not is_sqlite(self.url):
                raise
        self.set_aside = set_aside(self.url)
        return open_for_writing(self.url)

    def begin_anew(self) -> None:
        """Set the damaged database aside and begin another. Raises HistoryError, DamagedError when it is no file of ours."""
        if not is_sqlite(self.url):
            raise DamagedError(f"{self.url.partition('@')[2]}: the database is damaged; its administrator must repair it")
        self._engine.dispose()
        self._sealing = None
        self.set_aside = set_aside(self.url)
        self._engine = open_for_writing(self.url)

    def ensure(self, nodes: Sequence[str]) -> NDArray[np.int64]:
        """The series ids of `nodes`, in their order; new ones are added."""
        with failures(self.url), self._engine.begin() as connection:
            known = dict(_known(connection))
            missing = [{"node": node} for node in dict.fromkeys(nodes) if node not in known]
            if missing:
                connection.execute(series.insert(), missing)
                known = dict(_known(connection))
        return np.array([known[node] for node in nodes], np.int64)

    def append(
        self,
        ids: NDArray[np.int64],
        times: NDArray[np.int64],
        values: NDArray[np.float64],
        status: NDArray[np.uint32],
        alive: int = 0,
    ) -> None:
        """Store values in one transaction. Raises HistoryError (disk full, server away); then nothing of them is stored.

        A second value for the same series and time replaces the first. alive: until when (ticks) nothing is missing.
        """
        with failures(self.url), self._engine.begin() as connection:
            append_records(connection, ids, Series(times, values, status))
            if alive:
                set_mark(connection, ALIVE, alive)

    def alive(self) -> int:
        """Until when (ticks) the history is known to be whole; 0 when it was never written."""
        with failures(self.url), self._engine.begin() as connection:
            return read_mark(connection, ALIVE)

    def waiting(self) -> int:
        """How many values have arrived that are not sealed yet. Raises HistoryError."""
        with failures(self.url), self._engine.begin() as connection:
            return int(connection.execute(select(func.sum(recent.c.rows))).scalar_one() or 0)

    def seal_some(self) -> bool:
        """Turn some of what arrived into blocks and roll-ups; True while there is more to do. Raises HistoryError.

        One process seals, the historian.
        """
        if self._sealing is None:
            self._sealing = seal(self._engine, self.damaged)
        try:
            with failures(self.url):
                next(self._sealing)
        except StopIteration:
            self._sealing = None
            return False
        except BaseException:
            self._sealing = None
            raise
        return True

    def seal(self) -> None:
        """Turn all that arrived into blocks and roll-ups. Raises HistoryError."""
        while self.seal_some():
            pass

    def forget(self, now: int, kept_days: Mapping[int, int]) -> bool:
        """Delete some of what is older than it is kept for; True while there is more. Raises HistoryError. See `retention`."""
        with failures(self.url):
            return forget(self._engine, now, kept_days)

    def is_there(self) -> bool:
        """False when the file of the database was taken away; what is written then goes nowhere."""
        return not is_sqlite(self.url) or file_of(self.url).exists()

    def close(self) -> None:
        """Release the database."""
        self._engine.dispose()


def _known(connection: Connection) -> Iterator[tuple[str, int]]:
    return ((row.node, row.id) for row in connection.execute(select(series.c.node, series.c.id)))


def append_records(connection: Connection, ids: NDArray[np.int64], values: Series) -> None:
    """Add one row to `recent`."""
    if not len(values):
        return
    records = np.empty(len(values), RECORD)
    records["series"], records["status"] = ids, values.status
    records["time"], records["value"] = values.times, values.values
    first, last = int(values.times.min()), int(values.times.max())
    connection.execute(recent.insert(), {"first": first, "last": last, "rows": len(records), "body": records.tobytes()})
