"""One controller in the engine: bound once, run in isolation, its failures made visible.

A controller that raises, or that the guard interrupts because it loops, loses its claims of that cycle, shows Fault with the
cause in its Explanation, counts an error, and is run again in the next cycle. One that cannot be bound to the site stays at
Fault. The others never notice.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from math import nan
from typing import Any, Final, Protocol

from .ask import shorten
from .constraint import Add, Bound, Constraint, ConstraintError, Reserve, Set, Target, Trip
from .controller import BRIEF_S, Controller, ControllerParams, Memory, Now, check, outputs, parameters, priority
from .errors import ConfigError
from .image import Image
from .layout import CONTROLLER, Layout, ObjectSpec
from .natures import RunState
from .scheduler import Rank, Ranked, ordered
from .solver import Claim
from .timetable import ENABLED, Span
from .topology import Topology

BUDGET_S: Final = 0.005
"""Longest time a controller may take in one cycle."""

REARM_NS: Final = int(BUDGET_S * 1e9 / 4)
"""The alarm is set anew when those before took so long: a controller has at least three quarters of its budget."""

ACTIVE: Final = RunState.Active
IDLE: Final = RunState.Idle
"""Looked up once: a member of an enumeration costs as much as five attributes."""

CONSTRAINTS: Final = frozenset({Bound, Target, Reserve, Add, Set, Trip})


class OverBudget(BaseException):
    """Raised by the guard inside a controller that takes too long. Not an Exception, so that no controller swallows it."""


class Guard(Protocol):
    """The runtime's clock and its alarm against controllers that loop."""

    def clock_ns(self) -> int:
        """Time for measuring durations."""
        ...

    def arm(self, seconds: float) -> None:
        """Raise OverBudget in this thread after so long, once, unless disarmed before."""
        ...

    def disarm(self) -> None:
        """Raise nothing from now on."""
        ...


class NoAlarm:
    """A guard for virtual time, in which controllers take none: nothing depends on the machine."""

    def clock_ns(self) -> int:
        """No time passes: every controller keeps within its budget."""
        return 0

    def arm(self, seconds: float) -> None:
        """Not needed."""

    def disarm(self) -> None:
        """Not needed."""


Moved = list[tuple[int, Claim]]
"""Claims with a priority of their own."""


def collect(alias: str, constraints: Iterable[Constraint], claims: list[Claim], moved: Moved) -> list[Set | Trip]:
    """Add what a controller asks for as claims; returns what nobody weighs. ConstraintError for what is no constraint."""
    apart: list[Set | Trip] = []
    for constraint in constraints:
        if type(constraint) not in CONSTRAINTS:
            raise ConstraintError(f"{constraint!r} is no constraint")
        if isinstance(constraint, (Set, Trip)):
            apart.append(constraint)
        elif constraint.priority is None:
            claims.append(Claim(alias, constraint))
        else:
            moved.append((constraint.priority, Claim(alias, constraint)))
    return apart


