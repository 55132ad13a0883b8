"""Protection as tables: what is measured, and what it leaves to the others."""

from __future__ import annotations

import pytest
from control_rig import Rig, battery, follow, grid_meter, thermometer, volts
from core_rig import evcs, meter, pv

from controllers.anomaly_response import AnomalyResponse
from controllers.anti_islanding import AntiIslanding
from controllers.battery_protection import BatteryProtection
from controllers.fix_active_power import FixActivePower
from controllers.frequency_protection import FrequencyProtection
from controllers.temperature_protection import TemperatureProtection
from controllers.voltage_protection import VoltageProtection
from server.core.natures import SiteMode


def fixed(power_w: float) -> tuple:
    return FixActivePower, "fix0", {"ess": "ess0", "power_w": power_w}


def grid_site(*controllers: tuple, devices: tuple = ()) -> Rig:
    rig = Rig([grid_meter(), battery(), *devices], list(controllers))
    volts(rig, 1.0)
    rig["meter0/Frequency"] = 50.0
    return rig


@pytest.mark.parametrize(
    ("measured", "charge", "discharge"),
    [
        ({}, -5000, 5000),
        ({"MaxCellVoltage": 3.65}, 0, 5000),
        ({"MaxCellVoltage": 3.5}, -5000, 5000),
        ({"MaxCellVoltage": 3.6499}, -640, 5000),
        ({"MinCellVoltage": 2.9}, -3200, 0),
        ({"MinCellVoltage": 2.91}, -3200, 1600),
        ({"MinCellTemperature": -10.0}, 0, 0),
        ({"MaxCellTemperature": 54.0}, -3200, 3200),
        ({"Soc": 100.0}, -5000, 5000),
        ({"ChargeMaxCurrent": 5.0}, -2000, 5000),
        ({"DischargeMaxCurrent": -3.0}, -5000, 0),
        ({"Voltage": 40.0, "DischargeMaxCurrent": 10.0}, -3200, 400),
        ({"Voltage": -1e9, "ChargeMaxCurrent": 5.0}, -2000, 5000),
        ({"Voltage": 1e9, "DischargeMaxCurrent": 10.0}, -5000, 4000),
    ],
)
@pytest.mark.parametrize("wanted", [-9000, 9000])
def test_battery_protection_bounds_current(measured, charge, discharge, wanted):
    rig = grid_site((BatteryProtection, "cells0", {"ess": "ess0", "max_a": 80}), fixed(wanted))
    for name, value in measured.items():
        rig[f"ess0/{name}"] = value
    assert rig.step()["ess0/SetActivePower"] == pytest.approx(charge if wanted < 0 else discharge, abs=1)


def test_battery_protection_recovers_half_an_ampere_a_second():
    rig = grid_site((BatteryProtection, "cells0", {"ess": "ess0"}), fixed(9000))
    rig["ess0/Voltage"], rig["ess0/MinCellVoltage"] = 100, 2.9
    assert rig.step(dt_s=1)["ess0/SetActivePower"] == 0
    rig["ess0/MinCellVoltage"] = 3.2
    assert [rig.step(dt_s=2)["ess0/SetActivePower"] for _ in range(3)] == pytest.approx([100, 200, 300])


def test_an_empty_cell_forces_charge_until_it_has_recovered():
    rig = grid_site((BatteryProtection, "cells0", {"ess": "ess0", "force_a": 2, "force_wait_s": 1}), fixed(9000))
    rig["ess0/Voltage"] = 400
    found = []
    for cell in (2.95, 2.85, 2.85, 2.91, 2.92, 3.0, 3.01):
        rig["ess0/MinCellVoltage"] = cell
        found.append((rig.step(dt_s=1)["ess0/SetActivePower"], rig["cells0/discharge_max_a"]))
    expected = [(5000, 32.5), (0, 0), (-800, -2), (-800, -2), (0, -1.5), (0, -1), (0, -0.5)]
    assert found == [pytest.approx(pair, abs=0.01) for pair in expected]


