"""The checks of tests/peers/checks.cjs, made by node-opcua against a running server: one test for each."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from opcua_live import Live, live_site
from opcua_site import CLIENT_URI, PASSWORD

from server.core.channel import Level
from server.history import HistoryWriter
from server.runtime.memory import utc_now

PEERS = Path(__file__).parents[1] / "peers"
NAMES = re.findall(r'^  \["([^"]+)", ', (PEERS / "checks.cjs").read_text(), re.M)
MINUTE = 600_000_000
"""Ticks of 100 ns."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not shutil.which("node") or not (PEERS / "node_modules" / "node-opcua").exists(),
        reason="node-opcua is not installed: npm ci --prefix tests/peers",
    ),
]


@asynccontextmanager
async def living(live: Live) -> AsyncIterator[None]:
    """ess0/Soc rises every 100 ms, and ess0 fails for half a second each second."""

    async def live_on() -> None:
        for step in itertools.count():
            live.set("ess0/State", Level.Fault if step // 5 % 2 else Level.Ok)
            live.set("ess0/Soc", step % 1000 / 10)
            await asyncio.sleep(0.1)

    task = asyncio.create_task(live_on())
    yield
    task.cancel()


def remember(url: str) -> None:
    """ess0/Soc has had a value each minute of the last three hours."""
    writer = HistoryWriter(url)
    times = utc_now() - MINUTE * np.arange(180, 0, -1)
    (number,) = writer.ensure(["ess0/Soc"])
    writer.append(np.full(180, number), times, np.linspace(20.0, 80.0, 180), np.zeros(180, np.uint32))
    writer.close()


async def ask_peer(live: Live) -> list[dict[str, Any]]:
    """What node-opcua found out."""
    own = live.site.directory / "certs" / "own"
    files = str(own / "client.pem"), str(own / "client.key.pem")
    process = await asyncio.create_subprocess_exec(
        *("node", "checks.cjs", live.site.url, *files, CLIENT_URI, "emil", PASSWORD),
        cwd=PEERS,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        said, complained = await asyncio.wait_for(process.communicate(), 90)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, complained.decode()
    results: list[dict[str, Any]] = json.loads(said.decode().splitlines()[-1])
    return results


@pytest.fixture(scope="module")
def results(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The checks by name; made once."""
    directory = tmp_path_factory.mktemp("checks") / "site"
    shutil.copytree(certificates, directory)

    remember(f"sqlite:///{directory / 'history.sqlite'}")

    async def make() -> list[dict[str, Any]]:
        async with live_site(directory) as live, living(live):
            return await ask_peer(live)

    return {row["name"]: row for row in asyncio.run(make())}


def test_there_are_58_checks(results: dict[str, dict[str, Any]]) -> None:
    assert len(NAMES) == len(results) == 58


@pytest.mark.parametrize("name", NAMES)
def test_node_opcua_sees_what_the_standard_says(name: str, results: dict[str, dict[str, Any]]) -> None:
    assert results[name]["ok"], results[name]["got"]
