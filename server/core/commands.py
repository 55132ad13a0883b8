"""What clients write, checked and taken into the engine: one table from slot to what a write there means.

    set-point of a unit        a wish, kept while the manual override is active; ManualOverride turns it into a bound
    StartStop of a device with a state machine, its StartStopFailed
                               a wish to start or stop it, kept over restarts; 0 acknowledges its failure
    other set-points           passed to the device as long as the override lasts
    controller's Enabled       switches it
    controller's parameter     validated, kept over restarts
    TOGETHER                   the next n writes, of switches and parameters, are all taken, or none is
    site/Mode                  the operator's wish: Standby, Run, Shutdown
    site/OverrideRemaining     t > 0 takes the override for t seconds, 0 releases it
    site/EmergencyStopActive         1 trips, 0 resets

A write that cannot be taken changes nothing and leaves an event that says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from math import floor, isfinite
from typing import Any, Final, NamedTuple

from .channel import Access, DataType, Spec
from .controller import ControllerParams, Now, Wish, check_together
from .errors import ConfigError, EmsError
from .layout import DEVICE
from .machines import Machine, Machines
from .natures import Site, SiteMode, StartStop
from .runner import Runner
from .site import SITE_ALIAS
from .state_machine import WISHES
from .timetable import ENABLED
from .topology import Topology
from .trips import EMERGENCY_STOP, Trips

_MOMENT_S: Final = 1e-6

TOGETHER: Final = 0xFFFF_FFFF
"""Slot of a write that is none: as many writes as its value says follow, which are taken together or not at all."""

Event = Callable[[str, str, dict[str, Any]], None]
"""(kind, text, data): something to be journaled."""


class Write(NamedTuple):
    """A value a client wants written: the slot, the value in SI, the index of the user."""

    slot: int
    value: float
    user: int


class Refused(EmsError):
    """A write that cannot be taken."""


class Commands:
    """Applies writes; holds the operator's wishes."""

    def __init__(self, topology: Topology, runners: Sequence[Runner], trips: Trips, machines: Machines) -> None:
        self.mode = SiteMode.Run
        self.override_s = 0.0
        self.params_changed: list[tuple[int, float]] = []
        """Slots of parameters and switches that writes changed this cycle, with their new values."""
        self.touched: dict[Runner, None] = {}
        """Whose they are."""
        self._trips = trips
        self._machines = machines
        self._runners = list(runners)
        self._places = {c.slot + i: (c, i) for c in topology.layout.channels for i in range(c.length)}
        self._nodes = topology.setpoint_nodes
        self._wishes: dict[int, tuple[float, int]] = {}
        self.plain_slots: Final = _plain_setpoints(topology, machines)
        """Set-points that no constraint is about; they are asserted only while somebody holds them by hand."""
        self._settings: Final = {slot: (runner, name) for runner in self._runners for name, slot in runner.setting_slots.items()}
        self._table: Final[Mapping[int, Callable[[Write], str]]] = self._handlers(topology)

    def _handlers(self, topology: Topology) -> dict[int, Callable[[Write], str]]:
        table: dict[int, Callable[[Write], str]] = {
            topology.slot(SITE_ALIAS, Site.Mode): self._set_mode,
            topology.slot(SITE_ALIAS, Site.OverrideRemaining): self._set_override,
            topology.slot(SITE_ALIAS, Site.EmergencyStopActive): self._set_emergency_stop,
        }
        for runner in self._runners:
            table[runner.slots["Enabled"]] = _with(runner, self._switch)
            for slot, name in runner.param_slots.items():
                table[slot] = _with((runner, name), self._set_param)
        for slot in (*self._nodes, *self.plain_slots):
            table[slot] = self._wish
        table |= {slot: _with(machine, self._start_stop) for slot, machine in self._machines.commands.items()}
        table |= {slot: _with(machine, self._acknowledge) for slot, machine in self._machines.failures.items()}
        table.pop(-1, None)
        return table

    def apply(self, writes: Iterable[Write], dt_s: float, event: Event) -> None:
        """Take all writes in their order; the override runs down first."""
        self.params_changed, self.touched = [], {}
        self._run_down(dt_s, event)
        coming = iter(writes)
        for write in coming:
            if write.slot == TOGETHER:
                self._take_together([*islice(coming, int(write.value))], event)
                continue
            name = self._name(write.slot)
            data = {"node": name, "value": write.value, "user": write.user}
            handler = self._table.get(write.slot)
            try:
                if handler is None:
                    raise Refused("is not written by clients")
                if not isfinite(write.value):
                    raise Refused(f"{write.value} is not a finite number")
                event("write", handler(write), data)
            except Refused as error:
                event("write_refused", f"{name}: {error}", data)
            except ConfigError as error:
                event("write_refused", f"{error.field}: {error.problem}", data)

    def _take_together(self, writes: Sequence[Write], event: Event) -> None:
        """Check all writes, then take all; or tell which one keeps them from being taken."""
        data = {"nodes": {self._name(w.slot): w.value for w in writes}, "user": writes[0].user if writes else 0}
        try:
            wanted = self._by_runner(writes)
            ready = {runner: _checked(runner, _parameters(values)) for runner, values in wanted.items()}
        except Refused as error:
            event("write_refused", f"nothing is changed: {error}", data)
        except ConfigError as error:
            event("write_refused", f"nothing is changed: {error.field}: {error.problem}", data)
        else:
            changes = [text for runner, values in wanted.items() for text in self._set_all(runner, values, *ready[runner])]
            event("write", ", ".join(changes), data)

    def _by_runner(self, writes: Sequence[Write]) -> dict[Runner, dict[str, float]]:
        """What is wanted of each controller. Refused for what is neither a switch nor a parameter of one."""
        wanted: dict[Runner, dict[str, float]] = {}
        for write in writes:
            found = self._settings.get(write.slot)
            if found is None:
                raise Refused(f"{self._name(write.slot)} is neither the switch nor a parameter of a controller")
            runner, name = found
            if name == ENABLED and write.value not in (0, 1):
                raise Refused(f"{self._name(write.slot)}: {write.value:g} is neither 1 (on) nor 0 (off)")
            wanted.setdefault(runner, {})[name] = write.value
        return wanted

    def _set_all(
        self, runner: Runner, values: Mapping[str, float], checked: Mapping[str, Any], params: ControllerParams
    ) -> Iterator[str]:
        """Set what is wanted of one controller, its parameters as checked; in words, what was changed."""
        before = {name: runner.setting(name) for name in values}
        if ENABLED in values:
            runner.set_enabled(bool(values[ENABLED]))
        runner.take(checked, params)
        for name, was in before.items():
            self._changed(runner, runner.setting_slots[name], runner.setting(name))
            yield f"{runner.alias}.{name} is {runner.setting(name):g} (was {was:g})"

    def _changed(self, runner: Runner, slot: int, value: float) -> None:
        self.params_changed.append((slot, value))
        self.touched[runner] = None

    def moment(self, now: Now) -> Now:
        """Now with the operator's wishes in it."""
        if self.override_s <= 0:
            return now
        wishes = tuple(
            Wish(node, value * 1.0, user)
            for slot, (value, user) in self._wishes.items()
            if (node := self._nodes.get(slot)) is not None
        )
        return replace(now, override_s=self.override_s, wishes=wishes)

    def imitate(self, other: Commands) -> None:
        """Take over what operators wish from the commands of another engine of the same site."""
        self.mode, self.override_s, self._wishes = other.mode, other.override_s, other._wishes.copy()

    def plain_wishes(self) -> dict[int, float]:
        """Hand-written set-points that no constraint is about."""
        return {slot: self._wishes[slot][0] for slot in self.plain_slots if slot in self._wishes}

    def state(self) -> dict[str, Any]:
        """What must survive a restart, as JSON."""
        wishes = {self._name(slot): [value, user] for slot, (value, user) in self._wishes.items()}
        return {"mode": int(self.mode), "override_s": floor(self.override_s), "wishes": wishes}

    def restore(self, saved: Mapping[str, Any], age_s: float) -> None:
        """Take up what `state` gave so many seconds ago; wishes for channels that are gone are dropped.

        An override that ran out meanwhile ends in the first cycle.
        """
        self.mode = SiteMode(int(saved.get("mode", SiteMode.Run)))
        held_s = float(saved.get("override_s", 0.0))
        self.override_s = max(held_s - age_s, _MOMENT_S) if held_s > 0 else 0.0
        slots = {self._name(slot): slot for slot in (*self._nodes, *self.plain_slots)}
        for name, (value, user) in dict(saved.get("wishes", {})).items():
            if name in slots:
                self._wishes[slots[name]] = (float(value), int(user))

    def _name(self, slot: int) -> str:
        """What people call a slot: the node, with an index in an array."""
        channel, index = self._places.get(slot, (None, 0))
        if channel is None:
            return f"slot {slot}"
        return channel.node if channel.length == 1 else f"{channel.node}[{index}]"

    def _run_down(self, dt_s: float, event: Event) -> None:
        if self.override_s > 0:
            self.override_s = max(self.override_s - dt_s, 0.0)
            if self.override_s == 0:
                self._release()
                event("override_ended", "the manual override is over: its time ran out", {})

    def _release(self) -> None:
        self.override_s = 0.0
        self._wishes.clear()

    def _set_mode(self, write: Write) -> str:
        if write.value not in (*map(int, WISHES),):
            names = ", ".join(f"{m.value} {m.name}" for m in sorted(WISHES))
            raise Refused(f"{write.value:g} is no mode to wish for, expected {names}")
        self.mode = SiteMode(int(write.value))
        return f"mode {self.mode.name} is wished"

    def _set_override(self, write: Write) -> str:
        high = Site.OverrideRemaining.high or 0.0
        if not 0 <= write.value <= high:
            raise Refused(f"{write.value:g} is not in 0..{high:g}")
        if write.value == 0:
            self._release()
            return "the manual override is released"
        self.override_s = write.value
        return f"manual override for {write.value:.0f} s"

    def _set_emergency_stop(self, write: Write) -> str:
        if write.value not in (0, 1):
            raise Refused(f"{write.value:g} is neither 1 (stop) nor 0 (reset)")
        if write.value:
            self._trips.set(EMERGENCY_STOP, f"emergency stop by user {write.user}")
            return "emergency stop"
        if why := self._trips.held(EMERGENCY_STOP):
            raise Refused(f"the emergency stop is not reset: {why}")
        self._trips.reset(EMERGENCY_STOP)
        return "the emergency stop is reset"

    def _start_stop(self, machine: Machine, write: Write) -> str:
        if write.value not in (*map(int, StartStop),):
            names = ", ".join(f"{wish.value} {wish.name}" for wish in StartStop)
            raise Refused(f"{write.value:g} is none of {names}")
        machine.order(StartStop(int(write.value)))
        return f"{machine.alias}: {machine.wish.name} is wished"

    def _acknowledge(self, machine: Machine, write: Write) -> str:
        if write.value != 0:
            raise Refused(f"{write.value:g} is not 0 (acknowledged)")
        if not machine.acknowledge():
            raise Refused(f"{machine.alias} did not fail")
        return f"the failure of {machine.alias} is acknowledged: {machine.why}"

    def _switch(self, runner: Runner, write: Write) -> str:
        if write.value not in (0, 1):
            raise Refused(f"{write.value:g} is neither 1 (on) nor 0 (off)")
        runner.set_enabled(bool(write.value))
        self._changed(runner, write.slot, write.value)
        return f"{runner.alias} is {'enabled' if runner.enabled else 'disabled'}"

    def _set_param(self, target: tuple[Runner, str], write: Write) -> str:
        runner, name = target
        checked, params = _checked(runner, {name: write.value})
        runner.take(checked, params)
        value = float(checked[name])
        self._changed(runner, write.slot, value)
        return f"{runner.alias}.{name} is {value:g}"

    def _wish(self, write: Write) -> str:
        if self.override_s <= 0:
            raise Refused("set-points are written by hand only while the manual override is active")
        channel, _ = self._places[write.slot]
        _check(channel.spec, write.value)
        self._wishes[write.slot] = (write.value, write.user)
        return f"{self._name(write.slot)} is set by hand to {write.value:g}"


