"""Devices that are started and stopped: each follows its table, gets the command of its state, and is of no use until it runs.

    wish     an emergency stop and a shutdown of the site, then what a person wrote, then what a controller asks for, then:
             a unit that the engine steers shall run, any other device is left as it is
    seen     Running and State of the device; while it is not heard, its machine stands still
    told     StartStop, and ResetFault for as long as an acknowledged fault lasts

A failure waits until somebody acknowledges it. A start that takes too long is tried again, some times, with a stop between.
How long and how often are properties of the device: StartTimeout and StopTimeout [s], StartAttempts.

REQ-SAFE-003: `idle` tells the solver which units do not run, and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, Final

from numpy.typing import NDArray

from .channel import Level
from .controller import Now
from .errors import ConfigError
from .gather import Gather
from .image import Image
from .layout import CONTROL, DEVICE, ObjectSpec
from .natures import Device, OperatingState, StartStop, StartStoppable
from .output import Output
from .state_machine import DEVICE as TABLE
from .state_machine import DeviceSeen, command_of, follow, number_of
from .status import BAD_NO_DATA, GOOD
from .topology import Topology

SETTINGS: Final = {"StartTimeout": 60.0, "StopTimeout": 60.0, "StartAttempts": 3.0}
"""Properties of a device and what holds without them."""

RESET_S: Final = 10.0
"""A device is told to clear an acknowledged fault for so long; one that lasts on is acknowledged anew."""

_FAULT: Final = float(Level.Fault)
_AT_REST: Final = frozenset({OperatingState.Stopped, OperatingState.Running, OperatingState.Failed})
"""States that no time limit ends: without news a device stays there."""


class Machine:
    """The state machine of one device. wish: of a person. asked: of a controller. last: transition, None before the first."""

    def __init__(self, obj: ObjectSpec, unit: int, problems: list[ConfigError]) -> None:
        self.alias = obj.alias
        self.unit = unit
        self.state = OperatingState.Stopped
        self.wish = StartStop.Undefined
        self.asked: StartStop | None = None
        self.why = "it was not heard yet"
        self.last: int | None = None
        self.last_time = 0
        self.attempts = 0
        self.acknowledged = False
        self._here_s = 0.0
        self._reset_s = 0.0
        self._last_seen: tuple[bool, bool, StartStop] | None = None
        self._start_s, self._stop_s, self._attempts_max = (_setting(obj, name, problems) for name in SETTINGS)

    @property
    def idle(self) -> str:
        """Why the device is of no use now, in words; empty while it runs."""
        if self.state is OperatingState.Running:
            return ""
        if self.state is OperatingState.Failed:
            return f"{self.alias} failed: {self.why}"
        return f"{self.alias} is {self.state.name.lower()}"

    def wished(self, forbidden: str) -> StartStop:
        """What the device shall do. forbidden: why it must not run, or empty."""
        if forbidden:
            return StartStop.Stop
        if self.wish is not StartStop.Undefined:
            return self.wish
        if self.asked is not None:
            return self.asked
        return StartStop.Start if self.unit >= 0 else StartStop.Undefined

    def order(self, wish: StartStop) -> None:
        """A person wishes something; a wish to start begins to count attempts anew."""
        self.wish = wish
        if wish is StartStop.Start:
            self.attempts = 0

    def acknowledge(self) -> bool:
        """A person took note of the failure; False when there is none."""
        self.acknowledged = self.state is OperatingState.Failed
        self._reset_s = RESET_S
        return self.acknowledged

    def step(self, running: bool, fault: bool, wish: StartStop, now: Now) -> OperatingState | None:
        """Follow the table for one cycle; the state before when it changed."""
        self._here_s += now.dt_s
        news = (running, fault, wish) != self._last_seen
        if not news and self.state in _AT_REST and not self.attempts and not self.acknowledged:
            return None
        self._last_seen = running, fault, wish
        if self.state is OperatingState.Running and self._here_s > self._start_s:
            self.attempts = 0
        self._reset_s -= now.dt_s
        self.acknowledged = self.acknowledged and self._reset_s > 0
        retry = self.attempts < self._attempts_max
        seen = DeviceSeen(wish, running, fault, self._here_s, self._start_s, self._stop_s, retry, self.acknowledged)
        state, why = follow(TABLE, self.state, seen)
        if state is self.state:
            return None
        before = self.state
        self._enter(state, why, now)
        return before

    def _enter(self, state: OperatingState, why: str, now: Now) -> None:
        self.last, self.last_time = number_of(self.state, state), now.time
        if state is OperatingState.Starting:
            self.attempts += 1
        elif state is OperatingState.Failed and self.attempts > 1:
            why = f"{why}, {self.attempts} times"
        if self.acknowledged:
            self.acknowledged, self.attempts = False, 0
        self.state, self.why = state, why
        self._here_s = 0.0
        self._last_seen = None

    def saved(self) -> dict[str, Any]:
        """What must survive a restart, as JSON."""
        names = ("state", "wish", "why", "last", "last_time", "attempts")
        return {name: getattr(self, name) for name in names}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Take up what `saved` gave; the time in the state begins anew."""
        self.state = OperatingState(saved["state"])
        self.wish = StartStop(saved["wish"])
        self.why, self.last = str(saved["why"]), saved["last"]
        self.last_time, self.attempts = int(saved["last_time"]), int(saved["attempts"])


