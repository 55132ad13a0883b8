"""Vehicles, heat and other sinks: who gets what is left."""

from __future__ import annotations

from datetime import datetime

import pytest
from control_rig import Rig, battery, charger, document, grid_meter, heat_pump, output, relays
from core_rig import EVCS, device, meter

from controllers.analog_surplus import AnalogSurplus
from controllers.channel_threshold import ChannelThreshold
from controllers.chp_soc import ChpSoc
from controllers.demand_response import DemandResponse
from controllers.evcs_cluster import EvcsCluster
from controllers.fix_active_power import FixActivePower
from controllers.heat_pump_sg_ready import HeatPumpSgReady
from controllers.heating_element import HeatingElement
from controllers.smart_charging import SmartCharging
from controllers.surplus_charging import SurplusCharging
from server.core.channel import PHASES
from server.core.natures import AnalogIo, Device, Ess, Evcs, EvcsStatus, ManagedEss, SgReady

V = 230.0


def stations(count: int, *controllers: tuple, drawing: float = 0.0, base: float = 0.0) -> Rig:
    """Charging stations with three-phase cars that want power, behind a meter with `base` of other demand."""
    rig = Rig([grid_meter(), *(charger(f"evcs{i}") for i in range(count))], list(controllers))
    for i in range(count):
        rig[f"evcs{i}/Phases"], rig[f"evcs{i}/MinHardwarePower"], rig[f"evcs{i}/MaxHardwarePower"] = 3, 4140, 11_040
        draw(rig, i, drawing)
    rig["meter0/ActivePower"] = base + count * drawing
    return rig


def draw(rig: Rig, i: int, watts: float, phases: int = 3) -> None:
    rig[f"evcs{i}/ChargePower"] = watts
    for k, phase in enumerate(PHASES):
        rig[f"evcs{i}/Current.{phase}"] = watts / phases / V if k < phases else 0.0


def cluster(count: int, **settings: object) -> tuple:
    names = [f"evcs{i}" for i in range(count)]
    quick = {"start_s": 0, "pause_s": 0}
    return EvcsCluster, "cluster0", {"stations": names, "grid": "grid", "import_max_w": 25_000} | quick | settings


def granted(rig: Rig, count: int, cycles: int = 60, dt_s: float = 1.0) -> list[float]:
    """Ceilings after some time, in amperes of three phases."""
    for _ in range(cycles):
        rig.step(dt_s=dt_s)
    return [round((rig[f"evcs{i}/SetChargePowerLimit"] or 0.0) / 3 / V, 1) for i in range(count)]


@pytest.mark.parametrize(
    ("count", "settings", "expected"),
    [
        (2, {}, [16, 16]),
        (3, {}, [12, 12, 12]),
        (4, {}, [9, 9, 9, 9]),
        (5, {}, [8, 7, 7, 7, 7]),
        (7, {}, [6, 6, 6, 6, 6, 6, 0]),
        (3, {"sharing": "ByPriority"}, [16, 14, 6]),
        (4, {"import_max_w": 8000}, [11, 0, 0, 0]),
        (2, {"import_max_w": 4000}, [0, 0]),
    ],
)
def test_a_cluster_shares_its_connection_and_gives_nobody_less_than_6_amperes(count, settings, expected):
    rig = stations(count, cluster(count, **settings))
    found = granted(rig, count, 300)
    assert sum(found) * 3 * V <= settings.get("import_max_w", 25_000)
    assert found == pytest.approx(expected, abs=0.1)


def test_a_phase_that_is_full_limits_only_the_cars_on_it():
    rig = stations(2, cluster(2, phase_max_a=32, import_max_w=1e6))
    rig["evcs1/Phases"], rig["evcs1/MinHardwarePower"] = 1, 1380
    draw(rig, 0, 3 * 10 * V)
    draw(rig, 1, 10 * V, phases=1)
    for phase, other in zip(PHASES, (8.0, 2.0, 2.0), strict=True):
        own = 20.0 if phase == "L1" else 10.0
        rig[f"meter0/Current.{phase}"] = other + own
    rig["meter0/ActivePower"] = 5000
    for _ in range(200):
        rig.step(dt_s=1.0)
    assert rig["evcs0/SetChargePowerLimit"] / 3 / V == pytest.approx(12, abs=0.3)
    assert rig["evcs1/SetChargePowerLimit"] / V == pytest.approx(12, abs=0.3)


