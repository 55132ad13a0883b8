"""Peaks, limits and the network operator's signals as tables."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from control_rig import Rig, battery, document, grid_meter, relays, switch_input
from core_rig import ESS, device, evcs, load, meter, pv

from controllers.backup_reserve import BackupReserve
from controllers.delayed_sell_to_grid import DelayedSellToGrid
from controllers.demand_peak_shaving import DemandPeakShaving
from controllers.demand_response import DemandResponse
from controllers.fix_active_power import FixActivePower
from controllers.limiter14a import Limiter14a
from controllers.peak_shaving import PeakShaving
from controllers.predictive_peak_shaving import PredictivePeakShaving
from controllers.pv_limit import PvLimit
from controllers.ripple_control_receiver import RippleControlReceiver
from server.core.natures import HybridEss


def fixed(power_w: float) -> tuple:
    return FixActivePower, "fix0", {"ess": "ess0", "power_w": power_w}


@pytest.mark.parametrize(
    ("phases", "discharging", "expected"),
    [
        ((20_000, 40_000, 10_000), 0, 20_001),
        ((18_736, 38_736, 8_736), 3793, 20_002),
        ((30_000, 30_000, 30_000), 0, 0),
        ((33_000, 33_333, 33_000), 0, 0),
        ((-5_000, 34_333, 0), 0, 3_000),
    ],
)
def test_peak_shaving_keeps_each_phase(phases, discharging, expected):
    settings = {"grid": "grid", "import_max_w": 1e6, "phase_max_w": 33_333, "hysteresis_w": 0}
    rig = Rig([grid_meter(), battery()], [(PeakShaving, "peak0", settings)])
    rig["ess0/AllowedDischargePower"], rig["ess0/MaxApparentPower"] = 50_000, 50_000
    rig["meter0/ActivePower"], rig["ess0/ActivePower"] = sum(phases), discharging
    for name, value in zip(("L1", "L2", "L3"), phases, strict=True):
        rig[f"meter0/ActivePower.{name}"] = value
    assert rig.step()["ess0/SetActivePower"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("local", "active"),
    [("2026-03-02 06:30", False), ("2026-03-02 07:30", True), ("2026-03-02 19:59", True), ("2026-03-01 12:00", False)],
)
def test_a_time_slot_is_local_time_of_some_days(local, active):
    slot = {"from_hour": 7, "to_hour": 20, "weekdays": 31}
    settings = {"grid": "grid", "import_max_w": 5000, "hysteresis_w": 0} | slot
    rig = Rig([meter(), battery()], [(PeakShaving, "peak0", settings)], timezone="Europe/Vienna")
    rig.at(datetime.fromisoformat(local))
    rig["meter0/ActivePower"] = 8000
    assert rig.step()["ess0/SetActivePower"] == (3000 if active else 0)


def test_the_mean_of_a_window_is_held_and_what_is_left_is_shown():
    settings = {"grid": "grid", "demand_max_w": 6000, "hysteresis_w": 0}
    rig = Rig([meter(), battery()], [(DemandPeakShaving, "demand0", settings)])
    rig["ess0/AllowedDischargePower"] = 20_000
    rig.at(datetime(2026, 3, 2, 10, 0, tzinfo=UTC))
    energy = 0.0
    for second in range(899):
        demand = 3000 if second < 450 else 12_000
        grid = demand - (rig["ess0/SetActivePower"] or 0.0)
        rig["meter0/ActivePower"], rig["ess0/ActivePower"] = grid, rig["ess0/SetActivePower"] or 0.0
        rig.step(dt_s=1.0)
        energy += grid / 3600
        if second == 449:
            assert rig["demand0/remaining_w"] == pytest.approx(9000, rel=0.01)
            assert rig["ess0/SetActivePower"] == 0
    assert energy * 4 == pytest.approx(6000, rel=0.01)
    assert rig["demand0/mean_w"] == pytest.approx(6000, rel=0.01)
    rig["meter0/ActivePower"], rig["ess0/ActivePower"] = 5000, 0
    rig.step(dt_s=1.0)
    assert rig.step(dt_s=1.0)["demand0/remaining_w"] == pytest.approx(6000, rel=0.01)


def test_a_window_ends_calmly_and_keeps_its_mean():
    """A plant that follows a second late, a load that trembles, and a peak just before the end."""
    rig = Rig([meter(), battery()], [(DemandPeakShaving, "demand0", {"grid": "grid", "demand_max_w": 6000, "hysteresis_w": 0})])
    rig["ess0/AllowedDischargePower"], rig["ess0/MaxApparentPower"] = 20_000, 20_000
    rig.at(datetime(2026, 3, 2, 10, 10, tzinfo=UTC))
    energy, supply, limits = 600 * 6000.0, 0.0, []
    for i in range(300 * 5 - 1):
        grid = 9000 + 80 * (-1) ** (i // 3) + 3000 * (i > 1470) - supply
        rig["meter0/ActivePower"], rig["ess0/ActivePower"] = grid, supply
        energy += grid * 0.2
        supply += ((rig.step(dt_s=0.2)["ess0/SetActivePower"] or 0.0) - supply) * 0.2
        limits.append(rig["demand0/remaining_w"])
    assert limits[1450:] == sorted(limits[1450:], reverse=True), "in the last ten seconds it only tightens"
    assert limits[1470] == pytest.approx(6000, abs=150)
    assert 5000 < limits[-1] < 5950, "as much as the peak has cost before the battery answered"
    assert energy / 900 == pytest.approx(6000, abs=2)


def test_a_window_that_was_not_seen_from_its_start_counts_as_used_at_the_limit():
    rig = Rig([meter(), battery()], [(DemandPeakShaving, "demand0", {"grid": "grid", "demand_max_w": 6000})])
    rig.at(datetime(2026, 3, 2, 10, 5, tzinfo=UTC))
    rig["meter0/ActivePower"] = 6000
    assert rig.step()["demand0/remaining_w"] == pytest.approx(6000, rel=0.01)
    assert "6 kW are left for 10 min of the window" in rig.text("demand0/Explanation")


@pytest.mark.parametrize(("begins_min", "seen_w"), [(15, 2000), (10, 0)])
@pytest.mark.parametrize(("blind", "counted_w"), [("", 0), ("meter", 2000), ("disabled", 2000), ("restart", 2000)])
def test_time_that_was_not_seen_counts_as_used_at_the_limit(begins_min, seen_w, blind, counted_w):
    """Five minutes of import at the limit, then five minutes of which nothing is known, or that there is none."""
    rig = Rig([meter(), battery()], [(DemandPeakShaving, "demand0", {"grid": "grid", "demand_max_w": 6000})])
    rig.at(datetime(2026, 3, 2, 10, begins_min, tzinfo=UTC))
    for _ in range(300):
        rig["meter0/ActivePower"] = 6000
        rig.step(dt_s=1.0)
    rig.step(("demand0/Enabled", blind != "disabled"), dt_s=1.0)
    for _ in range(299):
        rig["meter0/ActivePower"] = None if blind == "meter" else 0
        if blind == "restart":
            rig.ns += 1_000_000_000
        else:
            rig.step(dt_s=1.0)
    rig["meter0/ActivePower"] = 0
    rig.step(("demand0/Enabled", 1), dt_s=1.0)
    assert rig["demand0/mean_w"] == pytest.approx(seen_w + counted_w, abs=60)


@pytest.mark.parametrize(
    ("soc", "peak_w", "level"),
    [(100, 9000, 5000), (55, 9000, 6000), (15, 9000, 9000), (100, 4000, 5000)],
)
def test_predictive_peak_shaving_holds_the_level_that_its_energy_can_hold(soc, peak_w, level):
    settings = {"grid": "grid", "ess": "ess0", "import_max_w": 5000, "margin": 0, "horizon_h": 6}
    rig = Rig([meter(), battery()], [(PredictivePeakShaving, "peak0", settings)])
    rig["ess0/Soc"], rig["ess0/Capacity"], rig["ess0/AllowedChargePower"] = soc, 10_000, 0
    document(rig, "forecast/consumption", 3600, power_w=[3000, peak_w, peak_w * 7 / 9, 3000, 3000, 3000])
    rig["meter0/ActivePower"] = 3000
    assert rig.step()["peak0/level_w"] == pytest.approx(level, abs=20)


def test_predictive_peak_shaving_charges_for_a_coming_peak_and_is_plain_without_a_forecast():
    settings = {"grid": "grid", "ess": "ess0", "import_max_w": 5000, "margin": 0}
    rig = Rig([meter(), battery()], [(PredictivePeakShaving, "peak0", settings)])
    rig["ess0/Soc"], rig["meter0/ActivePower"] = 20, 3000
    assert rig.step()["ess0/SetActivePower"] == 0
    document(rig, "forecast/consumption", 3600, power_w=[3000, 8000, 3000])
    assert rig.step(dt_s=61)["ess0/SetActivePower"] == pytest.approx(-2250, abs=40)
    rig["ess0/Soc"] = 60
    assert rig.step(dt_s=1)["ess0/SetActivePower"] == 0


def test_what_is_charged_for_a_coming_peak_is_not_sold_before_it():
    peak = (PredictivePeakShaving, "peak0", {"grid": "grid", "ess": "ess0", "import_max_w": 5000, "margin": 0})
    sell = (DelayedSellToGrid, "sell0", {"grid": "grid", "export_max_w": 2000, "continuous_w": 1000})
    rig = Rig([meter(), battery()], [peak, sell])
    rig["meter0/ActivePower"] = 3000
    document(rig, "forecast/consumption", 3600, power_w=[3000, 8000, 3000])
    rig.step()
    powers = []
    for soc in (44.9, 45.1, 46.5, 46.8, 46.6, 45.1, 44.9):
        rig["ess0/Soc"] = soc
        powers.append(round(rig.step(dt_s=1)["ess0/SetActivePower"]))
    assert powers == [-2000, -2000, -2000, 4000, 0, 0, -2000]


@pytest.mark.parametrize(
    ("settings", "grid", "producing", "storage", "roof"),
    [
        ({"power_w": 4000}, 0, 9000, 0, 4000),
        ({"share": 60}, 0, 9000, 0, 6000),
        ({"grid": "grid", "export_max_w": 0}, -8000, 9000, -5000, 6000),
        ({}, 0, 9000, 0, 10_000),
    ],
)
def test_pv_limit(settings, grid, producing, storage, roof):
    rig = Rig([meter(), battery(), pv()], [(PvLimit, "pv1", {"pv": "pv0"} | settings)])
    rig["meter0/ActivePower"], rig["pv0/ActivePower"] = grid, producing
    rig.step()
    assert (rig["ess0/SetActivePower"], rig["pv0/ActivePowerLimit"]) == (storage, roof)


@pytest.mark.parametrize(
    ("contact", "settings", "ess", "car"),
    [
        (True, {}, -4200, 4200),
        (False, {}, -5000, 11_000),
        (None, {}, -4200, 4200),
        (None, {"fail_closed": False}, -5000, 11_000),
        (False, {"invert": True}, -4200, 4200),
        (True, {"guaranteed_w": 6000, "simultaneity": 0.8}, -5000, 5400),
    ],
)
def test_limiter_14a(contact, settings, ess, car):
    rule = (Limiter14a, "dim0", {"dim": "io0/Input[0]", "units": ["ess0", "evcs0"]} | settings)
    rig = Rig([meter(), battery(), evcs(), relays()], [rule, fixed(-9000)])
    rig["meter0/ActivePower"], rig["evcs0/ChargePower"] = 11_000, 11_000
    if contact is not None:
        switch_input(rig, "io0", 0, contact)
    rig.step()
    assert rig["ess0/SetActivePower"] == pytest.approx(ess)
    assert rig["evcs0/SetChargePowerLimit"] == pytest.approx(car)


@pytest.mark.parametrize(
    ("asking", "step", "export"),
    [((0, 0, 0), 100, 9000), ((0, 0, 1), 60, 6000), ((0, 1, 0), 30, 3000), ((1, 0, 0), 0, 0), ((1, 1, 1), 0, 0)],
)
def test_ripple_control_receiver(asking, step, export):
    inputs = {f"relay{i}": f"io0/Input[{i}]" for i in range(3)}
    rule = (RippleControlReceiver, "ripple0", {"grid": "grid", "rated_w": 10_000} | inputs)
    rig = Rig([meter(), pv(), relays()], [rule])
    rig["meter0/ActivePower"], rig["pv0/ActivePower"] = -9000, 9000
    for i, value in enumerate(asking):
        switch_input(rig, "io0", i, bool(value))
    rig.step()
    assert rig["ripple0/step"] == step
    assert min(rig["pv0/ActivePowerLimit"], 9000) == pytest.approx(export)


@pytest.mark.parametrize(
    ("soc", "mode", "expected"),
    [
        ([50], 0, [4000]),
        ([21], 0, [4000]),
        ([20.5], 0, [2500]),
        ([20], 0, [0]),
        ([18, 19.5, 20], 0, [-800, -800, 0]),
        ([10], 1, [4000]),
    ],
)
def test_backup_reserve(soc, mode, expected):
    rule = (BackupReserve, "backup0", {"ess": "ess0", "recharge_w": 800})
    rig = Rig([meter(), battery()], [rule, fixed(4000)])
    rig["meter0/ActivePower"], rig["ess0/GridMode"] = 0, mode
    rig["ess0/ActivePower"] = 4000 if mode else 0  # what an island draws
    found = []
    for value in soc:
        rig["ess0/Soc"] = value
        found.append(rig.step(dt_s=1)["ess0/SetActivePower"])
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("pv", "soc", "expected"),
    [(0, [30, 20, 20, 20, 30], [4000, 4000, 3000, 2000, 3000]), (2500, [20] * 5, [4000, 3000, 2500, 2500, 2500])],
)
def test_a_reserve_is_approached_by_a_ramp_and_lets_the_pv_of_a_hybrid_pass(pv, soc, expected):
    rule = (BackupReserve, "backup0", {"ess": "ess0", "ramp": 20})
    hybrid = device("ess0", HybridEss, (*ESS, HybridEss.DcDischargePower))
    rig, found = Rig([meter(), hybrid], [rule, fixed(4000)]), []
    for name, value in {"AllowedDischargePower": 5000, "MaxApparentPower": 5000, "ActivePower": 0}.items():
        rig[f"ess0/{name}"] = value
    rig["ess0/DcDischargePower"], rig["meter0/ActivePower"] = -pv, 0
    for value in soc:
        rig["ess0/Soc"] = value
        found.append(rig.step(dt_s=1)["ess0/SetActivePower"])
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("event", "storage", "car", "machine"),
    [
        ({}, 0, 11_000, 5000),
        ({"level": [0.0]}, 0, 11_000, 5000),
        ({"level": [1.0]}, 0, 8250, 3750),
        ({"level": [3.0]}, 0, 0, 0),
        ({"level": [0.0], "import_max_w": [6000.0]}, 2000, 11_000, 5000),
    ],
)
def test_demand_response(event, storage, car, machine):
    rule = (DemandResponse, "dr0", {"grid": "grid", "units": ["evcs0", "load0"]})
    rig = Rig([meter(), battery(), evcs(), load(RatedPower="5000")], [rule])
    rig["meter0/ActivePower"] = 8000
    if event:
        document(rig, "event/meter0", 900, **event)
    rig.step()
    assert rig["ess0/SetActivePower"] == pytest.approx(storage)
    assert (rig["evcs0/SetChargePowerLimit"], rig["load0/SetPower"]) == pytest.approx((car, machine))
