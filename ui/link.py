"""The connection as the panel shows it. While the OPC UA server is away, the supervisor's status stands in for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from server.core.errors import EmsError
from server.runtime.bus import request

from .person import Person

LOOK_S = 0.5
_HERE: dict[str, Any] = {"away": False, "title": "", "text": "", "processes": []}
_UNASKED: dict[str, Any] = {}
_TONES = {"running": "good", "restarting": "warn", "waiting": "calm", "stopping": "calm"}

log = logging.getLogger("ems.ui")


class Watch:
    """Asks the supervisor how the site is, as long as somebody's OPC UA connection is away."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._status: dict[str, Any] | None = _UNASKED

    async def run(self, anyone_away: Callable[[], bool]) -> None:
        """Poll until cancelled."""
        while True:
            self._status = await asyncio.to_thread(self._ask) if anyone_away() else _UNASKED
            await asyncio.sleep(LOOK_S)

    def _ask(self) -> dict[str, Any] | None:
        try:
            return dict(request(self._directory, "status"))
        except EmsError as error:
            log.debug("no status of the supervisor: %s", error)
            return None

    def link(self, person: Person) -> dict[str, Any]:
        """The key `link` of the page's values."""
        return {"link": _HERE if person.connected else away(self._status, person.client.reason)}


def away(status: dict[str, Any] | None, reason: str = "") -> dict[str, Any]:
    """The banner while the OPC UA server is away.

    status: the supervisor's reply; empty before it was asked, None when it is silent, too. reason: why the last attempt failed.
    """
    if status is None:
        return _banner("Values below are old. The supervisor does not answer either; the panel keeps trying.")
    processes = {p["name"]: p for p in status.get("processes", ())}
    text = f"Values below are old. {_control(processes, status)}".rstrip()
    if _answers_no(reason) and processes.get("opcua", {}).get("state") == "running":
        text += f" It runs, but this panel gets no further than: {reason}."
    return _banner(text, [_process(p) for p in processes.values() if p["state"] != "running" or not _behind_the_scenes(p)])


def _banner(text: str, processes: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    return {"away": True, "title": "The OPC UA server is away.", "text": text, "processes": list(processes)}


def _control(processes: Mapping[str, dict[str, Any]], status: Mapping[str, Any]) -> str:
    """Whether control goes on; nothing before the supervisor was asked."""
    if not processes:
        return ""
    if processes.get("control", {}).get("state") != "running":
        return "Control is not running."
    slips = (status.get("cycle") or {}).get("slips")
    return "Control goes on without it" + (f", {slips:.0f} slips so far." if slips is not None else ".")


def _answers_no(reason: str) -> bool:
    """The server is there and refuses, or is silent: more than a restart on its way."""
    return reason.startswith("Bad") and not reason.startswith("BadNotConnected")


def _behind_the_scenes(process: Mapping[str, Any]) -> bool:
    """Helpers of the supervisor, of which a person need not know while they are well."""
    return str(process["name"]).startswith("zygote")


def _process(process: dict[str, Any]) -> dict[str, Any]:
    restarts = process.get("restarts") or 0
    text = process["state"] + (f" · {restarts} restart{'s' if restarts > 1 else ''}" if restarts else "")
    return {"name": process["name"], "text": text, "tone": _TONES.get(process["state"], "bad")}
