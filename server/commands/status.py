"""`ems status`: how a running site is, for people and as JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from server.runtime.bus import NotRunning, request

from . import NOT_RUNNING, OK, add_dir, command, find_site, table


def add(commands: Any) -> None:
    """The subcommand `ems status`."""
    parser = command(commands, "status", "tell how a running site is", "ems status", "ems status --dir site --json")
    add_dir(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(do=_status)


def _status(options: argparse.Namespace) -> int:
    directory = find_site(options)
    try:
        status = request(directory, "status")
    except NotRunning as error:
        print(json.dumps({"state": "stopped"}) if options.json else error)
        return NOT_RUNNING
    del status["ok"]
    print(json.dumps(status, indent=1) if options.json else _status_text(status))
    return OK


def _status_text(status: Mapping[str, Any]) -> str:
    cycle, ends = status["cycle"], status["endpoints"]
    processes = [
        (p["name"], p["state"], p["pid"] or "", p["restarts"], _shown(p["memory_mb"], " MB"), p["since"], p["reason"])
        for p in status["processes"]
    ]
    entries = [(e["alias"], e["driver"], e["state"], e["next_retry"] or "", e["reason"]) for e in status["entries"]]
    controllers = [(c["type"], c["revision"], ", ".join(c["used_by"]), c["refused"]) for c in status["controllers"]]
    alarms = [(a["level"], a["source"], a["since"], a["text"]) for a in status["alarms"]]
    work = f"last {_shown(cycle['last_ms'])} ms, worst {_shown(cycle['worst_ms'])} ms, jitter {_shown(cycle['jitter_ms'])} ms"
    parts = [
        f"{status['site']['name']}: {status['state']}   panel {ends['panel'] or '-'}   OPC UA {ends['opcua']}",
        f"cycle {cycle['period_ms']:g} ms: {cycle['counter']} done, {cycle['slips']} slips, {work}",
        table(("process", "state", "pid", "restarts", "memory", "since", "reason"), processes),
        table(("entry", "driver", "state", "next try", "reason"), entries) if entries else "no entries",
        table(("controller", "revision", "used by", "refused"), controllers) if controllers else "no controllers",
        table(("alarm", "source", "since", "text"), alarms) if alarms else "no alarms",
    ]
    return "\n\n".join(parts)


def _shown(value: float | None, unit: str = "") -> str:
    return "-" if value is None else f"{value:g}{unit}"
