"""Killing parts of a running site: control misses no cycle, everything comes back, nothing is left."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest
from demo_site import DemoSite
from drill import Drill, wait_for_end
from ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TIMES = 3
PARTS = ("opcua", "ui", "historian", "modbus", "plant", "zygote-heavy", "zygote-lean")


def test_control_misses_no_cycle_when_everything_else_is_killed_again_and_again(drill: Drill) -> None:
    with drill.unnoticed(*PARTS):
        for _ in range(TIMES):
            pids = {name: drill.kill(name) for name in PARTS}
            drill.wait(lambda pids=pids: all(came_back(drill, *part) for part in pids.items()), "all parts are back", 60)
    assert all(drill.site.processes()[name]["restarts"] >= TIMES for name in PARTS)


def came_back(drill: Drill, name: str, pid: int) -> bool:
    row = drill.site.processes()[name]
    return row["state"] == "running" and row["pid"] not in (0, pid)


def test_energies_go_on_from_where_they_were_when_control_is_killed(drill: Drill) -> None:
    drill.wait(lambda: consumed_wh(drill), "the journal holds the engine's state")
    energy, restarts = consumed_wh(drill), drill.site.status()["cycle"]["restarts"]
    drill.kill("control")
    drill.wait(lambda: drill.site.status()["cycle"]["restarts"] == restarts + 1, "control is back", 10)
    drill.wait(lambda: consumed_wh(drill) > energy, "the counters go on, and never back", 30)


def consumed_wh(drill: Drill) -> float:
    """The site's consumption counter as the journal last kept it, 0 when it has none."""
    files = sorted((drill.site.directory / "data" / "journal").glob("*.jsonl"))
    rows = [json.loads(line) for file in files for line in file.open()]
    states = [row["state"] for row in rows if row["kind"] == "state"]
    return float(states[-1]["energies"]["ConsumptionEnergy"]) if states else 0.0


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
