"""From what arrived last to packed blocks and roll-ups.

`recent` overlays the blocks, so nothing hurries: until a record is sealed, readers take it from `recent`, and the roll-ups of
its interval are not used. Sealing twice changes nothing, so it may stop after any series, by a kill or to let values in, and
begin again.

Many series are merged and folded in one go: a *key* is the number of a series and the number of an interval in one integer,
and everything here is sorted by keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, Table, delete, select

from server.core.series import Series, join
from server.core.ticks import TICKS

from .codec import RECORD, pack
from .database import DamagedError, read_mark, upsert
from .folds import Folds, Integers, columns, fold_by, fold_each
from .packed import RESOLUTIONS_S, ROWS_PER_BLOCK, decode_block, decode_folds, series_of
from .samples import EMPTY, overlay_rows, part
from .schema import block, recent, rollup

RECORDS_AT_ONCE: Final = 2_000_000
SERIES_AT_ONCE: Final = 25
_IDS_AT_ONCE: Final = 400
_HOUR_S: Final = 3600


class Rows(NamedTuple):
    """Samples of several series. number: of each sample's series."""

    number: Integers
    samples: Series


def seal(engine: Engine, damaged: list[str]) -> Iterator[int]:
    """Seal everything that is in `recent` now, in transactions of a few series; yields after each how many records are done.

    damaged: gets a text for each block that could not be read and is begun anew.
    """
    while True:
        with engine.begin() as connection:
            ids, records = _oldest(connection)
            begins = read_mark(connection, "from/0")
        if not ids:
            return
        records = records[records["time"] >= begins]  # what is older than retention keeps stays out
        numbers = np.unique(records["series"])
        for start in range(0, len(numbers), SERIES_AT_ONCE):
            chosen = records[np.isin(records["series"], numbers[start : start + SERIES_AT_ONCE])]
            with engine.begin() as connection:
                _seal(connection, Rows(chosen["series"].astype(np.int64), series_of(chosen)), damaged)
            yield 0
        with engine.begin() as connection:
            _delete(connection, recent, recent.c.id, ids)
        yield len(records)


def _oldest(connection: Connection) -> tuple[list[int], NDArray[Any]]:
    """The oldest rows of `recent`, as many as fit in memory, and their records."""
    ids: list[int] = []
    bodies: list[bytes] = []
    count = 0
    query = select(recent.c.id, recent.c.rows, recent.c.body).order_by(recent.c.id).execution_options(yield_per=64)
    for row in connection.execute(query):
        if ids and count + row.rows > RECORDS_AT_ONCE:
            break
        ids.append(row.id)
        bodies.append(row.body)
        count += row.rows
    return ids, np.frombuffer(b"".join(bodies), RECORD)


def _seal(connection: Connection, arrived: Rows, damaged: list[str]) -> None:
    """Merge what arrived into its hours, and fold these anew."""
    hours = np.unique(_keys(arrived.number, arrived.samples.times, _HOUR_S))
    stored = _stored(connection, hours, damaged)
    merged = Rows(*overlay_rows(*stored, *arrived))
    keys = _keys(merged.number, merged.samples.times, _HOUR_S)
    _write(connection, block, {}, _HOUR_S, keys, hours, lambda rows: _sample_columns(part(merged.samples, rows)))
    number, folds = merged.number, fold_each(merged.samples)
    for seconds in sorted(RESOLUTIONS_S):
        keys = _keys(number, folds.first_time, seconds)
        number = number[_firsts(keys)]
        folds = fold_by(folds, keys)
        _write_folds(connection, seconds, number, folds, hours)


