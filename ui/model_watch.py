"""Objects of the site that come and go while a tab is looked at: its page is built again."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from server.client import ClientError

from .person import Person

MODEL_CHANGED: Final = "i=2133"
"""GeneralModelChangeEventType."""

log = logging.getLogger("ems.ui")


class ModelWatch:
    """Follows the changes of the model for one tab, while somebody looks."""

    def __init__(self, person: Person) -> None:
        self._person = person
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Somebody looks: what changed meanwhile counts, too."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._follow())

    async def close(self) -> None:
        """Nobody looks."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _follow(self) -> None:
        try:
            events = await self._person.client.subscribe_events(("Message",), types=(MODEL_CHANGED,))
        except ClientError as error:
            log.warning("changes of the site are not heard: %s", error)
            return
        try:
            await self._person.look_again()
            async for _ in events:
                await self._person.look_again()
        finally:
            await events.close()
