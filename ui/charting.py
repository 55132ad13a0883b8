"""The chart of the Live page: begins with what the history knows of the last minutes; the browser goes on from live values."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from nicegui import background_tasks
from numpy.typing import NDArray

from server.client import ClientError
from server.core.status import BAD
from server.core.ticks import TICKS, UNIX_EPOCH

from . import widgets
from .visit import Visit

NODES = ("site/GridPower", "site/ProductionPower", "site/EssPower", "site/ConsumptionPower")
STEP_S = 2.0
SPAN_S = 600.0
HOLD_S = 30.0
"""How long a value of the history stands for what follows it: values are stored when they change."""

log = logging.getLogger("ems.ui")


class LastMinutes:
    """The last ten minutes of one tab's Live page."""

    def __init__(self, visit: Visit, parts: Sequence[str]) -> None:
        self._visit = visit
        self._parts = parts

    def show(self) -> None:
        """Build the chart; its beginning is sent when it was read, so that the page need not wait for it."""
        chart = widgets.Chart(["load", *(p for p in self._parts if p != "ev")])

        async def begin() -> None:
            if points := await self._points():
                chart.begin(points)

        chart.on("ready", lambda: background_tasks.create(begin(), name="chart of the last minutes"))

    async def _points(self) -> list[list[float | None]]:
        person, end = self._visit.person, datetime.now(UTC)
        start = end - timedelta(seconds=SPAN_S)
        try:
            series = await asyncio.gather(*(person.client.history_read(n, start, end) for n in person.catalogue.known(*NODES)))
        except ClientError as error:
            log.info("no history for the chart: %s", error)
            return []
        return points(series, start.timestamp(), end.timestamp(), STEP_S) if len(series) == len(NODES) else []


def points(series: Sequence[Any], start: float, end: float, step_s: float) -> list[list[float | None]]:
    """Rows of ms since 1970 and kW: the last good value before each step, none older than 30 s. Times: s since 1970."""
    moments = np.arange(start, end, step_s)
    columns = [_held(s, moments) for s in series]
    rows = zip(moments.tolist(), *columns, strict=True)
    found = [[round(t * 1000), *(None if math.isnan(v) else round(v / 1000, 3) for v in values)] for t, *values in rows]
    return [p for p in found if any(v is not None for v in p[1:])]


def _held(series: Any, moments: NDArray[np.float64]) -> list[float]:
    times = (np.asarray(series.times, np.int64) - UNIX_EPOCH) / TICKS
    values = np.where(np.asarray(series.status, np.uint32) < BAD, np.asarray(series.values, float), math.nan)
    index = np.searchsorted(times, moments, side="right") - 1
    held = index >= 0
    if not len(times):
        return [math.nan] * len(moments)
    fresh = held & (moments - times[index] < HOLD_S)
    return [float(v) for v in np.where(fresh, values[index], math.nan)]
