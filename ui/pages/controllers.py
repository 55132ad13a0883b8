"""The Controllers page: who has a say, in order of priority; what each one wants and why; its switch and its parameters."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from nicegui.element import Element

from server.client import ClientError, ObjectInfo
from server.core.natures import RunState

from .. import numbers
from ..catalogue import Catalogue, label, words
from ..explanation import wants
from ..model_watch import ModelWatch
from ..page import Page
from ..parameters import change, checked, field, parameters
from ..readings import Readings
from ..refusal import Refused
from ..supervision import Poll
from ..visit import Visit

TAKEN_WITHIN_S = 2.0
_STEADY_MS = 2000
"""How often the figures of a controller are followed: those that are another in every cycle."""
_STATUS_S = 2.0
_FIGURES = ("LastRunDuration", "ErrorCount")
_TONES = {RunState.Active: "good", RunState.Idle: "calm", RunState.Disabled: "off", RunState.Fault: "bad"}
_STATES = {RunState.Active: "Active", RunState.Idle: "Idle", RunState.Disabled: "Off", RunState.Fault: "Fault"}


class Desk(Element, component="../static/ems_controllers.js"):
    """All controllers with the detail of one. Emits `switch` (alias, on) and `apply` (alias, values by node)."""

    def __init__(self, things: list[dict[str, Any]], *, may: bool) -> None:
        super().__init__()
        self._props.update(things=things, may=may)


async def show(visit: Visit) -> None:
    """Build the page for one tab of a person."""
    catalogue = visit.person.catalogue
    found = controllers(catalogue)
    names = {name for thing in found for name in thing.channels}
    await visit.follow([t.channels[n].node for t in found for n in names - {*_FIGURES} if n in t.channels])
    await visit.follow([t.channels[n].node for t in found for n in _FIGURES if n in t.channels], _STEADY_MS)
    await visit.follow(["site/Explanation"])
    status = Poll(visit.settings.directory, "status", _STATUS_S, visit.changed)
    await status.read()
    visit.attach(status)
    visit.attach(ModelWatch(visit.person))
    visit.values(lambda: values(catalogue, visit.readings) | {"refused": refusals(status.answer)})
    may = any(t.channels["Enabled"].writable for t in found)
    desk = Desk([_thing(t, catalogue, visit.readings) for t in found], may=may)
    visit.on(desk, "switch", lambda wish: _switch(visit, wish))
    visit.on(desk, "apply", lambda wish: _apply(visit, wish))


def refusals(status: Mapping[str, Any] | None) -> list[dict[str, str]]:
    """What was not loaded, and why, as the supervisor has it."""
    rows = (status or {}).get("controllers", ())
    return [{"what": str(row["type"]), "why": str(row["refused"])} for row in rows if row["refused"]]


def controllers(catalogue: Catalogue) -> list[ObjectInfo]:
    """The site's controllers as far as they have a switch."""
    return [t for t in catalogue if t.kind == "controller" and "Enabled" in t.channels]


def values(catalogue: Catalogue, readings: Readings) -> dict[str, Any]:
    """`c.<alias>` of each controller and `p.<node>` of each parameter, and what the site as a whole says."""
    found: dict[str, Any] = {"decision": catalogue.speak(readings["site/Explanation"].text)}
    for thing in controllers(catalogue):
        found[f"c.{thing.alias}"] = _state(thing, catalogue, readings)
        found |= {f"p.{c.node}": readings.number(c.node) for c in parameters(thing)}
    return found


def _state(thing: ObjectInfo, catalogue: Catalogue, readings: Readings) -> dict[str, Any]:
    def number(name: str) -> float | None:
        return readings.number(f"{thing.alias}/{name}")

    run, errors = number("RunState"), number("ErrorCount")
    state = RunState(int(run)) if run is not None and run in tuple(RunState) else None
    text = readings[f"{thing.alias}/Explanation"].text
    return {
        "on": bool(number("Enabled")),
        "state": _STATES[state] if state is not None else "Unknown",
        "tone": _TONES[state] if state is not None else "calm",
        "took": took(number("LastRunDuration")),
        "errors": f"{errors or 0:,.0f}",
        "failing": bool(errors),
        "said": catalogue.speak(text),
        "wants": wants(thing.alias, readings, catalogue),
        "schedule": catalogue.plain(readings[f"{thing.alias}/Schedule"].text),
    }


def took(seconds: float | None) -> str:
    """How long a run took, in steps too coarse to flicker: below 0.1 ms, then tenths."""
    if seconds is None or not seconds:
        return numbers.DASH
    return "< 0.1 ms" if seconds < 1e-4 else f"{seconds * 1e3:.1f} ms"


def _thing(thing: ObjectInfo, catalogue: Catalogue, readings: Readings) -> dict[str, Any]:
    given = {name: text for name, text in thing.properties.items() if name != "ControllerClass" and isinstance(text, str)}
    return {
        "alias": thing.alias,
        "label": label(thing),
        "kind": str(thing.properties.get("ControllerClass", "")),
        "doc": thing.description,
        "priority": readings.number(f"{thing.alias}/Priority"),
        "refers": [[words(name), catalogue.plain(text)] for name, text in given.items()],
        "params": [field(c) for c in parameters(thing)],
    }


async def _switch(visit: Visit, wish: dict[str, Any]) -> str:
    thing = _wanted(visit, wish)
    on = bool(wish["on"])
    await visit.person.client.call(thing.alias, "Enable" if on else "Disable")
    return f"{label(thing)} is {'on' if on else 'off'}."


async def _apply(visit: Visit, wish: dict[str, Any]) -> str:
    """Set all values in one cycle, or none when one of them is refused."""
    thing = _wanted(visit, wish)
    known = {c.node: c for c in parameters(thing)}
    if unknown := set(wish["values"]) - set(known):
        raise Refused(f"{label(thing)} has no {', '.join(sorted(unknown))}. Please load the page again.")
    wanted = {node: checked(known[node], value) for node, value in wish["values"].items()}
    client = visit.person.client
    before = {node: visit.readings.number(node) for node in wanted}
    try:
        await client.call(thing.alias, "SetParameters", [known[n].name for n in wanted], list(wanted.values()))
    except ClientError as error:
        raise Refused(f"Nothing was changed. The server says: {error}.") from error
    await _taken(visit, wanted)
    return f"{label(thing)}: " + ", ".join(change(known[n], before[n], v) for n, v in wanted.items()) + "."


def _wanted(visit: Visit, wish: dict[str, Any]) -> ObjectInfo:
    thing = visit.person.catalogue.model.objects.get(str(wish["alias"]))
    if thing is None or thing not in controllers(visit.person.catalogue):
        raise Refused("The site does not have this controller any more. Please load the page again.")
    return thing


async def _taken(visit: Visit, wanted: dict[str, float]) -> None:
    """Wait until control has taken the values over. Raises Refused when it does not."""
    client = visit.person.client
    for _ in range(round(TAKEN_WITHIN_S / 0.1)):
        now = await client.read(list(wanted))
        if all(v.Value is not None and v.Value.Value == wish for v, wish in zip(now, wanted.values(), strict=True)):
            return
        await asyncio.sleep(0.1)
    raise Refused("Control did not take the new values; the journal on the System page says why.")


PAGE = Page("/controllers", "Controllers", icon="controllers", key="c", place=30, show=show)
