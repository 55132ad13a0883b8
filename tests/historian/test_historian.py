"""The historian stores what its subscription brings, survives a database that is away, and stores the rest at its end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analytics.historian import historian
from analytics.historian.historian import Historian
from analytics.historian.keeper import Keeper
from server.client import CONNECTED, Table
from server.core.status import BAD_NO_DATA
from server.history import HistoryError, HistoryReader, HistoryWriter, database_url

NODE = "meter0/ActivePower"
BEGUN = 1_000_000
FOR_EVER = 1 << 62


class Feed:
    """A subscription that the test fills, and the connection it comes through."""

    def __init__(self) -> None:
        self.tables: asyncio.Queue[Table | None] = asyncio.Queue()
        self.id = 1
        self.nodes = (NODE,)
        self.state = CONNECTED

    def put(self, time: int, value: float) -> None:
        self.tables.put_nowait(Table(np.array([0]), np.array([value]), np.zeros(1, np.uint32), np.array([time])))

    def __aiter__(self) -> AsyncIterator[Table]:
        return self

    async def __anext__(self) -> Table:
        table = await self.tables.get()
        assert table is not None
        return table


class Rig:
    """A historian over a database that the test can take away."""

    def __init__(self, directory: Path, clock: Callable[[], int]) -> None:
        self.url = database_url(directory)
        self.feed = Feed()
        self.clock = clock
        self.said: list[tuple[str, str]] = []
        self.reader = HistoryReader(self.url)
        self.task: asyncio.Task[None] | None = None

    def event(self, kind: str, text: str, **data: Any) -> None:
        self.said.append((kind, text))

    def start(self) -> None:
        self.keeper = Keeper(self.url, [NODE], {}, lambda text: self.event("history", text))
        self.task = asyncio.create_task(Historian(self.keeper, self.feed, self.feed, self).run())  # type: ignore[arg-type]

    async def end(self) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    def rows(self) -> list[tuple[int, float]]:
        series = self.reader.raw(NODE, 0, FOR_EVER, 1000)
        return list(zip(series.times.tolist(), series.values.tolist(), strict=True))

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not is_so():
                await asyncio.sleep(0.01)


class Time:
    """The clock of the historian, which stands unless the test moves it."""

    def __init__(self) -> None:
        self.now = BEGUN

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clock = Time()
    monkeypatch.setattr(historian, "FLUSH_S", 0.01)
    monkeypatch.setattr(historian, "RETRIES_S", (0.01,))
    monkeypatch.setattr(historian, "_now", clock)
    rig = Rig(tmp_path, clock)
    yield rig
    rig.reader.close()


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch):
    """Take the database away until the returned function is called."""
    real = HistoryWriter.append

    def full(*_: Any, **__: Any) -> None:
        raise HistoryError("database or disk is full")

    monkeypatch.setattr(HistoryWriter, "append", full)
    return lambda: monkeypatch.setattr(HistoryWriter, "append", real)


async def test_changes_are_stored_within_a_flush(rig: Rig) -> None:
    rig.start()
    rig.feed.put(BEGUN + 10, 1.5)
    rig.feed.put(BEGUN + 20, 2.5)
    await rig.until(lambda: rig.rows() == [(BEGUN + 10, 1.5), (BEGUN + 20, 2.5)])
    await rig.end()


async def test_nothing_is_lost_while_the_database_is_away_and_it_is_said_once(rig: Rig, away) -> None:
    rig.start()
    for time in (10, 20, 30):
        rig.feed.put(BEGUN + time, time / 10)
        await rig.until(lambda: rig.feed.tables.empty())
        await asyncio.sleep(0.03)
    await rig.until(lambda: bool(rig.said))
    assert rig.said == [("complaint", "history cannot be stored: database or disk is full")]
    assert rig.rows() == []
    away()
    await rig.until(lambda: len(rig.rows()) == 3)
    await rig.end()
    assert [value for _, value in rig.rows()] == [1.0, 2.0, 3.0]
    assert rig.said[1:] == [("complaint", ""), ("history", "history is stored again, 0 values were given up")]


async def test_a_database_that_is_away_at_the_start_is_waited_for(rig: Rig, tmp_path: Path) -> None:
    blocked = tmp_path / "data"
    blocked.write_text("no folder")
    rig.start()
    rig.feed.put(BEGUN + 10, 1.0)
    await rig.until(lambda: bool(rig.said))
    blocked.unlink()
    await rig.until(lambda: rig.rows() == [(BEGUN + 10, 1.0)])
    await rig.end()


async def test_what_waits_is_stored_at_the_end(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(historian, "FLUSH_S", 60)
    rig.start()
    rig.feed.put(BEGUN + 10, 1.5)
    await rig.until(lambda: rig.feed.tables.empty())
    await asyncio.sleep(0)
    await rig.end()
    assert rig.rows() == [(BEGUN + 10, 1.5)]


async def test_a_restart_leaves_a_gap_not_a_straight_line(rig: Rig) -> None:
    rig.start()
    rig.feed.put(BEGUN + 10, 1.0)
    await rig.until(lambda: len(rig.rows()) == 1)
    await rig.end()
    rig.clock.now = BEGUN + 10**9
    rig.start()
    rig.feed.put(BEGUN + 10, 1.0)
    await rig.until(lambda: len(rig.rows()) == 3)
    await rig.end()
    series = rig.reader.raw(NODE, 0, FOR_EVER, 10)
    assert series.times.tolist() == [BEGUN + 10, BEGUN + 11, BEGUN + 10**9]
    assert series.status.tolist() == [0, BAD_NO_DATA, 0]
    np.testing.assert_array_equal(series.values, [1.0, np.nan, 1.0])


async def test_a_subscription_that_the_server_forgot_leaves_a_gap(rig: Rig) -> None:
    rig.start()
    rig.feed.put(BEGUN + 10, 1.0)
    await rig.until(lambda: len(rig.rows()) == 1)
    rig.clock.now = BEGUN + 500
    await asyncio.sleep(0.05)
    rig.feed.state = "reconnecting"
    rig.clock.now = BEGUN + 900
    rig.feed.id, rig.feed.state = 2, CONNECTED
    rig.feed.put(BEGUN + 10, 1.0)
    await rig.until(lambda: len(rig.rows()) == 3)
    await rig.end()
    times = [time for time, _ in rig.rows()]
    assert times[0] == BEGUN + 10
    assert BEGUN + 10 < times[1] <= BEGUN + 500
    assert times[2] == BEGUN + 900


@pytest.mark.parametrize("harm", ["damaged", "taken away"])
async def test_a_file_that_is_lost_while_running_is_begun_anew(rig: Rig, tmp_path: Path, harm: str) -> None:
    file = tmp_path / "data" / "history.sqlite"
    rig.start()
    rig.feed.put(BEGUN + 10, 1.0)
    await rig.until(lambda: len(rig.rows()) == 1)
    if harm == "taken away":
        for path in file.parent.iterdir():
            path.unlink()
    else:
        for path in (file, file.with_name("history.sqlite-wal")):
            with open(path, "r+b") as stream:
                stream.write(os.urandom(path.stat().st_size))
        assert rig.keeper._writer is not None
        rig.keeper._writer.engine.dispose()  # a connection that has seen the file before would not look at it again
    rig.feed.put(BEGUN + 20, 2.0)
    await rig.until(lambda: any("new one is begun" in text for _, text in rig.said))
    await rig.until(lambda: (BEGUN + 20, 2.0) in rig.rows())
    await rig.end()
    aside = [path for path in file.parent.iterdir() if "damaged" in path.name]
    assert bool(aside) is (harm == "damaged")
