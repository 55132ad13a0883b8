"""The engine as a whole: what clients write, what controllers do wrong, what survives, what is shown."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from math import nan

import pytest
from core_rig import Rig, VirtualGuard, ess, evcs, load, meter, pv

from controllers.limit_total_discharge import LimitTotalDischarge
from controllers.manual_override import ManualOverride
from controllers.peak_shaving import PeakShaving
from controllers.pv_limit import PvLimit
from controllers.self_consumption import SelfConsumption
from server.core.constraint import Add, Bound, Target
from server.core.controller import (
    Controller,
    ControllerOutputs,
    ControllerParams,
    EssRef,
    EvcsRef,
    GridRef,
    MeterRef,
    PvRef,
    param,
    shown,
)
from server.core.follower import REST_S, START_S, Followers
from server.core.image import Image
from server.core.layout import DEVICE, ChannelUse, ObjectSpec
from server.core.natures import Device, DigitalIo, HeatPump, RunState, SiteMode
from server.core.status import BAD_NO_COMMUNICATION, UNCERTAIN_SUB_NORMAL
from server.core.step import OverBudget
from server.core.units import Watt

MANUAL = (ManualOverride, "manual0", {})
PEAK = (PeakShaving, "peak0", {"grid": "grid", "import_max_w": 8000})
SELF = (SelfConsumption, "self0", {"grid": "grid", "deadband_w": 0, "rise_w_per_s": 1e9, "fall_w_per_s": 1e9})
FLOOR = (LimitTotalDischarge, "floor0", {"ess": "ess0", "min_soc": 15})


class Speechless(Exception):
    def __str__(self):
        raise RuntimeError("no words")


class Moody(Controller):
    """Fails as its parameter says."""

    priority = 5

    class Params(ControllerParams):
        ess: EssRef = param("The storage.")
        mood: float = param("0 works, 1 raises, 2 loops, 3 asks for NaN, 4 asks nonsense, 5 shows nonsense.", default=0.0)
        power_w: Watt = param("Power to ask for.", low=-1e6, high=1e6, default=1000.0)
        calm: bool = param("A switch.", default=True)

    @dataclass
    class State:
        runs: int = 0

    class Outputs(ControllerOutputs):
        runs: float = shown("How often it ran.")

    def run(self, image, now):
        self.state.runs += 1
        self.out.runs = "often" if self.params.mood == 5 else self.state.runs
        yield Bound(self.params.ess.power, at_least=self.params.power_w, why="is moody")
        if self.params.mood == 1:
            raise RuntimeError("bad day")
        if self.params.mood == 2:
            raise OverBudget
        if self.params.mood == 3:
            yield Bound(self.params.ess.power, at_most=nan)
        if self.params.mood == 4:
            yield "nonsense"
        if self.params.mood == 6:
            sys.exit("good bye")
        if self.params.mood == 7:
            raise Speechless
        if self.params.mood == 8:
            raise ValueError("x" * 2_000_000)
        if self.params.mood == 9:
            raise KeyError(self.state.runs)


MOODY = (Moody, "moody0", {"ess": "ess0"})


def running(*controllers, devices=None, **site) -> Rig:
    rig = Rig(devices or [meter(), ess()], controllers, **site)
    return rig.step()


def test_the_demo_in_one_line():
    rig = running(PEAK, SELF)
    rig["meter0/ActivePower"] = 3000
    assert rig.step()["ess0/SetActivePower"] == 3000
    rig["ess0/AllowedDischargePower"] = 2500
    rig["meter0/ActivePower"] = 10_000
    assert rig.step()["ess0/SetActivePower"] == 2500
    for _ in range(21):
        rig.step()
    assert rig.text("site/Explanation").startswith("ess0 discharges 2.5 kW: ")
    assert "self0 balances import to 0 W (asks 10 kW)" in rig.text("site/Explanation")
    assert rig.text("peak0/Explanation") == "keeps import under 8 kW: asks ≥ 2 kW"
    assert rig.text("self0/Explanation") == "balances import to 0 W: wants 10 kW, gets 2.5 kW: the units can do no more"


def test_an_unmet_limit_and_an_unmet_want_are_named():
    rig = running(FLOOR, PEAK, SELF)
    rig["ess0/Soc"] = 10
    rig["meter0/ActivePower"] = 12_000
    for _ in range(22):
        rig.step()
    expected = "ess0 rests: floor0 blocks discharge at 15 % charge (asks ≤ 0 W); peak0 wanted ≥ 4 kW; self0 wanted 12 kW"
    assert rig.text("site/Explanation") == expected
    assert rig.text("peak0/Explanation") == "keeps import under 8 kW: asks ≥ 4 kW, gets ≥ 0 W: floor0 allows no more"


@pytest.mark.parametrize(
    ("mood", "cause"),
    [
        (1, "RuntimeError: bad day"),
        (2, "took longer than 5 ms"),
        (3, "ConstraintError: ess0: nan is not a finite number"),
        (4, "ConstraintError: 'nonsense' is no constraint"),
        (5, "ValueError: could not convert string to float: 'often'"),
        (6, "SystemExit: good bye"),
        (7, "Speechless"),
        (8, "ValueError: " + "x" * 985 + "…"),
        (9, "KeyError: 3"),
    ],
)
def test_a_controller_that_fails_is_isolated_shown_counted_and_tried_again(mood, cause):
    rig = running(MOODY, SELF)
    rig["meter0/ActivePower"] = 500
    rig.step(("moody0/mood", mood))
    rig.step()
    assert rig["ess0/SetActivePower"] == 500
    assert rig["moody0/RunState"] == RunState.Fault
    assert rig["moody0/ErrorCount"] == 2
    assert rig["moody0/runs"] is None
    assert rig.text("moody0/Explanation").startswith(f"failed: {cause}"[:900])
    assert rig["site/WorstState"] == 2
    assert rig["self0/RunState"] == RunState.Active
    assert rig.kinds().count("controller_fault") == 1
    rig.step(("moody0/mood", 0))
    assert rig["ess0/SetActivePower"] == 1000
    assert rig["moody0/runs"] == 4
    assert rig["moody0/RunState"] == RunState.Active
    assert rig.kinds().count("controller_recovered") == 1
    assert rig.engine.healthy


class Ticking(VirtualGuard):
    """A clock that moves with every look, and counts alarms."""

    armings = 0

    def clock_ns(self) -> int:
        self.now_ns += 1_000_000
        return self.now_ns

    def arm(self, seconds: float) -> None:
        super().arm(seconds)
        self.armings += 1


def test_time_is_measured_and_the_alarm_is_set_anew_before_it_gets_short():
    guard = Ticking()
    rig = Rig([meter(), ess()], [MOODY, PEAK, SELF], guard=guard)
    rig.step()
    assert rig["moody0/LastRunDuration"] == pytest.approx(0.001)
    assert guard.armings == 2
    assert not guard.armed


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"ess": "ess9"}, "site.toml: moody0.ess: 'ess9' is not in this site"),
        ({"ess": "meter0"}, "site.toml: moody0.ess: 'meter0' is no ManagedEss (it is: Device, Meter)"),
    ],
)
def test_a_controller_that_does_not_fit_the_site_stays_at_fault_with_the_reason(settings, cause):
    rig = running((Moody, "moody0", settings), SELF)
    assert rig["moody0/RunState"] == RunState.Fault
    assert rig.text("moody0/Explanation") == cause
    assert rig["self0/RunState"] == RunState.Active
    rig.step(("moody0/mood", 1))
    assert "the controller does not run" in rig.out.events[-1][1]


def test_references_say_what_is_missing():
    class Wide(Controller):
        class Params(ControllerParams):
            grid: GridRef = param("g")
            meter: MeterRef = param("m", default="meter0")
            pv: PvRef = param("p", default="pv0")

        def run(self, image, now):
            return ()

    ok = Rig([meter(), ess(), pv()], [(Wide, "w", {"grid": "grid"})])
    assert ok.step()["w/RunState"] == RunState.Idle
    none = Rig([meter(), ess(), pv()], [(Wide, "w", {"grid": "grid"})], grid_meter="")
    none.step()
    assert none.text("w/Explanation") == "site.toml: w.grid: the site has no grid meter"
    feeder = Rig([meter(), ess(), pv()], [(Wide, "w", {"grid": "pv0"})])
    feeder.step()
    assert feeder.text("w/Explanation") == "site.toml: w.grid: 'pv0' is no meter with units connected to it"


@pytest.mark.parametrize(
    ("node", "value", "refusal"),
    [
        ("peak0/import_max_w", -5, "peak0.import_max_w: -5 is not in 0..1e+09"),
        ("peak0/import_max_w", nan, "peak0/import_max_w: nan is not a finite number"),
        ("moody0/calm", 2, "moody0.calm: 2 is neither true nor false"),
        ("peak0/Enabled", 2, "peak0/Enabled: 2 is neither 1 (on) nor 0 (off)"),
        ("site/Mode", 4, "site/Mode: 4 is no mode to wish for, expected 1 Standby, 2 Run, 5 Shutdown"),
        ("site/OverrideRemaining", 90_000, "site/OverrideRemaining: 90000 is not in 0..86400"),
        ("site/EmergencyStopActive", 3, "site/EmergencyStopActive: 3 is neither 1 (stop) nor 0 (reset)"),
        (
            "ess0/SetActivePower",
            100,
            "ess0/SetActivePower: set-points are written by hand only while the manual override is active",
        ),
        ("ess0/ActivePower", 100, "ess0/ActivePower: is not written by clients"),
        ("cycle/Slips", 0, "cycle/Slips: is not written by clients"),
    ],
)
def test_a_write_that_cannot_be_taken_changes_nothing_and_says_why(node, value, refusal):
    rig = running(PEAK, MOODY)
    before = json.dumps(rig.engine.state())
    rig.step((node, value))
    assert rig.out.events[-1][:2] == ("write_refused", refusal)
    assert rig.out.events[-1][2]["user"] == 7
    after = json.loads(json.dumps(rig.engine.state()))
    after["controllers"]["moody0"]["state"] = json.loads(before)["controllers"]["moody0"]["state"]
    assert after == json.loads(before)


def test_a_write_to_an_unknown_slot_is_refused():
    rig = running()
    rig.layout.by_node["nowhere"] = replace(rig.layout.channels[0], slot=99_999)
    rig.step(("nowhere", 1.0))
    assert rig.out.events[-1][:2] == ("write_refused", "slot 99999: is not written by clients")


def test_parameters_are_shown_changed_and_take_effect_in_the_same_cycle():
    rig = running(PEAK)
    assert (rig["peak0/import_max_w"], rig["peak0/Priority"], rig["peak0/Enabled"]) == (8000, 10, 1)
    rig["meter0/ActivePower"] = 9000
    assert rig.step(("peak0/import_max_w", 6000))["ess0/SetActivePower"] == 3000
    assert rig["peak0/import_max_w"] == 6000


def test_a_disabled_controller_is_not_heard():
    rig = running(PEAK)
    rig["meter0/ActivePower"] = 9000
    assert rig.step()["ess0/SetActivePower"] == 1000
    rig.step(("peak0/Enabled", 0))
    assert (rig["ess0/SetActivePower"], rig["peak0/RunState"], rig["peak0/Enabled"]) == (0, RunState.Disabled, 0)
    assert rig.text("peak0/Explanation") == "disabled"


def test_configuration_may_disable_a_controller_and_give_it_another_priority():
    first = (SelfConsumption, "late0", {"grid": "grid", "target_w": 500, "priority": 30, "rise_w_per_s": 1e9})
    second = (SelfConsumption, "early0", {"grid": "grid", "target_w": 100, "priority": 19, "deadband_w": 0, "rise_w_per_s": 1e9})
    third = (SelfConsumption, "off0", {"grid": "grid", "target_w": 900, "priority": 1, "enabled": False})
    rig = running(first, second, third)
    rig["meter0/ActivePower"] = 1000
    assert rig.step()["ess0/SetActivePower"] == 900
    assert rig["off0/RunState"] == RunState.Disabled


def test_of_equal_priority_the_first_in_the_configuration_wins():
    one = (Moody, "zeta", {"ess": "ess0", "power_w": 700})
    two = (Moody, "alpha", {"ess": "ess0", "power_w": 300})

    class Cap(Controller):
        priority = 5

        class Params(ControllerParams):
            ess: EssRef = param("e")
            power_w: Watt = param("w")

        def run(self, image, now):
            yield Bound(self.params.ess.power, equals=self.params.power_w)

    rig = running((Cap, "zeta", {"ess": "ess0", "power_w": 700}), (Cap, "alpha", {"ess": "ess0", "power_w": 300}))
    assert rig["ess0/SetActivePower"] == 700
    assert running(one, two)["ess0/SetActivePower"] == 700


def test_manual_override_holds_set_points_until_its_time_is_over():
    rig = running(MANUAL, SELF, devices=[meter(), ess(), pv(), evcs()])
    rig["meter0/ActivePower"] = 2000
    rig.step(("site/OverrideRemaining", 10), ("ess0/SetActivePower", -1000), ("pv0/ActivePowerLimit", 4000))
    assert (rig["ess0/SetActivePower"], rig["pv0/ActivePowerLimit"]) == (-1000, 4000)
    assert rig["site/OverrideRemaining"] == 10
    for _ in range(21):
        rig.step()
    assert "manual0 holds what user 7 set by hand" in rig.text("site/Explanation")
    rig.step(dt_s=8)
    assert rig["ess0/SetActivePower"] == -1000
    rig.step(dt_s=2)
    assert rig["ess0/SetActivePower"] == 2000
    assert rig["site/OverrideRemaining"] == 0
    assert "override_ended" in rig.kinds()


def test_releasing_the_override_forgets_what_was_written():
    rig = running(MANUAL, SELF)
    rig.step(("site/OverrideRemaining", 100), ("ess0/SetActivePower", -1000))
    rig.step(("site/OverrideRemaining", 0))
    rig.step(("site/OverrideRemaining", 100))
    assert rig["ess0/SetActivePower"] == 0


def test_a_hand_cannot_overload_the_fuse_nor_discharge_below_the_floor():
    """REQ-SAFE-011, REQ-SAFE-013"""
    rig = running(FLOOR, MANUAL, import_max_w=5000.0)
    rig["meter0/ActivePower"] = 4000
    rig.step(("site/OverrideRemaining", 100), ("ess0/SetActivePower", -4000))
    assert rig["ess0/SetActivePower"] == -1000
    rig["ess0/Soc"] = 10
    rig["ess0/ActivePower"] = -1000
    rig["meter0/ActivePower"] = 3000
    rig.step(("ess0/SetActivePower", 4000))
    assert rig["ess0/SetActivePower"] == 0


def test_emergency_stop_gives_safe_values_in_the_cycle_that_hears_it():
    """REQ-SAFE-031"""
    rig = running(MOODY, MANUAL, SELF, devices=[meter(), ess(), pv(), evcs()])
    rig["meter0/ActivePower"] = 3000
    rig.step(("site/OverrideRemaining", 100), ("ess0/SetActivePower", 3000))
    assert rig["ess0/SetActivePower"] == 3000
    rig.step(("site/EmergencyStopActive", 1), ("moody0/mood", 1))
    outputs = ("ess0/SetActivePower", "ess0/SetReactivePower", "pv0/ActivePowerLimit", "evcs0/SetChargePowerLimit")
    assert [rig[n] for n in outputs] == [0, 0, 0, 0]
    assert (rig["site/EmergencyStopActive"], rig["site/Mode"], rig["site/WorstState"]) == (1, SiteMode.Fault, 3)
    assert rig.text("site/Explanation") == "All outputs are at safe values: emergency stop by user 7"
    rig["meter0/ActivePower"] = None
    rig["ess0/ActivePower"] = None
    assert [rig.step()[n] for n in outputs] == [0, 0, 0, 0]


@pytest.mark.parametrize(("away_s", "left_s", "setpoint_w"), [(0.0, 500, -300), (120.0, 380, -300), (500.1, 0, 0), (9e9, 0, 0)])
def test_the_time_of_an_override_runs_while_control_is_away(away_s: float, left_s: float, setpoint_w: float):
    rig = running(MANUAL)
    rig.step(("site/OverrideRemaining", 500), ("ess0/SetActivePower", -300))
    again = Rig([meter(), ess()], [MANUAL])
    again.engine.restore(rig.engine.state(), away_s)
    again["meter0/ActivePower"] = 0
    again.step()
    again.step()
    assert again["site/OverrideRemaining"] == pytest.approx(left_s, abs=2)
    assert again["ess0/SetActivePower"] == setpoint_w
    assert again.kinds().count("override_ended") == (left_s == 0)


def test_a_trip_survives_a_restart_and_ends_with_its_reset():
    """REQ-SAFE-032"""
    rig = running(SELF)
    rig.step(("site/EmergencyStopActive", 1))
    saved = json.loads(json.dumps(rig.engine.state()))
    again = Rig([meter(), ess()], [SELF])
    again.engine.restore(saved)
    again["meter0/ActivePower"] = 1000
    again.step()
    assert (again["site/EmergencyStopActive"], again["ess0/SetActivePower"]) == (1, 0)
    again.step(("site/EmergencyStopActive", 0))
    assert (again["site/Mode"], again["ess0/SetActivePower"]) == (SiteMode.Run, 1000)


def test_device_limits_hold_whatever_is_asked():
    """REQ-SAFE-001"""
    rig = running((Moody, "moody0", {"ess": "ess0", "power_w": 90_000}))
    assert rig["ess0/SetActivePower"] == 5000
    rig["ess0/AllowedDischargePower"] = 1200
    assert rig.step()["ess0/SetActivePower"] == 1200
    rig["ess0/MaxApparentPower"] = 800
    assert rig.step()["ess0/SetActivePower"] == 800
    rig["ess0/AllowedDischargePower"] = None
    assert rig.step()["ess0/SetActivePower"] == 0
    for _ in range(21):
        rig.step()
    assert "AllowedDischargePower of ess0 not known" in rig.text("site/Explanation")


@pytest.mark.parametrize(
    ("node", "value", "why"),
    [
        ("ess0/AllowedDischargePower", None, "AllowedDischargePower of ess0 not known"),
        ("ess0/ActivePower", None, "the power of ess0 is not known"),
        ("ess0/State", 3.0, "ess0 is in fault"),
    ],
)
def test_what_is_bad_missing_or_in_fault_has_nothing_to_give(node, value, why):
    """REQ-SAFE-002"""
    rig = running((Moody, "moody0", {"ess": "ess0", "power_w": 90_000}))
    rig[node] = value
    assert rig.step(dt_s=1.0)["ess0/SetActivePower"] == 0
    assert why in rig.text("site/Explanation")


def test_a_power_beyond_belief_is_not_reckoned_with():
    rig = Rig([meter(), ess(), ess("ess1"), evcs()], [SELF], import_max_w=8000)
    rig["meter0/ActivePower"], rig["evcs0/ChargePower"], rig["ess1/ActivePower"] = 2000, 1e9, -1e9
    rig["ess1/MaxApparentPower"] = 10_000
    assert rig.step(dt_s=1)["ess0/SetActivePower"] == 2000
    assert rig["evcs0/SetChargePowerLimit"] is None
    assert rig["ess1/SetActivePower"] == 0
    assert "the power of ess1 is beyond belief" in rig.text("site/Explanation")
    assert "the power of evcs0 is beyond belief" in rig.text("site/Explanation")


def test_an_apparent_power_below_zero_is_not_known():
    """REQ-SAFE-001"""
    rig = running((Moody, "moody0", {"ess": "ess0", "power_w": 90_000}))
    rig["ess0/MaxApparentPower"] = -1e9
    assert rig.step()["ess0/SetActivePower"] == 5000


def test_a_storage_whose_limits_force_it_follows_them():
    rig = running()
    rig["ess0/AllowedChargePower"] = -5000
    rig["ess0/AllowedDischargePower"] = -700
    assert rig.step()["ess0/SetActivePower"] == -700


def test_the_fuse_is_kept_without_any_controller():
    """REQ-SAFE-011"""
    rig = running(import_max_w=5000.0, export_max_w=2000.0, devices=[meter(), ess(), pv()])
    rig["meter0/ActivePower"] = 7000
    assert rig.step()["ess0/SetActivePower"] == 2000
    rig["meter0/ActivePower"] = -5000
    rig["pv0/ActivePower"] = 9000
    assert rig.step()["ess0/SetActivePower"] == -3000
    for _ in range(21):
        rig.step()
    assert rig.text("site/Explanation") == "ess0 charges 3 kW: fuse keeps export under 2 kW (asks ≤ -3 kW)"


def test_a_step_that_does_not_end_is_not_healthy():
    """REQ-SAFE-021"""
    rig = running()
    assert rig.engine.healthy

    def fail(kind: str, text: str, data: dict[str, object]) -> None:
        raise OSError("no memory")

    rig.out.event = fail
    with pytest.raises(OSError, match="no memory"):
        rig.step(("site/EmergencyStopActive", 1))
    assert not rig.engine.healthy


@pytest.mark.parametrize(
    ("wish", "mode", "setpoint"),
    [(SiteMode.Run, SiteMode.Run, 1000), (SiteMode.Standby, SiteMode.Standby, 0), (SiteMode.Shutdown, SiteMode.Shutdown, None)],
)
def test_the_wished_mode_decides_whether_set_points_are_asserted(wish, mode, setpoint):
    """REQ-SAFE-012"""
    rig = running(SELF)
    rig["meter0/ActivePower"] = 1000
    rig.step(("site/Mode", wish))
    assert (rig["site/Mode"], rig["ess0/SetActivePower"]) == (mode, setpoint)
    rig.step(("site/Mode", SiteMode.Run))
    assert rig.step()["ess0/SetActivePower"] == 1000


def test_nothing_is_asserted_before_meter_and_units_are_measured():
    """REQ-SAFE-012"""
    rig = Rig([meter(), ess()], [SELF])
    rig["meter0/ActivePower"] = None
    rig.step()
    assert (rig["site/Mode"], rig["ess0/SetActivePower"], rig["self0/RunState"]) == (SiteMode.Init, None, RunState.Idle)
    assert rig.text("site/Explanation") == "Init: waiting for the grid meter and at least one unit"
    rig["meter0/ActivePower"] = 900
    assert rig.step()["ess0/SetActivePower"] == 900


def test_a_lost_meter_silences_what_needs_it_and_after_a_while_the_site():
    rig = running(SELF, FLOOR)
    rig["meter0/ActivePower"] = 900
    rig.step()
    rig["meter0/ActivePower"] = None
    for _ in range(21):
        rig.step()
    assert (rig["ess0/SetActivePower"], rig["site/Mode"]) == (0, SiteMode.Run)
    assert "waits, import is not measured" in rig.text("self0/Explanation")
    rig.step(dt_s=31)
    assert (rig["site/Mode"], rig["ess0/SetActivePower"]) == (SiteMode.Init, None)


def test_state_survives_a_restart():
    rig = running(MANUAL, PEAK, FLOOR, MOODY)
    rig["meter0/ActivePower"] = 4000
    rig["ess0/Soc"] = 15
    rig.step(("peak0/import_max_w", 7000), ("moody0/Enabled", 0), ("site/OverrideRemaining", 500), ("ess0/SetActivePower", -300))
    saved = json.loads(json.dumps(rig.engine.state()))
    again = Rig([meter(), ess()], [MANUAL, PEAK, FLOOR, MOODY])
    again.engine.restore(saved)
    again["ess0/Soc"] = 16
    again.step()
    assert (again["peak0/import_max_w"], again["moody0/Enabled"], again["ess0/SetActivePower"]) == (7000, 0, -300)
    assert again["site/OverrideRemaining"] == pytest.approx(500, abs=1)
    assert again["site/GridImportEnergy"] == pytest.approx(rig["site/GridImportEnergy"], abs=0.2)
    state = again.engine.state()["controllers"]
    assert state["floor0"]["state"] | {"blocked_s": 0} == {"blocked": True, "blocked_s": 0, "recharging": False}
    assert state["moody0"]["state"]["runs"] == saved["controllers"]["moody0"]["state"]["runs"]


def test_what_cannot_be_restored_is_told_and_the_rest_is_taken():
    rig = Rig([meter(), ess()], [PEAK])
    params = {"import_max_w": -1, "gone_w": 5, "hysteresis_w": 7}
    rig.engine.restore({"controllers": {"peak0": {"params": params}, "gone": {}}, "commands": {"wishes": {"gone/X": [1, 2]}}})
    rig.step()
    told = [text for kind, text, _ in rig.out.events if kind == "left_out"]
    assert told == ["site.toml: peak0.import_max_w: -1 is not in 0..1e+09", "peak0.gone_w is no parameter any more"]
    assert (rig["peak0/hysteresis_w"], rig["peak0/import_max_w"]) == (7, 8000)


def test_settings_that_do_not_fit_the_layout_are_left_out_and_told():
    devices = [meter(), ess(ConnectedTo="nowhere"), load("load0", RatedPower="much"), ess("ess1", ConnectedTo="meter1")]
    devices += [meter("meter1", ConnectedTo="meter2"), meter("meter2", ConnectedTo="meter1")]
    rig = Rig(devices, [], grid_meter="", import_max_w=1.0)
    rig.step()
    told = [text for kind, text, _ in rig.out.events if kind == "left_out"]
    assert told == [
        "entries/ess0.toml: properties.ConnectedTo: 'nowhere' is no meter of this site",
        "entries/meter2.toml: properties.ConnectedTo: 'meter1' is connected to itself",
        "entries/load0.toml: properties.RatedPower: 'much' is not a power in W",
        "site.toml: grid.meter: limits need the meter that they protect",
    ]
    assert rig.engine.healthy


def test_ceilings_in_force_are_taken_up_by_the_next_engine():
    rig = Rig([meter(), pv()])
    rig["pv0/ActivePowerLimit"] = 3000
    rig["pv0/ActivePower"] = 3000
    rig["meter0/ActivePower"] = 0
    assert rig.step()["pv0/ActivePowerLimit"] == 3000
    for _ in range(10):
        rig.step()
    assert 3000 < rig["pv0/ActivePowerLimit"] < 3500


def test_sums_and_their_quality():
    rig = running(devices=[meter(), ess(), ess("ess1"), pv(), evcs(), load()])
    values = {
        "meter0/ActivePower": 1000,
        "ess0/ActivePower": 500,
        "ess1/ActivePower": -200,
        "pv0/ActivePower": 4000,
        "evcs0/ChargePower": 2000,
        "load0/ActivePower": 700,
        "ess0/Soc": 80,
        "ess1/Soc": 20,
        "ess1/Capacity": 30_000,
    }
    for node, value in values.items():
        rig[node] = value
    rig.step()
    found = {n: rig[f"site/{n}"] for n in ("GridPower", "ProductionPower", "EssPower", "ConsumptionPower", "EvPower")}
    assert found == {"GridPower": 1000, "ProductionPower": 4000, "EssPower": 300, "ConsumptionPower": 5300, "EvPower": 2000}
    assert rig["site/UnmanagedConsumptionPower"] == 2600
    assert (rig["site/EssSoc"], rig["site/EssCapacity"]) == (35, 40_000)
    rig["ess1/ActivePower"] = None
    rig.step()
    slot = rig.layout.by_node["site/EssPower"].slot - rig.layout.owner("control").first
    assert (rig["site/EssPower"], rig.out.records[slot]["status"]) == (500, UNCERTAIN_SUB_NORMAL)
    rig["meter0/ActivePower"] = None
    rig.step()
    assert (rig["site/GridPower"], rig["site/ConsumptionPower"]) == (None, None)
    slot = rig.layout.by_node["site/GridPower"].slot - rig.layout.owner("control").first
    assert rig.out.records[slot]["status"] == BAD_NO_COMMUNICATION


def test_energies_grow_with_time_never_step_back_and_skip_gaps_and_doubt():
    rig = running()
    rig["meter0/ActivePower"] = 3600
    rig.step(dt_s=1)
    rig.step(dt_s=1)
    assert rig["site/GridImportEnergy"] == pytest.approx(2, abs=0.01)
    rig["meter0/ActivePower"] = -7200
    rig.step(dt_s=1)
    assert (rig["site/GridImportEnergy"], rig["site/GridExportEnergy"]) == (pytest.approx(2, abs=0.01), pytest.approx(2))
    rig.step(dt_s=3600)
    rig["meter0/ActivePower"] = None
    rig.step(dt_s=1)
    assert rig["site/GridExportEnergy"] == pytest.approx(2)


def test_texts_change_at_most_once_a_second():
    rig = running(SELF)
    seen = set()
    for i in range(60):
        rig["meter0/ActivePower"] = 1000 + 100 * i
        seen.add(rig.step().text("site/Explanation"))
    assert len(seen) <= 4


def test_a_want_for_more_than_one_unit_names_all_of_them():
    class Both(Controller):
        class Params(ControllerParams):
            grid: GridRef = param("g")

        def run(self, image, now):
            yield Target(self.params.grid.import_power, equals=-2000, why="sells")

    rig = running((Both, "sell0", {"grid": "grid"}), devices=[meter(), ess(), ess("ess1")])
    for _ in range(21):
        rig.step()
    assert rig.text("site/Explanation") == "ess0 discharges 1 kW, ess1 discharges 1 kW: sell0 sells (asks 2 kW)"


def test_a_site_without_units_runs_its_other_controllers():
    rig = Rig([meter()], [MOODY])
    rig["meter0/ActivePower"] = 1000
    rig.step()
    assert rig["site/Mode"] == SiteMode.Run


def relays(alias: str = "io0"):
    uses = (ChannelUse(Device.State), ChannelUse(DigitalIo.Output, 3), ChannelUse(HeatPump.SgReady))
    return ObjectSpec(alias, DEVICE, "plant", (Device, DigitalIo, HeatPump), uses)


def test_each_output_of_an_array_is_set_by_hand_and_keeps_it_over_a_restart():
    rig = running(MANUAL, devices=[meter(), ess(), relays()])
    rig.step(("site/OverrideRemaining", 500))
    rig.step(("io0/Output[2]", 1))
    assert "io0/Output[2] is set by hand to 1" in [text for kind, text, _ in rig.out.events if kind == "write"]
    again = Rig([meter(), ess(), relays()], [MANUAL])
    again.engine.restore(json.loads(json.dumps(rig.engine.state())))
    again.step()
    assert [again[f"io0/Output[{i}]"] for i in range(3)] == [None, None, 1]


@pytest.mark.parametrize(
    ("node", "value", "refusal"),
    [
        ("io0/Output", 3000, "io0/Output[0]: 3000 is neither 1 (on) nor 0 (off)"),
        ("io0/SgReady", 3921.5, "io0/SgReady: 3921.5 is none of 0 Lock, 1 Regular, 2 Recommend, 3 ForceOn"),
    ],
)
def test_a_hand_sets_no_value_that_a_device_does_not_know(node, value, refusal):
    rig = running(MANUAL, devices=[meter(), ess(), relays()])
    rig.step(("site/OverrideRemaining", 500), (node, value))
    assert refusal in [text for kind, text, _ in rig.out.events if kind == "write_refused"]


@pytest.mark.parametrize(("told", "worst"), [(nan, 0), (float("inf"), 0), (65535, 3), (2, 2)])
def test_the_worst_state_is_a_state_whatever_devices_tell(told, worst):
    rig = running()
    rig["ess0/State"] = told
    assert rig.step()["site/WorstState"] == worst


def test_counters_go_on_from_what_was_shown_before_a_restart():
    rig = running(SELF)
    rig["meter0/ActivePower"] = 4321
    for _ in range(7):
        rig.step(dt_s=1.3)
    shown = rig["site/GridImportEnergy"]
    again = Rig([meter(), ess()], [SELF])
    again.records[:] = rig.records
    control = again.layout.owner("control")
    again.records[control.first : control.first + control.count] = rig.out.records
    again.engine.restore({"energies": {"GridImportEnergy": shown - 1}})
    assert again.step()["site/GridImportEnergy"] >= shown


def test_an_answer_rounded_to_what_a_device_can_do_still_says_why():
    rig = running(SELF)
    rig["ess0/PowerPrecision"], rig["meter0/ActivePower"] = 100, 3040
    rig.step(dt_s=2)
    assert rig.text("site/Explanation") == "ess0 discharges 3 kW: self0 balances import to 0 W (asks 3 kW)"


@pytest.mark.parametrize("step", [5e-324, 1e-306, float("inf")])
def test_a_device_that_tells_a_precision_nobody_can_count_in_is_told_what_it_is(step):
    rig = running(SELF)
    rig["ess0/PowerPrecision"], rig["meter0/ActivePower"] = step, 3040
    assert rig.step(dt_s=2)["ess0/SetActivePower"] == 3040


def test_a_service_is_named_for_what_it_moves():
    class Serve(Controller):
        class Params(ControllerParams):
            ess: EssRef = param("s")

        def run(self, image, now):
            yield Add(self.params.ess.power, 700.0, why="answers -70 mHz")

    rig = running((Serve, "serve0", {"ess": "ess0"}))
    assert rig.text("site/Explanation") == "ess0 discharges 700 W: serve0 answers -70 mHz (asks 700 W)"
    with_balance = running((Serve, "serve0", {"ess": "ess0"}), SELF)
    with_balance["meter0/ActivePower"] = 2000
    assert "self0 balances import to 0 W" in with_balance.step(dt_s=2).text("site/Explanation")


def test_a_ceiling_on_its_way_up_says_so():
    rig = running((PvLimit, "cut0", {"pv": "pv0", "power_w": 3000}), devices=[meter(), pv()])
    rig["pv0/ActivePower"] = 3000
    rig.step(dt_s=2).step(("cut0/Enabled", 0), dt_s=2)
    assert rig.text("site/Explanation") == "pv0 may produce up to 3.2 kW: released step by step"


def test_a_plant_whose_rating_is_not_known_is_reckoned_with_as_it_is():
    rig = Rig([meter(), pv(), pv("pv1")], export_max_w=10_000)
    rig["meter0/ActivePower"], rig["pv0/ActivePower"], rig["pv1/ActivePower"] = -16_000, 8000, 8000
    rig["pv0/MaxActivePower"] = None
    assert rig.step()["pv1/ActivePowerLimit"] == pytest.approx(2000)
    assert rig["pv0/ActivePowerLimit"] is None


def test_a_car_that_gets_less_than_it_can_charge_with_is_stopped_by_who_leaves_no_more():
    rig = Rig([meter(), evcs()], import_max_w=8000)
    rig["meter0/ActivePower"], rig["evcs0/ChargePower"] = 12_000, 6000
    assert rig.step()["evcs0/SetChargePowerLimit"] == 0
    assert rig.text("site/Explanation").startswith("evcs0 may not charge: fuse keeps import under 8 kW")


def test_a_car_that_is_left_its_least_power_is_not_stopped_by_rounding():
    ceilings = Followers(1)
    ceilings.force(0, 1380.0)
    assert [ceilings.move(0, 1380 + rest, 3680, 1380, 0.05, cut=True) for rest in (-5e-13, 5e-13, -1e-3)] == [1380, 1380, 0]


def test_what_a_car_needs_to_begin_is_kept_for_it_for_some_seconds():
    ceilings = Followers(1)
    ceilings.force(0, 0.0)
    assert ceilings.move(0, 3680, 3680, 1380, 1.0, cut=False) == 1380
    assert ceilings.potential(0, 0.0, 3680, 1380, idle=False) == 1380
    assert ceilings.potential(0, 0.0, 3680, 1380, idle=True) == 0
    ceilings.move(0, 1380, 3680, 1380, START_S, cut=False)
    assert ceilings.potential(0, 0.0, 3680, 1380, idle=False) == 0


def test_a_car_that_waits_does_not_stop_one_that_charges():
    rig = Rig([meter(), evcs(), evcs("evcs1")], import_max_w=5000)
    rig["evcs0/MinHardwarePower"], rig["evcs1/ChargePower"], rig["meter0/ActivePower"] = 1380, 4140, 4140
    rig.engine._followers.force(0, 0.0)
    rig.engine._followers.force(1, 4140.0)
    assert rig.step(dt_s=1)["evcs0/SetChargePowerLimit"] == 0
    assert rig["evcs1/SetChargePowerLimit"] == pytest.approx(4360)


def test_a_load_that_trembles_does_not_start_and_stop_a_car():
    """There is room for what it runs with, but for no STEP more: not enough to begin, enough to go on."""
    rig = Rig([meter(), evcs()], import_max_w=5000)
    ceiling, ceilings = 0.0, []
    rig.engine._followers.force(0, ceiling)
    for house in (820, 880, 820, 880, 0, 820, 840, 820, 880):
        rig["meter0/ActivePower"], rig["evcs0/ChargePower"] = house + ceiling, ceiling
        ceiling = rig.step(dt_s=1)["evcs0/SetChargePowerLimit"]
        ceilings.append(ceiling)
    assert ceilings == pytest.approx([0, 0, 0, 0, 4140, 4140, 4140, 4140, 0])


def test_a_car_that_was_stopped_for_want_of_room_rests_for_a_minute():
    rig = Rig([meter(), evcs()], import_max_w=5000)
    rig["evcs0/ChargePower"] = 4140
    rig["meter0/ActivePower"] = 5500
    assert rig.step(dt_s=1)["evcs0/SetChargePowerLimit"] == 0
    rig["meter0/ActivePower"], rig["evcs0/ChargePower"] = 0, 0
    for _ in range(int(REST_S) - 1):
        assert rig.step(dt_s=1)["evcs0/SetChargePowerLimit"] == 0
        assert rig.text("site/Explanation").startswith("evcs0 may not charge: ")
    assert rig.text("site/Explanation") == "evcs0 may not charge: evcs0 rests after it was stopped"
    again = Rig([meter(), evcs()], import_max_w=5000)
    again["evcs0/SetChargePowerLimit"] = 0.0
    again.engine.restore(json.loads(json.dumps(rig.engine.state())))
    assert again.step(dt_s=0.5)["evcs0/SetChargePowerLimit"] == 0
    assert rig.step(dt_s=1)["evcs0/SetChargePowerLimit"] == 4140


def test_a_car_that_a_controller_stops_may_begin_at_once():
    class Switch(Controller):
        class Params(ControllerParams):
            evcs: EvcsRef = param("e")
            most_w: Watt = param("w", default=0.0)

        params: Params

        def run(self, image, now):
            yield Target(self.params.evcs.power, at_most=self.params.most_w, why="switches")

    rig = Rig([meter(), evcs()], [(Switch, "switch0", {"evcs": "evcs0"})], import_max_w=20_000)
    rig["meter0/ActivePower"], rig["evcs0/ChargePower"] = 5000, 5000
    assert rig.step(dt_s=1)["evcs0/SetChargePowerLimit"] == 0
    rig["meter0/ActivePower"], rig["evcs0/ChargePower"] = 0, 0
    assert rig.step(("switch0/most_w", 11_000), dt_s=1)["evcs0/SetChargePowerLimit"] == 4140


def test_a_car_that_is_limited_to_just_what_it_needs_begins():
    class Cap(Controller):
        class Params(ControllerParams):
            evcs: EvcsRef = param("e")

        params: Params

        def run(self, image, now):
            yield Bound(self.params.evcs.power, at_most=4140)

    rig = Rig([meter(), evcs()], [(Cap, "cap0", {"evcs": "evcs0"})], import_max_w=10_000)
    rig["meter0/ActivePower"] = 500
    rig.engine._followers.force(0, 0.0)
    assert rig.step(dt_s=1)["evcs0/SetChargePowerLimit"] == 4140


def test_a_deadband_that_keeps_storage_calm_does_not_stop_a_car():
    rig = Rig([meter(), evcs()], [(PeakShaving, "peak0", {"grid": "grid", "import_max_w": 9000, "hysteresis_w": 8000})])
    rig["meter0/ActivePower"] = 1000
    rig.engine._followers.force(0, 0.0)
    ceilings = []
    for power in (0, 0, 4140, 4140, 4360):
        rig["meter0/ActivePower"], rig["evcs0/ChargePower"] = 1000 + power, power
        ceilings.append(rig.step(dt_s=1)["evcs0/SetChargePowerLimit"])
    assert ceilings == pytest.approx([4140, 4360, 4580, 4800, 5020])


def test_a_deadband_that_a_storage_cannot_hold_any_more_does_not_stop_a_car():
    """What the storage did before is more than it can do now, and more than is needed."""
    rig = Rig([meter(), ess(), evcs()], [(PeakShaving, "peak0", {"grid": "grid", "import_max_w": 5000, "hysteresis_w": 8000})])
    rig.engine._followers.force(1, 4140.0)
    rig["meter0/ActivePower"], rig["evcs0/ChargePower"], rig["ess0/AllowedDischargePower"] = 7140, 4140, 2400
    assert rig.step(dt_s=1)["ess0/SetActivePower"] == pytest.approx(2360)
    rig["meter0/ActivePower"], rig["evcs0/ChargePower"], rig["ess0/ActivePower"] = 4640, 4000, 2360
    rig["ess0/AllowedDischargePower"] = 2200
    assert rig.step(dt_s=1)["evcs0/SetChargePowerLimit"] >= 4140
    assert rig["ess0/SetActivePower"] == pytest.approx(2200)


@pytest.mark.parametrize(
    ("import_max_w", "allowed"),
    [(13_000, (0, 4333, 4333, 4333)), (9000, (0, 0, 4500, 4500)), (4000, (0, 0, 0, 0))],
)
def test_no_more_cars_are_stopped_than_leaves_enough_for_the_others(import_max_w, allowed):
    cars = [f"evcs{i}" for i in range(4)]
    rig = Rig([meter(), *map(evcs, cars)], import_max_w=import_max_w)
    rig["meter0/ActivePower"] = 24_000
    for car in cars:
        rig[f"{car}/ChargePower"] = 6000
    rig.step()
    assert [rig[f"{car}/SetChargePowerLimit"] for car in cars] == pytest.approx(allowed, abs=1)


def test_the_order_in_which_storages_are_used_survives_a_restart():
    devices = [meter(), ess(), ess("ess1")]
    rig = Rig(devices, [SELF], distribution="fewest")
    rig["ess1/Soc"], rig["meter0/ActivePower"] = 80, 2000
    rig.step(dt_s=1)
    assert (rig["ess0/SetActivePower"], rig["ess1/SetActivePower"]) == (0, 2000)
    again = Rig(devices, [SELF], distribution="fewest")
    again["ess1/Soc"], again["meter0/ActivePower"] = 52, 2000
    again.engine.restore(json.loads(json.dumps(rig.engine.state())))
    again.step(dt_s=1)
    assert (again["ess0/SetActivePower"], again["ess1/SetActivePower"]) == (0, 2000)


def test_an_export_fuse_counts_what_a_car_draws_and_an_import_fuse_what_it_may_draw():
    class Cap(Controller):
        class Params(ControllerParams):
            evcs: EvcsRef = param("e")

        def run(self, image, now):
            yield Target(self.params.evcs.power, at_most=9000, why="caps")

    class Full(Controller):
        class Params(ControllerParams):
            ess: EssRef = param("s")
            sign: float = param("d")

        def run(self, image, now):
            yield Target(self.params.ess.power, equals=20_000 * self.params.sign, why="all")

    for sign, expected in ((1, 5000 + 2000 + 8700), (-1, -(20_000 - 2000 - 9000))):
        rig = Rig(
            [meter(), ess(), evcs()], [(Cap, "cap0", {"evcs": "evcs0"}), (Full, "full0", {"ess": "ess0", "sign": sign})],
            import_max_w=20_000, export_max_w=5000,
        )  # fmt: skip
        rig["ess0/AllowedChargePower"], rig["ess0/AllowedDischargePower"], rig["ess0/MaxApparentPower"] = -20_000, 20_000, 20_000
        rig["evcs0/ChargePower"], rig["meter0/ActivePower"] = 9000, 11_000
        rig.step()
        rig["evcs0/ChargePower"], rig["meter0/ActivePower"] = 8700, 10_700
        rig.step()
        assert rig["evcs0/SetChargePowerLimit"] == 9000
        assert rig["ess0/SetActivePower"] == pytest.approx(expected)


def test_a_limit_that_cannot_be_kept_is_named_at_units_that_do_all_they_can():
    rig = Rig([meter(), ess(), load(RatedPower="1000")], export_max_w=1000)
    rig["load0/ActivePower"], rig["meter0/ActivePower"] = 500, 0
    rig.step()
    rig["load0/SetPower"], rig["load0/ActivePower"], rig["meter0/ActivePower"] = 0, 0, -1e9
    for _ in range(3):
        rig.step(dt_s=2)
    assert rig["ess0/SetActivePower"] == -5000
    assert rig.text("site/Explanation").startswith("ess0 charges 5 kW: fuse keeps export under 1 kW")


def test_a_rating_below_zero_is_not_known():
    rig = running(MOODY)
    unit = EssRef("ess0", rig.engine.topology)
    rig["ess0/MaxApparentPower"] = -1e9
    assert unit.rating(Image(rig.records)) is None
    rig["ess0/MaxApparentPower"] = 9000
    assert unit.rating(Image(rig.records)) == 9000
