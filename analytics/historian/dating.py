"""When a value was true.

A value is stored at the source time that its driver gave. That is not enough in three cases, in which it is stored at the time
at which it was seen: what is found at the beginning and after a gap may be much older than our knowledge that it still
holds; and a quality that changes comes with the time of the value, which has not changed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from server.client import Table

from .buffer import no_data


class Dating:
    """Gives each value its time. count: number of series; begun: ticks at which we began to listen."""

    def __init__(self, count: int, begun: int) -> None:
        self._time = np.zeros(count, np.int64)
        self._status = np.zeros(count, np.uint32)
        self._awaited = np.ones(count, np.bool_)
        self._begun = begun

    def date(self, table: Table, now: int) -> Table:
        """The table with the times to store, and without what is stored already. now: ticks at which it was seen."""
        last, status = self._time[table.index], self._status[table.index]
        source = np.where(self._awaited[table.index], np.maximum(table.source, self._begun), table.source)
        other = (source <= last) & (table.status != status) & (table.source > 0)
        source = np.where(other, np.maximum(now, last + 1), np.where(table.source > 0, source, 0))
        dated = replace(table, source=source)
        fresh = np.flatnonzero(source != last)
        self._learn(dated)
        return dated if len(fresh) == len(table) else dated.take(fresh)

    def gap(self, since: int, until: int) -> Table:
        """Marks that nothing is known from `since` on, for all series of which something was known; it goes on at `until`."""
        known = np.flatnonzero(self._time > 0)
        marks = no_data(known, np.maximum(since, self._time[known] + 1))
        self._learn(marks)
        self._awaited[:] = True
        self._begun = until
        return marks

    def _learn(self, table: Table) -> None:
        told = table.source > 0
        index = table.index[told]
        self._time[index], self._status[index] = table.source[told], table.status[told]
        self._awaited[index] = False
