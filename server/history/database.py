"""Opening the database of a history: SQLite (WAL) embedded, or PostgreSQL; one schema, one kind of error."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, Table, create_engine, event, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DatabaseError, SQLAlchemyError

from server.core.errors import EmsError

from .schema import VERSION, mark, metadata, version

_DAMAGED: Final = ("malformed", "not a database", "disk image")
SUFFIXES: Final = ("-wal", "-shm")


class HistoryError(EmsError):
    """The history cannot be opened, read or written; the text says which file or server and why."""


class DamagedError(HistoryError):
    """The file is no sound database any more; waiting does not help."""


def database_url(directory: Path, configured: str = "") -> str:
    """The database of a site: the configured SQLAlchemy URL, or SQLite in its data folder."""
    return configured or f"sqlite:///{directory / 'data' / 'history.sqlite'}"


def is_sqlite(url: str) -> bool:
    """True for the embedded database."""
    return url.startswith("sqlite")


def file_of(url: str) -> Path:
    """The file of an embedded database."""
    return Path(url.removeprefix("sqlite:///"))


def shown(url: str) -> str:
    """The URL without a password."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def open_for_writing(url: str) -> Engine:
    """An engine over a database that has our tables. Raises HistoryError, DamagedError."""
    try:
        if is_sqlite(url):
            file_of(url).parent.mkdir(parents=True, exist_ok=True)
        engine = _writing_engine(url)
        with failures(url):
            metadata.create_all(engine)
            with engine.begin() as connection:
                _check_version(connection, url)
    except OSError as error:
        raise HistoryError(f"{shown(url)}: {error.strerror}") from error
    return engine


def _writing_engine(url: str) -> Engine:
    if not is_sqlite(url):
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(url)
    event.listen(engine, "connect", _write_ahead)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def open_for_reading(url: str) -> Engine:
    """An engine that cannot change anything. The database must be there."""
    if not is_sqlite(url):
        return create_engine(url, pool_pre_ping=True, execution_options={"postgresql_readonly": True})
    engine = create_engine(url)
    event.listen(engine, "connect", _read_only)
    event.listen(engine, "begin", _begin)
    return engine


@contextmanager
def failures(url: str) -> Iterator[None]:
    """Errors of the database as HistoryError, those of a broken file as DamagedError."""
    try:
        yield
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        text = f"{shown(url)}: {cause}"
        broken = isinstance(error, DatabaseError) and any(word in str(cause) for word in _DAMAGED)
        raise (DamagedError(text) if broken else HistoryError(text)) from error


def set_aside(url: str) -> Path:
    """Rename a damaged SQLite file and what belongs to it; returns the new name."""
    file = file_of(url)
    target = file.with_name(f"{file.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    for suffix in SUFFIXES:
        companion = file.with_name(file.name + suffix)
        if companion.exists():
            companion.rename(target.with_name(target.name + suffix))
    return file.rename(target)


def upsert(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows; one whose primary key is there already is replaced."""
    if rows:
        connection.execute(_upsert(connection.dialect.name, table), rows)


@lru_cache(maxsize=16)
def _upsert(dialect: str, table: Table) -> Any:
    insert = (postgresql if dialect == "postgresql" else sqlite).insert(table)
    keys = [column.name for column in table.primary_key]
    others = {column.name: insert.excluded[column.name] for column in table.columns if column.name not in keys}
    return insert.on_conflict_do_update(index_elements=keys, set_=others)


def read_mark(connection: Connection, name: str) -> int:
    """A mark; 0 when it was never set."""
    return int(connection.execute(select(mark.c.value).where(mark.c.name == name)).scalar_one_or_none() or 0)


def set_mark(connection: Connection, name: str, value: int) -> None:
    """Set a mark."""
    upsert(connection, mark, [{"name": name, "value": value}])


def _check_version(connection: Connection, url: str) -> None:
    found = connection.execute(select(version.c.version)).scalar_one_or_none()
    if found is None:
        connection.execute(version.insert(), {"version": VERSION})
    elif found != VERSION:
        raise HistoryError(f"{shown(url)}: schema version {found}; this program writes version {VERSION}")


def _write_ahead(connection: sqlite3.Connection, _record: Any) -> None:
    """WAL survives a kill; NORMAL may lose the last transaction on power loss, never the file."""
    connection.isolation_level = None
    for pragma in ("auto_vacuum=INCREMENTAL", "journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=5000"):
        connection.execute(f"PRAGMA {pragma}")


def _read_only(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None
    for pragma in ("query_only=1", "busy_timeout=2000"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_immediate(connection: Connection) -> None:
    """A writer takes its turn before it reads what it is going to change."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin(connection: Connection) -> None:
    """A reader sees one state of the store in all its queries."""
    connection.exec_driver_sql("BEGIN")
