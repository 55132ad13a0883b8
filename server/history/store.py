"""Writing and reading raw history through SQLAlchemy: SQLite (WAL) embedded, or PostgreSQL, with one schema.

The writer is one process (the historian); any number of readers look at a consistent snapshot meanwhile. A second value
for the same channel and source time replaces the first: a correction, not a duplicate.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine, create_engine, event, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DatabaseError, OperationalError

from server.core.errors import EmsError
from server.core.series import Series

from .schema import VERSION, metadata, sample, series, version


class HistoryError(EmsError):
    """The history cannot be opened, read or written; the text says which file or server and why."""


def database_url(directory: Path, configured: str = "") -> str:
    """The database of a site: the configured SQLAlchemy URL, or SQLite in its data folder."""
    return configured or f"sqlite:///{directory / 'data' / 'history.sqlite'}"


class HistoryWriter:
    """Appends values. Opening creates the tables; a damaged SQLite file is set aside, never overwritten."""

    def __init__(self, url: str) -> None:
        self.set_aside: Path | None = None
        try:
            self._engine = _open(url)
        except OSError as error:
            raise HistoryError(f"{_shown(url)}: {error.strerror}") from error
        except DatabaseError as error:
            if isinstance(error, OperationalError) or not url.startswith("sqlite"):
                raise HistoryError(f"{_shown(url)}: {error.orig}") from error
            self.set_aside = _set_aside(url)
            self._engine = _open(url)
        dialect = postgresql if self._engine.dialect.name == "postgresql" else sqlite
        insert = dialect.insert(sample)
        self._upsert = insert.on_conflict_do_update(
            index_elements=["series", "time"], set_={"value": insert.excluded.value, "status": insert.excluded.status}
        )

    def ensure(self, nodes: Sequence[str]) -> NDArray[np.int64]:
        """The series ids of `nodes`, in their order; new ones are added."""
        with self._engine.begin() as connection:
            known = {row.node: row.id for row in connection.execute(select(series.c.node, series.c.id))}
            missing = [{"node": node} for node in dict.fromkeys(nodes) if node not in known]
            if missing:
                connection.execute(series.insert(), missing)
                known = {row.node: row.id for row in connection.execute(select(series.c.node, series.c.id))}
        return np.array([known[node] for node in nodes], np.int64)

    def append(
        self, ids: NDArray[np.int64], times: NDArray[np.int64], values: NDArray[np.float64], status: NDArray[np.uint32]
    ) -> None:
        """Store rows in one transaction. Raises HistoryError (disk full, server away); then nothing of them is stored."""
        optional: list[float | None] = values.tolist()
        for index in np.flatnonzero(np.isnan(values)).tolist():
            optional[index] = None
        columns = zip(ids.tolist(), times.tolist(), optional, status.tolist(), strict=True)
        rows = [dict(zip(("series", "time", "value", "status"), row, strict=True)) for row in columns]
        if not rows:
            return
        try:
            with self._engine.begin() as connection:
                connection.execute(self._upsert, rows)
        except DatabaseError as error:
            raise HistoryError(f"{_shown(str(self._engine.url))}: {error.orig}") from error

    def close(self) -> None:
        """Release the database."""
        self._engine.dispose()


class HistoryReader:
    """Reads raw values, from any thread; never changes anything. A history that does not exist yet is empty."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._engine: Engine | None = None
        self._ids: dict[str, int] = {}

    def raw(self, node: str, start: int, end: int, limit: int) -> Series:
        """Values of `node` with start <= time < end, oldest first; start > end reads start >= time > end, newest first.

        start, end: ticks. At most `limit` values. Raises HistoryError.
        """
        forward = start <= end
        low, high = (sample.c.time >= start, sample.c.time < end) if forward else (sample.c.time <= start, sample.c.time > end)
        order = sample.c.time if forward else sample.c.time.desc()
        return self._select(node, [low, high], order, limit)

    def bound(self, node: str, at: int, *, before: bool) -> Series:
        """The value nearest to `at` outside it: the last before, or the first after; empty when there is none."""
        outside = sample.c.time < at if before else sample.c.time > at
        return self._select(node, [outside], sample.c.time.desc() if before else sample.c.time, 1)

    def close(self) -> None:
        """Release the database."""
        if self._engine is not None:
            self._engine.dispose()

    def _select(self, node: str, where: Sequence[Any], order: Any, limit: int) -> Series:
        try:
            number = self._series(node)
            if self._engine is None or number is None:
                return _EMPTY
            query = select(sample.c.time, sample.c.value, sample.c.status).where(sample.c.series == number, *where)
            with self._engine.connect() as connection:
                rows = connection.execute(query.order_by(order).limit(limit)).fetchall()
        except DatabaseError as error:
            raise HistoryError(f"{_shown(self._url)}: {error.orig}") from error
        if not rows:
            return _EMPTY
        times, values, status = zip(*rows, strict=True)
        return Series(np.array(times, np.int64), np.array(values, np.float64), np.array(status, np.uint32))

    def _series(self, node: str) -> int | None:
        if node not in self._ids and self._connect() is not None:
            assert self._engine is not None
            with self._engine.connect() as connection:
                found = connection.execute(select(series.c.id).where(series.c.node == node)).scalar_one_or_none()
            if found is not None:
                self._ids[node] = found
        return self._ids.get(node)

    def _connect(self) -> Engine | None:
        if self._engine is None and (not self._url.startswith("sqlite") or _file(self._url).exists()):
            self._engine = create_engine(self._url)
            if self._engine.dialect.name == "sqlite":
                event.listen(self._engine, "connect", _read_only)
        return self._engine


_EMPTY: Final = Series(np.empty(0, np.int64), np.empty(0), np.empty(0, np.uint32))


def _open(url: str) -> Engine:
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        _file(url).parent.mkdir(parents=True, exist_ok=True)
        event.listen(engine, "connect", _write_ahead)
    metadata.create_all(engine)
    with engine.begin() as connection:
        found = connection.execute(select(version.c.version)).scalar_one_or_none()
        if found is None:
            connection.execute(version.insert(), {"version": VERSION})
        elif found != VERSION:
            raise HistoryError(f"{_shown(url)}: schema version {found}; this program writes version {VERSION}")
        if engine.dialect.name == "sqlite":
            connection.execute(text("SELECT count(*) FROM (SELECT 1 FROM sample LIMIT 1)"))
    return engine


def _write_ahead(connection: Any, _record: Any) -> None:
    """WAL survives a kill; NORMAL may lose the last transaction on power loss, never the file."""
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=5000"):
        connection.execute(f"PRAGMA {pragma}")


def _read_only(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA query_only=1")
    connection.execute("PRAGMA busy_timeout=2000")


def _file(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def _shown(url: str) -> str:
    """The URL without a password."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _set_aside(url: str) -> Path:
    """Rename a damaged SQLite file and its companions; returns the new name."""
    file = _file(url)
    target = file.with_name(f"{file.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    for suffix in ("-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
    return file.rename(target)