class Runner(Ranked):
    """A configured controller: its switch, its state of the last cycle, and the slots these are shown in."""

    def __init__(self, obj: ObjectSpec, cls: type[Controller], position: int, topology: Topology) -> None:
        self.alias = obj.alias
        self.cls = cls
        self.settings = obj.settings
        self.memory = Memory.Lasting if cls.protects else cls.memory
        self.rank = Rank(priority(cls, obj.alias, obj.settings), position, obj.alias)
        self.enabled = bool(obj.settings.get("enabled", True))
        self.controller: Controller | None = None
        self.failure = ""
        self.run_state = RunState.Idle
        self.errors = 0
        self.duration_ns = 0
        self.wanted = self.enabled
        """The switch as configuration and people set it; a schedule may hold it otherwise."""
        self.changed_params: dict[str, Any] = {}
        """Parameters as people set them."""
        self.scheduled: dict[str, Span] = {}
        """What a schedule sets now, by name of the parameter or ENABLED."""
        self.schedule_text = ""
        """What a schedule sets now, in words."""
        self.held: dict[str, int] = {}
        """What a person has set since a schedule did, by name, with the start of that span: it is left alone until its end."""
        self.runs = cls.run is not Controller.run
        """It has something to do every cycle, not only standing constraints."""
        self.stands = cls.standing is not Controller.standing
        """It has standing constraints."""
        self.steady: list[Claim] | None = None
        """All that it asks for until something about it changes; None while it must be run."""
        self._standing: tuple[list[Claim], Moved] | None = None
        self._base: ControllerParams | None = None
        layout = topology.layout
        self.explanation_slot = _slot(layout, obj.alias, "Explanation")
        self.claims_slot = _slot(layout, obj.alias, "Claims")
        self.slots = {name: _slot(layout, obj.alias, name) for name in ("Enabled", "Priority", "RunState", "LastRunDuration")}
        self.slots["ErrorCount"] = _slot(layout, obj.alias, "ErrorCount")
        self.schedule_slot = _slot(layout, obj.alias, "Schedule")
        self.param_slots = {_slot(layout, obj.alias, name): name for name in parameters(cls)}
        self.setting_slots = {ENABLED: self.slots[ENABLED]} | {name: slot for slot, name in self.param_slots.items()}
        """Slot of the switch and of each parameter, by name."""
        self.output_slots = {_slot(layout, obj.alias, name): name for name in outputs(cls)}
        self.shown: Sequence[float] = (nan,) * len(self.output_slots)
        """What it shows, in the order of its slots; NaN while it does not run or does not know."""
        try:
            self.controller = cls.bind(obj.alias, obj.settings, topology)
            self._base = self.controller.params
        except ConfigError as error:
            self.failure = str(error)
            self.run_state = RunState.Fault

    def set_param(self, name: str, value: Any) -> Any:
        """Change a parameter while the site runs; ConfigError when it is out of range."""
        return self.set_params({name: value})[name]

    def set_params(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Change several parameters at once, or none: the checked values. ConfigError names the first that is wrong."""
        checked, params = self.checked(values)
        self.take(checked, params)
        return checked

    def take(self, checked: Mapping[str, Any], params: ControllerParams) -> None:
        """Change parameters to what `checked` gave."""
        self._base = params
        self.changed_params |= {name: float(value) for name, value in checked.items()}
        self._hold(*checked)

    def checked(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], ControllerParams]:
        """Parameter values in their own types, and all parameters with them. ConfigError names the first that is wrong."""
        base = self._running(next(iter(values), ""))
        found = {name: check(self.cls, self.alias, name, value) for name, value in values.items()}
        return found, replace(base, **found)  # type: ignore[type-var]  # a dataclass by its base

    def _running(self, name: str) -> ControllerParams:
        """The parameters that people and configuration set. ConfigError, of one of them, for a controller that does not run."""
        if self.controller is None or self._base is None:
            raise ConfigError("site.toml", f"{self.alias}.{name}", f"the controller does not run: {self.failure}")
        return self._base

    def set_enabled(self, enabled: bool) -> None:
        """Enable or disable it, as a person wants it."""
        self.wanted = enabled
        self._hold(ENABLED)

    def follow(self, spans: Mapping[str, Span]) -> list[str]:
        """Let a schedule set this, apart from what a person has set since a span began. Returns what could not be set."""
        self.held = {name: start for name, start in self.held.items() if name in spans and spans[name].start == start}
        self.scheduled = {name: span for name, span in spans.items() if name not in self.held}
        problems = []
        for name, span in list(self.scheduled.items()):
            try:
                if name != ENABLED:
                    self._running(name)
                    check(self.cls, self.alias, name, span.value)
            except ConfigError as error:
                problems.append(f"{span.title}: {error.field}: {error.problem}")
                del self.scheduled[name]
        self._settle()
        return problems

    def setting(self, name: str) -> float:
        """The value in force of a parameter, or of ENABLED."""
        return float(self.enabled if name == ENABLED or self.controller is None else getattr(self.controller.params, name))

    def _hold(self, *names: str) -> None:
        """A person has set these: a schedule that holds them lets go until its span is over."""
        self.held |= {name: self.scheduled.pop(name).start for name in names if name in self.scheduled}
        self._settle()

    def _settle(self) -> None:
        """Bring switch and parameters in force: what a schedule sets, else what people and configuration set."""
        switch = self.scheduled.get(ENABLED)
        self.switch(self.wanted if switch is None else bool(switch.value))
        if self.controller is not None and self._base is not None:
            values = {name: span.value for name, span in self.scheduled.items() if name != ENABLED}
            self._use(self.checked(values)[1] if values else self._base)

    def _use(self, params: ControllerParams) -> None:
        if self.controller is not None and self.controller.params is not params:
            self.controller.params = params
            self._standing = self.steady = None

    def switch(self, enabled: bool) -> None:
        """Let it run or not, until it is switched again or settled anew."""
        if enabled is not self.enabled:
            self.enabled = enabled
            self.steady = None

    def standing(self, controller: Controller) -> tuple[list[Claim], Moved]:
        """The claims that hold until a parameter changes, and those of them with a priority of their own."""
        if self._standing is None:
            claims: list[Claim] = []
            moved: Moved = []
            collect(self.alias, controller.standing(), claims, moved)
            self._standing = claims, moved
        return self._standing

    def param_values(self) -> dict[int, float]:
        """Value of each parameter by slot."""
        if self.controller is None:
            return {}
        return {slot: float(getattr(self.controller.params, name)) for slot, name in self.param_slots.items()}

    def show(self, controller: Controller) -> None:
        """Take what the controller shows. TypeError or ValueError for what is no number."""
        out = controller.out
        self.shown = [float(getattr(out, name)) for name in self.output_slots.values()]

    def rest(self, run_state: RunState) -> None:
        """It does not run: it shows nothing, and nothing about it is known in advance."""
        self.steady = None
        self.shown = (nan,) * len(self.output_slots)
        self.run_state = run_state

    def forget(self) -> None:
        """Begin anew: it remembers nothing, and shows nothing yet."""
        if self.controller is not None:
            self.controller.begin()

    def state(self) -> dict[str, Any]:
        """What must survive a restart, as JSON."""
        saved: dict[str, Any] = {"enabled": self.wanted, "params": dict(self.changed_params)}
        if self.held:
            saved["held"] = dict(self.held)
        if self.controller is not None and self.cls.State is not None:
            saved["state"] = asdict(self.controller.state)
        return saved

    def restore(self, saved: Mapping[str, Any], age_s: float = 0.0) -> list[str]:
        """Take up what `state` gave so many seconds ago; returns what could not be taken, in words."""
        problems = []
        self.set_enabled(bool(saved.get("enabled", self.wanted)))
        self.held = {str(name): int(start) for name, start in dict(saved.get("held", {})).items()}
        for name, value in dict(saved.get("params", {})).items():
            if name not in self.param_slots.values():
                problems.append(f"{self.alias}.{name} is no parameter any more")
                continue
            try:
                self.set_param(name, value)
            except ConfigError as error:
                problems.append(str(error))
        if self.memory is not Memory.Brief or age_s <= BRIEF_S:
            self._restore_memory(saved.get("state"))
        return problems

    def imitate(self, other: Runner) -> None:
        """Take over switch and parameters from the runner of another engine, to rehearse it; a controller that fails rests."""
        self.switch(other.enabled and not other.failure)
        if other.controller is not None:
            self._use(other.controller.params)
            self._standing = other._standing

    def _restore_memory(self, saved: Any) -> None:
        if self.controller is None or self.cls.State is None or not isinstance(saved, Mapping):
            return
        known = {f.name for f in fields(self.cls.State)}
        self.controller.state = self.cls.State(**{k: v for k, v in saved.items() if k in known})


def _slot(layout: Layout, alias: str, name: str) -> int:
    channel = layout.by_node.get(f"{alias}/{name}")
    return -1 if channel is None else channel.slot


def make_runners(topology: Topology, classes: Mapping[str, type[Controller]]) -> list[Runner]:
    """The controllers of a layout in the order of arbitration. Those whose class was not found are left out by the planner."""
    objects = [o for o in topology.layout.objects if o.kind == CONTROLLER and o.type_name in classes]
    return ordered(Runner(o, classes[o.type_name], i, topology) for i, o in enumerate(objects))


class Controllers:
    """Runs all controllers of a cycle and collects their claims in order."""

    def __init__(self, runners: Sequence[Runner], guard: Guard) -> None:
        self.runners = list(runners)
        self._guard = guard
        self._priorities = [r.rank.priority for r in self.runners]
        self._starts = [0] * len(self.runners)
        self._armed_ns = self._clock_ns = 0
        self.news: list[tuple[Runner, str]] = []
        """Faults that began or ended in the last cycle: the cause, empty when it is over."""
        self.protectors = [r for r in self.runners if r.cls.protects]
        self._brief = [r for r in self.runners if r.memory is Memory.Brief]
        self._paused_s = 0.0
        self.wishes: list[tuple[Runner, Set]] = []
        """What actuators were asked to be in the last cycle, and by whom, in order of arbitration."""
        self.trips: dict[str, Trip] = {}
        """Trips claimed in the last cycle, by controller."""

    def run(self, image: Image, now: Now, *, only_protection: bool = False) -> list[Claim]:
        """Run everyone that is enabled, or only those that protect; claims of all in order of priority."""
        self.news, self.wishes, self.trips = [], [], {}
        claims: list[Claim] = []
        moved: Moved = []
        first = first_moved = 0
        runners, guard = self.runners, self._guard
        if only_protection:
            self._pause(now.dt_s)
            runners = self.protectors
        else:
            self._paused_s = 0.0
        index = 0
        while index < len(runners):
            try:
                guard.arm(BUDGET_S)
                self._armed_ns = self._clock_ns = guard.clock_ns()
                while index < len(runners):
                    self._starts[index] = first
                    runner = runners[index]
                    if runner.steady is None:
                        self._run(runner, image, now, claims, moved)
                    else:
                        claims += runner.steady
                    first, first_moved = len(claims), len(moved)
                    index += 1
                guard.disarm()
            except OverBudget:
                del claims[first:], moved[first_moved:]
                if index < len(runners):  # the alarm may also come just after the last one
                    self._fail(runners[index], f"took longer than {BUDGET_S * 1e3:g} ms")
                index += 1
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 (supervision point: any fault of a controller becomes its state)
                guard.disarm()
                del claims[first:], moved[first_moved:]
                self._fail(runners[index], _words(error))
                index += 1
        return self._merged(claims, moved) if moved else claims

    def _pause(self, dt_s: float) -> None:
        """Nobody is heard in this cycle."""
        self._paused_s += dt_s
        for runner in self.runners:
            _idle(runner)
        if self._paused_s > BRIEF_S:
            for runner in self._brief:
                runner.forget()

    def _take(self, runner: Runner, apart: Sequence[Set | Trip]) -> None:
        """Take what nobody weighs. ConstraintError for a trip of a controller that does not protect."""
        if not runner.cls.protects and any(type(c) is Trip for c in apart):
            raise ConstraintError("only a controller that protects may trip")
        for constraint in apart:
            if type(constraint) is Set:
                self.wishes.append((runner, constraint))
            elif type(constraint) is Trip:
                self.trips.setdefault(runner.alias, constraint)

    def _run(self, runner: Runner, image: Image, now: Now, claims: list[Claim], moved: Moved) -> None:
        """Run one controller. Claims with a priority of their own go to `moved`."""
        controller = runner.controller
        if controller is None or not runner.enabled:
            _idle(runner)
            return
        before = len(claims) + len(moved)
        apart = None
        if runner.runs:
            if apart := collect(runner.alias, controller.run(image, now), claims, moved):
                self._take(runner, apart)
            if runner.output_slots:
                runner.show(controller)
            ended_ns = self._guard.clock_ns()
            runner.duration_ns, self._clock_ns = ended_ns - self._clock_ns, ended_ns
            if ended_ns - self._armed_ns > REARM_NS:
                self._guard.arm(BUDGET_S)
                self._armed_ns = ended_ns
        if runner.stands:
            usual, others = runner.standing(controller)
            claims += usual
            moved += others
            if not runner.runs and not others:
                runner.steady = usual
        if runner.failure:
            self.news.append((runner, ""))
            runner.failure = ""
        runner.run_state = ACTIVE if apart or len(claims) + len(moved) > before else IDLE

    def _merged(self, claims: list[Claim], moved: Moved) -> list[Claim]:
        """All claims by priority; a moved one comes after the others of its new priority."""
        moved.sort(key=_priority)
        merged: list[Claim] = []
        done = 0
        for rank, claim in moved:
            after = bisect_right(self._priorities, rank)
            start = self._starts[after] if after < len(self._starts) else len(claims)
            merged += claims[done:start]
            merged.append(claim)
            done = start
        return merged + claims[done:]

    def _fail(self, runner: Runner, cause: str) -> None:
        """A fault is news when it begins or is of another kind: what else it says may be another in every cycle."""
        if runner.run_state is not RunState.Fault or _kind(runner.failure) != _kind(cause):
            self.news.append((runner, cause))
        runner.rest(RunState.Fault)
        runner.failure = cause
        runner.errors += 1


def _words(error: BaseException) -> str:
    """What a controller raised, short; whatever its own words do."""
    try:
        return shorten(f"{type(error).__name__}: {error}")
    except Exception:  # noqa: BLE001 (its words are the controller's too)
        return type(error).__name__


def _kind(cause: str) -> str:
    return cause.partition(":")[0]


def _priority(moved: tuple[int, Claim]) -> int:
    return moved[0]


def _idle(runner: Runner) -> None:
    """The state of a controller that is not run; one that could not be bound stays at Fault, one that is disabled forgets."""
    runner.duration_ns = 0
    if not (runner.enabled or runner.run_state is RunState.Disabled or runner.memory is Memory.Lasting):
        runner.forget()
    if runner.controller is None:
        runner.rest(RunState.Fault)
    else:
        runner.failure = ""
        runner.rest(RunState.Idle if runner.enabled else RunState.Disabled)
