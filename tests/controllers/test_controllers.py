"""Each strategy as a table: what is measured, and the set-points it leads to."""

from __future__ import annotations

import pytest
from core_rig import Rig, ess, evcs, meter, pv

from controllers.grid_limits import GridLimits
from controllers.limit_total_charge import LimitTotalCharge
from controllers.limit_total_discharge import LimitTotalDischarge
from controllers.manual_override import ManualOverride
from controllers.peak_shaving import PeakShaving
from controllers.self_consumption import SelfConsumption

AT_ONCE = {"deadband_w": 0, "rise_w_per_s": 1e9, "fall_w_per_s": 1e9}


def sequence(rig: Rig, node: str, inputs: list[float | None], output: str) -> list[float | None]:
    found = []
    for value in inputs:
        rig[node] = value
        found.append(rig.step()[output])
    return found


@pytest.mark.parametrize(
    ("settings", "soc", "grid", "expected"),
    [
        ({}, [20, 15, 16, 16.9, 17, 16], 3000, [3000, 0, 0, 0, 3000, 3000]),
        ({"min_soc": 50, "hysteresis": 5}, [51, 50, 54, 55], 3000, [3000, 0, 0, 3000]),
        ({"hysteresis": 0.5, "hold_s": 0.12}, [15, 16, 16, 16, 16], 3000, [0, 0, 0, 3000, 3000]),
        ({}, [10, None], 3000, [0, 3000]),
        ({"recharge_soc": 10, "recharge_w": 800}, [12, 10, 12, 15, 17], 3000, [0, -800, -800, 0, 3000]),
        ({"recharge_soc": 10, "recharge_w": 800}, [10], -2000, [-2000]),
        ({"recharge_soc": 15, "recharge_w": 800}, [16, 15, 16, 17, 16], 3000, [3000, -800, -800, 3000, 3000]),
        ({"recharge_soc": 30, "recharge_w": 800}, [90, 31, 30, 31, 32, 31], 3000, [3000, 3000, -800, -800, 3000, 3000]),
        ({"recharge_soc": 99, "recharge_w": 800}, [100, 99, 99.5, 100], 3000, [3000, -800, -800, 3000]),
    ],
)
def test_limit_total_discharge(settings, soc, grid, expected):
    floor = (LimitTotalDischarge, "floor0", {"ess": "ess0"} | settings)
    balance = (SelfConsumption, "self0", {"grid": "grid"} | AT_ONCE)
    rig = Rig([meter(), ess()], [floor, balance])
    rig["ess0/Soc"], rig["meter0/ActivePower"] = 90, grid
    rig.step()
    assert sequence(rig, "ess0/Soc", soc, "ess0/SetActivePower") == pytest.approx(expected)


@pytest.mark.parametrize(("recharge_soc", "target"), [(10, 15), (14, 16), (30, 32), (99, 100)])
def test_a_forced_recharge_says_where_it_ends(recharge_soc, target):
    rig = Rig([meter(), ess()], [(LimitTotalDischarge, "floor0", {"ess": "ess0", "recharge_soc": recharge_soc})])
    rig["ess0/Soc"], rig["meter0/ActivePower"] = 5, 0
    assert f"recharges to {target} % charge" in rig.step().text("floor0/Explanation")


def test_a_forced_recharge_stays_below_the_limits_of_the_grid():
    floor = (LimitTotalDischarge, "floor0", {"ess": "ess0", "recharge_soc": 10, "recharge_w": 3000})
    limits = (GridLimits, "limits0", {"grid": "grid", "import_max_w": 5000})
    rig = Rig([meter(), ess()], [floor, limits])
    rig["ess0/Soc"], rig["meter0/ActivePower"] = 5, 3500
    assert rig.step()["ess0/SetActivePower"] == -1500


@pytest.mark.parametrize(
    ("settings", "soc", "expected"),
    [
        ({}, [90, 95, 94, 93, 94], [-3000, 0, 0, -3000, -3000]),
        ({"max_soc": 80, "hysteresis": 0.1}, [80, 79.95, 79.8], [0, 0, -3000]),
        ({}, [99, None], [0, -3000]),
    ],
)
def test_limit_total_charge(settings, soc, expected):
    ceiling = (LimitTotalCharge, "ceiling0", {"ess": "ess0"} | settings)
    balance = (SelfConsumption, "self0", {"grid": "grid"} | AT_ONCE)
    rig = Rig([meter(), ess()], [ceiling, balance])
    rig["meter0/ActivePower"] = -3000
    rig.step()
    assert sequence(rig, "ess0/Soc", soc, "ess0/SetActivePower") == pytest.approx(expected)


@pytest.mark.parametrize(
    ("grid", "discharging", "expected"),
    [
        (7000, 0, 0),
        (8000, 0, 0),
        (11_200, 0, 3200),
        (8000, 3200, 3200),
        (20_000, 0, 5000),
        (4500, 0, 0),
        (3000, 0, -1000),
        (3000, 500, -500),
        (4000, -1000, -1000),
        (-500, 0, -4500),
    ],
)
def test_peak_shaving(grid, discharging, expected):
    settings = {"grid": "grid", "import_max_w": 8000, "recharge_below_w": 4000, "hysteresis_w": 0, "recharge_ramp_w_per_s": 1e9}
    rig = Rig([meter(), ess()], [(PeakShaving, "peak0", settings)])
    rig["meter0/ActivePower"], rig["ess0/ActivePower"] = grid, discharging
    assert rig.step()["ess0/SetActivePower"] == pytest.approx(expected)


