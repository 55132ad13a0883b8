"""Forgetting: what is older than its resolution is kept for goes, a few rows at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, Engine, Table, delete, select

from server.core.ticks import TICKS

from .database import read_mark, set_mark
from .packed import HOUR, RESOLUTIONS_S, ROWS_PER_BLOCK
from .schema import block, event, modified, rollup

ROWS_AT_ONCE: Final = 500
PAGES_AT_ONCE: Final = 2000
DAY: Final = 24 * HOUR


def forget(engine: Engine, now: int, kept_days: Mapping[int, int]) -> bool:
    """Delete some of what is too old; True while there is more. now: ticks.

    kept_days: days by resolution in s, 0 for the samples, their modifications and events; 0 days keeps for ever.
    """
    more = False
    with engine.begin() as connection:
        for seconds in (0, *RESOLUTIONS_S):
            if kept_days.get(seconds, 0):
                more |= _forget(connection, seconds, now - kept_days[seconds] * DAY)
        if connection.dialect.name == "sqlite":
            _give_back(connection)
    return more


def _give_back(connection: Connection) -> None:
    """Give some freed pages back to the file system. The statement works a page per step, so its cursor is read to the end."""
    driver = connection.connection.dbapi_connection
    if driver is not None:
        driver.cursor().execute(f"PRAGMA incremental_vacuum({PAGES_AT_ONCE})").fetchall()


def _forget(connection: Connection, seconds: int, before: int) -> bool:
    """Delete some rows of a resolution that end before a time, after noting that they may be missing."""
    span = ROWS_PER_BLOCK * seconds * TICKS or HOUR
    begins = before - before % span
    if begins > read_mark(connection, f"from/{seconds}"):
        set_mark(connection, f"from/{seconds}", begins)
    if seconds:
        return _delete(connection, rollup, (rollup.c.series, rollup.c.seconds, rollup.c.start), rollup.c.start, seconds, begins)
    _delete_dated(connection, modified, begins)
    _delete_dated(connection, event, begins)
    return _delete(connection, block, (block.c.series, block.c.start), block.c.start, 0, begins)


def _delete(connection: Connection, table: Table, key: tuple[Any, ...], start: Any, seconds: int, begins: int) -> bool:
    query = select(*key).where(start < begins)
    if seconds:
        query = query.where(rollup.c.seconds == seconds)
    rows = connection.execute(query.limit(ROWS_AT_ONCE)).fetchall()
    for row in rows:
        connection.execute(delete(table).where(*(column == value for column, value in zip(key, row, strict=True))))
    return len(rows) == ROWS_AT_ONCE


def _delete_dated(connection: Connection, table: Table, begins: int) -> None:
    oldest = select(table.c.id).where(table.c.time < begins).order_by(table.c.time).limit(ROWS_AT_ONCE)
    connection.execute(delete(table).where(table.c.id.in_(oldest)))
