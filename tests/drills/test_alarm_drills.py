"""What an operator did about an alarm outlives the OPC UA server and the whole site, however they end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from demo_site import DemoSite
from drill import Drill, wait_for_end
from ports import free_port
from witness import Witness

from server.client import Alarm, Client, Identity

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

RESERVE = "ess0/BackupReserveAlarm"
"""The demo begins with a battery below what is kept for an outage."""


def acknowledged(identity: Identity) -> Alarm:
    """The demo's alarm, acknowledged with a comment when it is not yet."""

    async def see() -> Alarm:
        async with Client(identity) as client, client.alarms() as alarms, asyncio.timeout(20):
            while RESERVE not in alarms.rows:
                await asyncio.sleep(0.05)
            if not alarms.rows[RESERVE].acked:
                await alarms.acknowledge(alarms.rows[RESERVE], "the sun is out")
            while not alarms.rows[RESERVE].acked:
                await asyncio.sleep(0.05)
            return alarms.rows[RESERVE]

    return asyncio.run(see())


def test_an_acknowledgement_outlives_the_server_and_the_site(tmp_path: Path, witness: Witness) -> None:
    ports = free_port(), free_port()
    with DemoSite(tmp_path / "site", *ports) as site:
        drill = Drill(site, witness)
        drill.wait(lambda: drill.told("ess0", "below 60 %"), "the battery is low", 20)
        identity = drill.identity
        first = acknowledged(identity)
        assert (first.comment, first.user, first.message.endswith("below 60 %")) == ("the sun is out", "drill", True)
        pid = drill.kill("opcua")
        drill.wait(lambda: drill.running() and drill.pid("opcua") not in (0, pid), "the server is back")
        again = acknowledged(identity)
        assert (again.comment, again.time, again.event_id) == (first.comment, first.time, first.event_id)
        pids = [row["pid"] for row in site.status()["processes"]]
        site.process.kill()
        site.process.wait(30)
        wait_for_end(pids)
    with DemoSite(tmp_path / "site", *ports):
        last = acknowledged(identity)
    assert (last.comment, last.user, last.time) == (first.comment, first.user, first.time)
