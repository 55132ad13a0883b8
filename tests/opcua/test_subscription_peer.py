"""node-opcua subscribes: the same behaviour as seen by a client that shares no code with us."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest
from opcua_live import Live, live_site
from opcua_site import CLIENT_URI, PASSWORD

PEERS = Path(__file__).parents[1] / "peers"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not shutil.which("node") or not (PEERS / "node_modules" / "node-opcua").exists(),
        reason="node-opcua is not installed: npm ci --prefix tests/peers",
    ),
]

EXPECTED = {
    "percent_without_range": "BadDeadbandFilterInvalid",
    "sampling_is_silent": 0,
    "triggering": {"added": ["Good"], "reported": True},
    "modify_subscription": {"revised": 100, "several": True},
    "modify_unknown_item": "BadMonitoredItemIdInvalid",
}


async def rise(live: Live) -> None:
    """ess0/Soc goes up by one every 100 ms."""
    value = 0.0
    while True:
        await asyncio.sleep(0.1)
        value += 1
        live.set("ess0/Soc", value)


async def test_node_opcua_sees_what_the_standard_says(directory):
    own = directory / "certs" / "own"
    async with live_site(directory) as live:
        rising = asyncio.create_task(rise(live))
        files = str(own / "client.pem"), str(own / "client.key.pem")
        process = await asyncio.create_subprocess_exec(
            *("node", "subscription.cjs", live.site.url, *files, CLIENT_URI, "anna", PASSWORD),
            cwd=PEERS,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            said, complained = await asyncio.wait_for(process.communicate(), 60)
        finally:
            rising.cancel()
            if process.returncode is None:
                process.kill()
    assert process.returncode == 0, complained.decode()
    found = json.loads(said.decode().splitlines()[-1])
    changes = found.pop("changes")
    assert changes["status"] == "Good"
    assert changes["rising"]
    assert changes["count"] >= 8
    assert 3 <= found.pop("one_per_publish") <= 5
    assert "BadMessageNotAvailable" in found.pop("republish_unknown")
    assert found == EXPECTED
