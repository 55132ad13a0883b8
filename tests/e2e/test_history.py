"""History of the running demo, read over OPC UA as a SCADA does."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from demo_site import DemoSite

from server.client import Client, ClientError, Identity

pytestmark = pytest.mark.slow


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
