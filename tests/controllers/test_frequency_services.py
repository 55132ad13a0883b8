"""Frequency services: what frequency leads to which power, and when. Under-frequency discharges."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from control_rig import Rig, battery, follow, grid_meter
from published import needs, published

from controllers.fast_frequency_reserve import FastFrequencyReserve
from controllers.fix_active_power import FixActivePower
from controllers.frequency_droop import FrequencyDroop
from controllers.self_consumption import SelfConsumption
from controllers.virtual_inertia import VirtualInertia
from server.core.gridcodes import activation

FCR = [
    (49.75, 1), (49.8, 1), (49.85, 0.75), (49.9, 0.5), (49.95, 0.25), (49.98, 0.1), (49.99, 0.0), (50, 0.0),
    (50.01, 0.0), (50.02, -0.1), (50.05, -0.25), (50.1, -0.5), (50.15, -0.75), (50.2, -1), (50.25, -1),
]  # fmt: skip
"""Continental Europe: 200 mHz in full; within the ±10 mHz of insensitivity no answer is given."""


def site(*controllers: tuple, hertz: float = 50.0, **measured: float) -> Rig:
    rig = Rig([grid_meter(), battery()], list(controllers))
    rig["ess0/AllowedChargePower"], rig["ess0/AllowedDischargePower"] = -10_000, 10_000
    rig["meter0/ActivePower"], rig["meter0/Frequency"] = 0, hertz
    for name, value in measured.items():
        rig[f"ess0/{name}"] = value
    return rig


def droop(**settings: object) -> tuple:
    return FrequencyDroop, "fcr0", {"ess": "ess0", "meter": "meter0", "power_w": 4000} | settings


def fixed(power_w: float) -> tuple:
    return FixActivePower, "fix0", {"ess": "ess0", "power_w": power_w}


@pytest.mark.parametrize(("hertz", "share"), FCR)
def test_fcr_answers_in_proportion_and_in_full_at_200_mhz(hertz, share):
    rig = site(droop(), fixed(1000), hertz=hertz)
    assert rig.step()["ess0/SetActivePower"] == pytest.approx(1000 + 4000 * share, abs=1e-6)
    assert rig["fcr0/answer_w"] == pytest.approx(4000 * share, abs=1e-6)


def test_fcr_is_active_in_full_long_before_30_seconds():
    rig = site(droop(response_s=5))
    rig.step()
    rig["meter0/Frequency"] = 49.8
    powers = [rig.step()["ess0/SetActivePower"] for _ in range(600)]
    assert all(b >= a for a, b in pairwise(powers))
    assert powers[round(15 / 0.05)] >= 2000
    assert powers[round(5 / 0.05)] == pytest.approx(3600, abs=60)
    assert powers[-1] == pytest.approx(4000, abs=1)


def test_the_answer_does_not_move_the_base_point_that_a_balance_ramps_to():
    rig = site(droop(power_w=1500), (SelfConsumption, "self0", {"grid": "grid"}))
    power = 0.0

    def settle(steps: int) -> float:
        nonlocal power
        for _ in range(steps):
            rig["meter0/ActivePower"], rig["ess0/ActivePower"] = 2000 - power, power
            power += (rig.step()["ess0/SetActivePower"] - power) / 4
        return rig["ess0/SetActivePower"]

    assert settle(60) == pytest.approx(2000, abs=60)
    rig["meter0/Frequency"] = 49.8
    assert [settle(steps) for steps in (1, 1, 60)] == [pytest.approx(3500, abs=60)] * 3
    rig["meter0/Frequency"] = 50.0
    assert [settle(steps) for steps in (1, 60)] == [pytest.approx(2000, abs=60)] * 2


def test_without_a_frequency_there_is_no_answer_and_none_is_shown():
    rig = site(droop(), fixed(1000), hertz=49.9)
    assert rig.step()["fcr0/answer_w"] == pytest.approx(2000)
    rig["meter0/Frequency"] = None
    assert (rig.step()["fcr0/answer_w"], rig["ess0/SetActivePower"]) == (None, 1000)


def test_a_step_of_frequency_is_answered_in_the_cycle_that_sees_it():
    rig = site(droop())
    rig.step()
    rig["meter0/Frequency"] = 49.8
    assert rig.step()["ess0/SetActivePower"] == 4000


@pytest.mark.parametrize(
    ("hertz", "expected"),
    [(60.0, 0.5), (60.036, 0.5), (60.1, 0.478667), (61.0, 0.178667), (59.9, 0.521333), (59.0, 0.821333), (58.5, 0.988)],
)
def test_droop_of_5_percent_at_60_hertz(hertz, expected):
    ieee = {"nominal_hz": 60, "deadband_hz": 0.036, "full_hz": 3.036, "from_deadband": True, "power_w": 10_000, "reserve": 0}
    rig = site(droop(**ieee), fixed(5000), hertz=hertz)
    assert rig.step()["ess0/SetActivePower"] == pytest.approx(10_000 * expected, abs=1)


def test_activation_takes_arrays():
    hertz, share = map(np.array, zip(*FCR, strict=True))
    assert activation(hertz - 50, 0.2, 0.01) == pytest.approx(share)


def test_room_is_kept_for_the_answer():
    rig = site(droop(), fixed(9000))
    assert rig.step()["ess0/SetActivePower"] == 6000
    rig["meter0/Frequency"] = 49.8
    assert rig.step()["ess0/SetActivePower"] == 10_000


@pytest.mark.parametrize(
    ("soc", "hertz", "expected"),
    [
        (50, 50.0, 3000),
        (20, 50.0, -500),
        (20, 49.9, 2000),
        (19, 49.8, 4000),
        (24, 50.0, 3000),
        (80, 50.0, 3000),
    ],
)
def test_outside_the_reserve_band_the_base_point_recovers_while_the_answer_stays(soc, hertz, expected):
    rig = site(droop(recovery_w=500), fixed(3000), hertz=hertz, Soc=soc)
    assert rig.step()["ess0/SetActivePower"] == pytest.approx(expected)


def test_recovery_ends_inside_the_band():
    rig = site(droop(recovery_w=500))
    found = []
    for soc in (30, 20, 24, 25, 24, 81, 76, 75):
        rig["ess0/Soc"] = soc
        found.append(rig.step()["ess0/SetActivePower"])
    assert found == pytest.approx([0, -500, -500, 0, 0, 500, 500, 0])


@pytest.mark.parametrize(("activation_ms", "trigger"), [("Short", 49.5), ("Medium", 49.6), ("Long", 49.7)])
def test_fast_frequency_reserve_steps_within_its_activation_time(activation_ms, trigger):
    settings = {"ess": "ess0", "meter": "meter0", "power_w": 5000, "activation": activation_ms}
    rig = site((FastFrequencyReserve, "ffr0", settings))
    rig["meter0/Frequency"] = trigger + 0.01
    assert [rig.step()["ess0/SetActivePower"] for _ in range(20)] == [0] * 20
    rig["meter0/Frequency"] = trigger
    cycles = next(i for i in range(1, 100) if rig.step()["ess0/SetActivePower"] == 5000)
    assert cycles * 50 <= 100


def test_fast_frequency_reserve_supports_fades_rests_recovers_and_is_ready_again():
    times = {"support_s": 5, "deactivation_s": 5, "buffer_s": 10, "recovery_s": 20}
    settings = {"ess": "ess0", "meter": "meter0", "power_w": 5000} | times
    rig = site((FastFrequencyReserve, "ffr0", settings), fixed(8000))
    powers = []
    for second in range(45):
        rig["meter0/Frequency"] = 49.6 if second == 2 else 50.0
        powers.append(rig.step(dt_s=1.0)["ess0/SetActivePower"])
    assert powers[:2] == [5000, 5000]
    assert powers[2:7] == [10_000] * 5
    assert powers[7:10] == [10_000] * 3
    assert powers[12:22] == [8000] * 10
    assert powers[22:42] == pytest.approx([-900] * 20)
    assert powers[43] == 5000


@pytest.mark.parametrize(("hz_per_s", "expected"), [(0.0, 0), (-1.0, 2000), (1.0, -2000), (-4.0, 5000), (-0.01, 0)])
def test_virtual_inertia_opposes_the_change_of_frequency(hz_per_s, expected):
    settings = {"ess": "ess0", "meter": "meter0", "power_w": 5000, "inertia_s": 5}
    rig = site((VirtualInertia, "h0", settings))
    for cycle in range(60):
        rig["meter0/Frequency"] = 50 + hz_per_s * cycle * 0.05
        rig.step()
    assert rig["ess0/SetActivePower"] == pytest.approx(expected, abs=5)


def test_noise_of_the_measurement_hardly_moves_virtual_inertia():
    settings = {"ess": "ess0", "meter": "meter0", "power_w": 5000, "inertia_s": 5}
    rig = site((VirtualInertia, "h0", settings))
    noise = np.random.default_rng(1).normal(0, 0.0005, 400)
    powers = []
    for value in noise:
        rig["meter0/Frequency"] = 50 + value
        powers.append(rig.step()["ess0/SetActivePower"])
    assert max(map(abs, powers)) < 150


def test_without_a_frequency_nobody_answers():
    rig = site(droop(), fixed(1000))
    rig["meter0/Frequency"] = None
    assert rig.step()["ess0/SetActivePower"] == 1000
    follow(rig)


TABLES = published("08_gridcodes/gridcode_tables.json", "GRIDCODE_TABLES")


@needs(TABLES, "GRIDCODE_TABLES")
def test_published_vectors_of_droop_and_fcr():
    tables = json.loads(TABLES.read_text())
    for hertz, share in tables["entsoe_fcr"]["vectors_CE_pu"]:
        assert activation(hertz - 50, 0.2) == pytest.approx(share)
    for hertz, power in tables["ieee1547_2018"]["vectors_freq_droop_p_pre_0.5"]:
        answer = 0.5 + activation(hertz - 60, 3.036, 0.036, from_deadband=True)
        assert min(max(answer, 0.0), 1.0) == pytest.approx(power, abs=1e-6)
    for kind in ("LFSM_O", "LFSM_U"):
        for hertz, power in tables["droop_vectors_50hz_5pct"][kind]:
            found = activation(hertz - 50, 0.2 + 50 * 0.05, 0.2, from_deadband=True)
            assert found == pytest.approx(power, abs=1e-6)
