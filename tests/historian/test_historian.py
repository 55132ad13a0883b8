"""The historian stores what its subscription brings, survives a database that is away, and stores the rest at its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analytics.historian import historian
from analytics.historian.buffer import Buffer
from analytics.historian.historian import Historian
from server.client import Table
from server.history import HistoryError, HistoryReader, HistoryWriter, database_url

NODE = "meter0/ActivePower"


class Feed:
    """A subscription that the test fills."""

    def __init__(self) -> None:
        self.tables: asyncio.Queue[Table | None] = asyncio.Queue()

    def put(self, time: int, value: float) -> None:
        self.tables.put_nowait(Table(np.array([0]), np.array([value]), np.zeros(1, np.uint32), np.array([time])))

    def __aiter__(self) -> AsyncIterator[Table]:
        return self

    async def __anext__(self) -> Table:
        return await self.tables.get()


class Events:
    def __init__(self) -> None:
        self.said: list[str] = []

    def ready(self) -> None:
        """Nobody waits."""

    def event(self, kind: str, text: str, **data: Any) -> None:
        self.said.append(text)


class Fragile(HistoryWriter):
    """A database that can be away."""

    away = False

    def append(self, *columns: Any) -> None:
        if self.away:
            raise HistoryError("disk full")
        super().append(*columns)


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(historian, "FLUSH_S", 0.02)
    writer, feed, events = Fragile(database_url(tmp_path)), Feed(), Events()
    keeper = Historian(writer, Buffer(writer.ensure([NODE])), feed, events)  # type: ignore[arg-type]
    reader = HistoryReader(database_url(tmp_path))
    yield writer, feed, events, keeper, reader
    reader.close()
    writer.close()


async def stored(reader: HistoryReader, count: int) -> list[float]:
    for _ in range(200):
        values = reader.raw(NODE, 0, 1000, 100).values.tolist()
        if len(values) >= count:
            break
        await asyncio.sleep(0.02)
    return values


async def end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_changes_are_stored_within_a_flush(rig) -> None:
    _, feed, _, keeper, reader = rig
    task = asyncio.create_task(keeper.run())
    feed.put(10, 1.5)
    feed.put(20, 2.5)
    assert await stored(reader, 2) == [1.5, 2.5]
    await end(task)


async def test_nothing_is_lost_while_the_database_is_away_and_it_is_said_once(rig) -> None:
    writer, feed, events, keeper, reader = rig
    writer.away = True
    task = asyncio.create_task(keeper.run())
    for time in (10, 20, 30):
        feed.put(time, time / 10)
        await asyncio.sleep(0.05)
    assert await stored(reader, 0) == []
    writer.away = False
    assert await stored(reader, 3) == [1.0, 2.0, 3.0]
    await end(task)
    assert events.said == ["history cannot be stored: disk full", "history is stored again, 0 values were given up"]


async def test_what_waits_is_stored_at_the_end(rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(historian, "FLUSH_S", 60)
    _, feed, _, keeper, reader = rig
    task = asyncio.create_task(keeper.run())
    feed.put(10, 1.5)
    await asyncio.sleep(0.05)
    await end(task)
    assert reader.raw(NODE, 0, 1000, 100).values.tolist() == [1.5]
