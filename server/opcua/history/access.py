"""The site's history as the server sees it: a reader, an editor, and the threads that wait for the database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, Final, TypeVar
from weakref import WeakKeyDictionary

from server.history import HistoryEditor, HistoryReader, HistoryWriter, StoredEvent, append_events

if TYPE_CHECKING:
    from ..session import Session

READERS: Final = 2
T = TypeVar("T")


class History:
    """Runs what takes time off the loop. One session has one thread at a time, so that it never keeps others waiting."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._editor: HistoryEditor | None = None
        self._opening = Lock()
        self._reader = HistoryReader(url)
        self._threads = ThreadPoolExecutor(READERS, "history")
        self._turns: WeakKeyDictionary[Session, asyncio.Lock] = WeakKeyDictionary()

    async def read(self, session: Session, function: Callable[[HistoryReader], T]) -> T:
        """What `function` makes of the reader. Raises HistoryError."""
        return await self._run(session, lambda: function(self._reader))

    async def edit(self, session: Session, function: Callable[[HistoryEditor], T]) -> T:
        """What `function` makes of the editor. Raises HistoryError."""
        return await self._run(session, lambda: function(self._opened()))

    async def record(self, events: Sequence[StoredEvent]) -> None:
        """Keep what happened. Raises HistoryError; then nothing of it is kept."""
        await asyncio.get_running_loop().run_in_executor(self._threads, lambda: append_events(self._opened().writer, events))

    async def _run(self, session: Session, function: Callable[[], T]) -> T:
        async with self._turns.setdefault(session, asyncio.Lock()):
            return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    def _opened(self) -> HistoryEditor:
        """The editor, over the database that is there now."""
        with self._opening:
            if self._editor is None or not self._editor.writer.is_there():
                self._editor = HistoryEditor(HistoryWriter(self._url))
            return self._editor

    def close(self) -> None:
        """Release the database; what is under way is waited for."""
        self._threads.shutdown()
        self._reader.close()
        if self._editor is not None:
            self._editor.writer.close()
