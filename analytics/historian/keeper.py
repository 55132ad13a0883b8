"""The side of the database: opened when it can be had, appended to, sealed and thinned out in small steps. Used by one thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from server.client import Table
from server.core.status import BAD_NO_DATA
from server.core.ticks import TICKS
from server.history import DamagedError, HistoryWriter

SEAL_EACH: Final = 600 * TICKS
SEAL_ABOVE: Final = 200_000
"""Values; sealed before it is time, so that readers need not look through all of them."""
FORGET_EACH: Final = 3600 * TICKS
GAP_MIN: Final = 5 * TICKS
"""A shorter pause of the historian is no gap."""


class Keeper:
    """Keeps the history of `nodes` in the database of `url`. tell: is told what somebody should know."""

    def __init__(self, url: str, nodes: Sequence[str], kept_days: Mapping[int, int], tell: Callable[[str], None]) -> None:
        self._url = url
        self._nodes = nodes
        self._kept_days = kept_days
        self._tell = tell
        self._writer: HistoryWriter | None = None
        self._ids: NDArray[np.int64] = np.empty(0, np.int64)
        self._alive = self._seal_at = self._forget_at = 0

    def store(self, table: Table | None, begun: int, alive: int) -> None:
        """Store values, and that nothing is missing until `alive`. begun: when we began to listen. Raises HistoryError."""
        try:
            self._store(table, begun, alive)
        except DamagedError as error:
            writer = self._writer
            if writer is None:
                raise
            writer.begin_anew()
            self._tell(f"the history was damaged ({error}) and set aside as {writer.set_aside}; a new one is begun")
            self._ids = writer.ensure(self._nodes)
            self._store(table, begun, alive)

    def _store(self, table: Table | None, begun: int, alive: int) -> None:
        writer = self._opened(begun)
        if table is None:
            self._alive = max(self._alive, alive)
            writer.append(*_NOTHING, alive=self._alive)
        else:
            self._alive = max(self._alive, alive, int(table.source.max()) + 1)
            writer.append(self._ids[table.index], table.source, table.value, table.status, alive=self._alive)

    def tend(self, now: int) -> None:
        """Do a little of what is due: turn what arrived into blocks and roll-ups, forget what is too old. Raises HistoryError."""
        if self._writer is None:
            return
        if now >= self._seal_at or self._writer.waiting() > SEAL_ABOVE:
            if not self._writer.seal_some():
                self._seal_at = now + SEAL_EACH
            while self._writer.damaged:
                self._tell(f"a part of the history is damaged and was left out: {self._writer.damaged.pop()}")
        elif now >= self._forget_at and not self._writer.forget(now, self._kept_days):
            self._forget_at = now + FORGET_EACH

    def close(self) -> None:
        """Release the database."""
        if self._writer is not None:
            self._writer.close()

    def _opened(self, begun: int) -> HistoryWriter:
        if self._writer is not None and not self._writer.is_there():
            self._tell("the file of the history was taken away; a new one is begun")
            self._writer.close()
            self._writer = None
        if self._writer is None:
            writer = HistoryWriter(self._url)
            if writer.set_aside is not None:
                self._tell(f"the history was damaged and set aside as {writer.set_aside}; a new one is begun")
            self._ids = writer.ensure(self._nodes)
            self._mark_gap(writer, begun)
            self._writer = writer
        return self._writer

    def _mark_gap(self, writer: HistoryWriter, begun: int) -> None:
        """Nothing is known from the end of what is stored to the time we began."""
        alive = writer.alive()
        if 0 < alive < begun - GAP_MIN:
            count = len(self._ids)
            status = np.full(count, BAD_NO_DATA, np.uint32)
            writer.append(self._ids, np.full(count, alive), np.full(count, np.nan), status)


_NOTHING: Final = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), np.empty(0, np.uint32))