@pytest.mark.parametrize(
    ("cell", "value", "blocked"), [("MinCellVoltage", 2.85, "discharge"), ("MaxCellVoltage", 3.66, "charge")]
)
def test_a_forced_current_that_is_taken_back_blocks_nothing(cell, value, blocked):
    settings = {"ess": "ess0", "force_a": 2, "force_wait_s": 1, "recovery_a_per_s": 1000}
    rig = grid_site((BatteryProtection, "cells0", settings))
    rig[f"ess0/{cell}"] = value
    for _ in range(2):
        rig.step(dt_s=1)
    assert rig[f"cells0/{blocked}_max_a"] == -2
    rig.step(("cells0/force_a", 0), dt_s=1)
    rig[f"ess0/{cell}"] = 3.2
    assert rig.step(dt_s=1)[f"cells0/{blocked}_max_a"] == 80


def test_a_share_that_fell_stays_until_its_characteristic_gives_all_again():
    rig = grid_site((BatteryProtection, "cells0", {"ess": "ess0", "latch": True, "recovery_a_per_s": 1000}))
    found = []
    for cell in (2.95, 2.9, 2.95, 2.99, 3.0):
        rig["ess0/MinCellVoltage"] = cell
        rig.step(dt_s=1)
        found.append(rig["cells0/discharge_max_a"])
    assert found == pytest.approx([32.5, 0, 0, 0, 80])


@pytest.mark.parametrize(
    ("category", "voltage", "seconds", "trips"),
    [
        ("CategoryI", 1.21, 0.2, True),
        ("CategoryI", 1.11, 1.9, False),
        ("CategoryI", 1.11, 2.1, True),
        ("CategoryI", 0.69, 2.1, True),
        ("CategoryII", 0.69, 9.9, False),
        ("CategoryII", 0.69, 10.1, True),
        ("CategoryIII", 0.87, 20.9, False),
        ("CategoryIII", 0.87, 21.1, True),
        ("CategoryIII", 0.49, 1.9, False),
        ("CategoryIII", 0.49, 2.1, True),
        ("CategoryIII", 1.05, 60.0, False),
        ("Custom", 0.44, 0.35, True),
    ],
)
def test_voltage_trips_at_the_clearing_times_of_its_category(category, voltage, seconds, trips):
    rig = grid_site((VoltageProtection, "v0", {"meter": "meter0", "category": category}), fixed(3000))
    rig.step()
    volts(rig, 1.0, voltage, 1.0)
    for _ in range(round(seconds / 0.05)):
        rig.step()
    assert (rig["ess0/SetActivePower"] == 0) is trips
    assert ("trip" in rig.kinds()) is trips


def test_a_trip_stops_all_units_and_ends_when_the_grid_has_been_good_for_the_delay():
    settings = {"meter": "meter0", "delay_s": 10, "ramp_s": 10, "units": ["ess0"]}
    rig = Rig([grid_meter(), battery(), pv(), evcs()], [(FrequencyProtection, "f0", settings), fixed(4000)])
    volts(rig, 1.0)
    rig["meter0/Frequency"] = 50.0
    assert rig.step()["ess0/SetActivePower"] == 4000
    rig["meter0/Frequency"] = 52.5
    for _ in range(3):
        rig.step()
    assert (rig["ess0/SetActivePower"], rig["pv0/ActivePowerLimit"], rig["evcs0/SetChargePowerLimit"]) == (0, 0, 0)
    assert rig["site/Mode"] == SiteMode.Fault
    rig["meter0/Frequency"] = 50.0
    powers = [rig.step(dt_s=1.0)["ess0/SetActivePower"] for _ in range(16)]
    assert powers[:10] == [0] * 10
    assert powers[10:] == pytest.approx([2000, 3000, 4000, 4000, 4000, 4000])
    assert rig["site/Mode"] == SiteMode.Run


def test_a_trip_survives_a_restart_and_that_of_a_controller_that_is_gone_does_not():
    settings = {"meter": "meter0"}
    rig = grid_site((FrequencyProtection, "f0", settings), fixed(4000))
    rig["meter0/Frequency"] = 53.0
    for _ in range(5):
        rig.step()
    saved = rig.engine.state()
    again = grid_site((FrequencyProtection, "f0", settings), fixed(4000))
    again.engine.restore(saved)
    assert again.step()["ess0/SetActivePower"] == 0
    without = grid_site(fixed(4000))
    without.engine.restore(saved)
    assert without.step()["ess0/SetActivePower"] == 4000


