"""A witness of the machine: was it the product that was late, or did the machine stand still?

A process of its own, above the priority of control where that is granted, wakes every 5 ms and prints each wake-up that
came more than 4 ms late. A control cycle that slips while the witness was late itself is excused; any other is not.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

PRIORITY = 30
STEP_NS = 5_000_000
LATE_NS = 4_000_000


class Witness:
    """Runs as long as the context."""

    def __init__(self) -> None:
        self.stalls: list[tuple[int, int]] = []
        """(CLOCK_MONOTONIC ns, how late in ns) of every late wake-up."""
        self._process = subprocess.Popen([sys.executable, "-S", __file__], stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Witness:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                moment, late = line.split()
                self.stalls.append((int(moment), int(late)))

    def stalls_since(self, moment_ns: int) -> int:
        """How often the machine stood still since a moment of CLOCK_MONOTONIC."""
        return sum(at >= moment_ns for at, _ in self.stalls)


def watch() -> None:
    """The witness's own process: sleeps to absolute moments and tells when it was woken late."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    except OSError:
        pass
    due = time.monotonic_ns()
    while True:
        due += STEP_NS
        time.sleep(max(0, due - time.monotonic_ns()) * 1e-9)
        now = time.monotonic_ns()
        if now - due > LATE_NS:
            print(now, now - due, flush=True)
            due = now


if __name__ == "__main__":
    watch()
