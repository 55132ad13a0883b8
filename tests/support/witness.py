"""Witnesses of the machine: was it the product that was late, or did the machine stand still?

For each core a process of its own, above the priority of control where that is granted, wakes every 5 ms and prints each
wake-up that came more than 4 ms late. One for each, because a virtual machine may lose one core and keep the other. A control
cycle that slips while a witness was late itself is excused, and so is a time that was longer by that; any other is not.
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
TOLD_WITHIN_S = 0.05
"""A witness that was late has told so, and that was read."""


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

    def excused(self, moment_ns: int, period_ns: int) -> int:
        """How many cycles of this period the machine may have cost since a moment of CLOCK_MONOTONIC."""
        time.sleep(TOLD_WITHIN_S)
        return sum(late // period_ns + 1 for at, late in list(self.stalls) if at >= moment_ns)

    def stood_s(self, moment_ns: int) -> float:
        """How long one core or another stood still since a moment of CLOCK_MONOTONIC."""
        time.sleep(TOLD_WITHIN_S)
        stood, end = 0, moment_ns
        for begun, at in sorted((at - late, at) for at, late in list(self.stalls)):
            stood += max(0, at - max(begun, end))
            end = max(at, end)
        return stood * 1e-9


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
