"""Values that a tab follows: read once, then subscribed to for as long as somebody looks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from server.client import Client, ClientError

from .looking import Following
from .readings import Readings

RETRY_S = 2.0

log = logging.getLogger("ems.ui")


class Feed(Following):
    """Nodes followed into `readings`. news: told after each table of changes."""

    def __init__(
        self, client: Client, nodes: Sequence[str], interval_ms: float, readings: Readings, news: Callable[[], None]
    ) -> None:
        self.nodes = list(nodes)
        self._client = client
        self._interval_ms = interval_ms
        self._readings = readings
        self._news = news

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
        """Follow the nodes, if there are any."""
        if self.nodes:
            super().open()

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