@pytest.mark.parametrize("phase", PHASES)
def test_a_phase_that_is_not_known_leaves_no_room(phase):
    rig = stations(1, cluster(1, phase_max_a=32, import_max_w=1e6))
    for each in PHASES:
        rig[f"meter0/Current.{each}"] = 5.0
    assert granted(rig, 1, 5) == pytest.approx([16], abs=0.1)
    rig[f"meter0/Current.{phase}"] = None
    assert granted(rig, 1, 5) == [0]


def test_starts_are_spread_and_a_paused_car_waits():
    rig = stations(3, cluster(3, start_s=5, pause_s=30))
    waiting = []
    for _ in range(14):
        rig.step(dt_s=1.0)
        waiting.append(int(rig["cluster0/waiting"]))
    assert waiting == [2] * 5 + [1] * 5 + [0] * 4
    rig["meter0/ActivePower"] = 25_000 - 4500
    rig.step(dt_s=1.0)
    assert rig["cluster0/charging"] == 1
    rig["meter0/ActivePower"] = 0
    found = []
    for _ in range(40):
        rig.step(dt_s=1.0)
        found.append(int(rig["cluster0/charging"]))
    assert found.index(2) >= 28


def test_cars_that_do_not_wait_get_nothing_reserved():
    rig = stations(3, cluster(3, import_max_w=12_000))
    rig["evcs0/Status"] = float(EvcsStatus.SuspendedEV)
    rig["evcs1/Status"] = float(EvcsStatus.Available)
    granted(rig, 3, 100)
    assert rig["cluster0/charging"] == 1
    assert rig["evcs2/SetChargePowerLimit"] == pytest.approx(11_040, abs=100)


@pytest.mark.parametrize(
    ("settings", "room", "expected"),
    [
        ({}, 8000, [11, 0]),
        ({"ess": "ess0"}, 8000 + 5000 + 3000, [12, 11]),
        ({"ess": "ess0", "cars_max_w": 9660}, 9660, [7, 7]),
    ],
)
def test_a_storage_gives_way_to_cars_and_cars_keep_a_limit_of_their_own(settings, room, expected):
    rule = cluster(2, import_max_w=8000, **settings)
    rig = Rig([grid_meter(), battery(), *(charger(f"evcs{i}") for i in range(2))], [rule])
    for i in range(2):
        rig[f"evcs{i}/Phases"], rig[f"evcs{i}/MinHardwarePower"], rig[f"evcs{i}/MaxHardwarePower"] = 3, 3450, 11_040
    rig["meter0/ActivePower"], rig["ess0/ActivePower"] = 0, -3000
    found = granted(rig, 2)
    assert rig["cluster0/room_w"] == pytest.approx(room)
    assert found == pytest.approx(expected, abs=0.1)


def test_stations_that_share_a_surplus_take_all_of_it_and_no_more():
    rules = [(SurplusCharging, f"own{i}", surplus("MinPv", evcs=f"evcs{i}", sharing=3)[2]) for i in range(3)]
    rig = stations(3, *rules)
    rig["evcs2/MaxHardwarePower"] = 5000
    exports = []
    for _ in range(150):
        drawn = [rig[f"evcs{i}/SetChargePowerLimit"] or 0.0 for i in range(3)]
        for i, watts in enumerate(drawn):
            draw(rig, i, watts)
        rig["meter0/ActivePower"] = sum(drawn) - 20_000
        exports.append(20_000 - sum(drawn))
        rig.step(dt_s=1.0)
    assert min(exports) >= -300, "never more than there is"
    assert exports[-1] == pytest.approx(0, abs=700)
    assert rig["evcs2/SetChargePowerLimit"] <= 5000 < rig["evcs0/SetChargePowerLimit"]


