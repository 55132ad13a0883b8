"""Equal phases: power is shifted between them, and the sum stays."""

from __future__ import annotations

from itertools import pairwise

import pytest
from control_rig import Rig, battery, grid_meter
from core_rig import ESS, device

from controllers.fix_active_power import FixActivePower
from controllers.phase_rectification import PhaseRectification
from controllers.self_consumption import SelfConsumption
from server.core.channel import PHASES
from server.core.natures import ManagedEss

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


def test_storages_that_are_alike_share_calmly():
    """Two of four on L1: nothing says who of them gives, so it must not change from cycle to cycle."""
    powers = {"ess0": 15_600, "ess1": 21_100, "ess2": 32_400, "ess3": 19_600}
    phase = {"ess0": "L1", "ess1": "L1", "ess2": "", "ess3": "L2"}
    devices = [grid_meter(), *(device(a, ManagedEss, ESS, Phase=p) for a, p in phase.items())]
    rig = Rig(devices, [RULE])
    loads = (23_000, 9000, 11_000)
    trace = []
    for alias, power in powers.items():
        rig[f"{alias}/MaxApparentPower"] = power
        rig[f"{alias}/AllowedChargePower"], rig[f"{alias}/AllowedDischargePower"] = -power, power
    for _ in range(40):
        given = {a: rig[f"{a}/SetActivePower"] or 0.0 for a in powers}
        for i, name in enumerate(PHASES):
            rig[f"meter0/ActivePower.{name}"] = loads[i] - sum(
                g * (1 / 3 if not phase[a] else float(phase[a] == name)) for a, g in given.items()
            )
        rig["meter0/ActivePower"] = sum(loads) - sum(given.values())
        for a, g in given.items():
            rig[f"{a}/ActivePower"] = g
        rig.step(dt_s=1)
        trace.append([rig[f"{a}/SetActivePower"] for a in powers])
    assert trace[-1] == pytest.approx(trace[-2], abs=1)
    assert trace[-1] == pytest.approx(trace[-8], abs=1)


def test_of_equal_answers_the_same_is_found_in_every_cycle():
    """A phase of the asymmetric storage and the storage on that phase could do the same."""
    fixed = [(FixActivePower, f"fix_{a}", {"ess": a, "power_w": power}) for a, power in (("ess0", 1285), ("ess1", 194))]
    rule = (PhaseRectification, "equal0", {"grid": "grid"})
    rig = Rig([grid_meter(), battery(), device("ess1", ManagedEss, ESS, Phase="L2")], [rule, *fixed])
    own, other, trace = [0.0] * 3, 0.0, []
    for alias, limit in (("ess0", 4900), ("ess1", 4400)):
        rig[f"{alias}/MaxApparentPower"] = limit
        rig[f"{alias}/AllowedChargePower"], rig[f"{alias}/AllowedDischargePower"] = -limit, limit
    for _ in range(16):
        flow = [3072 - own[0], -2876 - own[1] - other, 2500 - own[2]]
        for phase, power, given in zip(PHASES, flow, own, strict=True):
            rig[f"meter0/ActivePower.{phase}"], rig[f"ess0/ActivePower.{phase}"] = power, given
        rig["meter0/ActivePower"], rig["ess0/ActivePower"], rig["ess1/ActivePower"] = sum(flow), sum(own), other
        rig.step(dt_s=1)
        own, other = [rig[f"ess0/SetActivePower.{p}"] for p in PHASES], rig["ess1/SetActivePower"]
        trace.append(other)
    assert max(trace[6:]) - min(trace[6:]) < 10
