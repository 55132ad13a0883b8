"""Grid-code functions against the published cases of OpenDER (EPRI, BSD-3), 45 lists, 474 rows of a 100 kW, 100 kVA resource.

The resource is a storage in the engine; what a row calls p_dc or p_kw is wanted of it, within its rating
and efficiency. Each row runs until the set-points have settled. OPENDER_VECTORS names another file of this form.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from math import acos, sin
from typing import Any

import pytest
from control_rig import Rig, battery, follow, grid_meter, volts
from published import needs, published

from controllers.fix_active_power import FixActivePower
from controllers.frequency_droop import FrequencyDroop
from controllers.frequency_protection import FrequencyProtection
from controllers.reactive_power import ReactivePower
from controllers.volt_watt import VoltWatt
from controllers.voltage_protection import VoltageProtection
from server.core.blocks import Polyline
from server.core.gridcodes import VOLT_VAR, WATT_VAR, Category, Cessation, line_to_line, positive_sequence, ride_through

KILO = 1000.0
RATED = 100 * KILO
TOLERANCE = 0.2
"""kW and kvar, as in OpenDER's own test of trips."""

VECTORS = "OPENDER_VECTORS"
PATH = published("08_gridcodes/opender_test_vectors.json", VECTORS)

NO_EMS_FUNCTION = (
    "the inverter's inner current or voltage source behind its impedance, which no energy management system commands"
)
REASONS: Mapping[str, str] = dict.fromkeys(
    ("test_isource_single", "test_isource_three", "test_vsource_single", "test_vsource_three"), NO_EMS_FUNCTION
)
"""Lists of rows that are not run, and why."""

Row = Sequence[Any]
Controllers = list[tuple[Any, str, Mapping[str, Any]]]


def resource(controllers: Controllers, *, highest: float = 100.0, lowest: float = -100.0, apparent: float = 100.0) -> Rig:
    """A storage with these abilities [kW, kVA] and what commands it."""
    rig = Rig([grid_meter(), grid_meter("meter1"), battery()], controllers)
    rig["ess0/AllowedDischargePower"], rig["ess0/AllowedChargePower"] = highest * KILO, lowest * KILO
    rig["ess0/MaxApparentPower"] = apparent * KILO
    for meter in ("meter0", "meter1"):
        rig[f"{meter}/Frequency"] = 60.0
        volts(rig, 1.0, meter=meter)
    return rig


def settled(rig: Rig, cycles: int = 60, dt_s: float = 1.0) -> tuple[float, float]:
    """Active and reactive power when nothing changes any more [kW, kvar]."""
    for _ in range(cycles):
        rig.step(dt_s=dt_s)
        follow(rig)
    return rig["ess0/SetActivePower"] / KILO, rig["ess0/SetReactivePower"] / KILO


def wants(power_kw: float, **settings: Any) -> tuple[Any, str, Mapping[str, Any]]:
    return FixActivePower, "fix0", {"ess": "ess0", "power_w": power_kw * KILO, **settings}


def limit(share: float, rated_kw: float = 100.0) -> tuple[Any, str, Mapping[str, Any]]:
    return FixActivePower, "limit0", {"ess": "ess0", "power_w": share * rated_kw * KILO, "relation": "AtMost", "priority": 90}


def reactive(mode: str, **settings: Any) -> tuple[Any, str, Mapping[str, Any]]:
    return ReactivePower, "q0", {"ess": "ess0", "grid": "grid", "mode": mode, **settings}


def volt_watt(*points: tuple[float, float], **settings: Any) -> tuple[Any, str, Mapping[str, Any]]:
    return VoltWatt, "vw0", {"unit": "ess0", "meter": "meter0", "curve": points, "rated_w": RATED, **settings}


def near(row: Row, found: tuple[float, float], p: float, q: float) -> None:
    assert abs(found[0] - p) <= TOLERANCE, (row, found)
    assert abs(found[1] - q) <= TOLERANCE, (row, found)


def at_voltage(
    *controllers: tuple[Any, str, Mapping[str, Any]], apparent: float = 100.0, efficiency: float = 1.0, rated: float = 100.0
) -> Callable[[Row], None]:
    """Rows of (v_pu, p_dc, p_expected, q_expected)."""

    def run(row: Row) -> None:
        v, p_dc, p, q = row[:4]
        rig = resource([wants(200), *controllers], highest=min(p_dc * efficiency, rated), apparent=apparent)
        volts(rig, v)
        near(row, settled(rig), p, q)

    return run


