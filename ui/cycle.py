"""How long the control cycle works and how late it starts, every cycle of the last minute, by one subscription with a queue."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from server.client import Client, ClientError, Table
from server.core.status import BAD

from .looking import Following

INTERVAL_MS: Final = 1000
QUEUE: Final = 250
"""Values kept at the server between two messages: those of a second at 4 ms."""
WINDOW: Final = 1200
"""Cycles that are looked at; a minute of 50 ms."""
RETRY_S: Final = 2.0
NODES: Final = ("cycle/LastDuration", "cycle/Jitter")
EDGES: Final = np.geomspace(1e-5, 1e-1, 49)
"""Bounds of the bars: 12 to a decade from 10 µs to 100 ms; what is outside is in the first or last."""

log = logging.getLogger("ems.ui")


class CycleFeed(Following):
    """The newest durations and latenesses in s, while it is open. news: told when there are more."""

    def __init__(self, client: Client, period_s: float, news: Callable[[], None]) -> None:
        self.series: tuple[deque[float], deque[float]] = (deque(maxlen=WINDOW), deque(maxlen=WINDOW))
        self._client = client
        self._period_s = period_s
        self._news = news

    async def close(self) -> None:
        """Follow the cycles no longer, and forget them: what comes later would not join."""
        await super().close()
        for values in self.series:
            values.clear()

    async def _follow(self) -> None:
        while True:
            try:
                subscription = await self._client.subscribe(NODES, INTERVAL_MS, QUEUE, sampling_ms=self._period_s * 1e3)
            except ClientError as error:
                log.info("the cycle's figures wait: %s", error)
                await asyncio.sleep(RETRY_S)
                continue
            try:
                async for table in subscription:
                    self._take(table)
                    self._news()
                return
            finally:
                await subscription.close()

    def _take(self, table: Table) -> None:
        for index, series in enumerate(self.series):
            series.extend(table.value[(table.index == index) & (table.status < BAD)].tolist())


def histogram(seconds: Sequence[float]) -> dict[str, Any]:
    """Bars and figures of durations. bars: shares of the highest one; p50, p99, most: in words; count: how many there are."""
    if not seconds:
        return {"bars": [], "count": 0}
    values = np.abs(np.asarray(seconds, float))
    counts, _ = np.histogram(np.clip(values, EDGES[0], EDGES[-1]), EDGES)
    p50, p99 = np.percentile(values, (50, 99))
    return {
        "bars": [round(float(share), 3) for share in counts / counts.max()],
        "count": len(values),
        "p50": _shown(p50),
        "p99": _shown(p99),
        "most": _shown(values.max()),
    }


def place(seconds: float) -> float:
    """Where a duration is on the axis of the bars, 0 to 1."""
    span = np.log(EDGES[-1] / EDGES[0])
    return float(np.clip(np.log(max(seconds, EDGES[0]) / EDGES[0]) / span, 0.0, 1.0))


def _shown(seconds: float) -> str:
    """Two or three figures that matter, in µs below 0.1 ms."""
    milli = float(seconds) * 1e3
    if milli < 0.1:
        return f"{milli * 1e3:.0f} µs"
    return f"{milli:.2f} ms" if milli < 10 else f"{milli:.0f} ms"
