"""Other controllers for an engine that runs: made ready beside it, taken over between two steps.

    running engine ──────────── step ── step ── step │ step ── step
    successors        bind ─ tables ─ lists ready ───┘ switch, parameters and memory are handed over here

A controller stays as it is when neither its class nor its settings changed. One that is made anew takes over from the one before
it: its switch and the parameters that were written at run time, where they still are valid and the configuration has not changed
them itself; what it remembers, field by field, where the declaration of `State` is still the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields
from typing import Any

from .board import Board
from .commands import Commands
from .controller import Controller
from .errors import ConfigError, EmsError
from .layout import CONTROLLER, Layout
from .runner import Controllers, Runner
from .scheduler import Rank, ordered
from .status import BAD_NODE_ID_UNKNOWN
from .texts import Texts
from .topology import Topology


class NeedsNewEngine(EmsError):
    """These controllers cannot be taken over by an engine that runs."""


@dataclass(frozen=True)
class Generation:
    """The controllers a site shall have. classes: by type name; renewed: aliases that are new or no longer what they were."""

    layout: Layout
    classes: Mapping[str, type[Controller]]
    renewed: AbstractSet[str]


@dataclass(frozen=True)
class Successors:
    """All of an engine that depends on its controllers, ready to be taken over. gone: slots that mean nothing any more."""

    topology: Topology
    runners: list[Runner]
    controllers: Controllers
    commands: Commands
    board: Board
    texts: Texts
    renewed: AbstractSet[str]
    gone: Sequence[int]


def line_up(generation: Generation, topology: Topology, runners: Sequence[Runner]) -> tuple[Topology, list[Runner]]:
    """The successors of `runners`, and the topology they are bound to. NeedsNewEngine when what they need was decided when the
    engine was made."""
    grown = topology.grown(generation.layout)
    successors = _runners(generation, grown, {r.alias: r for r in runners})
    if grown.phased - topology.phased:
        raise NeedsNewEngine("limits on single phases are solved in another way, which is chosen at start")
    return grown, successors


def _runners(generation: Generation, topology: Topology, before: Mapping[str, Runner]) -> list[Runner]:
    found: list[Runner] = []
    objects = [o for o in generation.layout.objects if o.kind == CONTROLLER and o.type_name in generation.classes]
    for position, obj in enumerate(objects):
        kept = before.get(obj.alias)
        if kept is None or obj.alias in generation.renewed:
            found.append(Runner(obj, generation.classes[obj.type_name], position, topology))
        else:
            kept.rank = Rank(kept.rank.priority, position, obj.alias)
            found.append(kept)
    return ordered(found)


def gone(before: Layout, after: Layout) -> list[int]:
    """Slots of controllers that no channel has any more."""
    had = {o.alias for o in before.objects if o.kind == CONTROLLER}
    slots = {c.slot + i for c in before.channels if c.alias in had for i in range(c.length)}
    has = {o.alias for o in after.objects if o.kind == CONTROLLER}
    return sorted(slots - {c.slot + i for c in after.channels if c.alias in has for i in range(c.length)})


def succeed(new: Runner, old: Runner) -> None:
    """Hand over from the controller before it: its switch, its written parameters, its memory."""
    if new.settings.get("enabled") == old.settings.get("enabled"):
        new.set_enabled(old.wanted)
    new.held = dict(old.held)
    new.errors = old.errors
    for name, value in old.changed_params.items():
        if name in new.param_slots.values() and new.settings.get(name) == old.settings.get(name):
            try:
                new.set_param(name, value)
            except ConfigError:
                continue  # the configured value holds
    if new.controller is not None and old.controller is not None and new.cls.State is not None and old.cls.State is not None:
        new.controller.state = new.cls.State(**_memory(new.cls.State, old.cls.State, old.controller.state))


def _memory(new: type[Any], old: type[Any], state: Any) -> dict[str, Any]:
    """The fields that are declared alike. What is of a class of the old file does not fit the new one."""
    declared = {f.name: f.type for f in fields(old)}
    alike = [f.name for f in fields(new) if f.init and declared.get(f.name) == f.type]
    values = {name: getattr(state, name) for name in alike}
    return {name: value for name, value in values.items() if type(value).__module__ != old.__module__}


def retire(records: Any, first: int, slots: Sequence[int]) -> None:
    """Show in control's block that slots mean nothing any more."""
    for slot in slots:
        records[slot - first]["status"] = BAD_NODE_ID_UNKNOWN