def surplus(mode: str, **settings: object) -> tuple:
    base = {"evcs": "evcs0", "grid": "grid", "mode": mode, "reserve_w": 0, "on_s": 10, "off_s": 10, "switch_s": 20}
    return SurplusCharging, "surplus0", base | settings


@pytest.mark.parametrize(
    ("mode", "grid", "expected"),
    [
        ("Off", -9000, 0),
        ("Now", 3000, 11_040),
        ("MinPv", 3000, 1380),
        ("MinPv", -7000, 7000),
        ("Pv", -7000, 7000),
        ("Pv", -3000, 3000),
        ("Pv", -1000, 0),
    ],
)
def test_surplus_modes(mode, grid, expected):
    rig = stations(1, surplus(mode))
    rig["evcs0/MinHardwarePower"], rig["meter0/ActivePower"] = 1380, grid
    for _ in range(15):
        rig.step(dt_s=1.0)
    for _ in range(60):
        rig.step(dt_s=5.0)
    assert rig["evcs0/SetChargePowerLimit"] == pytest.approx(expected, abs=60)


def test_a_cloud_does_not_stop_the_car_and_a_long_lack_does():
    rig = Rig([grid_meter(), device("evcs0", Evcs, (*EVCS, Evcs.Phases))], [surplus("Pv")])
    rig["evcs0/Phases"], rig["evcs0/MaxHardwarePower"] = 3, 11_040
    rig["meter0/ActivePower"] = -6000
    for _ in range(40):
        rig.step(dt_s=1.0)
    assert rig["evcs0/SetChargePowerLimit"] == pytest.approx(6000, abs=60)
    rig["evcs0/ChargePower"] = 6000
    found = []
    for second in range(30):
        rig["meter0/ActivePower"] = 4000 if 5 <= second < 12 or second >= 15 else 0
        found.append(rig.step(dt_s=1.0)["evcs0/SetChargePowerLimit"])
    assert found[11] == pytest.approx(4140, abs=60)
    assert min(found[:24]) >= 4140 - 60
    assert found[-1] == 0


def test_phases_are_switched_by_the_surplus_that_lasts():
    rig = stations(1, surplus("Pv"))
    rig["evcs0/MinHardwarePower"] = 1380
    rig["meter0/ActivePower"] = -2500
    found = [rig.step(dt_s=1.0)["evcs0/SetPhases"] for _ in range(25)]
    assert found[:19] == [3] * 19
    assert found[21] == 1
    for _ in range(60):
        rig.step(dt_s=1.0)
    assert rig["evcs0/SetChargePowerLimit"] == pytest.approx(2500, abs=60)
    rig["meter0/ActivePower"] = -6000
    assert [rig.step(dt_s=1.0)["evcs0/SetPhases"] for _ in range(25)][-1] == 3


@pytest.mark.parametrize(("soc", "first", "expected"), [(40, 50, 5000), (60, 50, 8000)])
def test_the_storage_comes_first_until_it_is_half_full(soc, first, expected):
    rig = Rig([grid_meter(), battery(), charger()], [surplus("MinPv", ess="ess0", ess_first=first)])
    rig["evcs0/Phases"], rig["evcs0/MaxHardwarePower"], rig["evcs0/MinHardwarePower"] = 3, 11_040, 4140
    rig["ess0/Soc"], rig["ess0/ActivePower"], rig["meter0/ActivePower"] = soc, -3000, -5000
    for _ in range(100):
        rig.step(dt_s=5.0)
    assert rig["evcs0/SetChargePowerLimit"] == pytest.approx(expected, abs=60)


NIGHT = [0.30, 0.28, 0.10, 0.12, 0.11, 0.25, 0.30, 0.35]


