"""A running demo site that things are done to: who may be restarted by it, and that the rest does not notice."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from demo_site import EMS, DemoSite, PlantBench
from witness import Witness

from server.client import Identity

ENGINEER = "drill"
PASSWORD = "the password of a person who drills"
LONG_STALL_S = 0.3
OVER_AFTER_S = 1.0
"""A machine that stood still for longer than the one may have let a lease end; after the other all is as before."""


class Drill:
    """The site under drill, its plant, and the witness of the machine."""

    def __init__(self, site: DemoSite, witness: Witness) -> None:
        self.site = site
        self.witness = witness
        roles = ["--role", "Operator", "--role", "Engineer"]
        add = [EMS, "users", "add", ENGINEER, *roles, "--password-stdin", "--replace", "--dir", site.directory]
        subprocess.run([str(a) for a in add], input=PASSWORD, text=True, check=True, capture_output=True)

    @property
    def identity(self) -> Identity:
        """An engineer who may also operate."""
        own = self.site.directory / "certs" / "own"
        ca = self.site.directory / "certs" / "ca" / "ca.der"
        endpoint = self.site.status()["endpoints"]["opcua"]
        return Identity(endpoint, own / "panel.der", own / "panel.key.pem", ca=ca, user=ENGINEER, password=PASSWORD)

    def plant(self) -> PlantBench:
        """A new connection to the plant's bench; the caller closes it."""
        return PlantBench(self.site.plant_port)

    def pid(self, name: str) -> int:
        """Pid of a process of the site."""
        return int(self.site.processes()[name]["pid"])

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Signal a process; its pid."""
        pid = self.pid(name)
        os.kill(pid, number)
        return pid

    def wait(self, condition: Callable[[], Any], what: str, within_s: float = 30.0) -> Any:
        """Wait until something is true."""
        return self.site.wait(condition, within_s, what)

    def running(self) -> bool:
        """True when the whole site runs as if nothing had been."""
        return self.site.status().get("state") == "running"

    def told(self, *words: str) -> bool:
        """True when one alarm of `ems status` holds all these words, in any case."""
        alarms = [f"{alarm['source']}: {alarm['text']}".lower() for alarm in self.site.status().get("alarms", ())]
        return any(all(word.lower() in alarm for word in words) for alarm in alarms)

    @contextlib.contextmanager
    def unnoticed(self, *restarted: str) -> Iterator[None]:
        """What is done inside takes down nobody but `restarted`; control, unless it is one of them, misses no cycle."""
        begun, before = time.monotonic_ns(), self.site.status()
        yield
        after = self.site.status()
        assert after, self.site.text
        was = {row["name"]: row["restarts"] for row in before["processes"] if row["name"] not in restarted}
        now = {row["name"]: row["restarts"] for row in after["processes"] if row["name"] not in restarted}
        assert now == was, [row["reason"] for row in after["processes"]]
        if "control" not in restarted:
            slips = after["cycle"]["slips"] - before["cycle"]["slips"]
            self.wait(lambda: self.site.status()["cycle"]["counter"] > before["cycle"]["counter"], "control goes on", 5)
            assert slips <= self.witness.excused(begun, round(before["cycle"]["period_ms"] * 1e6)), (
                f"control missed {slips} cycles: {before['cycle']}, {after['cycle']}"
            )

    def values(self, recorder: Recorder) -> set[float]:
        """The different values a recorder saw while the machine ran, which must be most of the time."""
        stalls = [(at * 1e-9, late * 1e-9) for at, late in list(self.witness.stalls) if late * 1e-9 > LONG_STALL_S]
        shaken = [(at - late - LONG_STALL_S, at + OVER_AFTER_S) for at, late in stalls]
        calm = [value for at, value in recorder.samples if not any(begun <= at <= over for begun, over in shaken)]
        assert 2 * len(calm) >= len(recorder.samples), f"the machine stood still too often: {stalls}"
        return set(calm)


class Recorder:
    """Samples a number as fast as it comes, in a thread, while the context lasts. `samples`: (CLOCK_MONOTONIC s, value)."""

    def __init__(self, sample: Callable[[], float]) -> None:
        self.samples: list[tuple[float, float]] = []
        self._sample = sample
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Recorder:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(0.01):
            self.samples.append((time.monotonic(), self._sample()))

    def first(self, value: float, since: float) -> float:
        """When the value was first seen after a moment; infinity when it was not."""
        return next((at for at, seen in self.samples if at >= since and seen == value), float("inf"))


def write_file(path: Path, content: bytes | str) -> None:
    """Write a file with whatever is needed around it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def wait_for_end(pids: list[int]) -> None:
    """Wait until none of these processes is left."""
    deadline = time.monotonic() + 15
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline, [pid for pid in pids if alive(pid)]
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """True for a process that exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"
