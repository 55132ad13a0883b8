"""How long a controller remembers: while it is disabled, while the site stands still, while control is away."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pytest
from core_rig import Rig, ess, meter

from server.core.constraint import Constraint
from server.core.controller import Controller, ControllerOutputs, ControllerParams, EssRef, Memory, Now, param, shown
from server.core.image import Image
from server.core.natures import SiteMode


class Counting(Controller):
    """Count its cycles."""

    class Params(ControllerParams):
        ess: EssRef = param("The storage.")

    @dataclass
    class State:
        """runs: cycles."""

        runs: int = 0

    class Outputs(ControllerOutputs):
        runs: int = shown("Cycles.")

    params: Params
    state: State

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        self.state.runs += 1
        self.out.runs = self.state.runs
        return ()


class Momentary(Counting):
    memory = Memory.Brief


class Durable(Counting):
    memory = Memory.Lasting


class Protecting(Counting):
    protects = True


def counting(cls: type[Controller]) -> Rig:
    """A rig after three cycles of a controller of this class."""
    rig = Rig([meter(), ess()], [(cls, "count0", {"ess": "ess0"})])
    rig["meter0/ActivePower"] = 0
    for _ in range(3):
        rig.step()
    return rig


def disabled(seconds: float) -> Callable[[Rig], Rig]:
    def away(rig: Rig) -> Rig:
        rig.step(("count0/Enabled", 0), dt_s=seconds)
        return rig.step(("count0/Enabled", 1))

    return away


def standby(seconds: float) -> Callable[[Rig], Rig]:
    def away(rig: Rig) -> Rig:
        rig.step(("site/Mode", SiteMode.Standby), dt_s=seconds)
        return rig.step(("site/Mode", SiteMode.Run))

    return away


def restarted(seconds: float) -> Callable[[Rig], Rig]:
    def away(rig: Rig) -> Rig:
        again = Rig([meter(), ess()], [(type(rig.engine.runners[0].controller), "count0", {"ess": "ess0"})])
        again["meter0/ActivePower"] = 0
        again.engine.restore(json.loads(json.dumps(rig.engine.state())), seconds)
        return again.step()

    return away


@pytest.mark.parametrize(
    ("cls", "away", "runs"),
    [
        (Counting, disabled(0.05), 1),
        (Counting, standby(3600), 4),
        (Counting, restarted(3 * 86400), 4),
        (Momentary, disabled(0.05), 1),
        (Momentary, standby(3600), 1),
        (Momentary, standby(3), 4),
        (Momentary, restarted(3 * 86400), 1),
        (Momentary, restarted(1), 4),
        (Durable, disabled(3600), 4),
        (Durable, standby(3600), 4),
        (Durable, restarted(3 * 86400), 4),
        (Protecting, disabled(3600), 4),
        (Protecting, restarted(3 * 86400), 4),
    ],
)
def test_memory_lasts_as_long_as_it_is_declared_to(cls, away, runs):
    assert away(counting(cls))["count0/runs"] == runs


def test_a_controller_that_begins_anew_shows_nothing_of_before():
    rig = counting(Counting)
    rig.step(("count0/Enabled", 0))
    assert rig.engine.state()["controllers"]["count0"]["state"] == {"runs": 0}
    assert rig["count0/runs"] is None
