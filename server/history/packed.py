"""Blocks of samples and of folds in the database: which there are, and how those of one series are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from sqlalchemy import Connection, Select, select

from server.core.series import Series
from server.core.ticks import TICKS

from .codec import RECORD, SAMPLES, unpack
from .folds import KINDS, Folds, Integers, join_folds
from .schema import block, recent, rollup

HOUR: Final = 3600 * TICKS
"""Length of a block of samples, and the longest roll-up: a roll-up never needs more than one block."""
RESOLUTIONS_S: Final = (3600, 900, 60)
ROWS_PER_BLOCK: Final = 240
_ASKED_AT_ONCE: Final = 400


def cell_of(times: Any, seconds: int) -> Any:
    """The start of the interval of `seconds` in which these times are."""
    return times - times % (seconds * TICKS)


# What arrived last.


def read_recent(connection: Connection, number: int, low: int, high: int) -> Series:
    """Records of one series with low <= time < high as they arrived, deletions among them."""
    query = select(recent.c.body).where(recent.c.last >= low, recent.c.first < high).order_by(recent.c.id)
    body = b"".join(connection.execute(query).scalars())
    records = np.frombuffer(body, RECORD)
    wanted = (records["series"] == number) & (records["time"] >= low) & (records["time"] < high)
    return series_of(records[wanted])


def series_of(records: Any) -> Series:
    """The columns of some records."""
    return Series(records["time"].astype(np.int64), records["value"].astype(np.float64), records["status"].astype(np.uint32))


# Blocks of samples.


def block_query(number: int) -> Select[Any]:
    """Blocks of a series."""
    return select(block.c.start, block.c.rows, block.c.body).where(block.c.series == number)


def decode_block(row: Any) -> Series:
    """The samples of one row of `block`. Raises DamagedError."""
    return Series(*unpack(row.body, row.rows, SAMPLES))


def read_blocks(connection: Connection, number: int, hours: Integers) -> Iterator[Any]:
    """Rows of `block` of these hours, in the order of time."""
    yield from _rows(connection, block_query(number), block.c.start, hours, HOUR)


# Blocks of folds.


def fold_query(number: int, seconds: int) -> Select[Any]:
    """Blocks of folds of a series in one resolution."""
    return select(rollup.c.start, rollup.c.rows, rollup.c.body).where(rollup.c.series == number, rollup.c.seconds == seconds)


def read_folds(connection: Connection, number: int, seconds: int, cells: Integers) -> Folds:
    """The folds of these intervals (their starts, rising); an interval without samples has none."""
    span = ROWS_PER_BLOCK * seconds
    query = fold_query(number, seconds)
    rows = _rows(connection, query, rollup.c.start, np.unique(cell_of(cells, span)), span * TICKS)
    found = join_folds([decode_folds(row) for row in rows])
    return found.take(np.isin(cell_of(found.first_time, seconds), cells, assume_unique=False)) if len(found) else found


def decode_folds(row: Any) -> Folds:
    """The folds of one row of `rollup`. Raises DamagedError."""
    return Folds(*unpack(row.body, row.rows, KINDS))


def _rows(connection: Connection, query: Select[Any], column: Any, starts: Integers, span: int) -> Iterator[Any]:
    """Rows whose `column` is one of `starts` (rising), in order: by range where they lie close, by list where they do not."""
    if not len(starts):
        return
    if int(starts[-1]) - int(starts[0]) <= 4 * span * len(starts):
        wanted = set(starts.tolist())
        rows = connection.execute(query.where(column >= int(starts[0]), column <= int(starts[-1])).order_by(column))
        yield from (row for row in rows if row.start in wanted)
        return
    for chunk in _chunks(starts.tolist()):
        yield from connection.execute(query.where(column.in_(chunk)).order_by(column))


def _chunks(items: Sequence[int]) -> Iterator[Sequence[int]]:
    return (items[start : start + _ASKED_AT_ONCE] for start in range(0, len(items), _ASKED_AT_ONCE))
