"""The plant's physics: the sun where almanacs have it, energy conserved, limits kept, everything from the seed."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from drivers.plant import demand, noise, sky
from drivers.plant.battery import Battery
from drivers.plant.charger import MAX_POWER_W, MIN_POWER_W, Car, Charger, ChargerState
from drivers.plant.model import Plant

VIENNA = sky.Place(48.2, 16.4)


def unix(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("day", "declination", "equation_min"),
    [
        ("2025-03-20T12:00", 0.0, -7.5),
        ("2025-06-21T12:00", 23.44, -1.8),
        ("2025-09-22T18:00", 0.0, 7.3),
        ("2025-12-21T12:00", -23.44, 2.0),
        ("2025-02-11T12:00", -14.0, -14.2),
        ("2025-11-03T12:00", -15.1, 16.4),
    ],
)
def test_the_sun_stands_where_the_almanac_says(day, declination, equation_min):
    assert np.degrees(sky.declination(unix(day))) == pytest.approx(declination, abs=0.6)
    assert sky.equation_of_time(unix(day)) / 60.0 == pytest.approx(equation_min, abs=0.8)


@pytest.mark.parametrize(
    ("day", "place", "noon_elevation"),
    [
        ("2025-06-21", VIENNA, 90 - 48.2 + 23.44),
        ("2025-12-21", VIENNA, 90 - 48.2 - 23.44),
        ("2025-03-20", sky.Place(0.0, -60.0), 90.0),
        ("2025-12-21", sky.Place(-33.9, 151.2), 90 - 33.9 + 23.44),
    ],
)
def test_noon_is_highest_and_as_high_as_geometry_says(day, place, noon_elevation):
    noon = sky.unix_at_solar_time(unix(day), 43200.0, place)
    day_long = sky.elevation(noon + np.arange(-43200, 43200, 300.0), place)
    assert sky.elevation(noon, place) == pytest.approx(noon_elevation, abs=1.0)
    assert abs(int(np.argmax(day_long)) * 300 - 43200) <= 600
    assert day_long.min() < 0


def test_a_clear_summer_day_gives_what_a_tilted_plane_gets_and_nothing_at_night():
    day = unix("2025-06-21") + np.arange(0, 86400, 60.0)
    clear = sky.clear_irradiance(day, VIENNA)
    assert 950 < clear.max() < 1150
    assert 6500 < clear.sum() / 60.0 < 9500  # Wh/m²
    assert np.all(clear[sky.elevation(day, VIENNA) < -0.1] == 0)
    assert np.all(clear >= 0)


def test_noise_is_uniform_smooth_and_the_same_for_the_same_seed():
    cells = noise.uniform(3, np.arange(20000))
    assert cells.mean() == pytest.approx(0.5, abs=0.01)
    assert np.histogram(cells, 10)[0].min() > 1800
    assert abs(np.corrcoef(cells[:-1], cells[1:])[0, 1]) < 0.03
    curve = noise.smooth(1, np.arange(0, 1000, 0.1), 30.0)
    assert np.abs(np.diff(curve)).max() < 0.006
    assert noise.smooth(1, 500.0, 30.0) == curve[5000]
    assert not np.allclose(curve, noise.smooth(2, np.arange(0, 1000, 0.1), 30.0))


def test_the_building_has_a_rhythm_and_steps():
    day = unix("2025-05-15") + np.arange(0, 86400, 10.0)
    load = demand.load_power(day, np.mod(day, 86400.0), 1)
    assert load.min() > 200
    assert 3500 < load.max() < 20000
    assert load[day % 86400 < 5 * 3600].mean() < load[(day % 86400 > 9 * 3600) & (day % 86400 < 17 * 3600)].mean()
    assert np.abs(np.diff(load)).max() > 1500


def test_the_grid_carries_the_difference_at_every_instant():
    plant = Plant(seed=4, speed=60.0)
    plant.battery.command(-3000.0, 800.0)
    for second in range(120):
        plant.load_added_w = 1000.0 * (second % 3)
        plant.advance(second * 0.5)
        balance = plant.load_w + plant.charger.power - plant.pv.power - plant.battery.power
        phases = plant.grid_phases()
        assert plant.grid_w == pytest.approx(balance, abs=1e-9)
        assert sum(p.power for p in phases) == pytest.approx(plant.grid_w, abs=1e-6)
        assert sum(p.reactive for p in phases) == pytest.approx(plant.grid_reactive, abs=1e-6)


def test_the_grid_counters_count_what_the_meter_showed():
    plant = Plant(seed=2, speed=100.0)
    imported = exported = 0.0
    before = plant.grid_energy.imported_wh, plant.grid_energy.exported_wh
    for step in range(1, 1001):
        plant.advance(step * 0.02 + 1e-9)
        imported += max(plant.grid_w, 0.0) * 2.0 / 3600.0
        exported += max(-plant.grid_w, 0.0) * 2.0 / 3600.0
    assert plant.grid_energy.imported_wh - before[0] == pytest.approx(imported, rel=1e-6)
    assert plant.grid_energy.exported_wh - before[1] == pytest.approx(exported, rel=1e-6)


def test_the_same_seed_and_calls_give_the_same_plant():
    def run(seed):
        plant = Plant(seed=seed, speed=120.0)
        for n in range(100):
            plant.battery.command(100.0 * n)
            plant.advance(n * 0.21)
        return plant.grid_w, plant.frequency, plant.battery.soc, plant.charger.session_wh, plant.pv.energy_wh

    assert run(5) == run(5)
    assert run(5) != run(6)


def test_a_plant_that_slept_catches_up_in_big_steps():
    plant = Plant(seed=1)
    plant.advance(3600.0)
    assert plant.time_s - plant.start_s == pytest.approx(3600.0, abs=0.1)


def step(battery: Battery, seconds: float, simulated: float = 1.0) -> Battery:
    for _ in range(round(seconds / 0.02)):
        battery.step(0.02, 0.02 * simulated, 20.0)
    return battery


@pytest.mark.parametrize(
    ("soc", "wanted", "got"),
    [
        (0.5, 4000, 4000),
        (0.5, -4000, -4000),
        (0.5, 25000, 10000),
        (0.5, -25000, -10000),
        (0.06, 10000, 5000),
        (0.94, -10000, -5000),
        (0.02, 10000, 0),
        (0.98, -10000, 0),
    ],
)
def test_the_battery_follows_within_its_limits_that_taper_near_full_and_empty(soc, wanted, got):
    battery = Battery(soc=soc)
    battery.command(wanted)
    assert step(battery, 2.0).power == pytest.approx(got, rel=0.01, abs=15)
    assert battery.allowed_charge_w <= 0 <= battery.allowed_discharge_w


def test_the_battery_answers_with_its_lag():
    battery = Battery()
    battery.command(5000.0)
    assert 0.55 < step(battery, 0.2).power / 5000.0 < 0.7
    assert step(battery, 0.6).power / 5000.0 > 0.95


def test_the_batterys_watchdog_ends_an_old_set_point():
    battery = Battery(watchdog_s=1.0)
    battery.command(3000.0)
    assert step(battery, 0.9).power == pytest.approx(3000, rel=0.02)
    assert step(battery, 1.5).power == pytest.approx(0, abs=10)
    battery.command(3000.0)
    assert step(battery, 0.9).power == pytest.approx(3000, rel=0.02)
    assert step(Battery(watchdog_s=0.0, set_power=2000.0), 30.0).power == pytest.approx(2000, rel=0.01)


def test_a_round_trip_loses_energy_and_creates_none():
    battery = Battery(soc=0.4)
    battery.command(-6000.0)
    step(battery, 20.0, simulated=180.0)
    charged = battery.charge_wh - 412_000.0
    full = battery.soc
    battery.command(6000.0)
    while battery.soc > 0.4:
        step(battery, 0.2, simulated=180.0)
    efficiency = (battery.discharge_wh - 371_000.0) / charged
    assert full > 0.6
    assert 0.8 < efficiency < 0.96


def test_power_never_exceeds_the_inverters_apparent_power():
    battery = Battery()
    battery.command(8000.0, 9000.0)
    step(battery, 3.0)
    assert battery.power == pytest.approx(8000, rel=0.01)
    assert np.hypot(battery.power, battery.reactive) <= 10_001


@pytest.mark.parametrize(
    ("limit", "soc", "power", "state"),
    [
        (MAX_POWER_W, 0.3, MAX_POWER_W, ChargerState.Charging),
        (6000.0, 0.3, 6000.0, ChargerState.Charging),
        (MIN_POWER_W, 0.3, MIN_POWER_W, ChargerState.Charging),
        (MIN_POWER_W - 1, 0.3, 0.0, ChargerState.SuspendedByStation),
        (0.0, 0.3, 0.0, ChargerState.SuspendedByStation),
        (99_999.0, 0.3, MAX_POWER_W, ChargerState.Charging),
        (MAX_POWER_W, 0.999, 0.0, ChargerState.SuspendedByCar),
    ],
)
def test_a_car_charges_between_6_and_16_ampere_or_not_at_all(limit, soc, power, state):
    charger = Charger(1, first_arrival_s=1e18, car=Car(soc, 1e18))
    charger.command(limit)
    for _ in range(500):
        charger.step(0.02, 0.02, 0.0)
    assert charger.power == pytest.approx(power, abs=5)
    assert charger.state is state


def test_cars_come_charge_and_go():
    charger = Charger(3, first_arrival_s=100.0)
    states, sessions = set(), 0
    for second in range(0, 48 * 3600, 20):
        charger.step(1.0, 20.0, float(second))
        states.add(charger.state)
        sessions = max(sessions, charger.visits)
    assert {ChargerState.Available, ChargerState.Charging} <= states
    assert 8 < sessions < 40
    assert charger.energy_wh > 2_150_000.0


def test_a_charger_that_is_not_told_anything_falls_to_its_minimum():
    charger = Charger(1, 1e18, car=Car(0.2, 1e18), watchdog_s=1.0)
    for _ in range(500):
        charger.step(0.02, 0.02, 0.0)
    assert charger.power == pytest.approx(MIN_POWER_W)


def test_grid_frequency_wanders_around_50_hertz():
    plant = Plant(seed=9)
    found = []
    for _ in range(20000):
        plant._step(0.5)
        found.append(plant.frequency)
    assert np.mean(found) == pytest.approx(50.0, abs=0.006)
    assert 0.015 < np.std(found) < 0.025
