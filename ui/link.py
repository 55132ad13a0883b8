"""The connection as the panel shows it. While the OPC UA server is away, the supervisor's status stands in for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from server.client import Model
from server.core.errors import EmsError
from server.runtime.bus import request

from . import numbers
from .catalogue import Catalogue
from .person import Person

LOOK_S = 0.5
IDLE_S = 2.0
_HERE: dict[str, Any] = {"away": False}
_UNASKED: dict[str, Any] = {}
_UNKNOWN = Catalogue(Model({}))
_PROCESS_TONES = {"running": "good", "restarting": "warn", "waiting": "calm", "stopping": "calm"}
_ENTRY_TONES = {
    "Loaded": "good", "SetupInProgress": "calm", "NotLoaded": "calm", "UnloadInProgress": "calm", "SetupRetry": "warn",
}  # fmt: skip
_ALARM_TONES = {"Fault": "bad", "Warning": "warn"}
_PARTS = {"opcua": "OPC UA server", "control": "Control", "ui": "Panel", "historian": "Historian", "supervisor": "Supervisor"}

log = logging.getLogger("ems.ui")


class Watch:
    """Asks the supervisor how the site is, as long as somebody's OPC UA connection is away."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._status: dict[str, Any] | None = _UNASKED

    async def run(self, away: Callable[[], Sequence[Person]]) -> None:
        """Poll until cancelled."""
        while True:
            people = away()
            self._status = await asyncio.to_thread(self.ask) if people else _UNASKED
            for tab in [tab for person in people for tab in person.tabs]:
                tab.changed()
            await asyncio.sleep(LOOK_S if people else IDLE_S)

    def ask(self) -> dict[str, Any] | None:
        """The supervisor's status, None when it does not answer. Blocks for as long as it takes."""
        try:
            return dict(request(self._directory, "status"))
        except EmsError as error:
            log.debug("no status of the supervisor: %s", error)
            return None

    def link(self, person: Person) -> dict[str, Any]:
        """The key `link` of the page's values."""
        return {"link": _HERE if person.connected else away(self._status, person.client.reason, person.catalogue)}


def away(status: dict[str, Any] | None, reason: str = "", catalogue: Catalogue = _UNKNOWN) -> dict[str, Any]:
    """What the page shows while the OPC UA server is away.

    status: the supervisor's reply; empty before it was asked, None when it is silent, too. reason: why the last attempt failed.
    catalogue: knows what people call the things.
    """
    found = {"away": True, "title": "The OPC UA server is away.", "processes": [], "entries": [], "alarms": []}
    if status is None:
        return found | {"text": "Values on this page are old. The supervisor does not answer either; the panel keeps trying."}
    processes = {p["name"]: p for p in status.get("processes", ())}
    text = f"Values on this page are old. {control(status)}".rstrip()
    if _answers_no(reason) and processes.get("opcua", {}).get("state") == "running":
        text += f" It runs, but this panel gets no further than: {reason}."
    return found | {
        "text": text,
        "processes": [_process(p) for p in processes.values() if p["state"] != "running" or not _behind_the_scenes(p)],
        "entries": [_entry(e, catalogue) for e in status.get("entries", ())],
        "alarms": [_alarm(a, catalogue) for a in status.get("alarms", ())],
    }


def control(status: Mapping[str, Any]) -> str:
    """Whether control goes on; nothing before the supervisor was asked."""
    processes = {p["name"]: p for p in status.get("processes", ())}
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


def _process(process: Mapping[str, Any]) -> dict[str, str]:
    restarts = process.get("restarts") or 0
    text = process["state"] + (f" · {restarts} restart{'s' if restarts > 1 else ''}" if restarts else "")
    tone = _PROCESS_TONES.get(process["state"], "bad")
    return {"name": _PARTS.get(process["name"], process["name"]), "text": text, "tone": tone, "why": process.get("reason") or ""}


def _entry(entry: Mapping[str, Any], catalogue: Catalogue) -> dict[str, str]:
    tone = _ENTRY_TONES.get(entry["state"], "bad")
    why = entry.get("reason") or ""
    if entry.get("next_retry"):
        why += f" Next try at {numbers.clock_of(entry['next_retry'])}."
    return {"name": catalogue.called(entry["alias"]), "text": numbers.spaced(entry["state"]), "tone": tone, "why": why.strip()}


def _alarm(alarm: Mapping[str, Any], catalogue: Catalogue) -> dict[str, str]:
    name, text = catalogue.called(alarm["source"]), catalogue.speak(alarm["text"])
    return {"name": name, "text": text, "tone": _ALARM_TONES.get(alarm["level"], "calm"), "why": ""}
