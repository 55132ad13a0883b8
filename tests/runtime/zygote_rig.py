"""A supervisor's side of one zygote, in a process of its own: it becomes a subreaper and waits for all its children.

Run as `python zygote_rig.py STEP DIRECTORY`; prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from site_rig import alive

from server.runtime.children import Children, describe_exit
from server.runtime.context import ProcessContext
from server.runtime.launch import Order, become_subreaper, memory_file
from server.runtime.nursery import Nursery, SpawnError
from server.runtime.reports import Reports


class Rig:
    """A nursery with a lean zygote, and what it needs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.children = Children()
        self.events: list[str] = []
        self.reports = Reports()
        self.nursery = Nursery("lean", directory / "zygote.log", self.children, lambda kind, text: self.events.append(text))
        (directory / "data" / "log").mkdir(parents=True, exist_ok=True)

    async def spawn(self, target: str, handles: dict[str, int] | None = None, *, open_gate: bool = True) -> tuple[int, Any]:
        """Start a process and open its gate, or close it."""
        handles = handles or {}
        context = ProcessContext("part", self.directory, settings={"to": str(self.directory / "out")})
        gate, key = os.pipe2(os.O_CLOEXEC)
        order = Order("part", target, str(self.directory), os.getpid(), tuple(handles))
        fixed = [memory_file("context", pickle.dumps(context)), memory_file("layout", b""), gate, self.reports.sender]
        try:
            pid, ended = await self.nursery.spawn(order, [*fixed, *handles.values()])
            if open_gate:
                os.write(key, b"!")
        finally:
            for descriptor in (fixed[0], fixed[1], gate, key):
                os.close(descriptor)
        return pid, ended


async def handles(rig: Rig) -> dict[str, Any]:
    """More descriptors than one packet can carry."""
    given = {f"h{n}": memory_file("h", f"content {n}".encode()) for n in range(600)}
    _, ended = await rig.spawn("parts:handles", given)
    status = await ended
    content = json.loads((rig.directory / "out").read_text())
    return {
        "exit": describe_exit(status),
        "right": content == {name: f"content {name[1:]}" for name in given},
        "count": len(content),
    }


async def gate(rig: Rig) -> dict[str, Any]:
    """A process whose pid nobody noted."""
    _, ended = await rig.spawn("parts:handles", open_gate=False)
    return {"exit": describe_exit(await ended), "ran": (rig.directory / "out").exists()}


async def exits(rig: Rig) -> dict[str, Any]:
    """Ends of all kinds."""
    found = {}
    for target in ("parts:failing", "parts:crashing", "parts:handles"):
        _, ended = await rig.spawn(target)
        found[target] = describe_exit(await ended)
    return found


async def own(rig: Rig) -> dict[str, Any]:
    """What kind of process a child is."""
    pid, ended = await rig.spawn("parts:quiet")
    for _ in range(500):
        stat = Path(f"/proc/{pid}/stat").read_text()
        name, fields = stat[stat.index("(") + 1 : stat.rindex(")")], stat[stat.rindex(")") + 2 :].split()
        if name == "ems:part":
            break
        await asyncio.sleep(0.02)
    os.kill(pid, signal.SIGTERM)
    await ended
    return {"name": name, "ours": int(fields[1]) == os.getpid(), "group": int(fields[2]) == pid, "session": int(fields[3]) == pid}


async def killed(rig: Rig) -> dict[str, Any]:
    """A zygote is killed between two processes."""
    pid, first = await rig.spawn("parts:quiet")
    before = rig.nursery.pid
    os.kill(before, signal.SIGKILL)
    await asyncio.sleep(0.05)
    survived = alive(pid)
    _, second = await rig.spawn("parts:handles")
    await second
    os.kill(pid, signal.SIGTERM)
    await first
    return {"survived": survived, "other": rig.nursery.pid != before, "restarts": rig.nursery.restarts, "events": rig.events}


async def stopped(rig: Rig) -> dict[str, Any]:
    """A zygote that does not answer."""
    import server.runtime.nursery as nursery

    await rig.spawn("parts:handles")
    os.kill(rig.nursery.pid, signal.SIGSTOP)
    patience_s, nursery.FORK_WITHIN_S = nursery.FORK_WITHIN_S, 0.3
    try:
        await rig.spawn("parts:handles")
    except SpawnError as error:
        refused = str(error)
    finally:
        nursery.FORK_WITHIN_S = patience_s
    _, ended = await rig.spawn("parts:handles")
    return {"refused": refused, "then": describe_exit(await ended)}


async def many(rig: Rig) -> dict[str, Any]:
    """Many starts at the same time."""
    ends = await asyncio.gather(*(rig.spawn("parts:handles") for _ in range(40)))
    statuses = [await ended for _, ended in ends]
    return {"pids": len({pid for pid, _ in ends}), "exits": sorted(set(map(describe_exit, statuses)))}


async def main(step: str, directory: Path) -> None:
    become_subreaper()
    rig = Rig(directory)
    rig.children.start()
    keeper = asyncio.create_task(rig.nursery.run())
    try:
        result = await globals()[step](rig)
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)
    for _ in range(200):
        rig.children.reap()
        if not Path(f"/proc/self/task/{os.getpid()}/children").read_text().strip():
            break
        await asyncio.sleep(0.02)
    print(json.dumps({**result, "left": Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}))


def run(arguments: Sequence[str]) -> None:
    asyncio.run(main(arguments[0], Path(arguments[1])))


if __name__ == "__main__":
    run(sys.argv[1:])
