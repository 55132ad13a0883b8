"""Strategies against a plant with dead time and lag, in virtual time."""

from __future__ import annotations

from itertools import pairwise

import pytest
from core_rig import Rig, Scenario, Storage, ess, evcs, meter, pv, swing

from controllers.grid_limits import GridLimits
from controllers.peak_shaving import PeakShaving
from controllers.self_consumption import SelfConsumption

PEAK = (PeakShaving, "peak0", {"grid": "grid", "import_max_w": 5000, "recharge_below_w": 4500})
BALANCE = (SelfConsumption, "self0", {"grid": "grid"})


def step_of_load(seconds: float) -> float:
    return 4000 if seconds < 5 else 10_000


def test_import_is_held_under_the_peak_limit():
    rig = Rig([meter(), ess()], [PEAK])
    rig["ess0/AllowedDischargePower"] = 8000
    run = Scenario(rig, [Storage()]).run(15, step_of_load)
    over = [g for g in run.grid if g > 5100]
    assert len(over) * 0.05 < 1.0
    assert max(run.grid[-100:]) < 5100
    assert swing(run.grid[-100:]) < 10


@pytest.mark.parametrize("phase_s", [0.0, 0.25, 0.5, 0.75])
def test_skewed_slow_samples_do_not_make_the_grid_swing(phase_s):
    rig = Rig([meter(), ess()], [PEAK])
    rig["ess0/AllowedDischargePower"] = 8000
    slow = Storage(delay_s=1.0, lag_s=0.0, sample_s=1.0, phase_s=phase_s)
    run = Scenario(rig, [slow], meter_s=1.0).run(40, step_of_load)
    assert swing(run.grid[-300:]) < 100
    assert run.grid[-1] == pytest.approx(5000, abs=100)


def test_two_controllers_and_two_storages_on_one_meter_do_not_oscillate():
    peaks = [(PeakShaving, f"peak{i}", {"grid": "grid", "import_max_w": 5000}) for i in range(2)]
    rig = Rig([meter(), ess("ess0"), ess("ess1")], peaks)
    run = Scenario(rig, [Storage("ess0"), Storage("ess1", delay_s=0.4, lag_s=0.3)]).run(20, step_of_load)
    assert swing(run.grid[-100:]) < 10
    assert run.grid[-1] == pytest.approx(5000, abs=60)


def test_self_consumption_settles_without_flicker():
    rig = Rig([meter(), ess()], [BALANCE])
    noise = [17, -12, 25, -30, 8, 0, -21, 14]
    run = Scenario(rig, [Storage(delay_s=0.2, lag_s=0.2)]).run(30, lambda t: (500 if t < 5 else 3000) + noise[int(t * 7) % 8])
    tail = run.setpoints[-300:]
    assert abs(sum(run.grid[-300:]) / 300) < 60
    assert len(set(tail)) <= 4
    assert max(run.setpoints) < 3100


def test_export_is_limited_by_storage_first_and_then_by_the_roof_and_released_calmly():
    limits = (GridLimits, "limits0", {"grid": "grid", "export_max_w": 2000})
    rig = Rig([meter(), ess(), pv()], [limits])
    produced, charging, demand, ceilings = 0.0, 0.0, 500.0, []
    for cycle in range(1200):
        sun = 9000.0 if 100 <= cycle < 700 else 3000.0
        produced = min(sun, rig["pv0/ActivePowerLimit"] if rig["pv0/ActivePowerLimit"] is not None else 10_000)
        charging = rig["ess0/SetActivePower"] or 0.0
        rig["pv0/ActivePower"], rig["ess0/ActivePower"] = produced, charging
        rig["meter0/ActivePower"] = demand - produced - charging
        rig.step()
        ceilings.append(rig["pv0/ActivePowerLimit"])
        if 110 < cycle < 690:
            assert demand - produced - charging >= -2001
    assert charging == pytest.approx(-500, abs=60)
    assert ceilings[600] == pytest.approx(7500, abs=250)
    assert ceilings[-1] == 10_000
    changes = sum(a != b for a, b in pairwise(ceilings[200:690]))
    assert changes <= 2
    rises = [b - a for a, b in pairwise(ceilings) if b > a]
    assert max(rises) < 300


def test_a_charger_is_cut_only_after_the_storage_and_gets_its_power_back():
    fuse = (GridLimits, "limits0", {"grid": "grid", "import_max_w": 10_000})
    rig = Rig([meter(), ess(), evcs()], [fuse])
    car = discharge = 0.0
    low = []
    for cycle in range(1600):
        limit = rig["evcs0/SetChargePowerLimit"]
        car = min(11_000.0, 11_000.0 if limit is None else limit)
        car = car if car >= 4140 else 0.0
        discharge = rig["ess0/SetActivePower"] or 0.0
        demand = 2000.0 if not 200 <= cycle < 600 else 7000.0
        rig["evcs0/ChargePower"], rig["ess0/ActivePower"] = car, discharge
        rig["meter0/ActivePower"] = demand + car - discharge
        rig.step()
        if cycle > 10 and not 198 < cycle < 206:
            assert demand + car - discharge <= 10_001
        low.append(car)
    assert low[100] == 11_000
    assert low[500] == pytest.approx(8000, abs=300)
    assert discharge == pytest.approx(3000, abs=100)
    assert low[-1] == 11_000


def test_a_storage_answers_a_car_when_it_draws_and_a_slow_start_is_no_reason_to_stop_it():
    rig = Rig([meter(), ess(), evcs()], [(SelfConsumption, "balance0", {"grid": "grid"})])
    car = discharge = 0.0
    setpoints = []
    for cycle in range(400):
        limit = rig["evcs0/SetChargePowerLimit"]
        wanted = 11_000.0 if cycle > 100 else 0.0
        car += 0.03 * (min(wanted, 11_000.0 if limit is None else limit) - car)
        discharge += 0.2 * ((rig["ess0/SetActivePower"] or 0.0) - discharge)
        rig["evcs0/ChargePower"], rig["ess0/ActivePower"] = car, discharge
        rig["meter0/ActivePower"] = 1000.0 + car - discharge
        rig.step()
        assert rig["evcs0/SetChargePowerLimit"] == 11_000
        setpoints.append(rig["ess0/SetActivePower"])
    changes = [b - a for a, b in pairwise(setpoints[110:])]
    assert min(changes) > -60, changes
    assert setpoints[-1] == 5_000
