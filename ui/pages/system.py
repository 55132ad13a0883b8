"""The System page: processes, entries, certificates, the control cycle, the machine, journal and audit trail.

Most of it comes from the supervisor, so it is there while the OPC UA server is not. Who may read journal and audit trail
follows from the roles of the session.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from nicegui.element import Element

from server.core.roles import Role

from .. import cycle, numbers
from ..page import Page
from ..records import Records, audit_line, journal_line
from ..refusal import Refused
from ..supervision import Poll, ask
from ..visit import Visit

JOURNAL_ROLES: Final = (Role.ENGINEER, Role.SUPERVISOR, Role.CONFIGURE_ADMIN, Role.SECURITY_ADMIN)
AUDIT_ROLES: Final = (Role.CONFIGURE_ADMIN, Role.SECURITY_ADMIN)
EXPIRES_SOON_DAYS: Final = 30

VERIFIED_WITHIN_S: Final = 120.0
_STATUS_S, _MACHINE_S = 2.0, 10.0
_CYCLE_NODES = ("cycle/CycleTime", "cycle/Counter", "cycle/Slips", "cycle/WorstDuration", "cycle/Restarts")
_PROCESS_TONES = {"running": "good", "restarting": "warn", "starting": "calm", "waiting": "calm", "stopping": "calm"}
_ENTRY_TONES = {
    "Loaded": "good",
    "SetupInProgress": "calm",
    "NotLoaded": "calm",
    "UnloadInProgress": "calm",
    "SetupRetry": "warn",
}
_SITE_TONES = {"running": "good", "starting": "calm", "degraded": "warn", "stopping": "calm"}


class SystemDesk(Element, component="../static/ems_system.js"):
    """The whole page. Emits `older`, `newest` and `find` (book, text) for the books `journal` and `audit`, and `verify`."""

    def __init__(self, books: list[str], marks: list[list[Any]]) -> None:
        super().__init__()
        self._props.update(books=books, marks=marks)


async def show(visit: Visit) -> None:
    """Build the page for one tab of a person."""
    directory = visit.settings.directory
    status = Poll(directory, "status", _STATUS_S, visit.changed)
    machine = Poll(directory, "machine", _MACHINE_S, visit.changed)
    books = _books(visit)
    for source in (status, machine, *(book.poll for book in books.values())):
        await source.read()
        visit.attach(source)
    await visit.follow(_CYCLE_NODES, 1000)
    period_s = visit.readings.number("cycle/CycleTime") or 0.05
    feed = cycle.CycleFeed(visit.person.client, period_s, visit.changed)
    visit.attach(feed)
    visit.values(lambda: site_values(status.answer) | machine_values(machine.answer))
    visit.values(lambda: {"cycle": cycle_values(visit, status.answer, feed)})
    visit.values(lambda: {f"book.{name}": book.value() for name, book in books.items()})
    desk = SystemDesk(list(books), [[text, cycle.place(s)] for text, s in _marks(period_s)])
    _answer(visit, desk, books)


def _books(visit: Visit) -> dict[str, Records]:
    """The records this person may read; unknown means none."""
    books: dict[str, Records] = {}
    if visit.may(*JOURNAL_ROLES):
        books["journal"] = Records(visit.settings.directory, "journal", journal_line, visit.changed)
    if visit.may(*AUDIT_ROLES):
        books["audit"] = Records(visit.settings.directory, "audit", audit_line, visit.changed)
    return books


def _answer(visit: Visit, desk: SystemDesk, books: Mapping[str, Records]) -> None:
    async def older(wish: dict[str, Any]) -> str:
        await books[wish["book"]].older()
        return ""

    async def newest(wish: dict[str, Any]) -> str:
        await books[wish["book"]].newest()
        return ""

    async def find(wish: dict[str, Any]) -> str:
        await books[wish["book"]].look_for(str(wish["text"])[:200])
        return ""

    async def verify(_: dict[str, Any]) -> str:
        if "audit" not in books:
            raise Refused("Your role does not allow this.")
        found = await ask(visit.settings.directory, "verify", within_s=VERIFIED_WITHIN_S)
        if not found["whole"]:
            raise Refused(f"The audit trail is not as it was written: {found['broken']}")
        return f"The audit trail is whole: {found['count']:,} rows, none changed, none missing."

    for name, deed in (("older", older), ("newest", newest), ("find", find), ("verify", verify)):
        visit.on(desk, name, deed)


def _marks(period_s: float) -> list[tuple[str, float]]:
    """What is written below the bars."""
    marks = [("10 µs", 1e-5), ("0.1 ms", 1e-4), ("1 ms", 1e-3), ("10 ms", 1e-2), ("100 ms", 1e-1)]
    return [("deadline", period_s), *marks]


# -- values --------------------------------------------------------------------------------------------------------------


def site_values(status: Mapping[str, Any] | None) -> dict[str, Any]:
    """State, processes and entries."""
    if status is None:
        return {"site": None, "processes": [], "entries": []}
    state = str(status["state"])
    return {
        "site": {"state": state, "tone": _SITE_TONES.get(state, "bad"), **status.get("site", {})},
        "processes": [_process(p) for p in status["processes"]],
        "entries": [_entry(e) for e in status["entries"]],
    }


def _process(process: Mapping[str, Any]) -> dict[str, Any]:
    memory = process.get("memory_mb")
    return {
        "name": process["name"],
        "state": process["state"],
        "tone": _PROCESS_TONES.get(process["state"], "bad"),
        "pid": process.get("pid") or "",
        "since": unix(process.get("since")),
        "restarts": process.get("restarts") or 0,
        "memory": None if memory is None else round(memory),
        "reason": process.get("reason") or "",
    }


def _entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "alias": entry["alias"],
        "driver": entry["driver"],
        "state": numbers.spaced(entry["state"]),
        "tone": _ENTRY_TONES.get(entry["state"], "bad"),
        "reason": entry.get("reason") or "",
        "retry": unix(entry.get("next_retry")),
    }


def machine_values(machine: Mapping[str, Any] | None) -> dict[str, Any]:
    """The machine, and the site's own certificates."""
    if machine is None:
        return {"machine": None, "certificates": []}
    disk, memory = machine["disk"], machine["memory"]
    return {
        "machine": {
            "facts": [
                ["Version", f"unified-ems {machine['version']}"],
                ["Python", machine["python"]],
                ["System", machine["system"]],
                ["Up for", numbers.age(machine["uptime_s"])],
                ["Load", f"{machine['load']:.1f} on {machine['cores']} cores"],
            ],
            "meters": [_meter("Disk", disk["total"], disk["free"]), _meter("Memory", memory["total"], memory["available"])],
            "stored": [[kind.capitalize(), size(count)] for kind, count in machine["stored"].items()],
        },
        "certificates": [_certificate(c) for c in machine["certificates"]],
    }


