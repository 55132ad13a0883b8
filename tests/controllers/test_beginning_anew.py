"""What controllers make of a time in which they did not run."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from control_rig import Rig, battery, grid_meter

from controllers.battery_protection import BatteryProtection, Force
from controllers.cycle import Cycle, CyclePhase
from controllers.fast_frequency_reserve import FastFrequencyReserve, Phase
from controllers.remote_command import RemoteCommand
from controllers.soh_cycle import SohCycle, SohPhase
from controllers.virtual_inertia import VirtualInertia

REMOTE = RemoteCommand, "own0", {"ess": "ess0", "ramp_w_per_s": 1e9}
RESERVE = FastFrequencyReserve, "own0", {"ess": "ess0", "meter": "meter0", "power_w": 3000}
INERTIA = VirtualInertia, "own0", {"ess": "ess0", "meter": "meter0", "power_w": 5000}


def site(rule: tuple) -> Rig:
    rig = Rig([grid_meter(), battery()], [rule])
    rig["meter0/ActivePower"], rig["meter0/Frequency"] = 0, 50.0
    return rig


def acting(rule: tuple) -> Rig:
    """The storage gives what the controller was asked for."""
    rig = site(rule)
    rig.step(("own0/power_w", 3000))
    if rule is REMOTE:
        rig.step(("own0/heartbeat", 1))
    rig["meter0/Frequency"] = 49.0
    assert rig.step()["ess0/SetActivePower"] == 3000
    rig["meter0/Frequency"] = 50.0
    return rig


def disabled(rig: Rig, rule: tuple, seconds: float) -> Rig:
    rig.step(("own0/Enabled", 0), dt_s=seconds)
    return rig.step(("own0/Enabled", 1))


def restarted(rig: Rig, rule: tuple, seconds: float) -> Rig:
    again = site(rule)
    again.engine.restore(json.loads(json.dumps(rig.engine.state())), seconds)
    return again.step()


@pytest.mark.parametrize("rule", [REMOTE, RESERVE, INERTIA], ids=["remote", "reserve", "inertia"])
@pytest.mark.parametrize("away", [disabled, restarted])
def test_what_was_about_seconds_is_over_an_hour_later(rule, away):
    rig = away(acting(rule), rule, 3600)
    assert [rig["ess0/SetActivePower"], rig.step()["ess0/SetActivePower"]] == [0, 0]


def test_a_support_goes_on_after_a_restart_of_a_second():
    rig = restarted(acting(RESERVE), RESERVE, 1)
    assert (rig["own0/phase"], rig["ess0/SetActivePower"]) == (Phase.Support, 3000)


@pytest.mark.parametrize(
    ("rule", "socs", "done", "first"),
    [
        ((Cycle, "own0", {"ess": "ess0", "power_w": 1000, "rest_s": 0, "cycles": 1}), (100, 50, 0, 0, 50), CyclePhase.Done, 0),
        ((SohCycle, "own0", {"ess": "ess0", "nominal_wh": 1000, "rest_s": 0}), (0, 100, 50, 0), SohPhase.Done, SohPhase.Prepare),
    ],
    ids=["cycle", "soh"],
)
def test_what_is_done_runs_again_when_it_is_switched_on_again(rule: tuple, socs: Sequence[float], done: int, first: int):
    rig = site(rule)
    for soc in socs:
        rig["ess0/Soc"] = soc
        rig.step()
    assert rig["own0/phase"] == done
    rig["ess0/Soc"] = 50
    assert restarted(rig, rule, 3 * 86400)["own0/phase"] == done
    assert disabled(rig, rule, 1)["own0/phase"] == first


def test_a_battery_stays_protected_when_its_protection_was_off():
    settings = {"ess": "ess0", "force_a": 2, "force_wait_s": 1}
    rule = BatteryProtection, "own0", settings
    rig = site(rule)
    for cell in (2.85, 2.85, 2.95):
        rig["ess0/MinCellVoltage"] = cell
        rig.step(dt_s=1)
    assert disabled(rig, rule, 1).engine.state()["controllers"]["own0"]["state"]["charging"] == Force.Blocked