def at_phases(measured: Callable[[Sequence[float], Sequence[float]], float], *controllers: Any) -> Callable[[Row], None]:
    """Rows of ((v, v, v, angle, angle, angle), p_dc, p_expected, q_expected, calculated_v)."""

    def run(row: Row) -> None:
        phasors, p_dc, p, q, expected = row
        v = measured(phasors[:3], phasors[3:])
        assert v == pytest.approx(expected, abs=0.0006), row
        at_voltage(*controllers)([v, p_dc, p, q])

    return run


def mean(magnitudes: Sequence[float], angles: Sequence[float]) -> float:
    return sum(magnitudes) / 3


def power_limit(row: Row) -> None:
    p_dc, share, p, q = row
    near(row, settled(resource([wants(200), limit(share)], highest=p_dc)), p, q)


def storage_limit(row: Row) -> None:
    demand, share, p, q = row
    near(row, settled(resource([wants(demand), limit(share, 100 if share > 0 else 80)], lowest=-80)), p, q)


def limited_power_factor(row: Row) -> None:
    p_dc, pf, p, q = row
    near(row, settled(resource([wants(200), limit(0.5), reactive("CosPhi", cos_phi=pf)], highest=p_dc)), p, q)


def storage_volt_watt(curve: tuple[tuple[float, float], ...], charge_kw: float) -> Callable[[Row], None]:
    def run(row: Row) -> None:
        v, demand, p = row
        rig = resource([wants(demand), volt_watt(*curve, charge_rated_w=charge_kw * KILO)], lowest=-charge_kw)
        volts(rig, v)
        near(row, settled(rig), p, 0)

    return run


def watt_var(charge_kw: float = 100.0) -> Callable[[Row], None]:
    """The load side of the characteristic refers to the rated charge."""
    scale = charge_kw / 100
    points = [(p * scale if p < 0 else p, q) for p, q in WATT_VAR["B"].points]

    def run(row: Row) -> None:
        demand, p, q = row
        apparent = charge_kw if demand < 0 else 100.0
        q0 = reactive("WattVar", watt_var=points, rated_va=RATED, response_s=5)
        near(row, settled(resource([wants(demand), q0], lowest=-charge_kw, apparent=apparent)), p, q)

    return run


def trip_at(row: Row) -> None:
    v, p_dc, p, q = row
    protection = (VoltageProtection, "trip0", {"meter": "meter0", "category": "CategoryIII"})
    rig = resource([wants(200), reactive("VoltVar"), protection], highest=p_dc)
    volts(rig, v)
    near(row, settled(rig), p, q)


def trip_unbalanced(row: Row) -> None:
    magnitudes, angles, p_dc, p, q = row
    protections = [
        (VoltageProtection, f"trip{i}", {"meter": meter, "category": "CategoryIII"})
        for i, meter in enumerate(("meter0", "meter1"))
    ]
    rig = resource([wants(200), *protections], highest=p_dc)
    volts(rig, *magnitudes)
    volts(rig, *line_to_line(magnitudes, angles), meter="meter1")
    near(row, settled(rig), p, q)


def status_at(row: Row) -> None:
    name, v, enabled, below, above, expected = row
    category = {"CAT_I": Category.CategoryI, "CAT_II": Category.CategoryII, "CAT_III": Category.CategoryIII}[name]
    found = ride_through(category, v if isinstance(v, list) else [v], Cessation(below, above) if enabled else None)
    assert found.name.lower() == expected.replace(" ", "").removesuffix("Operation").lower(), (row, found.name)


def returns_to_service(row: Row) -> None:
    """IEEE 1547.1-2020, 5.6.2: it stays out without permission, outside the window, and for the whole delay, then ramps."""
    delay, ramp, random, v_high, v_low, f_high, f_low, v0, v1, f0, f1 = row
    window = {"return_low_v": v_low, "return_high_v": v_high, "return_low_hz": f_low, "return_high_hz": f_high}
    times = {"delay_s": delay, "ramp_s": ramp, "random_s": random, "permit": False, "units": ["ess0"]}
    protection = (
        FrequencyProtection,
        "f0",
        {"meter": "meter0", "under1_hz": 40, "under2_hz": 40, "over1_hz": 70, "over2_hz": 70} | window | times,
    )
    rig = resource([wants(200), protection])
    outside, inside = (v0, f0), (v1, f1)

    def at(condition: tuple[float, float], *writes: tuple[str, float]) -> float:
        volts(rig, condition[0])
        rig["meter0/Frequency"] = condition[1]
        rig.step(*writes, dt_s=1.0)
        return rig["ess0/SetActivePower"] / KILO

    rest = max(60, 2 * delay + random)
    assert all(at(inside) == 0 for _ in range(60)), (row, "not permitted")
    at(outside, ("f0/permit", 1))
    assert all(at(outside) == 0 for _ in range(rest)), (row, "outside the window")
    assert all(at(inside) == 0 for _ in range(int(0.25 * delay))), (row, "too short")
    at(outside)
    powers = [at(inside) for _ in range(delay + random + ramp + 3)]
    out = sum(p == 0 for p in powers)
    assert delay <= out <= delay + random + 2, (row, out)
    steps = [b - a for a, b in zip(powers[out:], powers[out + 1 :], strict=False)]
    assert powers[-1] == pytest.approx(100), row
    assert not ramp or max(steps, default=0) <= 100 / ramp + 1e-3, row