class Machines:
    """The machines of a site. idle: why units, by index, have no ability."""

    def __init__(self, topology: Topology) -> None:
        layout = topology.layout
        self.problems: list[ConfigError] = []
        units = topology.by_alias
        objects = [o for o in layout.objects if o.kind == DEVICE and layout.find(o.alias, StartStoppable.OperatingState)]
        self.machines = [Machine(o, units[o.alias].index if o.alias in units else -1, self.problems) for o in objects]
        self.idle: dict[int, str] = {m.unit: m.idle for m in self.machines if m.unit >= 0}
        aliases = [m.alias for m in self.machines]

        def slots(spec: Any) -> list[int]:
            return [topology.slot(alias, spec) for alias in aliases]

        self.commands = dict(zip(slots(StartStoppable.StartStop), self.machines, strict=True))
        self.failures = dict(zip(slots(StartStoppable.StartStopFailed), self.machines, strict=True))
        self._reasons = slots(StartStoppable.StartStopReason)
        self._seen = Gather([*slots(StartStoppable.Running), *slots(Device.State)])
        first = layout.owner(CONTROL).first
        self._command_at = [slot - first for slot in slots(StartStoppable.StartStop)]
        self.resets = slots(StartStoppable.ResetFault)
        self._reset_at = [slot - first if slot >= 0 else -1 for slot in self.resets]
        shown = (StartStoppable.OperatingState, StartStoppable.StartStopFailed, StartStoppable.LastTransition)
        self._shown_at = list(zip(*([slot - first for slot in slots(spec)] for spec in shown), strict=True))
        self._told: list[tuple[StartStop | None, bool] | None] = [None] * len(self.machines)
        self._heard: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self.machines)

    @property
    def failed(self) -> bool:
        """Some device waits for an operator."""
        return any(m.state is OperatingState.Failed for m in self.machines)

    def ask(self, values: Mapping[int, float]) -> None:
        """Take what controllers ask of the devices, by slot of their commands."""
        for slot, machine in self.commands.items():
            machine.asked = StartStop(int(values[slot])) if slot in values else None

    def wishes(self) -> dict[int, float]:
        """What persons wish, by slot of the command."""
        return {slot: float(m.wish) for slot, m in self.commands.items() if m.wish is not StartStop.Undefined}

    def step(self, image: Image, forbidden: str, now: Now, out: Output) -> None:
        """One cycle of every machine, and the commands that follow. forbidden: why no device may run, or empty."""
        seen, count = self._seen.read(image), len(self.machines)
        for i, machine in enumerate(self.machines):
            running = seen[i]
            if running is None:
                continue
            wish = machine.wished(forbidden)
            before = machine.step(running != 0, seen[count + i] == _FAULT, wish, now)
            if before is not None:
                self._tell(machine, before, out)
            if before is not None or i not in self._heard:
                self._heard.add(i)
                self._show(i, machine, now, out)
            self._command(i, command_of(machine.state, wish), machine.acknowledged, now, out.records)

    def _tell(self, machine: Machine, before: OperatingState, out: Output) -> None:
        if machine.unit >= 0:
            self.idle.pop(machine.unit, None)
            if machine.idle:
                self.idle[machine.unit] = machine.idle
        text = f"{machine.alias}: {before.name} to {machine.state.name}: {machine.why}"
        out.event("start_stop", text, {"alias": machine.alias, "from": int(before), "to": int(machine.state)})

    def _command(self, i: int, told: StartStop | None, reset: bool, now: Now, records: NDArray[Any]) -> None:
        """Tell a device what it is to do; written when it changes, it stands until then."""
        if self._told[i] == (told, reset):
            return
        self._told[i] = told, reset
        if told is None:
            records["status"][self._command_at[i]] = BAD_NO_DATA
        else:
            _put(records, self._command_at[i], float(told), now.time, now)
        if self._reset_at[i] >= 0:
            _put(records, self._reset_at[i], float(reset), now.time, now)

    def _show(self, i: int, machine: Machine, now: Now, out: Output) -> None:
        state, failed, last = self._shown_at[i]
        _put(out.records, state, float(machine.state), machine.last_time or now.time, now)
        _put(out.records, failed, float(machine.state is OperatingState.Failed), now.time, now)
        if machine.last is not None:
            _put(out.records, last, float(machine.last), machine.last_time, now)
        out.set_text(self._reasons[i], machine.why)

    def state(self) -> dict[str, Any]:
        """What must survive a restart, as JSON."""
        return {m.alias: m.saved() for m in self.machines}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Take up what `state` gave; devices that are gone are dropped."""
        for machine in self.machines:
            if machine.alias in saved:
                machine.restore(saved[machine.alias])
                if machine.unit >= 0:
                    self.idle[machine.unit] = machine.idle
        self.idle = {unit: why for unit, why in self.idle.items() if why}

    def imitate(self, other: Machines) -> None:
        """Take over states and wishes from the machines of another engine of the same site."""
        self.idle = other.idle.copy()
        for machine, original in zip(self.machines, other.machines, strict=True):
            machine.state, machine.wish, machine.asked = original.state, original.wish, original.asked


def _put(records: NDArray[Any], index: int, value: float, source: int, now: Now) -> None:
    records[index] = (value, source, now.monotonic_ns, GOOD, records[index]["changed"])


def _setting(obj: ObjectSpec, name: str, problems: list[ConfigError]) -> float:
    text = obj.properties.get(name, "")
    if not text:
        return SETTINGS[name]
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if isfinite(value) and value >= 1:
        return value
    problem = f"{text!r} is no number from 1 on; {SETTINGS[name]:g} is used"
    problems.append(ConfigError(f"entries/{obj.alias}.toml", f"properties.{name}", problem))
    return SETTINGS[name]
