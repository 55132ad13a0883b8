"""What the supervisor tells the panel over its bus: asked again and again, but only while somebody looks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from server.core.errors import EmsError
from server.runtime.bus import request

from .looking import Following

WAIT_S: Final = 5.0

log = logging.getLogger("ems.ui")


async def ask(directory: Path, op: str, *, within_s: float = WAIT_S, **arguments: Any) -> dict[str, Any]:
    """One answer of the supervisor. Raises BusError."""
    return await asyncio.to_thread(request, directory, op, timeout_s=within_s, **arguments)


class Poll(Following):
    """One op of the bus, asked every `every_s` while it is open.

    answer: the latest, None before the first and while the supervisor is silent. arguments: of the op; may be changed, and
    count from the next question. news: told when the answer is another than before.
    """

    def __init__(self, directory: Path, op: str, every_s: float, news: Callable[[], None], **arguments: Any) -> None:
        self.answer: dict[str, Any] | None = None
        self.arguments = arguments
        self._directory = directory
        self._op = op
        self._every_s = every_s
        self._news = news

    async def read(self) -> None:
        """Ask now."""
        try:
            answer: dict[str, Any] | None = await ask(self._directory, self._op, **self.arguments)
        except EmsError as error:
            log.debug("%s: %s", self._op, error)
            answer = None
        if answer != self.answer:
            self.answer = answer
            self._news()

    async def _follow(self) -> None:
        while True:
            await self.read()
            await asyncio.sleep(self._every_s)