def answers_in_time(row: Row) -> None:
    """IEEE 1547.1-2020, 5.15: 90 % of each step within the open loop response time, at three available powers."""
    deadband, k, olrt = row
    dt = min(olrt / 40, 0.05)
    full = {"deadband_hz": deadband, "full_hz": deadband + 60 * k, "from_deadband": True}
    droop = (
        FrequencyDroop,
        "droop0",
        {"ess": "ess0", "meter": "meter0", "power_w": RATED, "nominal_hz": 60, "response_s": olrt} | full,
    )

    def check(base: float, frequencies: Sequence[float]) -> None:
        rig = resource([wants(base), droop], lowest=0)
        settled(rig, 5, dt)
        for hertz in frequencies:
            before = rig["ess0/SetActivePower"]
            rig["meter0/Frequency"] = hertz
            soon, _ = settled(rig, round(olrt / dt), dt)
            final, _ = settled(rig, round(3 * olrt / dt), dt)
            start = before / KILO
            assert abs(soon - start - 0.9 * (final - start)) < 5, (row, hertz)

    slope = k * 60 * 0.05
    for available in (100, 66, 20):
        check(available, (60, 60 + deadband, 60 + deadband + slope, 61.2, 61.2 - slope, 60 + deadband, 60))
    check(50, (60 - deadband, 60 - deadband - slope, 58.8, 58.8 + slope, 60 - deadband, 60))


