"""Tables: many values at once, in columns. What a subscription delivers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(slots=True)
class Table:
    """Values of one notification, oldest first where a node appears more than once.

    index: position of the node in the subscription's list. value: numbers, booleans as 0/1, DateTime as 100 ns ticks; NaN where
    there is none (Bad status) or where it is a text or an array. status: OPC UA StatusCode with its info bits. source: source
    time, 100 ns since 1601-01-01 UTC, 0 where unknown.
    texts, arrays: values that are no single number, by *row* of the table.
    """

    index: NDArray[np.int64]
    value: NDArray[np.float64]
    status: NDArray[np.uint32]
    source: NDArray[np.int64]
    texts: dict[int, str] = field(default_factory=dict)
    arrays: dict[int, NDArray[np.float64]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.index)

    def take(self, rows: NDArray[np.intp]) -> Table:
        """The table of these rows, in their order."""
        place = {int(row): i for i, row in enumerate(rows)} if self.texts or self.arrays else {}
        return Table(
            self.index[rows],
            self.value[rows],
            self.status[rows],
            self.source[rows],
            {place[r]: t for r, t in self.texts.items() if r in place},
            {place[r]: a for r, a in self.arrays.items() if r in place},
        )


def concatenate(tables: Sequence[Table]) -> Table:
    """All rows of the tables, in order."""
    if len(tables) == 1:
        return tables[0]
    starts = np.cumsum([0, *(len(t) for t in tables)]).tolist()
    return Table(
        np.concatenate([t.index for t in tables]),
        np.concatenate([t.value for t in tables]),
        np.concatenate([t.status for t in tables]),
        np.concatenate([t.source for t in tables]),
        {start + r: text for start, t in zip(starts, tables, strict=False) for r, text in t.texts.items()},
        {start + r: array for start, t in zip(starts, tables, strict=False) for r, array in t.arrays.items()},
    )


def newest(table: Table) -> Table:
    """The last row of each node."""
    _, last = np.unique(table.index[::-1], return_index=True)
    return table.take(np.sort(len(table) - 1 - last))