@pytest.mark.parametrize(
    ("hour", "soc", "charges"),
    [
        (0, 50, False),
        (2, 50, True),
        (1, 50, False),
        (4, 50, True),
        (3, 20, True),
        (0, 80, False),
        (0, 0, False),
        (1, 0, True),
        (6, 20, True),
    ],
)
def test_smart_charging_takes_the_cheapest_hours_before_departure(hour, soc, charges):
    settings = {"evcs": "evcs0", "departure_hour": 7, "target": 80, "capacity_wh": 60_000, "power_w": 11_000}
    rig = Rig([grid_meter(), charger()], [(SmartCharging, "smart0", settings)])
    rig["evcs0/Soc"], rig["evcs0/Phases"], rig["evcs0/MaxHardwarePower"] = soc, 3, 11_000
    rig.at(datetime.fromisoformat("2026-07-01 00:00"))
    document(rig, "price/buy", 3600, buy=NIGHT)
    rig.at(datetime.fromisoformat(f"2026-07-01 {hour:02}:30"))
    for _ in range(30):
        rig.step(dt_s=1.0)
    assert (rig["evcs0/SetChargePowerLimit"] > 0) is charges


def two_way(*controllers: tuple) -> Rig:
    """A bidirectional station: a storage that is a charger too."""
    specs = (Ess.Soc, Ess.ActivePower, Ess.MaxApparentPower, ManagedEss.AllowedChargePower, ManagedEss.AllowedDischargePower)
    station = device("evcs0", ManagedEss, (*specs, ManagedEss.SetActivePower, Evcs.Status, Evcs.SetChargePowerLimit))
    station = station.__class__(
        **{f: getattr(station, f) for f in station.__dataclass_fields__} | {"natures": (Device, Evcs, ManagedEss)}
    )
    rig = Rig([grid_meter(), station], controllers)
    rig["evcs0/AllowedChargePower"], rig["evcs0/AllowedDischargePower"], rig["evcs0/MaxApparentPower"] = -11_000, 11_000, 11_000
    rig["evcs0/Status"], rig["meter0/ActivePower"] = float(EvcsStatus.Charging), 0
    return rig


@pytest.mark.parametrize(
    ("clock", "soc", "expected"),
    [("17:30", 70, 5000), ("18:30", 70, 5000), ("18:30", 45, 0), ("22:30", 70, -11_000), ("22:30", 85, 0)],
)
def test_a_vehicle_that_can_gives_in_dear_hours(clock, soc, expected):
    settings = {"evcs": "evcs0", "departure_hour": 7, "discharge_w": 5000, "min_soc": 50, "gain": 0.1}
    rig = two_way((SmartCharging, "v2g0", settings))
    rig.at(datetime.fromisoformat("2026-07-01 17:00"))
    document(rig, "price/buy", 3600, buy=[0.30, 0.60, 0.60, 0.30, 0.20, 0.10, 0.10, 0.10, 0.10, 0.10, 0.10, 0.20, 0.3, 0.3])
    rig.at(datetime.fromisoformat(f"2026-07-01 {clock}"))
    rig["evcs0/Soc"] = soc
    assert rig.step()["evcs0/SetActivePower"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("wanted", "import_max_w", "expected"),
    [(-11_000, 25_000, -11_000), (-11_000, 8000, -7590), (-11_000, 4000, 0), (5000, 4000, 5000)],
)
def test_a_vehicle_that_can_give_keeps_the_limit_of_its_cluster(wanted, import_max_w, expected):
    wish = FixActivePower, "fix0", {"ess": "evcs0", "power_w": wanted}
    rig = two_way(cluster(1, import_max_w=import_max_w), wish)
    assert rig.step()["evcs0/SetActivePower"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("level", "wanted", "expected"), [(0, -11_000, -11_000), (2, -11_000, -4400), (3, -11_000, 0), (3, 5000, 5000)]
)
def test_a_vehicle_that_can_give_answers_demand_response(level, wanted, expected):
    wish = FixActivePower, "fix0", {"ess": "evcs0", "power_w": wanted}
    rig = two_way((DemandResponse, "dr0", {"grid": "grid", "units": ["evcs0"]}), wish)
    document(rig, "event/meter0", 900, level=[level])
    assert rig.step()["evcs0/SetActivePower"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("mode", "grid", "expected"),
    [("Off", -9000, 0), ("Now", 3000, -11_000), ("MinPv", 3000, -4140), ("Pv", -7000, -7000), ("Pv", -3000, 0)],
)
def test_a_vehicle_that_can_give_charges_by_the_surplus(mode, grid, expected):
    rig = two_way(surplus(mode))
    rig["meter0/ActivePower"] = grid
    for _ in range(15):
        rig.step(dt_s=1.0)
    assert rig["evcs0/SetActivePower"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("grid", "stored", "soc", "state"),
    [
        (0, 0, 50, SgReady.Regular),
        (-3500, 0, 50, SgReady.Recommend),
        (-6000, 0, 50, SgReady.ForceOn),
        (-6000, 0, 5, SgReady.Recommend),
        (-1000, -5000, 50, SgReady.ForceOn),
        (-6000, 4000, 50, SgReady.Regular),
        (6000, 0, 50, SgReady.Regular),
        (6000, 0, 10, SgReady.Lock),
    ],
)
def test_heat_pump(grid, stored, soc, state):
    wired = {"state": "heat0/SgReady", "relay0": "io0/Output[0]", "relay1": "io0/Output[1]"}
    rule = (HeatPumpSgReady, "heat1", {"grid": "grid", "ess": "ess0"} | wired)
    rig = Rig([meter(), battery(), heat_pump(), relays()], [rule])
    rig["meter0/ActivePower"], rig["ess0/ActivePower"], rig["ess0/Soc"] = grid, stored, soc
    rig.step()
    contacts = {SgReady.Lock: (1, 0), SgReady.Regular: (0, 0), SgReady.Recommend: (0, 1), SgReady.ForceOn: (1, 1)}[state]
    assert rig["heat0/SgReady"] == state
    assert (output(rig, "io0", 0), output(rig, "io0", 1)) == contacts
    assert f"sets heat0/SgReady to {state}" in rig.text("heat1/Explanation")