def _write_folds(connection: Connection, seconds: int, number: Integers, folds: Folds, hours: Integers) -> None:
    """Make the intervals of these hours have exactly these folds; the others of the same blocks stay."""
    span = ROWS_PER_BLOCK * seconds
    touched = np.unique(_keys(hours >> 32, _time(hours, _HOUR_S), span))
    old = [(row.series, decode_folds(row)) for row in _read(connection, rollup, touched, span, rollup.c.seconds == seconds)]
    numbers = np.concatenate([number, *(np.full(len(kept), n) for n, kept in old)])
    whole = Folds(*(np.concatenate(c) for c in zip(columns(folds), *(columns(kept) for _, kept in old), strict=True)))
    replaced = np.isin(_keys(numbers, whole.first_time, _HOUR_S), hours)
    replaced[: len(number)] = False
    rows = np.flatnonzero(~replaced)
    rows = rows[np.lexsort((whole.first_time[rows], numbers[rows]))]
    numbers, whole = numbers[rows], whole.take(rows)
    keys = _keys(numbers, whole.first_time, span)
    _write(connection, rollup, {"seconds": seconds}, span, keys, touched, lambda r: columns(whole.take(r)))


def _stored(connection: Connection, hours: Integers, damaged: list[str]) -> Rows:
    """What the blocks of these hours hold."""
    numbers, parts = [np.empty(0, np.int64)], [EMPTY]
    for row in _read(connection, block, hours, _HOUR_S, True):
        try:
            parts.append(decode_block(row))
        except DamagedError as error:
            damaged.append(f"series {row.series}, {row.rows} values from {row.start}: {error}")
            continue
        numbers.append(np.full(row.rows, row.series))
    return Rows(np.concatenate(numbers), join(parts))


def _read(connection: Connection, table: Table, keys: Integers, seconds: int, where: Any) -> Iterator[Any]:
    """The rows of these keys, in their order."""
    wanted = set(keys.tolist())
    numbers = np.unique(keys >> 32).tolist()
    times = _time(keys, seconds)
    query = select(table.c.series, table.c.start, table.c.rows, table.c.body).where(where, table.c.series.in_(numbers))
    query = query.where(table.c.start >= int(times.min()), table.c.start <= int(times.max()))
    for row in connection.execute(query.order_by(table.c.series, table.c.start)):
        if int(_keys(row.series, row.start, seconds)) in wanted:
            yield row


def _write(
    connection: Connection,
    table: Table,
    fixed: dict[str, int],
    seconds: int,
    keys: Integers,
    touched: Integers,
    cut: Callable[[slice], list[NDArray[Any]]],
) -> None:
    """Write one row per key, with the columns that `cut` gives for the rows of the key; touched keys that have none go."""
    firsts = _firsts(keys)
    ends = np.append(firsts[1:], len(keys))
    present = keys[firsts]
    rows = [
        {"series": key >> 32, **fixed, "start": start, "rows": end - first, "body": pack(cut(slice(first, end)))}
        for key, start, first, end in zip(
            present.tolist(), _time(present, seconds).tolist(), firsts.tolist(), ends.tolist(), strict=True
        )
    ]
    upsert(connection, table, rows)
    for key in np.setdiff1d(touched, present):
        at = {"series": int(key >> 32), "start": int(_time(key, seconds)), **fixed}
        connection.execute(delete(table).where(*(table.c[name] == value for name, value in at.items())))


def _sample_columns(samples: Series) -> list[NDArray[Any]]:
    return [samples.times, samples.values, samples.status]


def _keys(number: Any, times: Any, seconds: int) -> Any:
    """Number of the series and of the interval, in one integer that sorts like both."""
    return (number << 32) + times // (seconds * TICKS)


def _time(keys: Any, seconds: int) -> Any:
    """The start of the interval of a key."""
    return (keys & 0xFFFFFFFF) * (seconds * TICKS)


def _firsts(keys: Integers) -> NDArray[np.intp]:
    """The rows at which another key begins."""
    return np.flatnonzero(np.append(True, keys[1:] != keys[:-1])) if len(keys) else np.empty(0, np.intp)


def _delete(connection: Connection, table: Table, column: Any, values: list[int]) -> None:
    for start in range(0, len(values), _IDS_AT_ONCE):
        connection.execute(delete(table).where(column.in_(values[start : start + _IDS_AT_ONCE])))
