"""Building blocks: sequences of inputs to sequences of outputs."""

from __future__ import annotations

import pytest

from server.core.blocks import Deadband, Hysteresis, LowPass, Pid, PidState, Polyline, Ramp, switched_above, switched_below


@pytest.mark.parametrize(
    ("ramp", "inputs", "expected"),
    [
        (Ramp(100, 100), [500, 1000, 1000, 650, 0], [500, 600, 700, 650, 550]),
        (Ramp(100, None), [0, 1000, -1000], [0, 100, -1000]),
        (Ramp(None, 50), [0, 1000, 0], [0, 1000, 950]),
        (Ramp(), [0, 1000, 0], [0, 1000, 0]),
    ],
)
def test_ramp(ramp, inputs, expected):
    state = None
    found = [state := ramp.step(state, x, 1.0) for x in inputs]
    assert found == expected


def test_a_ramp_is_per_second():
    assert Ramp(100, 100).step(0.0, 1000, 0.05) == pytest.approx(5)


def test_deadband_follows_only_what_leaves_it():
    state = None
    found = [state := Deadband(10).step(state, x) for x in [100, 109, 110, 111, 102, 100]]
    assert found == [100, 100, 100, 111, 111, 100]


@pytest.mark.parametrize(
    ("block", "inputs", "expected"),
    [
        (Hysteresis(on=15, off=17), [20, 15, 16, 17, 16], [False, True, True, False, False]),
        (Hysteresis(on=95, off=93), [90, 95, 94, 93, 94], [False, True, True, False, False]),
        (Hysteresis(on=50, off=50), [49, 50, 51, 49], [False, True, True, False]),
    ],
)
def test_hysteresis(block, inputs, expected):
    state = False
    found = [state := block.step(state, x) for x in inputs]
    assert found == expected


@pytest.mark.parametrize(
    ("switch", "on", "off", "inputs", "expected"),
    [
        (switched_below, 15, 17, [20, 15, 16, 17, 16], [False, True, True, False, False]),
        (switched_below, 50, 50, [51, 50, 49, 51], [False, True, True, False]),
        (switched_below, 60, 40, [61, 60, 50, 39, 61], [False, True, True, True, False]),
        (switched_above, 95, 93, [90, 95, 94, 93, 94], [False, True, True, False, False]),
        (switched_above, 50, 50, [49, 50, 51, 49], [False, True, True, False]),
        (switched_above, 40, 60, [39, 40, 50, 61, 39], [False, True, True, True, False]),
    ],
)
def test_a_switch_keeps_its_direction_whatever_its_thresholds(switch, on, off, inputs, expected):
    state = False
    assert [state := switch(state, x, on, off) for x in inputs] == expected


@pytest.mark.parametrize(
    ("tau_s", "dt_s", "inputs", "expected"),
    [(1.0, 0.6, [1000, 2000], [1000, 1375]), (0.0, 0.6, [1000, 2000], [1000, 2000]), (1.0, 0.0, [1000, 2000], [1000, 2000])],
)
def test_low_pass(tau_s, dt_s, inputs, expected):
    state = None
    found = [state := LowPass(tau_s).step(state, x, dt_s) for x in inputs]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("pid", "wanted", "measured", "expected"),
    [
        (Pid(0.3, 0.3, 0.0, -10_000, 10_000), 10_000, [0, 0, 1896], [3000, 6000, 8431.2]),
        (
            Pid(0.3, 0.3, 0.0, -1e5, 1e5),
            20_000,
            [0, 0, 3793, 8981, 13_963, 17_885],
            [6000, 12_000, 16_862.1, 20_167.8, 21_978.9, 22_613.4],
        ),
        (Pid(0.3, 0.3, 0.1), 200, [0, 20], [60, 112]),
        (Pid(1.0, 0.0, 1.0), 0, [0, 10, 10], [0, -20, -10]),
    ],
)
def test_pid(pid, wanted, measured, expected):
    state, found = PidState(), []
    for value in measured:
        state, output = pid.step(state, wanted, value, 1.0)
        found.append(output)
    assert found == pytest.approx(expected, abs=0.2)


def test_a_pid_at_its_limit_does_not_wind_up():
    pid, state = Pid(1.0, 1.0, high=100.0), PidState()
    for _ in range(1000):
        state, output = pid.step(state, 1000, 0, 1.0)
    assert output == 100
    outputs = []
    for _ in range(3):
        state, output = pid.step(state, 0, 50, 1.0)
        outputs.append(output)
    assert outputs[-1] < 0


CHARGE_BY_TEMPERATURE = ((-10.0, 0.0), (-10.0, 0.215), (0, 0.215), (1, 0.325), (5, 0.325), (6, 0.65), (54, 0.325), (55, 0.0))


@pytest.mark.parametrize(
    ("points", "x", "y"),
    [
        (((0.9, 60.0), (0.93, 0.0), (1.07, 0.0), (1.1, -60.0)), 0.915, 30.0),
        (((0.9, 60.0), (0.93, 0.0), (1.07, 0.0), (1.1, -60.0)), 0.7, 60.0),
        (((0.9, 60.0), (0.93, 0.0), (1.07, 0.0), (1.1, -60.0)), 1.2, -60.0),
        (CHARGE_BY_TEMPERATURE, -10.001, 0.0),
        (CHARGE_BY_TEMPERATURE, -10.0, 0.215),
        (CHARGE_BY_TEMPERATURE, 0.5, 0.27),
        (CHARGE_BY_TEMPERATURE, 54.5, 0.1625),
        (CHARGE_BY_TEMPERATURE, 100, 0.0),
    ],
)
def test_polyline(points, x, y):
    assert Polyline(points).at(x) == pytest.approx(y, abs=1e-6)


@pytest.mark.parametrize("points", [(), ((1.0, 0.0), (0.0, 1.0))])
def test_a_polyline_without_rising_points_is_refused(points):
    with pytest.raises(ValueError, match="rising x"):
        Polyline(points)
