"""Witnesses of the machine: was it the product that was late, or did the machine stand still?

For each core a process of its own, above the priority of control where that is granted, wakes every 5 ms and prints each
wake-up that came more than 4 ms late. One for each, because a virtual machine may lose one core and keep the other. A control
cycle that slips while a witness was late itself is excused; any other is not.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from typing import IO

PRIORITY = 30
STEP_NS = 5_000_000
LATE_NS = 4_000_000


class Witness:
    """All witnesses; they run as long as the context."""

    def __init__(self) -> None:
        self.stalls: list[tuple[int, int]] = []
        """(CLOCK_MONOTONIC ns, how late in ns) of every late wake-up."""
        self._processes = [
            subprocess.Popen([sys.executable, "-S", __file__, str(core)], stdout=subprocess.PIPE, text=True)
            for core in sorted(os.sched_getaffinity(0))
        ]
        self._readers = [threading.Thread(target=self._read, args=(p.stdout,), daemon=True) for p in self._processes]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Witness:
        return self

    def __exit__(self, *exc: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        for reader in self._readers:
            reader.join()

    def _read(self, lines: IO[str]) -> None:
        with lines:
            for line in lines:
                moment, late = line.split()
                self.stalls.append((int(moment), int(late)))

    def stalls_since(self, moment_ns: int) -> int:
        """How often the machine stood still since a moment of CLOCK_MONOTONIC."""
        return sum(at >= moment_ns for at, _ in self.stalls)


def watch(core: int) -> None:
    """A witness's own process: sleeps to absolute moments and tells when it was woken late."""
    os.sched_setaffinity(0, {core})
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
    watch(int(sys.argv[1]))
