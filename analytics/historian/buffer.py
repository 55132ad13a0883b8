"""Values on their way to the database, bounded."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from server.client import Table

BUFFER_VALUES_MAX = 2_000_000
"""64 MB; at 500 values a second more than an hour without a database."""


class Buffer:
    """Tables waiting to be stored, oldest first. `lost` counts values given up because the database stayed away."""

    def __init__(self, ids: NDArray[np.int64], values_max: int = BUFFER_VALUES_MAX) -> None:
        self._ids = ids
        self._values_max = values_max
        self._tables: deque[Table] = deque()
        self.values = 0
        self.lost = 0

    def add(self, table: Table) -> None:
        """Keep what can be stored: values with a source time."""
        kept = table if table.source.all() else table.take(np.flatnonzero(table.source))
        self._tables.append(kept)
        self.values += len(kept)
        while self.values > self._values_max and len(self._tables) > 1:
            dropped = len(self._tables.popleft())
            self.values -= dropped
            self.lost += dropped

    def take(self) -> list[Table]:
        """All that waits; given back with `restore` when it cannot be stored."""
        tables = list(self._tables)
        self._tables.clear()
        self.values = 0
        return tables

    def restore(self, tables: list[Table]) -> None:
        """Put tables back in front; newer ones have arrived meanwhile."""
        self._tables.extendleft(reversed(tables))
        self.values += sum(len(t) for t in tables)

    def columns(
        self, tables: list[Table]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.uint32]]:
        """Series id, time, value and status of all rows. A later value for the same series and time comes later."""
        index = np.concatenate([t.index for t in tables])
        times = np.concatenate([t.source for t in tables])
        values = np.concatenate([t.value for t in tables])
        return self._ids[index], times, values, np.concatenate([t.status for t in tables])