def _parameters(values: Mapping[str, float]) -> dict[str, float]:
    """What is wanted of parameters, without the switch."""
    return {name: value for name, value in values.items() if name != ENABLED}


def _with(first: Any, handler: Callable[[Any, Write], str]) -> Callable[[Write], str]:
    return lambda write: handler(first, write)


def _checked(runner: Runner, values: Mapping[str, float]) -> tuple[dict[str, Any], ControllerParams]:
    """Runner.checked; ConfigError also for values that are wrong beside the others."""
    checked, params = runner.checked(values)
    check_together(runner.cls, runner.alias, vars(params))
    return checked, params


def _check(spec: Spec, value: float) -> None:
    """Refused when a value is none that a channel can have."""
    if (spec.low is not None and value < spec.low) or (spec.high is not None and value > spec.high):
        raise Refused(f"{value:g} is not in {_end(spec.low)}..{_end(spec.high)}")
    if spec.states is not None and value not in (*map(int, spec.states),):
        raise Refused(f"{value:g} is none of {', '.join(f'{s.value} {s.name}' for s in spec.states)}")
    if spec.data_type is DataType.BOOLEAN and value not in (0, 1):
        raise Refused(f"{value:g} is neither 1 (on) nor 0 (off)")
    if spec.data_type in (DataType.INT32, DataType.INT64) and value != floor(value):
        raise Refused(f"{value:g} is not a whole number")


def _end(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _plain_setpoints(topology: Topology, machines: Machines) -> tuple[int, ...]:
    devices = {o.alias for o in topology.layout.objects if o.kind == DEVICE}
    driven = {*machines.commands, *machines.resets}
    arbitrated = {*topology.setpoint_nodes, *(slot for unit in topology.units for slot in unit.phase_setpoints)}
    return tuple(
        c.slot + i
        for c in topology.layout.channels
        if c.alias in devices
        and c.output >= 0
        and c.spec.access is not Access.READ
        and c.slot not in arbitrated
        and c.slot not in driven
        for i in range(c.length)
    )
