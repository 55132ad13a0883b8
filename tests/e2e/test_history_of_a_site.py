"""History of the running demo, read over OPC UA as a SCADA does."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from demo_site import DemoSite
from ports import free_port

from server.client import Client, ClientError, Identity, Series
from server.core.status import BAD_NO_DATA
from server.core.ticks import TICKS
from server.runtime.demo import PAST_FILE

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoSite]:
    """A demo with a past of its own."""
    with DemoSite(tmp_path_factory.mktemp("demo") / "site", free_port(), free_port(), "--past", "1") as site:
        yield site


def identity(demo: DemoSite) -> Identity:
    own = demo.directory / "certs" / "own"
    endpoint = demo.status()["endpoints"]["opcua"]
    return Identity(endpoint, own / "historian.der", own / "historian.key.pem", ca=demo.directory / "certs" / "ca" / "ca.der")


async def test_the_history_of_a_measured_channel_grows_and_has_quality_and_source_time(demo: DemoSite) -> None:
    async with Client(identity(demo)) as client:
        begun = datetime.now(UTC) - timedelta(hours=1)
        for _ in range(100):
            series = await client.history_read("meter0/ActivePower", begun, datetime.now(UTC), 10_000)
            if len(series) >= 5:
                break
            await asyncio.sleep(0.2)
        assert len(series) >= 5
        assert (series.times[1:] > series.times[:-1]).all()
        good = series.values[series.status == 0]
        assert len(good)
        assert (abs(good) < 50_000).all()


async def test_a_channel_without_history_says_so(demo: DemoSite) -> None:
    async with Client(identity(demo)) as client:
        with pytest.raises(ClientError, match="BadHistoryOperationUnsupported"):
            await client.history_read("cycle/Counter", datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC), 10)


async def grown(client: Client, node: str, since: datetime, enough: Callable[[Series], bool]) -> Series:
    """The history of a node once it is as a test wants it."""
    async with asyncio.timeout(60):
        while not enough(series := await client.history_read(node, since, datetime.now(UTC))):
            await asyncio.sleep(0.2)
    return series


async def test_a_historian_that_was_killed_leaves_a_gap_in_every_average(demo: DemoSite) -> None:
    node = "meter0/ActivePower"
    async with Client(identity(demo)) as client:
        begun = datetime.now(UTC) - timedelta(minutes=1)
        await grown(client, node, begun, lambda series: len(series) > 5)
        demo_pid = next(p["pid"] for p in demo.status()["processes"] if p["name"] == "historian")
        os.kill(demo_pid, signal.SIGSTOP)
        await asyncio.sleep(6.5)  # a shorter pause would be no gap
        os.kill(demo_pid, signal.SIGKILL)
        series = await grown(client, node, begun, lambda series: bool(len(series)) and _resumed(series))
        gap = int(np.flatnonzero(series.status == BAD_NO_DATA)[-1])
        assert series.status[gap + 1] == 0
        assert series.times[gap + 1] - series.times[gap] > 5 * TICKS
        end = datetime.now(UTC)
        share = await client.history_aggregate(node, end - timedelta(seconds=20), end, 0, "PercentGood")
        assert 0 < share.values[0] < 90


def _resumed(series: Series) -> bool:
    gaps = np.flatnonzero(series.status == BAD_NO_DATA)
    return bool(len(gaps)) and gaps[-1] < len(series) - 1 and bool((series.times[-1] - series.times[gaps[-1]]) > 5 * TICKS)


async def test_the_demo_looks_back_on_simulated_days(demo: DemoSite) -> None:
    told = demo.directory / "data" / PAST_FILE
    async with asyncio.timeout(100):
        while not told.exists():
            await asyncio.sleep(0.5)
    async with Client(identity(demo)) as client:
        now = datetime.now(UTC)
        hours = await client.history_aggregate("pv0/ActivePower", now - timedelta(hours=24), now, 3600, "TimeAverage2")
        assert (hours.status < BAD_NO_DATA).sum() >= 23
        assert np.nanmin(hours.values) < 10 < 500 < np.nanmax(hours.values)
