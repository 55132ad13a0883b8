"""The loop: plant, image, engine, checks, at a pace that changes, so that both milliseconds and days are seen.

Time passes in stretches: mostly 10 to 60 s a step, often 1 s, now and then 50 ms; some of them are calm (calm.py). Deeds and
faults happen where a stretch begins, so each kind meets each pace.
"""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final

import numpy as np

from server.core.controller import Now
from server.core.image import Image, blank_records
from server.core.layout import CONTROL, Layout
from server.core.natures import RunState, SiteMode
from server.core.rehearsal import Rehearsal
from server.core.runner import NoAlarm
from server.core.site import SITE_ALIAS
from server.core.status import BAD, BAD_NO_COMMUNICATION, UNCERTAIN, UNCERTAIN_LAST_USABLE_VALUE
from server.core.step import Engine, Write
from server.runtime.freezer import BAD_PERIODS, UNCERTAIN_PERIODS, age_limits, slot_periods
from tests.core.core_rig import Out

from .calm import Calm
from .deeds import Deeds
from .devices import Simulated
from .faults import Faults, Told, told_by
from .invariants import Invariants
from .site import Case, make_case
from .view import Step, Viewer

SETTLE_S: Final = 6.0
"""Longest time the plant needs to do what it was told: chargers have a lag of 0.8 s, batteries ramp in a second."""
TEXT_BYTES: Final = 1000
AWAY_S: Final = 0.5
"""Control that is started anew is away for some times this long."""
AWAY_MAX: Final = 3


class Violation(AssertionError):
    """An invariant does not hold."""


@dataclass(frozen=True)
class Stretch:
    """A piece of time at one pace. calm: nothing changes from outside."""

    steps: int
    step_s: float
    calm: bool = False


@dataclass
class Figures:
    """What a run did. stepped: steps; sim_s: simulated time; digest: of every set-point, mode and text."""

    stepped: int = 0
    sim_s: float = 0.0
    restarts: int = 0
    deeds: int = 0
    faults: int = 0
    calms: int = 0
    modes: dict[str, int] = field(default_factory=dict)
    checked: dict[str, int] = field(default_factory=dict)
    digest: str = ""


class _Wire:
    """Between one device and the image: which slots it fills, which it reads."""

    def __init__(self, device: Simulated, layout: Layout) -> None:
        self.device = device
        own = [c for c in layout.channels if c.alias == device.alias]
        told = [c for c in own if c.owner == "plant"]
        self.slots = np.array([c.slot + i for c in told for i in range(c.length)])
        self.outputs = [(_name(c.spec.name, i, c.length), c.slot + i) for c in own if c.output >= 0 for i in range(c.length)]
        self.due_s = 0.0

    def obey(self, records: Any) -> None:
        """Hand the set-points in force to the device."""
        if self.outputs:
            self.device.obey({n: records["value"].item(s) for n, s in self.outputs if records["status"].item(s) < BAD})

    def write(self, records: Any, told: Told, arrival_ns: int) -> None:
        """Put what arrived into the image."""
        records["value"][self.slots] = told.values
        records["status"][self.slots] = told.status
        records["source"][self.slots] = told.source
        records["arrival"][self.slots] = arrival_ns


def _name(name: str, index: int, length: int) -> str:
    return name if length == 1 else f"{name}[{index}]"


class _Elder:
    """The engine from before a restart, which goes on beside the one that was started anew."""

    def __init__(self, engine: Engine, layout: Layout) -> None:
        self._engine, self._out = engine, Out(layout)
        first = layout.owner(CONTROL).first
        self._slots = [unit.setpoint - first for unit in engine.topology.units]

    def step(self, image: Image, now: Now) -> list[float]:
        """Its set-points for the same image, 0 where it asserts none."""
        self._engine.step(image, now, (), self._out)
        records = self._out.records[self._slots]
        setpoints: list[float] = np.where(records["status"] < BAD, records["value"], 0.0).tolist()
        return setpoints


