"""Objects of the site that come and go while a tab is looked at: its page is built again."""

from __future__ import annotations

import logging
from typing import Final

from server.client import ClientError

from .looking import Following
from .person import Person

MODEL_CHANGED: Final = "i=2133"
"""GeneralModelChangeEventType."""

log = logging.getLogger("ems.ui")


class ModelWatch(Following):
    """Follows the changes of the model for one tab; what changed while nobody looked counts, too."""

    def __init__(self, person: Person) -> None:
        self._person = person

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
