"""Reactive power as a table; the characteristics of the standard are in test_opender_vectors.py."""

from __future__ import annotations

import pytest
from control_rig import Rig, battery, grid_meter, volts

from controllers.fix_active_power import FixActivePower
from controllers.reactive_power import ReactivePower
from controllers.volt_watt import VoltWatt


def site(*controllers: tuple, power_w: float = 3000) -> Rig:
    fixed = (FixActivePower, "fix0", {"ess": "ess0", "power_w": power_w})
    rig = Rig([grid_meter(), battery()], [*controllers, fixed])
    volts(rig, 1.0)
    rig["ess0/ActivePower"], rig["meter0/ActivePower"], rig["meter0/ReactivePower"] = power_w, 9000, 0
    return rig


@pytest.mark.parametrize(
    ("settings", "voltage", "expected"),
    [
        ({"mode": "Fixed", "power_var": 1500}, 1.0, 1500),
        ({"mode": "Fixed", "power_var": -20_000}, 1.0, -10_000),
        ({"mode": "CosPhi", "cos_phi": 0.9}, 1.0, 1453),
        ({"mode": "CosPhi", "cos_phi": -0.9}, 1.0, -1453),
        ({"mode": "CosPhi", "cos_phi": 1.0}, 1.0, 0),
        ({"mode": "VoltVar", "grid": "grid"}, 0.95, 2200),
        ({"mode": "VoltVar", "grid": "grid"}, 1.05, -2200),
        ({"mode": "VoltVar", "grid": "grid"}, 1.0, 0),
        ({"mode": "VoltVar"}, 0.9, 0),
        ({"mode": "WattVar", "rated_va": 4000}, 1.0, -880),
        ({"mode": "BalancingCosPhi", "grid": "grid", "cos_phi": 0.9}, 1.0, -4359),
    ],
)
def test_reactive_power(settings, voltage, expected):
    rig = site((ReactivePower, "q0", {"ess": "ess0"} | settings))
    volts(rig, voltage)
    assert rig.step()["ess0/SetReactivePower"] == pytest.approx(expected, abs=1)


@pytest.mark.parametrize("mode", ["Fixed", "VoltVar", "WattVar"])
def test_an_inverter_that_is_rated_at_nothing_is_asked_for_nothing(mode):
    rig = site((ReactivePower, "q0", {"ess": "ess0", "grid": "grid", "mode": mode, "power_var": 500}))
    rig["ess0/MaxApparentPower"] = 0
    rig.step()
    assert (rig["q0/ErrorCount"], rig["ess0/SetReactivePower"]) == (0, 0)


def test_an_answer_of_5_seconds_is_at_90_percent_after_5_seconds():
    rig = site((ReactivePower, "q0", {"ess": "ess0", "grid": "grid", "mode": "VoltVar", "response_s": 5}))
    rig.step()
    volts(rig, 0.92)
    found = [rig.step()["ess0/SetReactivePower"] for _ in range(200)]
    assert found[99] == pytest.approx(0.9 * 4400, rel=0.01)
    assert found[-1] == pytest.approx(0.99 * 4400, rel=0.01)


@pytest.mark.parametrize(("voltage", "expected"), [(1.0, 9000), (1.06, 9000), (1.08, 5000), (1.1, 0), (1.2, 0)])
def test_volt_watt(voltage, expected):
    rig = site((VoltWatt, "vw0", {"unit": "ess0", "meter": "meter0"}), power_w=9000)
    rig["ess0/AllowedDischargePower"] = 10_000
    volts(rig, voltage)
    assert rig.step()["ess0/SetActivePower"] == pytest.approx(expected)


def test_an_unknown_voltage_is_no_opinion():
    rig = site((VoltWatt, "vw0", {"unit": "ess0", "meter": "meter0"}))
    rig["meter0/Voltage"] = None
    assert rig.step()["ess0/SetActivePower"] == 3000
