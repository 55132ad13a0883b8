"""Alarms as the panel derives them from state channels: what is wrong, how badly, in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from server.client import ObjectInfo
from server.core.channel import Level
from server.core.natures import CommState, EntryState, RunState

from . import natures
from .catalogue import Catalogue, label
from .readings import Readings

_RETRYING = {EntryState.SetupError, EntryState.SetupRetry, EntryState.MigrationError, EntryState.FailedUnload}
_STATE_WORDS = {Level.Info: "reports a notice", Level.Warning: "reports a warning", Level.Fault: "reports a fault"}


class Alarm(NamedTuple):
    """One line of the alarm list. level: Info, Warning or Fault; source: alias of the object."""

    level: Level
    source: str
    title: str
    text: str

    @property
    def key(self) -> str:
        """Identity of the alarm while it lasts."""
        return f"{self.source}:{self.text}"


def alarms(catalogue: Catalogue, readings: Readings) -> list[Alarm]:
    """All active alarms, worst first, then by object."""
    found = [a for thing in catalogue for a in _of(thing, catalogue, readings)]
    return sorted(found, key=lambda a: (-a.level, a.source))


def _of(thing: ObjectInfo, catalogue: Catalogue, readings: Readings) -> Iterable[Alarm]:
    if thing.kind == "entry":
        return _entry(thing, readings)
    if thing.kind == "controller":
        return _controller(thing, catalogue, readings)
    return _device(thing, readings)


def _state(thing: ObjectInfo, name: str, readings: Readings) -> int | None:
    channel = thing.channels.get(name)
    value = readings.number(channel.node) if channel else None
    return None if value is None else int(value)


def _entry(thing: ObjectInfo, readings: Readings) -> Iterator[Alarm]:
    if _state(thing, "State", readings) in _RETRYING:
        reason = readings[f"{thing.alias}/Reason"].text
        yield Alarm(Level.Warning, thing.alias, label(thing), reason or "the integration could not be started")


def _controller(thing: ObjectInfo, catalogue: Catalogue, readings: Readings) -> Iterator[Alarm]:
    if _state(thing, "RunState", readings) == RunState.Fault:
        why = catalogue.plain(readings[f"{thing.alias}/Explanation"].text)
        yield Alarm(Level.Fault, thing.alias, label(thing), why or "the controller failed and is left out")


def _device(thing: ObjectInfo, readings: Readings) -> Iterator[Alarm]:
    flags = list(_raised(thing, readings))
    yield from flags
    comm = _state(thing, "CommState", readings)
    if comm == CommState.Down:
        yield Alarm(Level.Fault, thing.alias, label(thing), "does not answer")
    elif comm == CommState.Degraded:
        yield Alarm(Level.Warning, thing.alias, label(thing), "answers only now and then")
    state = _state(thing, "State", readings)
    if state and state in _STATE_WORDS and not flags and not comm:
        yield Alarm(Level(state), thing.alias, label(thing), _STATE_WORDS[Level(state)])


def _raised(thing: ObjectInfo, readings: Readings) -> Iterator[Alarm]:
    for name, (level, sentence) in natures.flags().items():
        if _state(thing, name, readings):
            yield Alarm(level, thing.alias, label(thing), sentence[0].lower() + sentence[1:])