def _meter(name: str, total: int, free: int) -> dict[str, Any]:
    used = 100 * (1 - free / total) if total else 0.0
    tone = "bad" if used > 95 else "warn" if used > 85 else ""
    return {"name": name, "used": round(used), "text": f"{size(free)} of {size(total)} free", "tone": tone}


def size(count: float) -> str:
    """Bytes as people say them, in powers of 1000."""
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= factor:
            return f"{count / factor:.1f} {unit}" if count < 100 * factor else f"{count / factor:.0f} {unit}"
    return f"{count:.0f} B"


def _certificate(certificate: Mapping[str, Any]) -> dict[str, Any]:
    days = (datetime.fromisoformat(certificate["not_after"]) - datetime.now(UTC)).days
    tone = "bad" if days < 0 else "warn" if days < EXPIRES_SOON_DAYS else "good"
    name = "site's authority" if certificate["state"] == "issuer" and certificate["name"] == "ca" else certificate["name"]
    return {"name": name, "days": days, "tone": tone, "until": certificate["not_after"][:10]}


def cycle_values(visit: Visit, status: Mapping[str, Any] | None, feed: cycle.CycleFeed) -> dict[str, Any]:
    """The cycle: from OPC UA while it is there, else the few figures of the status."""
    told = (status or {}).get("cycle") or {}
    number = visit.readings.number if visit.person.connected else lambda _: None
    worst, slips = number("cycle/WorstDuration"), number("cycle/Slips")
    worst_ms = told.get("worst_ms") if worst is None else worst * 1e3
    return {
        "work": cycle.histogram(feed.series[0]),
        "late": cycle.histogram(feed.series[1]),
        "period": f"{told['period_ms']:g} ms" if told else numbers.DASH,
        "worst": numbers.DASH if worst_ms is None else f"{worst_ms:.2f} ms",
        "slips": f"{told.get('slips', 0) if slips is None else slips:,.0f}",
        "restarts": f"{told.get('restarts', 0):,.0f}",
        "live": visit.person.connected,
    }


def unix(iso: str | None) -> float:
    """Seconds since 1970 of a time in ISO 8601, 0 for none."""
    return datetime.fromisoformat(iso).timestamp() if iso else 0.0


PAGE = Page("/system", "System", icon="system", key="s", place=60, show=show)
