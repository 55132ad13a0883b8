"""A rehearsed engine and one that never rehearses: nothing that anybody can see tells them apart."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from core_rig import Rig, ess, evcs, load, meter, pv

from controllers.grid_limits import GridLimits
from controllers.limit_total_charge import LimitTotalCharge
from controllers.limit_total_discharge import LimitTotalDischarge
from controllers.manual_override import ManualOverride
from controllers.peak_shaving import PeakShaving
from controllers.self_consumption import SelfConsumption
from server.core.constraint import Add, Bound, Reserve, Target
from server.core.controller import Controller, ControllerParams, EssRef, GridRef, Now, param
from server.core.image import Image
from server.core.rehearsal import Rehearsal
from server.core.step import Engine, OverBudget

CYCLES = 150


class Hoarder(Controller):
    """Remembers wherever it can, raises and loops now and then, and asks for every kind of constraint."""

    priority = 30

    class Params(ControllerParams):
        ess: EssRef = param("The storage.")
        grid: GridRef = param("The connection.")
        power_w: float = param("Power to ask for.", low=-1e6, high=1e6, default=1000.0)

    @dataclass
    class State:
        runs: int = 0

    def __init__(self, alias: str, params: ControllerParams) -> None:
        super().__init__(alias, params)
        self.seen: list[int] = []

    def run(self, image, now):
        self.state.runs += 1
        self.seen.append(now.cycle)
        count = len(self.seen)
        if count % 11 == 0:
            raise RuntimeError(f"{count} runs, {self.state.runs} of them remembered")
        if count % 17 == 0:
            raise OverBudget
        yield Reserve(self.params.grid.import_power, up=10.0 * count, why="keeps room")
        yield Bound(self.params.ess.power, at_most=3000.0 + count, why="counts")
        yield Target(self.params.ess.power, equals=self.params.power_w + self.state.runs, why="counts")
        yield Add(self.params.ess.power, value=float(count % 7), why="serves")


CONTROLLERS = (
    (ManualOverride, "manual0", {}),
    (LimitTotalDischarge, "floor0", {"ess": "ess0", "min_soc": 15}),
    (LimitTotalCharge, "top0", {"ess": "ess1", "max_soc": 90}),
    (PeakShaving, "peak0", {"grid": "grid", "import_max_w": 8000, "recharge_below_w": 4000}),
    (GridLimits, "limits0", {"grid": "grid", "import_max_w": 9e3, "export_max_w": 9e3}),
    (Hoarder, "hoarder0", {"ess": "ess0", "grid": "grid"}),
    (SelfConsumption, "self0", {"grid": "grid"}),
)
WRITES = (
    ("site/Mode", 4.0),
    ("site/Mode", 3.0),
    ("site/OverrideRemaining", 1.0),
    ("ess0/SetActivePower", 700.0),
    ("site/EmergencyStopActive", 1.0),
    ("site/EmergencyStopActive", 0.0),
    ("self0/Enabled", 0.0),
    ("self0/Enabled", 1.0),
    ("hoarder0/power_w", 500.0),
)


def make_rig(distribution: str) -> Rig:
    devices = [meter(), ess("ess0"), ess("ess1"), pv(), evcs(), load()]
    return Rig(devices, CONTROLLERS, distribution=distribution, import_max_w=20e3, export_max_w=20e3)


def measure(rig: Rig, dice: np.random.Generator) -> None:
    """Another random measurement of everything, some of it missing."""
    for channel in rig.layout.channels:
        if channel.owner == "plant" and channel.output < 0 and dice.random() < 0.3:
            high = {"Soc": 100.0, "Status": 9.0, "GridMode": 3.0, "State": 4.0}.get(channel.spec.name, 12e3)
            low = -high if channel.spec.name == "ActivePower" else 0.0
            value = dice.uniform(low, high)
            rig[channel.node] = None if dice.random() < 0.05 else round(value) if high < 10 else value


def play(rig: Rig, rehearsals: int) -> list[Any]:
    """What an engine shows over many random cycles."""
    dice, when = np.random.default_rng(7), np.random.default_rng(8)
    rehearsal = Rehearsal(rig.layout, rig.engine, Engine(rig.layout, rig.site, rig.classes, rig.guard))
    shown: list[Any] = []
    for _ in range(CYCLES):
        measure(rig, dice)
        writes = [WRITES[i] for i in dice.integers(0, len(WRITES), size=dice.integers(0, 2))]
        last = Image(rig.records.copy(), cycle=rig.cycle, frozen_at=rig.ns, time=rig.time)
        for _ in range(when.integers(0, rehearsals + 1)):
            rehearsal.play(last, Now(rig.cycle + 1, rig.ns + 50_000_000, rig.time + 500_000, 0.05))
        rig.step(*writes)
        state = json.dumps(rig.engine.state(), default=str, sort_keys=True)
        solution = rig.engine.solution
        grants = [(g.claim.who, g.asked, g.granted, g.limiter and g.limiter.who) for g in solution.grants]
        seen = (rig.out.records.tobytes(), dict(rig.out.texts), list(rig.out.events), state)
        shown.append((*seen, grants, solution.active, solution.tree.low.copy(), rig.engine.mode))
    return shown


@pytest.mark.parametrize("distribution", ["proportional", "soc", "equal", "fewest"])
def test_a_rehearsal_has_no_effect_on_outputs_texts_events_or_state(distribution):
    plain = play(make_rig(distribution), 0)
    rehearsed = play(make_rig(distribution), 3)
    assert len({shown[0] for shown in plain}) > CYCLES / 2, "the cycles differ"
    assert any(kind == "controller_fault" for kind, _, _ in plain[-1][2])
    for cycle, (one, other) in enumerate(zip(plain, rehearsed, strict=True)):
        assert one == other, f"cycle {cycle}"


class Counting(Controller):
    """Counts the runs of all its instances."""

    priority = 5
    runs: list[float] = []

    class Params(ControllerParams):
        ess: EssRef = param("The storage.")
        power_w: float = param("Power to ask for.", default=1000.0)

    def run(self, image, now):
        self.runs.append(self.params.power_w)
        if self.params.power_w < 0:
            raise RuntimeError("bad day")
        return ()


def test_a_rehearsal_runs_the_controllers_as_they_are_set_but_not_those_that_are_off_or_fail():
    rig = Rig([meter(), ess()], [(Counting, "counting0", {"ess": "ess0"})])
    rehearsal = Rehearsal(rig.layout, rig.engine, Engine(rig.layout, rig.site, rig.classes, rig.guard))

    def rehearsed(*writes: tuple[str, float]) -> list[float]:
        rig.step(*writes)
        Counting.runs.clear()
        image = Image(rig.records, cycle=rig.cycle, frozen_at=rig.ns, time=rig.time)
        rehearsal.play(image, Now(rig.cycle + 1, rig.ns, rig.time, 0.05))
        return Counting.runs.copy()

    assert rehearsed() == [1000.0]
    assert rehearsed(("counting0/power_w", 500.0)) == [500.0]
    assert rehearsed(("counting0/Enabled", 0.0)) == []
    assert rehearsed(("counting0/Enabled", 1.0)) == [500.0]
    assert rehearsed(("counting0/power_w", -1.0)) == []
    assert rehearsed(("counting0/power_w", 1.0)) == [1.0]
