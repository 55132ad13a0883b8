"""The alarms of the site as one person's session has them: followed while any of the person's tabs is looked at."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

from server.client import Alarm, Alarms, Client, ClientError
from server.client.ending import ended

RETRY_S: Final = 2.0
LINGER_S: Final = 30.0
"""How long they are followed after the last tab was left: on the way from page to page nothing is asked for again."""

log = logging.getLogger("ems.ui")


class AlarmWatch:
    """The rows, by condition, and what a person does about them."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._alarms: Alarms | None = None
        self._rows: Mapping[str, Alarm] = {}
        self._news: list[Callable[[], None]] = []
        self._task: asyncio.Task[None] | None = None
        self._ending: asyncio.TimerHandle | None = None

    @property
    def rows(self) -> Mapping[str, Alarm]:
        """As last heard; they stay while nobody looks and while the server is away."""
        return self._rows

    @property
    def waiting(self) -> int:
        """How many want attention: not acknowledged, and neither shelved nor suppressed."""
        return sum(wants_attention(alarm) for alarm in self._rows.values())

    @property
    def table(self) -> Alarms:
        """What acknowledges, confirms, comments and shelves. ClientError while the alarms are not followed."""
        if self._alarms is None:
            raise ClientError("BadNotConnected", "the alarms")
        return self._alarms

    def join(self, news: Callable[[], None]) -> None:
        """A tab is looked at; `news` is told of changes."""
        self._news.append(news)
        if self._ending is not None:
            self._ending.cancel()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._follow())

    def leave(self, news: Callable[[], None]) -> None:
        """A tab is looked at no longer."""
        self._news.remove(news)
        if not self._news:
            self._ending = asyncio.get_running_loop().call_later(LINGER_S, self._stop)

    async def end(self) -> None:
        """Follow them no longer, for good."""
        if self._ending is not None:
            self._ending.cancel()
        task, self._task = self._task, None
        if task is not None:
            await ended([task])

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _follow(self) -> None:
        while True:
            await self._follow_once()
            await asyncio.sleep(RETRY_S)

    async def _follow_once(self) -> None:
        """Until cancelled, or until the server is away at the beginning; later losses the client makes good."""
        try:
            async with self._client.alarms() as self._alarms:
                self._alarms.on_change(self._take)
                await asyncio.Event().wait()
        except ClientError as error:
            log.info("the alarms wait: %s", error)
        finally:
            self._alarms = None

    def _take(self) -> None:
        """What the server told; those told before stay until it has told all of them again."""
        if self._alarms is not None:
            self._rows = dict(self._alarms.rows)
        for news in list(self._news):
            news()


class Looking:
    """One tab's part in the watch."""

    def __init__(self, watch: AlarmWatch, news: Callable[[], None]) -> None:
        self._watch = watch
        self._news = news
        self._joined = False

    def open(self) -> None:
        """The tab is looked at."""
        if not self._joined:
            self._joined = True
            self._watch.join(self._news)

    async def close(self) -> None:
        """It is not."""
        if self._joined:
            self._joined = False
            self._watch.leave(self._news)


def wants_attention(alarm: Alarm) -> bool:
    """Whether somebody should look: not acknowledged, and neither shelved nor suppressed."""
    return not (alarm.acked or alarm.shelved or alarm.suppressed)
