"""Values on their way to the database, bounded."""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

from server.client import Table
from server.client.table import concatenate, newest
from server.core.status import BAD_NO_DATA

BUFFER_VALUES_MAX: Final = 2_000_000
"""56 MB; at 100 values a second more than five hours without a database."""


class Buffer:
    """Tables waiting to be stored, oldest first.

    When too many wait, the oldest half is thinned: of each series its last value stays, and before it a mark that there is no
    data. `lost` counts the values given up so.
    """

    def __init__(self, values_max: int = BUFFER_VALUES_MAX) -> None:
        self._values_max = values_max
        self._tables: deque[Table] = deque()
        self.values = 0
        self.lost = 0

    def add(self, table: Table) -> None:
        """Keep what can be stored: values with a source time."""
        kept = table if table.source.all() else table.take(np.flatnonzero(table.source))
        if len(kept):
            self._tables.append(kept)
            self.values += len(kept)
        if self.values > self._values_max and len(self._tables) > 1:
            self._thin()

    def take(self) -> Table | None:
        """All that waits, None when nothing does; given back with `restore` when it cannot be stored."""
        tables = list(self._tables)
        self._tables.clear()
        self.values = 0
        return concatenate(tables) if tables else None

    def restore(self, table: Table) -> None:
        """Put a table back in front; newer ones have arrived meanwhile."""
        self._tables.appendleft(table)
        self.values += len(table)

    def _thin(self) -> None:
        """Reduce the oldest half to the last value of each series."""
        half = self._values_max // 2
        oldest = [self._tables.popleft()]
        while self._tables and sum(map(len, oldest)) < half:
            oldest.append(self._tables.popleft())
        whole = concatenate(oldest)
        rows = np.arange(len(whole))
        thinned = _thinned(whole.take(rows[:half]))
        self.lost += _values(whole.status[:half]) - _values(thinned.status)
        self.values += len(thinned) - half
        self._tables.extendleft(table for table in (whole.take(rows[half:]), thinned) if len(table))


def _values(status: NDArray[np.uint32]) -> int:
    """How many are values, not marks that there is none."""
    return int((status != BAD_NO_DATA).sum())


def _thinned(whole: Table) -> Table:
    """The last value of each series, after marks that there is no data before it."""
    return concatenate([_nothing_from(whole), newest(whole)])


def _nothing_from(whole: Table) -> Table:
    """Marks that there is no data from the first of several values of a series on."""
    index, first, count = np.unique(whole.index, return_index=True, return_counts=True)
    several = count > 1
    return no_data(index[several], whole.source[first[several]])


def no_data(index: NDArray[np.int64], times: NDArray[np.int64]) -> Table:
    """Marks that there is no data for these series from these times on."""
    status = np.full(len(index), BAD_NO_DATA, np.uint32)
    return Table(index.astype(np.int64), np.full(len(index), np.nan), status, times.astype(np.int64))
