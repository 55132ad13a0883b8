"""The wall clock is set by an hour, forth and back, under a running site. What steers and times out does not notice."""

from __future__ import annotations

import asyncio
import os
import struct
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from demo_site import DemoSite
from drill import Drill
from ports import free_port
from witness import Witness

from server.client import Client

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

HOUR_S = 3_600
CLOCK = Path(__file__).parent / "clock"
ASKED_W = 1_200.0


class SetClock:
    """The wall clock of one site."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(bytes(8))

    def set(self, offset_s: int) -> None:
        """Shift it from the machine's. Written in place: a file that is cut for a moment kills whoever has it mapped."""
        with self.path.open("r+b", buffering=0) as file:
            file.write(struct.pack("q", offset_s * 1_000_000_000))

    @property
    def environment(self) -> dict[str, str]:
        """For the site's command."""
        paths = [str(CLOCK), *filter(None, [os.environ.get("PYTHONPATH", "")])]
        return {"PYTHONPATH": os.pathsep.join(paths), "EMS_DRILL_CLOCK": str(self.path)}


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> SetClock:
    return SetClock(tmp_path_factory.mktemp("clock") / "offset")


@pytest.fixture(scope="module")
def shifted(tmp_path_factory: pytest.TempPathFactory, witness: Witness, clock: SetClock) -> Iterator[Drill]:
    directory = tmp_path_factory.mktemp("shifted") / "site"
    with DemoSite(directory, free_port(), free_port(), environment=clock.environment) as site:
        yield Drill(site, witness)


@pytest.mark.parametrize("offsets", [(HOUR_S, 0), (-HOUR_S, 0)], ids=["forth and back", "back and forth"])
async def test_a_clock_that_is_set_by_an_hour_changes_nothing_but_the_times_shown(
    shifted: Drill, clock: SetClock, offsets: tuple[int, int]
) -> None:
    async with Client(shifted.identity) as client:
        subscription = await client.subscribe(["meter0/ActivePower"], 100)
        news = asyncio.create_task(anext(subscription))
        await client.call("site", "AcquireManualOverride", 600.0)
        await client.write("ess0/SetActivePower", ASKED_W)
        await asyncio.wait_for(news, 10)
        alarms = names(shifted)
        with shifted.unnoticed():
            for offset_s in offsets:
                before, begun = await left_s(client), time.monotonic()
                clock.set(offset_s)
                await asyncio.wait_for(shows(client, offset_s), 10)
                for _ in range(20):
                    await asyncio.wait_for(anext(subscription), 5)
                assert shifted.running(), shifted.site.status()
                assert names(shifted) == alarms
                assert before - await left_s(client) == pytest.approx(time.monotonic() - begun, abs=1.5)
                (held,) = await client.read(["ess0/SetActivePower"])
                assert held.Value.Value == ASKED_W
        await client.call("site", "ReleaseManualOverride")
        stored = await client.history_read("meter0/ActivePower", *around(offsets[0]), 10_000)
        assert len(stored), "history goes on at the time the clock showed"


def names(drill: Drill) -> set[str]:
    """Whoever raises an alarm."""
    return {alarm["source"] for alarm in drill.site.status()["alarms"]}


async def left_s(client: Client) -> float:
    """Seconds the override still lasts."""
    (left,) = await client.read(["site/OverrideRemaining"])
    return float(left.Value.Value)


async def shows(client: Client, offset_s: int) -> None:
    """Wait until values carry the time the clock shows now."""
    while True:
        (value,) = await client.read(["meter0/ActivePower"])
        away_s = (value.SourceTimestamp.replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds() - offset_s
        if abs(away_s) < 5:
            return
        await asyncio.sleep(0.1)


def around(offset_s: int) -> tuple[datetime, datetime]:
    """The minutes around the shifted present."""
    present = datetime.now(UTC) + timedelta(seconds=offset_s)
    return present - timedelta(minutes=5), present + timedelta(minutes=5)
