"""What a storage is used for: schedules, prices, states of charge, tests."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise

import pytest
from control_rig import Rig, battery, document, follow, grid_meter
from core_rig import ESS, Scenario, Storage, device, meter, pv

from controllers.balancing_schedule import BalancingSchedule
from controllers.cycle import Cycle, CyclePhase
from controllers.delay_charge import DelayCharge
from controllers.delayed_sell_to_grid import DelayedSellToGrid
from controllers.fix_active_power import FixActivePower
from controllers.fix_state_of_charge import FixStateOfCharge, SocPhase
from controllers.follow_schedule import FollowSchedule
from controllers.grid_optimized_charge import GridOptimizedCharge
from controllers.linear_power_band import LinearPowerBand
from controllers.min_discharge_period import MinDischargePeriod
from controllers.predictive_mpc import PredictiveMpc
from controllers.remote_command import RemoteCommand
from controllers.self_consumption import SelfConsumption
from controllers.soh_cycle import SohCycle, SohPhase
from controllers.standby import Standby
from controllers.time_of_use import PriceMode, TimeOfUse
from server.core.natures import HybridEss
from server.core.ticks import TICKS

BALANCE = (SelfConsumption, "self0", {"grid": "grid", "deadband_w": 0, "rise_w_per_s": 1e9, "fall_w_per_s": 1e9})


def site(*controllers: tuple, grid: float = 0.0, zone: str = "UTC", **measured: float) -> Rig:
    rig = Rig([grid_meter(), battery()], list(controllers), timezone=zone)
    rig["meter0/ActivePower"] = grid
    for name, value in measured.items():
        rig[f"ess0/{name}"] = value
    return rig


def fixed(power_w: float) -> tuple:
    return FixActivePower, "fix0", {"ess": "ess0", "power_w": power_w}


@pytest.mark.parametrize("delay_s", [1.0, 2.0])
def test_self_consumption_does_not_flicker_around_zero_behind_a_slow_plant(delay_s):
    """The trace: nothing but noise for 20 s, a step of 3 kW, back to nothing; the storage answers 1 to 2 s late."""
    rig = Rig([meter(), battery()], [(SelfConsumption, "self0", {"grid": "grid"})])
    noise = [17, -12, 25, -30, 8, 0, -21, 14]

    def demand(t: float) -> float:
        return (3000 if 20 <= t < 60 else 0) + noise[int(t * 7) % 8]

    run = Scenario(rig, [Storage(delay_s=delay_s, lag_s=0.3)]).run(100, demand)
    seconds = run.setpoints[:: round(1 / 0.05)]
    quiet, loaded, after = run.setpoints[: 19 * 20], run.setpoints[30 * 20 : 59 * 20], run.setpoints[75 * 20 :]
    for name, part in (("quiet", quiet), ("loaded", loaded), ("after", after)):
        changes = sum(a != b for a, b in pairwise(part))
        assert changes <= 6, (name, changes, seconds)
        assert max(part) - min(part) <= 160, (name, seconds)
    reversals = sum((a > 0) != (b > 0) and a != 0 for a, b in pairwise(quiet))
    assert reversals <= 1, seconds
    assert sum(loaded) / len(loaded) == pytest.approx(3000, abs=80)
    assert abs(sum(run.grid[40 * 20 : 59 * 20]) / (19 * 20)) < 80


@pytest.mark.parametrize(("after_s", "expected"), [(1, 5000), (899, 5000), (901, 2000), (1801, 4000)])
def test_balancing_schedule(after_s, expected):
    rule = (BalancingSchedule, "plan0", {"grid": "grid", "deadband_w": 0, "ramp_w_per_s": 1e9})
    rig = site(rule, fixed(4000), grid=4000, ActivePower=1000)
    document(rig, "schedule/meter0", 900, power_w=[0.0, 3000.0])
    assert rig.step(dt_s=after_s)["ess0/SetActivePower"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("after_s", "expected", "who"),
    [(1, -2500, "plan0"), (1700, -2500, "plan0"), (1799, -2500, "plan0"), (1801, 800, "self0"), (90_000, 800, "self0")],
)
def test_a_plan_is_followed_while_it_is_fresh_and_then_the_local_rules_are_heard(after_s, expected, who):
    rule = (FollowSchedule, "plan0", {"ess": "ess0", "ramp_w_per_s": 1e9})
    rig = site(rule, BALANCE, grid=800)
    document(rig, "schedule/ess0", 3600, power_w=[-2500.0, 1000.0])
    assert rig.step(dt_s=after_s)["ess0/SetActivePower"] == pytest.approx(expected)
    assert who in rig.text("site/Explanation")


def test_a_new_revision_of_a_plan_is_followed_at_once():
    rig = site((FollowSchedule, "plan0", {"ess": "ess0", "ramp_w_per_s": 1e9}))
    document(rig, "schedule/ess0", 3600, power_w=[-2500.0])
    assert rig.step()["ess0/SetActivePower"] == -2500
    document(rig, "schedule/ess0", 3600, power_w=[1200.0])
    assert rig.step()["ess0/SetActivePower"] == 1200
    assert rig["plan0/planned_w"] == 1200


@pytest.mark.parametrize(
    ("grid", "expected"),
    [(1000, 2000), (1500, 2500), (4000, 3000), (-1000, 1000), (500, 1500)],
)
def test_predictive_mpc_corrects_its_plan_within_a_band(grid, expected):
    rule = (PredictiveMpc, "mpc0", {"ess": "ess0", "grid": "grid", "deadband_w": 0, "ramp_w_per_s": 1e9})
    rig = site(rule, grid=grid, ActivePower=2000)
    document(rig, "plan/ess0", 900, power_w=[2000.0], import_w=[1000.0])
    assert rig.step()["ess0/SetActivePower"] == pytest.approx(expected)


PRICES = [0.30, 0.10, 0.12, 0.20, 0.40, 0.35]


@pytest.mark.parametrize(
    ("hour", "grid", "mode", "expected"),
    [
        (0, 2000, PriceMode.Balancing, 2000),
        (1, 2000, PriceMode.ChargeGrid, -3000),
        (2, 2000, PriceMode.ChargeGrid, -3000),
        (3, 2000, PriceMode.ChargeGrid, -3000),
        (3, -1500, PriceMode.ChargeGrid, -4500),
        (4, 2000, PriceMode.Balancing, 2000),
        (9, 2000, PriceMode.Balancing, 2000),
    ],
)
def test_time_of_use_by_price(hour, grid, mode, expected):
    rule = (TimeOfUse, "tou0", {"ess": "ess0", "grid": "grid", "deadband_w": 0})
    rig = site(rule, grid=grid)
    document(rig, "price/buy", 3600, buy=PRICES)
    for _ in range(8):
        rig.step(dt_s=0.5)
    rig.step(dt_s=hour * 3600 + 1)
    assert rig["tou0/mode"] == mode
    assert rig["ess0/SetActivePower"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("mode", "grid", "soc", "expected"),
    [
        (PriceMode.Balancing, 1200, 50, 1200),
        (PriceMode.DelayDischarge, 1200, 50, 0),
        (PriceMode.DelayDischarge, -1200, 50, -1200),
        (PriceMode.ChargeGrid, 1200, 50, -3000),
        (PriceMode.ChargeGrid, 19_000, 50, -1000),
        (PriceMode.ChargeGrid, 23_000, 50, 3000),
        (PriceMode.ChargeGrid, 1200, 95, 0),
        (PriceMode.DischargeGrid, 1200, 50, 3000),
    ],
)
def test_time_of_use_by_schedule(mode, grid, soc, expected):
    rule = (TimeOfUse, "tou0", {"ess": "ess0", "grid": "grid", "deadband_w": 0})
    rig = site(rule, grid=grid, Soc=soc)
    document(rig, "schedule/ess0", 3600, power_w=[0.0], mode=[float(mode)])
    for _ in range(8):
        rig.step(dt_s=0.5)
    assert rig["ess0/SetActivePower"] == pytest.approx(expected)


@pytest.mark.parametrize(("pv", "expected"), [(0, 0), (2500, 2500), (9000, 5000)])
def test_waiting_for_a_dearer_hour_lets_the_pv_of_a_hybrid_pass(pv, expected):
    rule = (TimeOfUse, "tou0", {"ess": "ess0", "grid": "grid", "deadband_w": 0})
    rig = Rig([grid_meter(), device("ess0", HybridEss, (*ESS, HybridEss.DcDischargePower))], [rule])
    limits = {"AllowedChargePower": -5000, "AllowedDischargePower": 5000, "MaxApparentPower": 5000, "Soc": 50}
    for name, value in (limits | {"ActivePower": 1000, "DcDischargePower": 1000 - pv}).items():
        rig[f"ess0/{name}"] = value
    rig["meter0/ActivePower"] = 20_000
    document(rig, "schedule/ess0", 3600, power_w=[0.0], mode=[float(PriceMode.DelayDischarge)])
    for _ in range(4):
        rig.step(dt_s=0.5)
    assert rig["ess0/SetActivePower"] == pytest.approx(expected)


@pytest.mark.parametrize(("grid", "expected"), [(-8000, -3000), (-5000, 0), (-3000, 0), (-1000, 1000), (500, 2500)])
def test_delayed_sell_to_grid(grid, expected):
    rule = (DelayedSellToGrid, "sell0", {"grid": "grid", "export_max_w": 5000, "continuous_w": 2000, "deadband_w": 0})
    assert site(rule, grid=grid).step()["ess0/SetActivePower"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("local", "limit"),
    [("2026-07-01 06:00", 800), ("2026-07-01 08:00", 1029), ("2026-07-01 14:00", 7200), ("2026-07-01 17:00", None)],
)
def test_delay_charge(local, limit):
    rule = (DelayCharge, "delay0", {"ess": "ess0", "target_hour": 15})
    rig = site(rule, fixed(-9000), zone="Europe/Berlin", Soc=20, Capacity=9000, AllowedChargePower=-10_000)
    rig.at(datetime.fromisoformat(local))
    rig.step(dt_s=0.0)
    assert rig["delay0/charge_max_w"] == (None if limit is None else pytest.approx(limit, abs=1))
    assert rig["ess0/SetActivePower"] == pytest.approx(-9000 if limit is None else -limit, abs=1)


def test_grid_optimized_charge_keeps_room_until_the_surplus_ends_and_stores_what_may_not_be_exported():
    rule = (GridOptimizedCharge, "goc0", {"ess": "ess0", "grid": "grid", "export_max_w": 7000, "caution_h": 1, "ramp": 100})
    rig = Rig([grid_meter(), battery(), pv()], [rule, BALANCE])
    rig["ess0/Soc"], rig["ess0/MaxApparentPower"], rig["ess0/AllowedChargePower"] = 50, 5000, -5000
    rig.at(datetime.fromisoformat("2026-07-01 10:00"))
    document(rig, "forecast/production", 3600, power_w=[5000.0] * 6 + [0.0] * 10)
    document(rig, "forecast/consumption", 3600, power_w=[500.0] * 16)
    rig["meter0/ActivePower"], rig["pv0/ActivePower"] = -4000, 4500
    assert rig.step(dt_s=61)["ess0/SetActivePower"] == pytest.approx(-5000 / 5, abs=10)
    rig["meter0/ActivePower"] = -9500
    assert rig.step(dt_s=1)["ess0/SetActivePower"] == pytest.approx(-2500)
    document(rig, "forecast/production", 3600, power_w=[1000.0] * 6)
    rig["meter0/ActivePower"] = -4000
    assert rig.step(dt_s=61)["ess0/SetActivePower"] == pytest.approx(-4000)


def test_a_full_storage_without_a_surplus_to_come_delays_nothing_and_the_export_limit_holds():
    rule = (GridOptimizedCharge, "goc0", {"ess": "ess0", "grid": "grid", "export_max_w": 5000})
    rig = Rig([grid_meter(), battery(), pv()], [rule])
    rig.at(datetime.fromisoformat("2026-12-21 16:00"))
    document(rig, "forecast/production", 3600, power_w=[100.0] * 8)
    document(rig, "forecast/consumption", 3600, power_w=[500.0] * 8)
    rig["ess0/Soc"], rig["ess0/AllowedChargePower"] = 100, 0
    rig["meter0/ActivePower"], rig["pv0/ActivePower"] = -8000, 9000
    assert rig.step()["pv0/ActivePowerLimit"] == pytest.approx(6000)
    assert "controller_fault" not in rig.kinds()


def test_what_may_not_be_exported_is_let_go_calmly():
    rule = (GridOptimizedCharge, "goc0", {"ess": "ess0", "grid": "grid", "export_max_w": 5000, "mode": "Off", "ramp": 5})
    rig, found = site(rule, ActivePower=0), []
    for grid in (-7000, -7000, -4000, -4000):
        rig["meter0/ActivePower"] = grid
        found.append((rig.step(dt_s=1)["ess0/SetActivePower"], rig["goc0/charge_min_w"]))
    assert found == [pytest.approx(pair) for pair in [(-2000, 2000), (-2000, 2000), (-1500, 1500), (-1000, 1000)]]


def test_charging_waits_until_it_is_worth_while():
    settings = {"ess": "ess0", "grid": "grid", "mode": "Manual", "manual_hour": 16, "least": 10, "ramp": 100}
    rig = site((GridOptimizedCharge, "goc0", settings), fixed(-9000), Soc=70)
    found = []
    for clock in ("2026-07-01 10:00", "2026-07-01 12:59", "2026-07-01 13:01"):
        rig.at(datetime.fromisoformat(clock))
        found.append((rig.step(dt_s=1)["ess0/SetActivePower"], rig["goc0/starts_in_s"]))
    assert found == [pytest.approx(pair, abs=7) for pair in [(0, 3 * 3600), (0, 60), (-1005, 0)]]


def test_a_battery_is_emptied_and_rests_before_its_state_of_charge_is_set():
    settings = {"ess": "ess0", "target": 30, "ramp": 100, "reference": True, "rest_s": 3}
    rig, found = site((FixStateOfCharge, "soc0", settings), Soc=40), []
    for soc in (40, 1, 0, 0, 0, 0, 10):
        rig["ess0/Soc"] = soc
        found.append((rig.step(dt_s=1)["ess0/SetActivePower"], rig["soc0/phase"]))
    rests, goes = (0, SocPhase.Reference), (-3000, SocPhase.Below)
    assert found == [(3000, SocPhase.Reference)] * 2 + [rests] * 2 + [goes] * 3


def test_grid_optimized_charge_by_hand():
    rule = (GridOptimizedCharge, "goc0", {"ess": "ess0", "grid": "grid", "mode": "Manual", "manual_hour": 15, "ramp": 100})
    rig = site(rule, fixed(-9000), Soc=50)
    for clock, limit in (("2026-07-01 10:00", 1000), ("2026-07-01 14:00", 5000), ("2026-07-01 16:00", 5000)):
        rig.at(datetime.fromisoformat(clock))
        assert rig.step(dt_s=1)["ess0/SetActivePower"] == pytest.approx(-limit, abs=2)


@pytest.mark.parametrize(
    ("soc", "expected", "phase"),
    [
        (50, 3000, SocPhase.Above),
        (10, -3000, SocPhase.Below),
        (31.5, 10_000 / 6, SocPhase.Within),
        (28.5, -10_000 / 6, SocPhase.Within),
        (30, 0, SocPhase.AtTarget),
    ],
)
def test_fix_state_of_charge(soc, expected, phase):
    rig = site((FixStateOfCharge, "soc0", {"ess": "ess0", "target": 30, "ramp": 100}), Soc=soc)
    assert rig.step(dt_s=1)["ess0/SetActivePower"] == pytest.approx(expected)
    assert rig["soc0/phase"] == phase


def test_a_state_of_charge_is_held_at_its_target_and_reached_by_a_ramp():
    rig = site((FixStateOfCharge, "soc0", {"ess": "ess0", "target": 30, "ramp": 5}), Soc=50)
    assert [rig.step(dt_s=1)["ess0/SetActivePower"] for _ in range(3)] == pytest.approx([150, 300, 450])
    found = []
    for soc in (30.1, 29.0, 31.9, 27.9):
        rig["ess0/Soc"] = soc
        rig.step(dt_s=100)
        found.append(rig["soc0/phase"])
    assert found == [SocPhase.AtTarget] * 3 + [SocPhase.Below]


@pytest.mark.parametrize(("clock", "expected"), [("00:00", None), ("04:10", None), ("05:00", -3000)])
def test_a_state_of_charge_is_reached_just_in_time(clock, expected):
    settings = {"ess": "ess0", "target": 80, "just_in_time": True, "target_hour": 7, "ramp": 100, "buffer_h": 0.5}
    rig = site((FixStateOfCharge, "soc0", settings), fixed(123), Soc=20)
    rig.at(datetime.fromisoformat(f"2026-07-01 {clock}"))
    assert rig.step(dt_s=1)["ess0/SetActivePower"] == (123 if expected is None else expected)


def test_min_discharge_period():
    rule = (MinDischargePeriod, "min0", {"ess": "ess0", "activate_w": 3000, "least_w": 1500, "hold_s": 10})
    rig = site(rule)
    found = []
    for power in (0, 3500, 500, 1500, 1500):
        rig["ess0/ActivePower"] = power
        found.append(rig.step(dt_s=4)["ess0/SetActivePower"])
    assert found == [0, 1500, 1500, 1500, 0]


def test_linear_power_band():
    settings = {"ess": "ess0", "low_w": -1000, "high_w": 1000, "slope_w_per_s": 300}
    rig = site((LinearPowerBand, "band0", settings))
    found = [rig.step(dt_s=1)["ess0/SetActivePower"] for _ in range(10)]
    assert found == pytest.approx([-300, -600, -900, -1000, -700, -400, -100, 200, 500, 800])


def test_cycles_with_rests_and_a_final_state_of_charge():
    rule = (Cycle, "cycle0", {"ess": "ess0", "power_w": 2000, "rest_s": 5, "cycles": 2, "low": 10, "high": 90})
    rig = site(rule)
    seen = []
    for soc in (50, 90, 90, 50, 10, 10, 50, 90, 90, 10, 10, 30, 50, 50):
        rig["ess0/Soc"] = soc
        seen.append((rig.step(dt_s=5)["ess0/SetActivePower"], CyclePhase(rig["cycle0/phase"]).name))
    names = [name for _, name in seen]
    one = ["Charge", "RestFull", "Discharge", "Discharge", "RestEmpty"]
    assert names == [*one, "Charge", "Charge", "RestFull", "Discharge", "RestEmpty", "Final", "Final", "Done", "Done"]
    assert [power for power, _ in seen][:6] == [-2000, 0, 2000, 2000, 0, -2000]
    assert seen[10][0] == -2000
    assert rig["cycle0/done"] == 2


def test_the_capacity_is_what_the_slow_discharge_gave():
    rule = (SohCycle, "soh0", {"ess": "ess0", "nominal_wh": 10_000, "rest_s": 60})
    rig = site(rule, Soc=0)
    wh, capacity = 0.0, 9000.0
    phases = []
    for _ in range(2000):
        rig.step(dt_s=30)
        follow(rig)
        wh = min(max(wh - rig["ess0/SetActivePower"] * 30 / 3600, 0.0), capacity)
        rig["ess0/Soc"] = 100 * wh / capacity
        phases.append(SohPhase(rig["soh0/phase"]))
    assert list(dict.fromkeys(phases)) == [SohPhase.Charge, SohPhase.RestFull, SohPhase.Measure, SohPhase.Done]
    assert rig["soh0/soh"] == pytest.approx(90, abs=0.5)
    assert rig["soh0/measured_wh"] == pytest.approx(9000, rel=0.005)


@pytest.mark.parametrize("unknown", ["Soc", "ActivePower"])
@pytest.mark.parametrize(("missed_s", "phase", "soh"), [(4, SohPhase.Done, 100), (3600, SohPhase.Charge, None)])
def test_a_capacity_is_not_measured_over_an_hour_that_was_not_seen(unknown, missed_s, phase, soh):
    rig = site((SohCycle, "soh0", {"ess": "ess0", "nominal_wh": 10_000, "rest_s": 0}), Soc=0, ActivePower=2000)
    rig.step(dt_s=1)
    rig["ess0/Soc"] = 100
    for _ in range(2):
        rig.step(dt_s=1)
    assert rig["soh0/phase"] == SohPhase.Measure
    rig["ess0/Soc"] = 50
    for cycle in range(18_000 // 4):
        blind = 2 <= cycle < 2 + missed_s // 4
        rig[f"ess0/{unknown}"] = None if blind else {"Soc": 50, "ActivePower": 2000}[unknown]
        rig.step(dt_s=4)
    rig["ess0/Soc"] = 0
    rig.step(dt_s=4)
    assert rig["soh0/phase"] == phase
    assert rig["soh0/soh"] == (None if soh is None else pytest.approx(soh, abs=0.1))


@pytest.mark.parametrize(
    ("allowed", "power", "after"),
    [
        ("AllowedDischargePower", None, [SohPhase.Measure, CyclePhase.Discharge]),
        ("AllowedDischargePower", 0, [SohPhase.Done, CyclePhase.RestEmpty]),
        ("AllowedChargePower", 0, [SohPhase.Measure, CyclePhase.Discharge]),
    ],
)
def test_a_discharge_ends_where_the_battery_allows_no_more_and_not_where_that_is_not_known(allowed, power, after):
    soh = SohCycle, "soh0", {"ess": "ess0", "nominal_wh": 10_000, "rest_s": 0}
    rig = site(soh, (Cycle, "cycle0", {"ess": "ess0", "power_w": 1000, "rest_s": 0}), Soc=0)
    for percent in (0, 100, 100, 50):
        rig["ess0/Soc"] = percent
        rig.step()
    rig[f"ess0/{allowed}"] = power
    rig.step()
    assert [rig["soh0/phase"], rig["cycle0/phase"]] == after


def test_a_capacity_is_not_measured_over_a_restart_that_took_long():
    rule = SohCycle, "soh0", {"ess": "ess0", "nominal_wh": 10_000, "rest_s": 0}
    rig = site(rule, Soc=100, ActivePower=2000)
    rig.engine.restore({"controllers": {"soh0": {"state": {"phase": SohPhase.Measure, "counted_at": rig.time - 60 * TICKS}}}})
    assert rig.step()["soh0/phase"] == SohPhase.RestFull


@pytest.mark.parametrize(
    ("clock", "grid", "soc", "expected"),
    [
        ("2026-07-04 10:00", 3000, 60, 0),
        ("2026-07-05 10:00", 3000, 60, 3000),
        ("2026-07-05 10:00", -3000, 60, 0),
        ("2026-07-05 10:00", 3000, 15, 0),
        ("2026-07-05 15:00", -3000, 60, -3000),
        ("2026-07-05 15:00", 3000, 60, 0),
        ("2026-07-05 15:00", -3000, 85, 0),
        ("2026-07-05 22:00", -3000, 60, 0),
        ("2026-02-01 10:00", 3000, 60, 0),
    ],
)
def test_standby_exercises_on_one_day(clock, grid, soc, expected):
    rule = (Standby, "standby0", {"ess": "ess0", "grid": "grid", "from_month": 3})
    rig = site(rule, grid=grid, Soc=soc)
    rig.at(datetime.fromisoformat(clock))
    assert rig.step()["ess0/SetActivePower"] == pytest.approx(expected)


def test_a_remote_command_holds_while_its_heartbeat_changes():
    rule = (RemoteCommand, "remote0", {"ess": "ess0", "timeout_s": 10, "ramp_w_per_s": 1e9})
    rig = site(rule)
    rig.step(("remote0/power_w", 2500))
    assert rig["ess0/SetActivePower"] == 0
    rig.step(("remote0/heartbeat", 1))
    assert rig["ess0/SetActivePower"] == 2500
    assert [rig.step(dt_s=4)["ess0/SetActivePower"] for _ in range(3)] == [2500, 2500, 0]
    assert rig.step(("remote0/heartbeat", 2))["ess0/SetActivePower"] == 2500