def test_a_heat_pump_keeps_its_state_for_a_minute_unless_a_person_chooses():
    rule = (HeatPumpSgReady, "heat1", {"grid": "grid", "state": "heat0/SgReady"})
    rig = Rig([meter(), battery(), heat_pump()], [rule])
    found = []
    for grid in (-6000, 2500, 2500, 2500):  # what it takes itself counts as surplus
        rig["meter0/ActivePower"] = grid
        found.append(rig.step(dt_s=25)["heat0/SgReady"])
    assert found == [3, 3, 3, 1]
    assert rig.step(("heat1/manual", 0), ("heat1/mode", 1))["heat0/SgReady"] == 0


def test_heating_element_takes_surplus_in_steps():
    wired = [f"io0/Output[{i}]" for i in range(3)]
    rig = Rig([meter(), battery(), relays()], [(HeatingElement, "heat1", {"grid": "grid", "relays": wired})])
    levels = []
    for grid in (0, -2000, -2000, -2000, 1, 20_000):
        rig["meter0/ActivePower"] = grid
        rig.step(dt_s=61)
        levels.append(sum(output(rig, "io0", i) for i in range(3)))
    assert levels == [0, 1, 2, 3, 2, 0]


def test_heating_element_is_forced_when_the_day_runs_out():
    wired = [f"io0/Output[{i}]" for i in range(3)]
    rule = (HeatingElement, "heat1", {"grid": "grid", "relays": wired, "min_h": 2, "end_hour": 17})
    rig = Rig([meter(), battery(), relays()], [rule])
    rig["meter0/ActivePower"] = 5000
    found = {}
    for minute in range(14 * 60, 19 * 60, 5):
        rig.at(datetime(2026, 7, 1, minute // 60, minute % 60))
        rig.step(dt_s=300)
        found[minute / 60] = output(rig, "io0", 2)
    assert next(h for h, on in found.items() if on) == pytest.approx(15, abs=0.1)
    assert sum(1 for on in found.values() if on) * 5 == pytest.approx(120, abs=10)


@pytest.mark.parametrize(
    ("settings", "values", "expected"),
    [
        ({"on": 80, "off": 70}, [60, 80, 75, 70, 75], [0, 1, 1, 0, 0]),
        ({"on": 30, "off": 40}, [50, 30, 35, 40], [0, 1, 1, 0]),
        ({"on": 80, "off": 70, "invert": True}, [60, 85], [1, 0]),
        ({"on": 80, "off": 70, "compensation": -20}, [60, 85, 89, 91], [0, 1, 0, 1]),
        ({"on": 80, "off": 70, "fallback": True}, [60, None], [0, 1]),
    ],
)
def test_channel_threshold(settings, values, expected):
    wired = {"value": "ess0/Soc", "output": "io0/Output[2]"}
    rig = Rig([meter(), battery(), relays()], [(ChannelThreshold, "th0", wired | {"min_s": 0} | settings)])
    rig["meter0/ActivePower"] = 0
    found = []
    for value in values:
        rig["ess0/Soc"] = value
        rig.step()
        found.append(output(rig, "io0", 2))
    assert found == expected


def test_a_threshold_switches_no_more_often_than_allowed():
    wired = {"value": "ess0/Soc", "output": "io0/Output[0]", "on": 80, "off": 70, "min_s": 60}
    rig = Rig([meter(), battery(), relays()], [(ChannelThreshold, "th0", wired)])
    rig["meter0/ActivePower"] = 0
    found = []
    for value in (85, 65, 65, 65, 85):
        rig["ess0/Soc"] = value
        rig.step(dt_s=25)
        found.append(output(rig, "io0", 0))
    assert found == [1, 1, 1, 0, 0]


def test_two_that_want_the_same_relay_the_first_wins_and_the_other_says_so():
    rules = [
        (ChannelThreshold, name, {"value": "ess0/Soc", "output": "io0/Output[0]", "on": on, "off": 10, "priority": priority})
        for name, on, priority in (("late0", 40, 60), ("early0", 90, 50))
    ]
    rig = Rig([meter(), battery(), relays()], rules)
    rig["meter0/ActivePower"] = 0
    rig.step()
    assert output(rig, "io0", 0) == 0
    assert "gets 0: early0 holds it there" in rig.text("late0/Explanation")


def test_an_emergency_stop_opens_relays():
    wired = {"value": "ess0/Soc", "output": "io0/Output[0]", "on": 40, "off": 10}
    rig = Rig([meter(), battery(), relays()], [(ChannelThreshold, "th0", wired)])
    rig["meter0/ActivePower"] = 0
    assert output(rig.step(), "io0", 0) == 1
    rig.step(("site/EmergencyStopActive", 1))
    assert output(rig.step(), "io0", 0) is None or output(rig, "io0", 0) == 0


def test_chp_runs_between_two_states_of_charge():
    wired = {"ess": "ess0", "output": "io0/Output[0]", "min_s": 0}
    rig = Rig([meter(), battery(), relays()], [(ChpSoc, "chp0", wired)])
    rig["meter0/ActivePower"] = 0
    found = []
    for soc in (50, 20, 50, 79, 80, 50):
        rig["ess0/Soc"] = soc
        found.append(output(rig.step(), "io0", 0))
    assert found == [0, 1, 1, 1, 0, 0]


def test_analog_output_takes_all_of_the_surplus():
    analog = device("dac0", AnalogIo, (AnalogIo.Output,))
    rule = (AnalogSurplus, "analog0", {"grid": "grid", "output": "dac0/Output", "max_w": 10_000, "reserve_w": 0})
    rig = Rig([meter(), battery(), analog], [rule])
    load, found = 0.0, []
    for second in range(20):
        rig["meter0/ActivePower"] = (-5000 if second < 10 else 3000) + load
        share = rig.step(dt_s=1.0)["dac0/Output"]
        load = share / 100 * 10_000
        found.append(share)
    rig.step(("analog0/mode", 1), ("analog0/manual_w", 600), dt_s=1.0)
    assert rig["dac0/Output"] == pytest.approx(6)
    assert found[:3] == pytest.approx([20, 40, 50])
    assert found[9] == pytest.approx(50)
    assert found[-1] == 0
