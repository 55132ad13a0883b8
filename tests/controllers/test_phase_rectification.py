"""Equal phases: power is shifted between them, and the sum stays."""

from __future__ import annotations

from itertools import pairwise

import pytest
from control_rig import Rig, battery, grid_meter

from controllers.phase_rectification import PhaseRectification
from controllers.self_consumption import SelfConsumption
from server.core.channel import PHASES

RULE = (PhaseRectification, "equal0", {"grid": "grid", "band_w": 0})
BALANCE = (SelfConsumption, "self0", {"grid": "grid", "deadband_w": 0, "rise_w_per_s": 1e9, "fall_w_per_s": 1e9})


def show(rig: Rig, loads: tuple[float, ...], given: list[float]) -> None:
    """The meter sees what the loads draw less what the storage gives, on each phase."""
    for phase, load, power in zip(PHASES, loads, given, strict=True):
        rig[f"meter0/ActivePower.{phase}"] = load - power
        rig[f"ess0/ActivePower.{phase}"] = power
    rig["meter0/ActivePower"], rig["ess0/ActivePower"] = sum(loads) - sum(given), sum(given)


def settle(rig: Rig, loads: tuple[float, ...], cycles: int = 40) -> list[list[float]]:
    given, trace = [0.0] * 3, []
    for _ in range(cycles):
        show(rig, loads, given)
        rig.step()
        given = [rig[f"ess0/SetActivePower.{phase}"] or 0.0 for phase in PHASES]
        trace.append(given)
    return trace


@pytest.mark.parametrize(
    ("loads", "expected"),
    [
        ((3000, 0, -600), [2200, -800, -1400]),
        ((1000, 1000, 1000), [0, 0, 0]),
        ((900, 0, 0), [600, -300, -300]),
    ],
)
def test_phases_are_made_equal_and_the_sum_is_left_alone(loads, expected):
    trace = settle(Rig([grid_meter(), battery()], [RULE]), loads)
    assert trace[-1] == pytest.approx(expected, abs=5)
    assert sum(trace[-1]) == pytest.approx(0, abs=1)
    assert all(abs(a - b) < 5 for a, b in zip(trace[-1], trace[-2], strict=True))


def test_the_sum_belongs_to_the_strategies():
    trace = settle(Rig([grid_meter(), battery()], [RULE, BALANCE]), (3000, 0, -600))
    assert sum(trace[-1]) == pytest.approx(2400, abs=5)
    assert trace[-1] == pytest.approx([3000, 0, -600], abs=5)
    assert max(abs(sum(a) - sum(b)) for a, b in pairwise(trace[5:])) < 5


def test_a_meter_that_is_silent_on_one_phase_is_no_opinion():
    rig = Rig([grid_meter(), battery()], [RULE])
    show(rig, (3000, 0, -600), [0.0] * 3)
    rig["meter0/ActivePower.L2"] = None
    rig.step()
    assert [rig[f"ess0/SetActivePower.{phase}"] for phase in PHASES] == [0, 0, 0]
