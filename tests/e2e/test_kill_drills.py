"""Killing parts of a running site: control misses no cycle, everything comes back, nothing is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from demo_site import DemoSite
from ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TIMES = 10
PARTS = ("opcua", "ui", "historian", "modbus")


def test_control_misses_no_cycle_when_parts_are_killed_one_after_the_other(demo: DemoSite) -> None:
    before = demo.status()["cycle"]
    control = demo.processes()["control"]["pid"]
    for _ in range(TIMES):
        pids = {name: demo.processes()[name]["pid"] for name in PARTS}
        for name, pid in pids.items():
            assert demo.processes()[name]["pid"] == pid, f"{name} ended without being killed"
            os.kill(pid, signal.SIGKILL)
        demo.wait(lambda pids=pids: all(came_back(demo, *part) for part in pids.items()), 60, "all parts are back")
    after = demo.status()["cycle"]
    assert demo.processes()["control"]["pid"] == control
    assert after["counter"] > before["counter"]
    assert after["slips"] == before["slips"], (before, after)
    assert all(demo.processes()[name]["restarts"] >= TIMES for name in PARTS)


def came_back(demo: DemoSite, name: str, pid: int) -> bool:
    row = demo.processes()[name]
    return row["state"] == "running" and row["pid"] not in (0, pid)


def test_control_is_back_with_its_state_when_it_is_killed(demo: DemoSite) -> None:
    pid = demo.processes()["control"]["pid"]
    energy = consumed_wh(demo)
    os.kill(pid, signal.SIGKILL)
    demo.wait(lambda: came_back(demo, "control", pid), 10, "control is back")
    demo.wait(lambda: demo.status()["state"] == "running", 30, "the site runs as before")
    assert demo.status()["cycle"]["restarts"] == 1
    demo.wait(lambda: consumed_wh(demo) > energy, 10, "energy counters go on from where they were, never back")


def consumed_wh(demo: DemoSite) -> float:
    """The site's consumption counter as the journal last kept it."""
    demo.wait(lambda: journalled(demo), 10, "the journal holds the engine's state")
    return journalled(demo)


def journalled(demo: DemoSite) -> float:
    rows = [json.loads(line) for file in sorted((demo.directory / "data/journal").glob("*.jsonl")) for line in file.open()]
    states = [row["state"] for row in rows if row["kind"] == "state"]
    return states[-1]["energies"]["ConsumptionEnergy"] if states else 0.0


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9 of the supervisor"])
def test_nothing_is_left_behind(tmp_path: Path, stop: signal.Signals) -> None:
    with DemoSite(tmp_path / "site", free_port(), free_port()) as site:
        pids = [row["pid"] for row in site.status()["processes"]]
        assert len(pids) >= 8
        site.process.send_signal(stop)
        site.process.wait(30)
        wait_for_end(pids)
        left = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True, check=False).stdout.split()
        assert left == []
        if stop == signal.SIGINT:
            assert sorted(p.name for p in (tmp_path / "site" / "run").iterdir() if p.is_socket()) == []


def wait_for_end(pids: list[int]) -> None:
    deadline = time.monotonic() + 15
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline, [pid for pid in pids if alive(pid)]
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"