def test_an_unknown_voltage_neither_trips_nor_lets_a_trip_end():
    rig = grid_site((VoltageProtection, "v0", {"meter": "meter0", "delay_s": 1, "ramp_s": 0}), fixed(4000))
    for phase in ("L1", "L2", "L3"):
        rig[f"meter0/Voltage.{phase}"] = None
    assert [rig.step(dt_s=5)["ess0/SetActivePower"] for _ in range(8)] == [4000] * 8
    volts(rig, 1.25)
    assert [rig.step(dt_s=1)["ess0/SetActivePower"] for _ in range(2)] == [0, 0]
    rig["meter0/Voltage.L2"] = None
    assert [rig.step(dt_s=5)["ess0/SetActivePower"] for _ in range(4)] == [0] * 4


def test_momentary_cessation_lets_go_and_comes_back_at_once():
    settings = {"meter": "meter0", "cessation": True, "units": ["ess0"]}
    rig = grid_site((VoltageProtection, "v0", settings), fixed(4000))
    found = []
    for voltage in (1.0, 1.15, 1.0, 0.45, 1.0):
        volts(rig, voltage)
        found.append(rig.step()["ess0/SetActivePower"])
    assert found == [4000, 0, 4000, 0, 4000]


def test_an_island_that_the_site_forms_itself_does_not_trip_it():
    rig = grid_site((VoltageProtection, "v0", {"meter": "meter0", "ess": "ess0"}), fixed(4000))
    volts(rig, 0.0)
    rig["meter0/ActivePower"], rig["ess0/GridMode"], rig["ess0/ActivePower"] = 0, 1, 3000
    for _ in range(100):
        rig.step()
    assert rig["ess0/SetActivePower"] == 3000, "what the island draws"


@pytest.mark.parametrize(("hz_per_s", "trips"), [(1.0, False), (3.0, False), (5.0, True), (-5.0, True)])
def test_anti_islanding_watches_the_rate_of_change_of_frequency(hz_per_s, trips):
    rig = grid_site((AntiIslanding, "ai0", {"meter": "meter0"}), fixed(4000))
    for cycle in range(20):
        rig["meter0/Frequency"] = 50 + hz_per_s * cycle * 0.05
        rig.step()
    assert (rig["ess0/SetActivePower"] == 0) is trips


def test_a_protection_goes_on_after_an_island():
    rig = grid_site((AntiIslanding, "ai0", {"meter": "meter0", "ess": "ess0"}), fixed(4000))
    for islanded in (1, 0, 0):
        rig["ess0/GridMode"] = islanded
        rig.step()
    assert rig["ai0/ErrorCount"] == 0


@pytest.mark.parametrize(
    ("heat", "expected"),
    [([20], [4000]), ([50], [4000]), ([60], [2500]), ([65, 62, 60], [0, 0, 2500]), ([None], [4000]), ([64], [2500])],
)
def test_temperature_protection(heat, expected):
    hot = (TemperatureProtection, "hot0", {"unit": "ess0", "temperature": "temp0/Temperature"})
    rig = grid_site(hot, fixed(4000), devices=(thermometer(),))
    rig["ess0/MaxApparentPower"] = 5000
    found = []
    for value in heat:
        rig["temp0/Temperature"] = value
        found.append(rig.step()["ess0/SetActivePower"])
    assert found == pytest.approx(expected)


def test_an_anomaly_halves_the_power_until_it_has_been_usual_for_a_while():
    odd = (AnomalyResponse, "odd0", {"unit": "ess0", "score": "temp0/Temperature", "hold_s": 10})
    rig = grid_site(odd, fixed(5000), devices=(thermometer(),))
    rig["ess0/MaxApparentPower"] = 5000
    found = []
    for score in (0.1, 0.85, 0.7, 0.5, 0.5, 0.5):
        rig["temp0/Temperature"] = score
        found.append(rig.step(dt_s=5)["ess0/SetActivePower"])
    assert found == [5000, 2500, 2500, 2500, 5000, 5000]


def test_only_a_protecting_controller_may_trip():
    from server.core.constraint import Trip
    from server.core.controller import Controller

    class Rogue(Controller):
        """Trips without the right to."""

        def run(self, image, now):
            yield Trip(why="because")

    rig = Rig([meter(), battery()], [(Rogue, "rogue0", {}), fixed(1000)])
    assert rig.step()["ess0/SetActivePower"] == 1000
    assert "controller_fault" in rig.kinds()
    follow(rig)
