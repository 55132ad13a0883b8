"""What a tab follows only while somebody looks: a task of its own from `open` to `close`."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from server.client.ending import ended


class Following(ABC):
    """Follows something while it is open. Opening or closing it twice is harmless."""

    _task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Somebody looks."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._follow())

    async def close(self) -> None:
        """Nobody looks; nothing is left running."""
        task, self._task = self._task, None
        if task is not None:
            await ended([task])

    @abstractmethod
    async def _follow(self) -> None:
        """What is done meanwhile, until cancelled."""
