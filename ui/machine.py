"""Start and stop of a device as the panel shows it: its state and why, and what a person may do about it now."""

from __future__ import annotations

from typing import Any, Final

from server.client import ObjectInfo
from server.core.natures import OperatingState, SiteMode, StartStoppable
from server.core.state_machine import states_of

from .catalogue import Catalogue, label, words
from .readings import Readings
from .refusal import Refused

STATE: Final = StartStoppable.OperatingState.name
REASON: Final = StartStoppable.StartStopReason.name
LAST: Final = StartStoppable.LastTransition.name
TELLING: Final = (STATE, REASON)
"""What must be followed to tell how a machine is."""

_S = OperatingState
_TONES: Final = {_S.Stopped: "calm", _S.Starting: "warn", _S.Running: "good", _S.Stopping: "warn", _S.Failed: "bad"}
_DEEDS: Final = {
    _S.Stopped: ("Start",),
    _S.Starting: ("Stop",),
    _S.Running: ("Stop",),
    _S.Stopping: ("Start",),
    _S.Failed: ("Acknowledge", "Stop"),
}
"""What makes sense in a state, the likeliest first."""
_DONE: Final = {
    "Start": "{} is asked to start.",
    "Stop": "{} is asked to stop.",
    "Acknowledge": "The failure of {} is acknowledged.",
}


def state(thing: ObjectInfo, readings: Readings) -> OperatingState | None:
    """The state of a device's machine; None without one, and while it is not known."""
    value = readings.number(f"{thing.alias}/{STATE}") if STATE in thing.channels else None
    return OperatingState(int(value)) if value is not None and value in set(OperatingState) else None


def drives(thing: ObjectInfo, name: str) -> bool:
    """True for the command of a device with a machine: people press its buttons instead of writing it."""
    return name == StartStoppable.StartStop.name and STATE in thing.channels


def shown(thing: ObjectInfo, readings: Readings) -> dict[str, Any] | None:
    """The machine of a device for the browser."""
    now = state(thing, readings)
    if now is None:
        return None
    why = "" if now is _S.Running else readings[f"{thing.alias}/{REASON}"].text
    return {"word": words(now.name), "tone": _TONES[now], "why": why[:1].upper() + why[1:], "deeds": list(_DEEDS[now])}


def trouble(thing: ObjectInfo, readings: Readings) -> tuple[str, str] | None:
    """Tone and word of a device that does not run; None for all others."""
    now = state(thing, readings)
    return None if now in (None, _S.Running) else (_TONES[now], now.name.lower())


def transition(alias: str, number: float) -> str:
    """A numbered transition in words."""
    states = SiteMode if alias == "site" else OperatingState
    source, target = states_of(int(number))
    known = {source, target} <= set(states)
    return f"{words(states(source).name)} to {words(states(target).name).lower()}" if known else str(number)


async def operate(client: Any, catalogue: Catalogue, wish: dict[str, Any]) -> str:
    """Start, stop or acknowledge a device. Raises Refused and ClientError."""
    alias, deed = str(wish["alias"]), str(wish["method"])
    thing = catalogue.model.objects.get(alias)
    if thing is None or STATE not in thing.channels or deed not in _DONE:
        raise Refused("This device is not started and stopped.")
    await client.call(alias, deed)
    return _DONE[deed].format(label(thing))
