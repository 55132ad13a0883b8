"""The status of a running site as one object: what `ems status --json` prints and the panel falls back to.

    state      starting (not everything listens yet), running, degraded (a part is in trouble or not set up), stopping
    cycle      period_ms, counter, slips, last_ms, worst_ms, jitter_ms, restarts; a time is null before it was measured
    processes  name, part, pid, state, restarts, since, memory_mb (proportional share, null when it cannot be read), reason
    entries    alias, driver, state, reason, next_retry
    controllers  type, file, revision, used_by (aliases), refused: why a newer file, or anything else of them, is not loaded
    alarms     source, level, text, since
    endpoints  opcua, panel

Times are UTC in ISO 8601, null for never.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from server.core.image import Image
from server.core.layout import CONTROLLER, SUPERVISOR, Layout
from server.core.natures import Cycle
from server.core.site import CYCLE_ALIAS

from .alarms import Alarm
from .entries import EntryBoard
from .plan import SitePlan
from .process import Process

if TYPE_CHECKING:
    from .running import RunningSite


def site_status(site: RunningSite) -> dict[str, Any]:
    """The whole object."""
    plan = site.plan
    return {
        "state": str(site.state),
        "site": {"id": plan.settings.id, "name": plan.settings.name, "directory": str(plan.directory)},
        "cycle": cycle_status(plan.layout, site.frames.latest(), plan.settings.cycle_s),
        "processes": [*_own_rows(site), *map(process_status, site.processes.values())],
        "entries": entry_status(site.board),
        "controllers": controller_status(site.plan),
        "alarms": alarm_status(site.alarms.active),
        "endpoints": {"opcua": plan.endpoint, "panel": plan.panel},
    }


def _own_rows(site: RunningSite) -> Iterator[dict[str, Any]]:
    yield process_row(SUPERVISOR, SUPERVISOR, os.getpid(), 0, site.since)
    for nursery in site.nurseries.values():
        yield process_row(f"zygote-{nursery.kind}", "zygote", nursery.pid, nursery.restarts, nursery.since)


def cycle_status(layout: Layout, image: Image | None, period_s: float) -> dict[str, Any]:
    """The control cycle's own figures from the newest frame."""

    def value(name: str, factor: float) -> float | None:
        channel = layout.by_node.get(f"{CYCLE_ALIAS}/{name}")
        found = image.get(channel.slot) if image is not None and channel is not None else None
        return None if found is None else round(found * factor, 4)

    def count(name: str) -> int:
        return int(value(name, 1.0) or 0)

    return {
        "period_ms": period_s * 1e3,
        "counter": count(Cycle.Counter.name),
        "slips": count(Cycle.Slips.name),
        "last_ms": value(Cycle.LastDuration.name, 1e3),
        "worst_ms": value(Cycle.WorstDuration.name, 1e3),
        "jitter_ms": value(Cycle.Jitter.name, 1e3),
        "restarts": count(Cycle.Restarts.name),
    }


def process_status(process: Process) -> dict[str, Any]:
    """One supervised process."""
    row = process_row(process.name, process.spec.part, process.pid, process.restarts, process.since)
    return {**row, "state": str(process.state), "reason": process.trouble}


def process_row(name: str, part: str, pid: int, restarts: int, since: float) -> dict[str, Any]:
    """A process of the system itself, which is running as long as it can be asked."""
    row = {"name": name, "part": str(part), "pid": pid, "state": "running", "restarts": restarts, "since": iso(since)}
    return {**row, "memory_mb": memory_mb(pid), "reason": ""}


def entry_status(board: EntryBoard) -> list[dict[str, Any]]:
    """Every configured entry."""
    rows = []
    for entry in board.entries:
        report = board.reports.get(entry.alias)
        if report is not None:
            state = {"state": report.state.name, "reason": report.reason, "next_retry": iso(report.next_retry)}
            rows.append({"alias": entry.alias, "driver": entry.driver, **state})
    return rows


def controller_status(plan: SitePlan) -> list[dict[str, Any]]:
    """Every file that runs, then what else was refused."""
    refused = {p.source: p.text for p in plan.problems if p.controller}
    users: dict[str, list[str]] = {}
    for obj in plan.layout.objects:
        if obj.kind == CONTROLLER:
            users.setdefault(obj.type_name, []).append(obj.alias)
    rows = [
        {
            "type": name,
            "file": code.path,
            "revision": code.revision,
            "used_by": users.get(name, []),
            "refused": refused.pop(code.module, ""),
        }
        for name, code in plan.codes.items()
    ]
    return [*rows, *({"type": what, "file": "", "revision": "", "used_by": [], "refused": why} for what, why in refused.items())]


def alarm_status(alarms: Iterable[Alarm]) -> list[dict[str, Any]]:
    """Active alarms, worst first."""
    return [{"source": a.source, "level": a.level.name, "text": a.text, "since": iso(a.since)} for a in alarms]


def memory_mb(pid: int) -> float | None:
    """Proportional set size of a process in MB: what it has alone, and its share of what it shares. None when it is gone."""
    if not pid:
        return None
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            kilobytes = next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    except (OSError, StopIteration, ValueError):
        return None
    return round(kilobytes / 1024, 1)


def iso(unix_s: float) -> str | None:
    """UTC seconds as ISO 8601, None for 0."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix_s)) if unix_s else None
