"""A slice of the simulation: some seeds for some hours, and what makes a failing seed worth anything: that it fails again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .calm import Calm, climb, reversals
from .faults import KINDS, Fault, Kind, told_by
from .invariants import TABLE, Invariants
from .run import Simulation, Stretch, Violation
from .view import Step

ROOT = Path(__file__).parents[2]
HOURS = 6
SEEDS = (1, 2, 3, 4, 5, 6)
SHORT_DAYS = 0.02


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_site_keeps_its_invariants_for_hours_whatever_happens(seed: int) -> None:
    simulation = Simulation(seed)
    try:
        figures = simulation.run(HOURS / 24)
    except Violation as error:
        pytest.fail(f"{error}\n{simulation.describe()}\nreplay: {simulation.replay(HOURS / 24)}")
    assert figures.stepped > 500
    assert figures.deeds + figures.faults > 5


def test_every_invariant_has_something_to_judge() -> None:
    checked = dict.fromkeys((name for name, _, _ in TABLE), 0)
    for seed in range(20, 30):
        simulation = Simulation(seed)
        simulation.run(SHORT_DAYS)
        checked = {name: count + simulation.figures.checked[name] for name, count in checked.items()}
    del checked["trip"], checked["state of charge"], checked["circle"]  # too rare for so short a time
    assert min(checked.values()) > 0, checked


def test_the_same_seed_gives_the_same_run_in_another_process_and_with_rehearsals() -> None:
    ours = Simulation(7).run(SHORT_DAYS).digest
    assert Simulation(7, rehearsed=True).run(SHORT_DAYS).digest == ours
    command = [sys.executable, "-m", "tests.simulation", "--seed", "7", "--days", str(SHORT_DAYS)]
    for hash_seed in ("1", "2"):
        told = subprocess.run(
            command, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True
        )
        assert f"digest {ours}" in told.stdout
    assert Simulation(8).run(SHORT_DAYS).digest != ours


def test_a_violation_is_told_with_its_site_and_how_to_see_it_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from . import __main__ as program

    monkeypatch.setattr(Invariants, "check", lambda self, step: "fuse: it burns" if step.now.cycle == 5 else "")
    assert not program.simulate(3, 1.0)
    told = capsys.readouterr().out
    assert "seed 3 fails at step 5: fuse: it burns" in told
    assert "python -m tests.simulation --seed 3 --days 1 --until-step 5 --trace" in told
    assert "ess0: Storage" in told
    assert "#5 " in told


@pytest.mark.parametrize(
    ("values", "turns"),
    [
        ([0, 0, 0, 0], 0),
        ([0, 500, 1000, 1000], 0),
        ([0, 500, 0, 500, 0], 3),
        ([0, 50, 0, 50, 0], 0),
        ([0, 60, 120, 60, 0, 60, 120], 2),
    ],
    ids=["rest", "ramp", "oscillation", "inside the deadband", "slow oscillation"],
)
def test_reversals(values: list[float], turns: int) -> None:
    assert reversals(values, 100) == turns


def beginning_calm(seed: int) -> tuple[Calm, Step]:
    """Two minutes of calm at a site, and a step of it."""
    simulation = Simulation(seed)
    simulation.run(0.01)
    assert simulation.last is not None
    return Calm(Stretch(120, 1.0, calm=True), simulation.case), simulation.last


@pytest.mark.parametrize(("every_s", "told"), [(3, "is switched"), (40, "")], ids=["a flicker", "a start"])
def test_a_consumer_may_begin_but_not_flicker(every_s: int, told: str) -> None:
    (calm, step), wrong = beginning_calm(2), ""
    for second in range(120):
        for s in step.seen:
            on = second // every_s % 2
            s.setpoint, s.low, s.high, s.step = 4000.0 * on if s.unit.alias == "evcs0" else 0.0, -9000.0, 9000.0, 0.0
        wrong = calm.look(step)
    assert (told in wrong) if told else not wrong


@pytest.mark.parametrize(
    ("beside", "told"), [(0.0, False), (4000.0, True)], ids=["a timer runs out", "the restart changes a set-point"]
)
def test_a_restart_is_judged_by_what_would_have_been_without_it(beside: float, *, told: bool) -> None:
    (calm, step), wrong = beginning_calm(5), ""
    for second in range(120):
        stopped = second > 98
        for s in step.seen:
            s.setpoint, s.low, s.high, s.step = 0.0 if stopped else 4000.0, -9000.0, 9000.0, 0.0
        goes_on = [beside if stopped else 4000.0] * len(step.seen)
        wrong = calm.look(step, goes_on if second > 96 and not calm.compared() else ())
    assert bool(wrong) is told


def test_what_a_released_ceiling_lets_in_comes_on_top_of_the_deadband() -> None:
    assert climb([0, 20, 40, 40, 0, 500], 1, 20) == 20
    assert climb([0, 20, 40, 60, 60, 60], 2, 100) == 40
    assert climb([40, 20, 0], 1, 20) == 0


@pytest.mark.parametrize("kind", [k for k in KINDS if k.change is not None], ids=lambda k: k.name)
def test_a_fault_changes_what_is_told(kind: Kind) -> None:
    simulation = Simulation(1)
    device = simulation.case.physical.storages[0]
    fault = Fault(kind, device, 100.0, simulation.case.dice, 0.0, number=0.9)
    honest, heard = [], []
    for second in range(30):
        device.model.soc = 0.5 + second * 0.01
        now = second * 10_000_000
        honest.append(told_by(device, None, now))
        heard.append(told_by(device, fault, now))
    assert [str(h) for h in heard] != [str(h) for h in honest]


BREAKS = {
    "finite": "control that writes NaN",
    "device limits": "a set-point beyond what the device allows",
    "circle": "reactive power outside the circle",
    "trip": "a unit that moves during a trip",
    "explained": "a set-point of nobody",
}


@pytest.mark.parametrize("name", BREAKS, ids=BREAKS.get)
def test_an_invariant_sees_what_it_is_there_for(name: str) -> None:
    """The checks themselves: a step is falsified, and the check of that name has to say so."""
    simulation = Simulation(5)
    simulation.run(0.01)
    step = simulation.last
    assert step is not None
    storage = next(s for s in step.seen if s.unit.is_storage)
    storage.low, storage.high, storage.apparent = -1000.0, 1000.0, 1000.0
    if name == "finite":
        step.out["value"][step.topology.units[0].setpoint - step.case.layout.owner("control").first] = float("nan")
        step.out["status"][step.topology.units[0].setpoint - step.case.layout.owner("control").first] = 0
    elif name == "device limits":
        storage.setpoint = 1500.0
    elif name == "circle":
        storage.setpoint, storage.reactive = 900.0, 900.0
    elif name == "trip":
        step.tripped, storage.setpoint = True, 10.0
        storage.low = 0.0
    else:
        step.solution.outcomes.clear()
        step.solution.base[:] = [12.3] * len(step.solution.base)
        step.tripped, storage.setpoint = False, 777.0
    check = next(function for row, _, function in TABLE if row == name)
    assert check(Invariants(), step)
