"""When set-points are written: transcripts of (time, asserted value) to writes."""

from __future__ import annotations

import math

import pytest

from drivers.modbus.output import Budget, Output
from drivers.modbus.profile import Setpoint

S = 1_000_000_000
NONE = None


def play(transcript, watchdog_s=None, **options):
    """Each row: (time s, asserted value or None when no lease holds). Returns (time, value) of each write."""
    setpoint = Setpoint(channel="SetActivePower", address=0, **{"type": "int32", "fail_safe": 0.0, **options})
    output = Output(setpoint, 0, watchdog_s)
    writes = []
    for at_s, value in transcript:
        now = int(at_s * S) + S
        lease = now + S if value is not None else now - 1
        asserted = math.nan if value is None else value
        if write := output.due(now, asserted, lease):
            writes.append((at_s, write.value))
            output.done(now, write.value, output.wanted(now, asserted, lease)[1])
    return writes


@pytest.mark.parametrize(
    ("what", "options", "transcript", "writes"),
    [
        ("the first act without a lease is fail-safe", {}, [(0, NONE), (1, NONE)], [(0, 0.0)]),
        ("the first act with a fresh lease is its value", {}, [(0, 500.0), (1, 500.0)], [(0, 500.0)]),
        ("an unchanged value is not written again", {}, [(0, 5.0), (1, 5.0), (9, 5.0)], [(0, 5.0)]),
        ("the deadband swallows small changes", {"deadband": 10}, [(0, 100), (1, 109), (2, 111)], [(0, 100), (2, 111)]),
        ("zero is always reached", {"deadband": 10}, [(0, 9), (1, 0)], [(0, 9), (1, 0)]),
        ("the ends are always reached", {"deadband": 10, "high": 100}, [(0, 95), (1, 100)], [(0, 95), (1, 100)]),
        ("changes wait for the interval", {"min_interval_s": 1}, [(0, 1), (0.5, 2), (0.9, 3), (1.1, 4)], [(0, 1), (1.1, 4)]),
        ("fail-safe waits for nothing", {"min_interval_s": 9, "deadband": 50}, [(0, 20), (0.1, NONE)], [(0, 20), (0.1, 0.0)]),
        ("fail-safe is written once and held", {}, [(0, 20), (1, NONE), (2, NONE), (99, NONE)], [(0, 20), (1, 0.0)]),
        ("a lease after fail-safe waits for nothing", {"min_interval_s": 9}, [(0, NONE), (0.1, 70)], [(0, 0.0), (0.1, 70)]),
        ("refreshed unchanged", {"refresh_s": 2}, [(0, 7), (1.9, 7), (2, 7), (3, 7), (4, 7)], [(0, 7), (2, 7), (4, 7)]),
        ("fail-safe is not refreshed", {"refresh_s": 2}, [(0, NONE), (5, NONE)], [(0, 0.0)]),
        ("fail-safe equal to the value is not written twice", {"fail_safe": 7}, [(0, 7), (1, NONE)], [(0, 7)]),
        ("values are clamped to what the device takes", {"low": -10, "high": 10}, [(0, 99), (1, -99)], [(0, 10), (1, -10)]),
        ("values outside the registers are clamped", {"type": "int16"}, [(0, 1e9)], [(0, 32767)]),
        ("values are rounded to the register's step", {"scale": 10}, [(0, 1234), (1, 1232)], [(0, 1230)]),
        ("infinity is no value", {}, [(0, math.inf)], [(0, 0.0)]),
    ],
)
def test_set_points_are_written_when(what, options, transcript, writes):
    """REQ-SAFE-022"""
    assert play(transcript, **options) == writes, what


def test_the_devices_watchdog_sets_the_refresh():
    assert play([(t, 5.0) for t in range(10)], watchdog_s=9.0) == [(0, 5.0), (3, 5.0), (6, 5.0), (9, 5.0)]
    assert play([(t, 5.0) for t in range(10)], watchdog_s=9.0, refresh_s=0) == [(0, 5.0)]


def test_a_refused_value_is_tried_later_and_later_but_another_value_at_once():
    output = Output(Setpoint(channel="SetActivePower", address=0, type="int32", fail_safe=0.0), 0, None)
    tries = []
    for ms in range(0, 8000, 100):
        now = S + ms * 1_000_000
        if output.due(now, 50.0, now + S):
            tries.append(ms)
            output.failed(now, 50.0)
    assert tries == [0, 500, 1500, 3500, 7500]
    now = S + 8_000_000_000
    assert output.due(now, 50.0, now + S) is None
    assert output.due(now, 60.0, now + S).value == 60.0
    assert output.due(now, 0.0, 0).urgent, "fail-safe may overdraw the budget"


def test_a_device_that_was_away_gets_its_value_again():
    output = Output(Setpoint(channel="SetActivePower", address=0, type="int32", fail_safe=0.0), 0, None)
    output.done(S, 50.0, True)
    assert output.due(S, 50.0, 2 * S) is None
    output.forget()
    assert output.due(S, 50.0, 2 * S).value == 50.0


def test_the_budget_refills_evenly_and_holds_a_minute():
    budget = Budget(60.0, 0)
    for _ in range(60):
        assert budget.has(0)
        budget.take()
    assert not budget.has(0)
    assert not budget.has(S // 2)
    assert budget.has(S + S // 100)
    for _ in range(1000):
        budget.take()
    assert not budget.has(60 * S)
    assert budget.has(63 * S), "urgent writes overdraw by a minute's worth at most"