class Simulation:
    """One seed's site, running. rehearsed: a twin plays each step first, as in the control process."""

    def __init__(self, seed: int, trace: Callable[[str], None] | None = None, *, rehearsed: bool = False) -> None:
        self.case: Case = make_case(seed)
        layout = self.case.layout
        self.figures = Figures()
        self.last: Step | None = None
        self._trace = trace
        self._rehearsed = rehearsed
        self._dice = random.Random(f"pace {seed}")
        self._faults = Faults(random.Random(f"faults {seed}"), self.case.physical.devices)
        self._deeds = Deeds(self.case)
        self._wires = [_Wire(d, layout) for d in self.case.physical.devices]
        self._records = blank_records(layout.slots)
        self._control = slice(layout.owner(CONTROL).first, layout.owner(CONTROL).first + layout.owner(CONTROL).count)
        self._old = [age_limits(slot_periods(layout), periods) for periods in (UNCERTAIN_PERIODS, BAD_PERIODS)]
        self._out = Out(layout)
        self._site_text = layout.by_node[f"{SITE_ALIAS}/Explanation"].slot
        self._runs = [layout.by_node[f"{c.alias}/RunState"].slot - self._control.start for c in self.case.controllers]
        self._stop = layout.by_node[f"{SITE_ALIAS}/EmergencyStopActive"].slot - self._control.start
        self._hash = blake2b(digest_size=8)
        self._ns, self._cycle = 1_000_000_000, 0
        self._trusted_s = 0.0
        self._paces: deque[float] = deque(maxlen=10)
        self._sampling_s = max(d.sample_s for d in self.case.physical.devices)
        self._invariants = Invariants()
        self._elder: _Elder | None = None
        self._beside: list[float] = []
        self._start_engine()
        self._viewer = Viewer(self.case, self._engine.topology)
        self._deeds.new_documents()
        self._rows: deque[tuple[Step, float, float, str]] = deque(maxlen=5)

    def run(self, days: float, until_step: int | None = None) -> Figures:
        """Go on for so many simulated days, or to a step. Violation when an invariant does not hold."""
        world = self.case.physical.world
        try:
            while world.seconds < days * 86_400 and (until_step is None or self._cycle < until_step):
                self._stretch(until_step)
        except Violation:
            raise
        except Exception as error:
            raise Violation(f"{type(error).__name__}: {error}") from error
        finally:
            self.figures.checked = {**self._invariants.checked, "calm": self.figures.calms}
            self.figures.digest = self._hash.hexdigest()
        return self.figures

    def replay(self, days: float) -> str:
        """The command that shows this run again, up to where it is now, step by step."""
        return f"python -m tests.simulation --seed {self.case.seed} --days {days:g} --until-step {self._cycle} --trace"

    @property
    def cycle(self) -> int:
        """Steps so far."""
        return self._cycle

    def describe(self) -> str:
        """Site, what was done lately, and the last steps, for whoever has to understand a failure."""
        now = [str(f) for f in self._faults.active.values()]
        return "\n".join(
            [self.case.describe(), f"  faults now: {now}", f"  faults: {list(self._faults.last)}",
             f"  deeds: {list(self._deeds.last)}", *(_line(*row) for row in self._rows)]
        )  # fmt: skip

    def _stretch(self, until_step: int | None) -> None:
        """Something may happen, then time passes at one pace."""
        world = self.case.physical.world
        stretch = self._choose()
        writes = self._happen(calm=stretch.calm)
        world.plan(stretch.steps + AWAY_MAX, stretch.step_s, calm=stretch.calm)
        calm = Calm(stretch, self.case) if stretch.calm else None
        self.figures.calms += stretch.calm
        for _ in range(stretch.steps):
            if until_step is not None and self._cycle >= until_step:
                return
            step = self._step(stretch, writes)
            writes = []
            if calm is not None:
                if calm.restarts_now():
                    self._elder = _Elder(self._engine, self.case.layout)
                    self._restart(0)
                self._raise(calm.look(step, self._beside))
                if calm.compared():
                    self._elder, self._beside = None, []

    def _choose(self) -> Stretch:
        """The next piece of time."""
        luck = self._dice.random()
        if luck < 0.6:
            return Stretch(self._dice.randint(20, 90), self._dice.choice((10.0, 30.0, 60.0)))
        if luck < 0.85 or self._faults.active or self._deeds.due:
            slow = self._dice.random() < 0.8
            return Stretch(self._dice.randint(20, 90), 1.0) if slow else Stretch(self._dice.randint(40, 150), 0.05)
        return Stretch(120, 1.0, calm=True) if self._dice.random() < 0.9 else Stretch(400, 0.05, calm=True)

    def _happen(self, *, calm: bool) -> list[Write]:
        """Deeds and faults at the beginning of a stretch; none begins where it is to be calm."""
        undone, writes = self._deeds.undo()
        changed = self._faults.end(self._deeds.now_s) or undone
        if not calm and self._dice.random() < 0.3:
            writes += self._deeds.do()
            self.figures.deeds += 1
            changed = True
        if not calm and self._dice.random() < 0.15 and self._faults.begin(self._deeds.now_s) is not None:
            self.figures.faults += 1
            changed = True
        if changed:
            self._trusted_s = 0.0
        return writes

    def _step(self, stretch: Stretch, writes: Sequence[Write]) -> Step:
        """One cycle."""
        world, dt = self.case.physical.world, stretch.step_s
        if self._deeds.restart >= 0:
            self._restart(self._deeds.restart)
            self._deeds.restart = -1
        self._live(dt)
        now = self._now(dt)
        image = self._freeze(now)
        if self._twin is not None:
            self._twin.play(image, now)
        out = self._out
        out.events.clear()
        self._engine.step(image, now, writes, out)
        self._engine.explain(out)
        if self._elder is not None:
            self._beside = self._elder.step(image, now)
        self._records[self._control] = out.records
        self.figures.stepped += 1
        self.figures.sim_s = world.seconds
        step = self._seen(image, now, stretch)
        self._judge(step, writes)
        return step

    def _live(self, dt: float) -> None:
        """The plant goes on by a step, and tells."""
        physical = self.case.physical
        for wire in self._wires:
            if not self._faults.silent(wire.device):
                wire.obey(self._records)
        physical.advance(dt)
        self._ns += round(dt * 1e9)
        seconds, time = physical.world.seconds, physical.world.time
        for wire in self._wires:
            device = wire.device
            if device.sample_s and seconds < wire.due_s:
                continue
            wire.due_s = seconds + device.sample_s - 1e-6
            told = told_by(device, self._faults.active.get(device.alias), time) if len(wire.slots) else None
            if told is not None:
                wire.write(self._records, told, self._ns)

    def _now(self, dt: float) -> Now:
        self._cycle += 1
        return Now(self._cycle, self._ns, self.case.physical.world.time, dt)

    def _freeze(self, now: Now) -> Image:
        """The image of this moment: what is old is not believed."""
        records = self._records.copy()
        age = now.monotonic_ns - records["arrival"]
        for limits, code, below in zip(
            self._old, (UNCERTAIN_LAST_USABLE_VALUE, BAD_NO_COMMUNICATION), (UNCERTAIN, BAD), strict=True
        ):
            old = (age > limits) & (records["status"] < below)
            if old.any():
                records["status"][old] = code
        records.flags.writeable = False
        return Image(records, cycle=now.cycle, frozen_at=now.monotonic_ns, time=now.time, documents=self._deeds.documents)

    def _seen(self, image: Image, now: Now, stretch: Stretch) -> Step:
        honest = self._faults.honest(self._deeds.now_s)
        self._trusted_s = self._trusted_s + now.dt_s if honest else 0.0
        self._paces.append(now.dt_s)
        patience_s = SETTLE_S + 2 * self._sampling_s + 2 * max(self._paces)
        solution = self._engine.solution
        assert solution is not None
        out = self._out.records
        step = Step(
            now, self.case, self._engine.topology, self._engine.mode, solution, image.records, out,
            self._viewer.units(image.records, out, now.time), bool(out["value"][self._stop]),
            self._trusted_s > patience_s and self._in_run(), stretch.calm, patience_s,
        )  # fmt: skip
        self._viewer.balance(step)
        return step

    def _in_run(self) -> bool:
        """Controllers have been heard for long enough; a change of the mode begins it anew."""
        mode = self._engine.mode
        if mode is not SiteMode.Run:
            self._trusted_s = 0.0
        return mode is SiteMode.Run

    def _judge(self, step: Step, writes: Sequence[Write]) -> None:
        out, mode = self._out, self._engine.mode
        self.figures.modes[mode.name] = self.figures.modes.get(mode.name, 0) + 1
        values = out.records["value"]
        self._hash.update(values.tobytes())
        self._hash.update(bytes((int(mode),)))
        text = out.texts.get(self._site_text, "")
        self._hash.update(text.encode())
        self.last = step
        self._rows.append((step, self.case.physical.world.seconds, sum(self.case.physical.grid.flow), text))
        if self._trace is not None:
            self._trace(_line(*self._rows[-1]))
        self._raise(self._wrong(step, writes, text))
        self._raise(self._invariants.check(step))

    def _wrong(self, step: Step, writes: Sequence[Write], text: str) -> str:
        """What must hold of the engine itself."""
        if not self._engine.healthy:
            return "engine: the step is not healthy"
        events = self._out.events
        faults = [text for kind, text, _ in events if kind in ("controller_fault", "left_out")]
        if faults:
            return f"controllers: {faults}"
        if any(self._out.records["value"].item(slot) == RunState.Fault for slot in self._runs):
            return "controllers: one is at Fault"
        answers = sum(kind in ("write", "write_refused") for kind, _, _ in events)
        if answers != len(writes):
            return f"writes: {len(writes)} were made, {answers} were answered"
        if not text or len(text.encode()) > TEXT_BYTES:
            return f"text: the site says {text!r}"
        return ""

    def _raise(self, wrong: str) -> None:
        if wrong:
            raise Violation(wrong)

    def _start_engine(self) -> None:
        case, guard = self.case, NoAlarm()
        self._engine = Engine(case.layout, case.settings, case.classes, guard)
        twin = Engine(case.layout, case.settings, case.classes, guard) if self._rehearsed else None
        self._twin = None if twin is None else Rehearsal(case.layout, self._engine, twin)

    def _restart(self, missed: int) -> None:
        """Control dies and comes back with its state, as the journal keeps it; meanwhile the plant goes on."""
        saved = self._engine.state()
        text = json.dumps(saved)
        for _ in range(missed):
            self._live(AWAY_S)
        self._start_engine()
        self._engine.restore(json.loads(text), missed * AWAY_S)
        if missed == 0 and json.loads(json.dumps(self._engine.state())) != json.loads(text):
            raise Violation(f"restart: the state changes when it is taken up: {text} {json.dumps(self._engine.state())}")
        self._trusted_s = 0.0
        self.figures.restarts += 1


def _line(step: Step, seconds: float, flow: float, text: str) -> str:
    """A step in one line: set-points, in brackets what was measured."""
    told = " ".join(f"{s.unit.alias}={_number(s.setpoint)}({_number(s.power)})" for s in step.seen)
    head = f"  #{step.now.cycle} {seconds:.2f} s, step {step.now.dt_s:g} s, {step.mode.name}, "
    return f"{head}grid {flow:.0f} W (told {_number(step.meter)}) {told} | {text[:300]}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
