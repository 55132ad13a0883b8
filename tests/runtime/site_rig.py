"""A supervisor in a process of its own, running parts from `parts.py` instead of the product's."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from server.core.layout import PROCESS, SUPERVISOR, build_layout
from server.runtime import supervisor
from server.runtime.alarm_plan import plan_alarms
from server.runtime.bus import BusError, request
from server.runtime.plan import SitePlan, make_plan
from server.runtime.process import Part, ProcessSpec
from server.runtime.process_board import process_objects

SITE = '[site]\nid = "rig00"\nname = "Rig"\n'
Specs = dict[str, tuple[str, str]]
"""Processes by name: (part, target)."""


def plan_with(specs: Specs) -> Callable[..., SitePlan]:
    """`make_plan`, with other processes."""

    def planned(*arguments: Any) -> SitePlan:
        plan = make_plan(*arguments)
        processes = [ProcessSpec(n, Part(p), target, "lean", "" if p == "service" else n) for n, (p, target) in specs.items()]
        drivers = [p.name for p in processes if p.part is Part.DRIVER]
        objects = [*(o for o in plan.layout.objects if o.kind != PROCESS), *process_objects([SUPERVISOR, *specs])]
        layout = build_layout(objects, spare=drivers)
        return replace(plan, processes=tuple(processes), layout=layout, alarms=plan_alarms((), layout)[0])

    return planned


def main(directory: str, specs: str) -> None:
    """Entry of the supervisor's process."""
    supervisor.make_plan = plan_with(json.loads(specs))
    supervisor.run(Path(directory))


class RunningSite:
    """A site under test."""

    def __init__(self, directory: Path, specs: Specs, sabotage: str = "") -> None:
        self.directory = directory
        here = Path(__file__).parent
        program = f"import sys; sys.path.insert(0, {str(here)!r}); import site_rig; {sabotage}\nsite_rig.main(*sys.argv[1:])"
        self.output = directory / "output"
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", program, str(directory), json.dumps(specs)],
                stdout=output,
                stderr=output,
                cwd=here.parent.parent,
            )
        self.pids: set[int] = set()

    def status(self) -> dict[str, Any]:
        """The status, empty while nobody answers."""
        try:
            status = request(self.directory, "status")
        except BusError:
            return {}
        self.pids |= {row["pid"] for row in status["processes"] if row["pid"]}
        return status

    def row(self, name: str) -> dict[str, Any]:
        """One process in the status."""
        return next((row for row in self.status().get("processes", []) if row["name"] == name), {})

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait for something to become true."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"the supervisor ended:\n{self.output.read_text()}"
            if found := condition():
                return found
            time.sleep(0.02)
        raise AssertionError(f"not within 30 s: {what}\n{self.output.read_text()}\n{json.dumps(self.status(), indent=1)}")

    def runs(self, name: str, not_pid: int = 0) -> int:
        """Wait until a process runs, not as `not_pid`; its pid."""

        def running() -> int:
            row = self.row(name)
            return row["pid"] if row.get("state") == "running" and row["pid"] not in (0, not_pid) else 0

        return int(self.wait(running, f"{name} runs"))

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Signal a process; its pid."""
        pid = self.runs(name)
        os.kill(pid, number)
        return pid

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the supervisor; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(30)

    def left(self) -> list[int]:
        """Processes of the site that are still alive."""
        return [pid for pid in sorted(self.pids) if alive(pid)]

    def nothing_left(self) -> bool:
        """Wait until all processes have ended; True when they have."""
        deadline = time.monotonic() + 15
        while self.left() and time.monotonic() < deadline:
            time.sleep(0.02)
        return not self.left()


def alive(pid: int) -> bool:
    """True for a process that exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@contextlib.contextmanager
def running_site(
    directory: Path, specs: Specs, sabotage: str = "", until: Sequence[str] = ("running", "degraded")
) -> Iterator[RunningSite]:
    """A site that runs for the length of a test; whatever happens, none of its processes stays.

    sabotage: code run before it. until: the states that the test begins in.
    """
    if not (directory / "site.toml").exists():
        (directory / "site.toml").write_text(SITE)
    site = RunningSite(directory, specs, sabotage)
    try:
        site.wait(lambda: site.status().get("state") in until, "the site has started")
        yield site
    finally:
        site.status()
        if site.process.poll() is None:
            site.stop()
        for pid in site.left():
            os.kill(pid, signal.SIGKILL)