def reference_follows(row: Row) -> None:
    """IEEE 1547.1-2020, 5.14.5: the reference follows the voltage, so reactive power returns to little within its time."""
    time, step, file = row
    curve = VOLT_VAR[file[-5]]
    (v1, q1), (v2, _), (v3, _), (v4, q4) = curve.points if len(curve.points) == 4 else [*curve.points[:2], *curve.points[1:]]
    rig = resource([reactive("VoltVar", volt_var=[list(p) for p in curve.points], reference_s=time)])
    settled(rig, 1, step)
    volts(rig, (v3 + v4) / 2)
    _, q = settled(rig, time // step, step)
    assert q > 0.1 * 100 * q4 - 1e-6, (row, q)
    settled(rig, 3 * time // step, step)
    volts(rig, (v1 + v2) / 2)
    _, q = settled(rig, time // step, step)
    assert q < 0.2 * 100 * q1, (row, q)


def first_things_first(row: Row) -> None:
    """IEEE 1547.1-2020, 5.16: volt-watt, limit and droop together; each step as (V, f, expected P, expected Q)."""
    file, function, *expected = row
    letter = file[-5]
    if function == "CONST_PF":
        expected = [sin(acos(0.9)) / 0.9 * p for p in (0.5, 0.4, 0.3, 0.4, 0.4, 0.6, 0.5, 0.7)]
    q0 = {
        "QV": reactive("VoltVar", volt_var=[list(p) for p in VOLT_VAR[letter].points]),
        "CONST_Q": reactive("Fixed", power_var=44 * KILO),
        "CONST_PF": reactive("CosPhi", cos_phi=0.9),
        "QP": reactive("WattVar", watt_var=[list(p) for p in WATT_VAR[letter].points]),
    }[function]
    full = {"nominal_hz": 60, "deadband_hz": 0.036, "full_hz": 3.036, "from_deadband": True, "hold_base": True, "reserve": 0}
    droop = (FrequencyDroop, "droop0", {"ess": "ess0", "meter": "meter0", "power_w": RATED, **full})
    rig = resource([wants(200), limit(0.5), q0, volt_watt((1.06, 1.0), (1.1, 0.2)), droop], lowest=0)
    steps = [(1, 60, 50), (1.09, 60, 40), (1.09, 60.336, 30), (1.09, 60, 40), (1.09, 59.364, 40)]
    steps += [(1, 59.364, 60), (1, 60, 50), (1, 59.364, 70)]
    for i, (v, hertz, p) in enumerate(steps):
        volts(rig, v)
        rig["meter0/Frequency"] = hertz
        near((row, i), settled(rig, 40), p, expected[i] * 100)


B = [list(p) for p in VOLT_VAR["B"].points]
VOLT_VAR_B = reactive("VoltVar")
REDUCED = [[0, 0], [0.05, 0], [0.05, 0.11], [0.2, 0.44], [1, 0.44]]
STEEP = [[0.92, 0.6], [0.98, 0], [1.02, 0], [1.08, -0.6]]
DEFAULT_VW = volt_watt((1.06, 1.0), (1.1, 0.0))

CASES: Mapping[str, Callable[[Row], None]] = {
    "test_ap_function": power_limit,
    "test_ap_function_bess": storage_limit,
    "test_constant_power_factor_function": limited_power_factor,
    "test_enterservice": returns_to_service,
    "test_freq_droop": answers_in_time,
    "test_pf_vw_345": at_voltage(reactive("CosPhi", cos_phi=-0.9), DEFAULT_VW),
    "test_power_factor_321": at_voltage(reactive("CosPhi", cos_phi=0.95)),
    "test_power_factor_322": at_voltage(reactive("CosPhi", cos_phi=-0.9), apparent=111),
    "test_power_factor_342": at_voltage(reactive("CosPhi", cos_phi=0.95), limit(0.5)),
    "test_power_factor_352": at_voltage(reactive("CosPhi", cos_phi=0.9), efficiency=0.97),
    "test_priorityofresponses": first_things_first,
    "test_ride-through_status": status_at,
    "test_trip_decision": trip_at,
    "test_trip_decision_unbal": trip_unbalanced,
    "test_volt_var": at_voltage(VOLT_VAR_B),
    "test_volt_var_311": at_voltage(reactive("VoltVar", volt_var=[[0.9, 0.22], [1.0, 0], [1.03, 0], [1.09, -0.44]])),
    "test_volt_var_312": at_voltage(VOLT_VAR_B),
    "test_volt_var_313": at_voltage(VOLT_VAR_B, apparent=105),
    "test_volt_var_314": at_voltage(reactive("VoltVar", volt_var=STEEP, active_first=True)),
    "test_volt_var_314_2": at_voltage(reactive("VoltVar", volt_var=STEEP)),
    "test_volt_var_315": at_voltage(reactive("VoltVar", volt_var=[*B[:2], *STEEP[2:]])),
    "test_volt_var_316": at_voltage(reactive("VoltVar", capability=REDUCED)),
    "test_volt_var_316_2": at_voltage(VOLT_VAR_B),
    "test_volt_var_317": at_phases(mean, VOLT_VAR_B),
    "test_volt_var_317_2": at_phases(positive_sequence, VOLT_VAR_B),
    "test_volt_var_341": at_voltage(VOLT_VAR_B, limit(0.5)),
    "test_volt_var_351": at_voltage(VOLT_VAR_B, efficiency=0.97),
    "test_volt_var_vref": reference_follows,
    "test_volt_watt": at_voltage(volt_watt((1.06, 1.0), (1.1, 0.2))),
    "test_volt_watt_331": at_voltage(volt_watt((1.05, 1.0), (1.09, 0.4))),
    "test_volt_watt_332": at_phases(mean, DEFAULT_VW),
    "test_volt_watt_332_2": at_phases(positive_sequence, DEFAULT_VW),
    "test_volt_watt_343": at_voltage(DEFAULT_VW, limit(0.5)),
    "test_volt_watt_353": at_voltage(DEFAULT_VW, efficiency=0.97),
    "test_volt_watt_bess": storage_volt_watt(((1.06, 1.0), (1.09, -1.0)), 100),
    "test_volt_watt_bess_2": storage_volt_watt(((1.06, 1.0), (1.1, -0.5)), 80),
    "test_vv_vw_344": at_voltage(reactive("VoltVar", capability=REDUCED), DEFAULT_VW),
    "test_vv_vw_344_2": at_voltage(VOLT_VAR_B, DEFAULT_VW),
    "test_watt_var": watt_var(),
    "test_watt_var_bess": watt_var(),
    "test_watt_var_bess_2": watt_var(80),
}


def lists() -> Mapping[str, Sequence[Row]]:
    """The rows of the file by the name of their list."""
    content = json.loads(PATH.read_text()) if PATH.exists() else {}
    return {name.partition(".")[0]: table["rows"] for name, table in content.items()}


@needs(PATH, VECTORS)
def test_every_list_of_the_file_is_run_or_has_a_reason():
    found = lists()
    assert set(found) == set(CASES) | set(REASONS)
    left_out = sum(len(found[name]) for name in REASONS)
    assert (sum(map(len, found.values())), left_out) == (474, 30)


@needs(PATH, VECTORS)
@pytest.mark.parametrize("name", CASES)
def test_published_rows(name):
    for row in lists()[name]:
        CASES[name](row)


def test_characteristics_take_points_from_a_configuration():
    assert Polyline(tuple((v, q) for v, q in B)) == VOLT_VAR["B"]
