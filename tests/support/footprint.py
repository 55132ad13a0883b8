"""What processes take of the machine, from /proc: CPU time, proportional set size, descriptors, threads."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from server.runtime.status import memory_mb

_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / (1 << 20)


@dataclass(frozen=True)
class Footprint:
    """One process at one moment.

    cpu_s: since it started, all threads; pss_mb: with its share of what it shares; rss_mb: all that it sees in memory, which
    does not change with who else sees it; wakeups: how often it was put on a core.
    """

    cpu_s: float
    pss_mb: float
    rss_mb: float
    descriptors: int
    threads: int
    wakeups: int


def footprint(pid: int) -> Footprint | None:
    """What a process takes; None when it is gone."""
    folder = Path(f"/proc/{pid}")
    try:
        threads = list((folder / "task").iterdir())
        runs = [(thread / "schedstat").read_text().split() for thread in threads]
        descriptors = len(os.listdir(folder / "fd"))
        pages = int((folder / "statm").read_text().split()[1])
    except OSError:
        return None
    pss_mb = memory_mb(pid)
    if pss_mb is None:
        return None
    cpu_s, wakeups = sum(int(r[0]) for r in runs) * 1e-9, sum(int(r[2]) for r in runs)
    return Footprint(cpu_s, pss_mb, pages * _PAGE_MB, descriptors, len(threads), wakeups)


def footprints(rows: Iterable[Mapping[str, object]]) -> dict[str, Footprint]:
    """Of every living process of a status, by name."""
    found = ((str(row["name"]), footprint(int(str(row["pid"])))) for row in rows if row["pid"])
    return {name: taken for name, taken in found if taken is not None}
