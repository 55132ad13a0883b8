"""The alarms of the site as one person's session has them: followed while any of the person's tabs is looked at."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

from server.client import Alarm, Alarms, Client, ClientError

RETRY_S: Final = 2.0

log = logging.getLogger("ems.ui")


class AlarmWatch:
    """The rows, by condition, and what a person does about them."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._alarms: Alarms | None = None
        self._rows: Mapping[str, Alarm] = {}
        self._news: list[Callable[[], None]] = []
        self._task: asyncio.Task[None] | None = None

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
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._follow())

    async def leave(self, news: Callable[[], None]) -> None:
        """A tab is looked at no longer."""
        if news in self._news:
            self._news.remove(news)
        if not self._news:
            await self.end()

    async def end(self) -> None:
        """Nobody looks, for now or for good."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _follow(self) -> None:
        while True:
            try:
                async with self._client.alarms() as alarms:
                    self._alarms = alarms
                    alarms.on_change(lambda alarms=alarms: self._take(alarms))  # type: ignore[misc]
                    self._take(alarms)
                    await asyncio.Event().wait()
            except ClientError as error:
                log.info("the alarms wait: %s", error)
            finally:
                self._alarms = None
            await asyncio.sleep(RETRY_S)

    def _take(self, alarms: Alarms) -> None:
        self._rows = dict(alarms.rows)
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
            await self._watch.leave(self._news)


def wants_attention(alarm: Alarm) -> bool:
    """Whether somebody should look: not acknowledged, and neither shelved nor suppressed."""
    return not (alarm.acked or alarm.shelved or alarm.suppressed)
