"""A server in a process of its own that is attacked, and says how it bears it.

    python opcua_attacked.py DIRECTORY

Prints its port. For each line on its standard input it prints one JSON object and begins to measure anew:
    held_s      the most CPU the loop used between two turns of a client that only wants to be served every 5 ms; CPU and not
                time, so that a busy machine does not look like a busy server
    unit_s      the CPU that a fixed job used now, which is more where the machine is slow
    memory_mb   resident memory; sessions, connections, subscriptions, tasks: how many there are
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from pathlib import Path

from opcua_live import Live
from opcua_model import site_layout
from opcua_site import Site, running

CYCLE_S = 0.02
TURN_S = 0.005


class Watch:
    """What a well-behaved client would have to wait for."""

    def __init__(self) -> None:
        self.held_s = 0.0
        self._since = time.thread_time()

    async def look(self) -> None:
        while True:
            self._since = time.thread_time()
            await asyncio.sleep(TURN_S)
            self._note()

    def _note(self) -> None:
        self.held_s = max(self.held_s, time.thread_time() - self._since)

    def report(self, site: Site) -> str:
        """What there is to tell; what that costs itself is not told."""
        self._note()
        begun = time.thread_time()
        sum(range(1_000_000))
        unit_s = time.thread_time() - begun
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        server = site.server
        found = {
            "held_s": self.held_s,
            "unit_s": unit_s,
            "memory_mb": pages * 4096 / 2**20,
            "sessions": len(server.sessions),
            "connections": len(server.connections),
            "subscriptions": len(server.subscriptions),
            "tasks": len(asyncio.all_tasks()),
        }
        self.held_s = 0.0
        self._since = time.thread_time()
        return json.dumps(found)


async def live_on(live: Live) -> None:
    """Every number changes with every frame."""
    while True:
        live.image.records["value"] = live.image.records["value"] + 1
        live.image.records["changed"] = live.image.number
        live.freeze()
        await asyncio.sleep(CYCLE_S)


async def main(directory: Path) -> None:
    async with running(directory, site_layout()) as site:
        watch = Watch()
        background = [asyncio.create_task(live_on(Live(site))), asyncio.create_task(watch.look())]
        print(site.port, flush=True)
        lines = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        while await lines.readline():
            print(watch.report(site), flush=True)
        for task in background:
            task.cancel()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