def test_peak_shaving_recharges_after_self_consumption_and_not_with_more_than_the_limit():
    peak = (PeakShaving, "peak0", {"grid": "grid", "import_max_w": 8000, "recharge_below_w": 9000, "recharge_ramp_w_per_s": 1e9})
    rig = Rig([meter(), ess()], [peak])
    rig["meter0/ActivePower"] = 6000
    assert rig.step()["ess0/SetActivePower"] == -2000
    both = Rig([meter(), ess()], [peak, (SelfConsumption, "self0", {"grid": "grid"} | AT_ONCE)])
    both["meter0/ActivePower"] = 3000
    assert both.step()["ess0/SetActivePower"] == 3000


def test_peak_shaving_ramps_its_recharge_and_follows_only_what_leaves_the_hysteresis():
    settings = {
        "grid": "grid",
        "import_max_w": 8000,
        "recharge_below_w": 4000,
        "recharge_ramp_w_per_s": 1000,
        "hysteresis_w": 100,
    }
    rig = Rig([meter(), ess()], [(PeakShaving, "peak0", settings)])
    rig["meter0/ActivePower"] = 1000
    assert [rig.step(dt_s=1)["ess0/SetActivePower"] for _ in range(4)] == pytest.approx([-1000, -2000, -3000, -3000])
    assert sequence(rig, "meter0/ActivePower", [1050, 950, 1200], "ess0/SetActivePower") == pytest.approx([-3000, -3000, -2800])
    assert sequence(rig, "meter0/ActivePower", [9000, 8950, 8850], "ess0/SetActivePower") == pytest.approx([1000, 1000, 850])


@pytest.mark.parametrize(
    ("target", "grid", "discharging", "expected"),
    [(0, 3000, 0, 3000), (0, 0, 3000, 3000), (0, -2000, 0, -2000), (500, 3000, 0, 2500), (-1000, 0, 0, 1000), (0, 9000, 0, 5000)],
)
def test_self_consumption(target, grid, discharging, expected):
    rig = Rig([meter(), ess()], [(SelfConsumption, "self0", {"grid": "grid", "target_w": target} | AT_ONCE)])
    rig["meter0/ActivePower"], rig["ess0/ActivePower"] = grid, discharging
    assert rig.step()["ess0/SetActivePower"] == pytest.approx(expected)


def test_self_consumption_is_calm_and_asymmetric():
    settings = {"grid": "grid", "deadband_w": 50, "rise_w_per_s": 1000, "fall_w_per_s": 2000}
    rig = Rig([meter(), ess()], [(SelfConsumption, "self0", settings)])
    rig["meter0/ActivePower"] = 2500
    assert [rig.step(dt_s=1)["ess0/SetActivePower"] for _ in range(4)] == pytest.approx([1000, 2000, 2500, 2500])
    assert sequence(rig, "meter0/ActivePower", [2540, 2460, 2400], "ess0/SetActivePower") == pytest.approx([2500, 2500, 2400])
    rig["meter0/ActivePower"] = 0
    assert [rig.step(dt_s=1)["ess0/SetActivePower"] for _ in range(2)] == pytest.approx([400, 0])


@pytest.mark.parametrize(
    ("settings", "grid", "producing", "storage", "roof"),
    [
        ({"export_max_w": 5000}, -4000, 9000, 0, 10_000),
        ({"export_max_w": 5000}, -8000, 9000, -3000, 10_000),
        ({"export_max_w": 0}, -8000, 9000, -5000, 6000),
        ({"import_max_w": 6000}, 8000, 0, 2000, 10_000),
        ({}, 80_000, 0, 0, 10_000),
    ],
)
def test_grid_limits(settings, grid, producing, storage, roof):
    rig = Rig([meter(), ess(), pv()], [(GridLimits, "limits0", {"grid": "grid"} | settings)])
    rig["meter0/ActivePower"], rig["pv0/ActivePower"] = grid, producing
    rig.step()
    assert (rig["ess0/SetActivePower"], rig["pv0/ActivePowerLimit"]) == (storage, roof)


def test_grid_limits_cut_a_charger_below_its_least_power_to_nothing():
    rig = Rig([meter(), ess(), evcs()], [(GridLimits, "limits0", {"grid": "grid", "import_max_w": 6000})])
    rig["meter0/ActivePower"], rig["evcs0/ChargePower"] = 18_000, 11_000
    rig.step()
    assert (rig["evcs0/SetChargePowerLimit"], rig["ess0/SetActivePower"]) == (0, 1000)


@pytest.mark.parametrize(
    ("wish", "output", "expected"),
    [
        (("ess0/SetActivePower", -2500), "ess0/SetActivePower", -2500),
        (("ess0/SetActivePower", 9000), "ess0/SetActivePower", 5000),
        (("ess0/SetReactivePower", 1500), "ess0/SetReactivePower", 1500),
        (("pv0/ActivePowerLimit", 2500), "pv0/ActivePowerLimit", 2500),
        (("evcs0/SetChargePowerLimit", 6000), "evcs0/SetChargePowerLimit", 6000),
        (("evcs0/SetChargePowerLimit", 3000), "evcs0/SetChargePowerLimit", 0),
    ],
)
def test_manual_override(wish, output, expected):
    rig = Rig([meter(), ess(), pv(), evcs()], [(ManualOverride, "manual0", {})])
    rig["meter0/ActivePower"] = 0
    rig.step()
    assert rig.step(("site/OverrideRemaining", 60), wish)[output] == expected
