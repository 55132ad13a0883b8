"""The connection as the panel shows it. While the OPC UA server is away, the supervisor's status stands in for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from server.core.errors import EmsError
from server.runtime.bus import request

from .person import Person

POLL_S = 2.0
_HERE: dict[str, Any] = {"away": False, "title": "", "text": "", "processes": []}
_TONES = {"running": "good", "restarting": "warn", "waiting": "calm", "stopping": "calm"}

log = logging.getLogger("ems.ui")


class Watch:
    """Asks the supervisor how the site is, as long as somebody's OPC UA connection is away."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._status: dict[str, Any] | None = None

    async def run(self, anyone_away: Callable[[], bool]) -> None:
        """Poll until cancelled."""
        while True:
            if anyone_away():
                self._status = await asyncio.to_thread(self._ask)
            await asyncio.sleep(POLL_S)

    def _ask(self) -> dict[str, Any] | None:
        try:
            return dict(request(self._directory, "status"))
        except EmsError as error:
            log.debug("no status of the supervisor: %s", error)
            return None

    def link(self, person: Person) -> dict[str, Any]:
        """The key `link` of the page's values."""
        return {"link": _HERE if person.connected else away(self._status)}


def away(status: dict[str, Any] | None) -> dict[str, Any]:
    """The banner while the OPC UA server is away. status: the supervisor's reply, None when it is silent, too."""
    title = "The OPC UA server is away."
    if status is None:
        return {
            "away": True,
            "title": title,
            "text": "The supervisor does not answer either; the panel keeps trying.",
            "processes": [],
        }
    cycle = status.get("cycle") or {}
    running = any(p["name"] == "control" and p["state"] == "running" for p in status["processes"])
    text = "Values below are old. " + ("Control goes on without it" if running else "Control is not running")
    if running and cycle.get("slips") is not None:
        text += f", {cycle['slips']:.0f} slips so far"
    return {"away": True, "title": title, "text": text + ".", "processes": [_process(p) for p in status["processes"]]}


def _process(process: dict[str, Any]) -> dict[str, Any]:
    restarts = process.get("restarts") or 0
    text = process["state"] + (f" · {restarts} restart{'s' if restarts > 1 else ''}" if restarts else "")
    return {"name": process["name"], "text": text, "tone": _TONES.get(process["state"], "bad")}
