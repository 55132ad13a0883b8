"""Values that a tab follows: read once, then subscribed to for as long as somebody looks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from server.client import Client, ClientError

from .readings import Readings

RETRY_S = 2.0

log = logging.getLogger("ems.ui")


class Feed:
    """Nodes followed into `readings`. news: told after each table of changes."""

    def __init__(
        self, client: Client, nodes: Sequence[str], interval_ms: float, readings: Readings, news: Callable[[], None]
    ) -> None:
        self.nodes = list(nodes)
        self._client = client
        self._interval_ms = interval_ms
        self._readings = readings
        self._news = news
        self._task: asyncio.Task[None] | None = None

    async def read(self) -> None:
        """Take the present values, so that a page begins with its numbers; nothing while the server is away."""
        try:
            values = await self._client.read(self.nodes)
        except ClientError as error:
            log.info("the first values wait: %s", error)
            return
        for node, value in zip(self.nodes, values, strict=True):
            self._readings.enter(node, value)

    def open(self) -> None:
        """Follow the nodes from now on."""
        if self._task is None and self.nodes:
            self._task = asyncio.get_running_loop().create_task(self._follow())

    async def close(self) -> None:
        """Follow them no longer."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _follow(self) -> None:
        """Until cancelled; tried again while the server is away."""
        while True:
            try:
                subscription = await self._client.subscribe(self.nodes, self._interval_ms)
            except ClientError as error:
                log.info("a page's values wait: %s", error)
                await asyncio.sleep(RETRY_S)
                continue
            try:
                async for table in subscription:
                    self._readings.take(self.nodes, table)
                    self._news()
                return
            finally:
                await subscription.close()
