"""When a round of reads starts: phase-locked to the announced freeze, or free-running without one."""

from __future__ import annotations

import pytest

from drivers.modbus.pace import MARGIN_NS, Duration, aligned_period, next_start

MS = 1_000_000


@pytest.mark.parametrize(
    ("what", "now", "last", "period", "cycle", "freeze", "duration", "start"),
    [
        ("before the next freeze", 10, 0, 50, 50, 50, 5, 42.5),
        ("just after the round the next cycle is meant", 48, 42, 50, 50, 50, 5, 92.5),
        ("a start that has passed waits for the next cycle", 44, -8, 50, 50, 50, 5, 92.5),
        ("every fourth cycle for a slow poll", 48, 42, 200, 50, 50, 5, 242.5),
        ("twice a cycle for a fast poll", 10, 0, 25, 50, 50, 5, 17.5),
        ("a round longer than the cycle keeps the phase", 60, 0, 50, 50, 100, 70, 77.5),
        ("without a cycle it runs freely", 10, 0, 50, 0, 0, 5, 50),
        ("with a dead engine it runs freely", 5000, 4990, 50, 50, 100, 5, 5040),
        ("late and free means now", 99, 0, 50, 0, 0, 5, 99),
    ],
)
def test_a_round_starts(what, now, last, period, cycle, freeze, duration, start):
    found = next_start(now * MS, last * MS, period * MS, cycle * MS, freeze * MS, duration * MS)
    assert found == int(start * MS), what
    assert MARGIN_NS == 2.5 * MS


@pytest.mark.parametrize(
    ("period", "cycle", "aligned"),
    [(50, 50, 50), (80, 50, 100), (60, 50, 50), (200, 50, 200), (25, 50, 25), (20, 50, 25), (70, 0, 70)],
)
def test_periods_keep_step_with_the_cycle(period, cycle, aligned):
    assert aligned_period(period * MS, cycle * MS) == aligned * MS


def test_the_learned_duration_covers_what_varies_and_forgets():
    duration = Duration()
    for n in range(50):
        duration.learn(5 * MS + (n % 2) * 2 * MS)
    assert 7 * MS < duration.bound_ns < 12 * MS
    for _ in range(100):
        duration.learn(1 * MS)
    assert 1 * MS <= duration.bound_ns < 1.1 * MS
