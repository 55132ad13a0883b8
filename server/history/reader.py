"""Reading the history, from any thread and beside the writer; never changes anything."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple, TypeVar

import numpy as np
from sqlalchemy import Connection, Engine, inspect, select

from server.core.series import Series, join
from server.core.status import BAD, BAD_NO_DATA

from .database import failures, file_of, is_sqlite, open_for_reading, read_mark
from .folds import Folds, Integers
from .packed import (
    HOUR,
    RESOLUTIONS_S,
    block_query,
    cell_of,
    decode_block,
    decode_folds,
    fold_query,
    read_blocks,
    read_recent,
)
from .pieces import Composer, Treatment, as_stored, without_bad
from .samples import DELETED, EMPTY, between, overlay, part
from .schema import block, modified, rollup, series, version
from .spans import Spans, span
from .writer import ALIVE

FOR_EVER: Final = int(np.iinfo(np.int64).max) - 2 * HOUR
SEARCHED_MAX: Final = 100_000
"""Samples looked at for one that is not Bad."""
T = TypeVar("T")


class Modification(NamedTuple):
    """A value that was replaced or deleted. changed: ticks; kind: HistoryUpdateType (2 replace, 3 update, 4 delete)."""

    time: int
    value: float
    status: int
    changed: int
    kind: int
    user: str


class HistoryReader:
    """Reads one history. One that does not exist yet is empty; one that was set aside and begun anew is found again."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._engine: Engine | None = None
        self._file: tuple[int, int] = (0, 0)
        self._ids: dict[str, int] = {}

    def raw(self, node: str, start: int, end: int, limit: int) -> Series:
        """Values of `node` with start <= time < end, oldest first; start > end reads start >= time > end, newest first.

        start, end: ticks. At most `limit` values. Raises HistoryError.
        """
        low, high = (start, end) if start <= end else (end + 1, start + 1)
        return self._ask(node, lambda c, n: read_raw(c, n, low, high, limit, forward=start <= end), EMPTY)

    def bound(self, node: str, at: int, *, before: bool) -> Series:
        """The value nearest to `at` outside it: the last before, or the first after; empty when there is none."""
        return self._ask(node, lambda c, n: last_before(c, n, at) if before else read_raw(c, n, at + 1, FOR_EVER, 1), EMPTY)

    def at(self, node: str, times: Integers) -> tuple[Series, Series, int]:
        """For each of these times (rising) the sample that held then, at its own time: of any quality, and the last not Bad.

        What there is not has time 0 and status BadNoData. Also the end of the data.
        """

        def read(connection: Connection, number: int) -> tuple[Series, Series, int]:
            held = _at(connection, number, times)
            bad = bool((held.status >= BAD).any())
            return held, _at(connection, number, times, without_bad) if bad else held, end_of_data(connection, number)

        return self._ask(node, read, (EMPTY, EMPTY, 0))

    def modified(self, node: str, start: int, end: int, limit: int, skip: int = 0) -> list[Modification]:
        """Values that were replaced or deleted, in the range and direction of `raw`, without the first `skip`.

        Of those with the same time, what was modified last comes first; it comes last where start > end (Part 11, 6.5.3.3).
        """
        low, high = (start, end) if start <= end else (end + 1, start + 1)
        order = (modified.c.time, modified.c.id.desc()) if start <= end else (modified.c.time.desc(), modified.c.id)
        columns = (modified.c.time, modified.c.value, modified.c.status, modified.c.changed, modified.c.kind, modified.c.user)

        def read(connection: Connection, number: int) -> list[Modification]:
            query = select(*columns).where(modified.c.series == number, modified.c.time >= low, modified.c.time < high)
            rows = connection.execute(query.order_by(*order).limit(limit).offset(skip))
            return [Modification(t, np.nan if v is None else v, *rest) for t, v, *rest in rows]

        return self._ask(node, read, [])

    def spans(self, node: str, boundaries: Integers, treatment: Treatment | None = None) -> Spans | None:
        """What is known of each interval between the boundaries (ticks, rising); None when the node has no history.

        treatment: how samples are changed before they are looked at; that takes all of them, not the roll-ups.
        """
        return self._ask(node, lambda c, n: _spans(c, n, boundaries, treatment), None)

    def query(self, ask: Callable[[Connection], T], otherwise: T) -> T:
        """Ask the database; `otherwise` when there is none yet. Raises HistoryError."""
        with failures(self._url), self._connected() as connection:
            return otherwise if connection is None else ask(connection)

    def close(self) -> None:
        """Release the database."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def _ask(self, node: str, read: Callable[[Connection, int], T], otherwise: T) -> T:
        def ask(connection: Connection) -> T:
            number = self._number(connection, node)
            return otherwise if number is None else read(connection, number)

        return self.query(ask, otherwise)

    def _number(self, connection: Connection, node: str) -> int | None:
        if node not in self._ids:
            found = connection.execute(select(series.c.id).where(series.c.node == node)).scalar_one_or_none()
            if found is None:
                return None
            self._ids[node] = found
        return self._ids[node]

    @contextmanager
    def _connected(self) -> Iterator[Connection | None]:
        engine = self._present()
        if engine is None:
            yield None
            return
        with engine.begin() as connection:
            yield connection

    def _present(self) -> Engine | None:
        """The engine over the database that is there now; None while there is none, or its tables are still to be made."""
        found = (0, 0)
        if is_sqlite(self._url):
            try:
                status = os.stat(file_of(self._url))
            except FileNotFoundError:
                return None
            found = (status.st_dev, status.st_ino)
        if self._engine is None or found != self._file:
            self.close()
            self._ids, self._file = {}, found
            self._engine = open_for_reading(self._url)
            if not inspect(self._engine).has_table(version.name):
                self.close()
        return self._engine


def read_raw(connection: Connection, number: int, low: int, high: int, limit: int, *, forward: bool = True) -> Series:
    """Samples with low <= time < high, at most `limit`: the oldest first, or the newest first."""
    arrived = read_recent(connection, number, low, high)
    wanted = limit + int((arrived.status == DELETED).sum())
    query = block_query(number).where(block.c.start > low - HOUR, block.c.start < high)
    rows = connection.execute(query.order_by(block.c.start if forward else block.c.start.desc()).execution_options(yield_per=32))
    parts: list[Series] = []
    first, end = low, high
    for row in rows:
        parts.append(between(decode_block(row), low, high))
        wanted -= len(parts[-1])
        if wanted <= 0:
            first, end = (low, row.start + HOUR) if forward else (row.start, high)
            break
    rows.close()
    stored = join(parts if forward else parts[::-1]) if parts else EMPTY
    found = overlay(stored, part(arrived, (arrived.times >= first) & (arrived.times < end)))
    return (found if forward else part(found, slice(None, None, -1))).first(limit)


def last_before(connection: Connection, number: int, at: int, treatment: Treatment = as_stored) -> Series:
    """The last sample before `at` that the treatment leaves; where the samples are gone, what the roll-ups remember of it."""
    limit = 1
    while limit <= SEARCHED_MAX:
        found = read_raw(connection, number, 0, at, limit, forward=False)
        treated = treatment(found)
        if len(treated):
            return treated.first(1)
        if len(found) < limit:
            break
        limit *= 32
    if read_mark(connection, "from/0") == 0:
        return EMPTY
    remembered = [fold for seconds in RESOLUTIONS_S if (fold := _fold_before(connection, number, seconds, at)) is not None]
    if not remembered:
        return EMPTY
    last = max(remembered, key=lambda fold: int(fold.last_time[0]))
    return treatment(Series(last.last_time, last.last, last.last_status))


def _fold_before(connection: Connection, number: int, seconds: int, at: int) -> Folds | None:
    """The last fold that ends before `at`."""
    query = fold_query(number, seconds).where(rollup.c.start < at).order_by(rollup.c.start.desc()).limit(2)
    for row in connection.execute(query):
        folds = decode_folds(row)
        ended = np.flatnonzero(folds.last_time < at)
        if len(ended):
            return folds.take(ended[-1:])
    return None


def _spans(connection: Connection, number: int, boundaries: Integers, treatment: Treatment | None) -> Spans:
    composer = Composer(connection, number)
    parts = composer.fold(boundaries) if treatment is None else composer.fold_samples(boundaries, treatment)
    before = last_before(connection, number, int(boundaries[0]), treatment or as_stored)
    return span(boundaries, parts, before, end_of_data(connection, number))


def end_of_data(connection: Connection, number: int) -> int:
    """Until when (ticks) a series is known: to its last sample, or for as long as the historian listened after it."""
    last = last_before(connection, number, FOR_EVER)
    return max(read_mark(connection, ALIVE), int(last.times[0]) + 1) if len(last) else 0


def _at(connection: Connection, number: int, times: Integers, treatment: Treatment = as_stored) -> Series:
    """For each time the sample that held then."""
    hours = np.unique(cell_of(times, 3600))
    stored = [decode_block(row) for row in read_blocks(connection, number, hours)]
    arrived = read_recent(connection, number, int(hours[0]), int(times[-1]) + 1)
    fresh = part(arrived, np.isin(cell_of(arrived.times, 3600), hours))
    samples = treatment(overlay(join(stored) if stored else EMPTY, fresh))
    place = np.searchsorted(samples.times, times, "right") - 1
    inside = (place >= 0) & (cell_of(samples.times[place], 3600) == cell_of(times, 3600)) if len(samples) else place >= 0
    found = part(samples, np.maximum(place, 0)) if len(samples) else _nothing(len(times))
    for hour in np.unique(cell_of(times[~inside], 3600)).tolist():
        earlier = last_before(connection, number, hour, treatment)
        held = earlier if len(earlier) else _nothing(1)
        rows = ~inside & (cell_of(times, 3600) == hour)
        found.times[rows], found.values[rows], found.status[rows] = held.times[0], held.values[0], held.status[0]
    return found


def _nothing(count: int) -> Series:
    return Series(np.zeros(count, np.int64), np.full(count, np.nan), np.full(count, BAD_NO_DATA, np.uint32))
