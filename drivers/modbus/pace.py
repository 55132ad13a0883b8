"""When to start reading so that the values are fresh when the engine freezes the image.

Problem: the engine freezes every 50 ms; values that arrive just after a freeze are a whole cycle old in the next one,
and a reaction within 100 ms is lost. Idea: learn how long a round of reads takes (mean and deviation, as TCP learns its
round trip: RFC 6298), and start each round that much, and a margin, before the next freeze that the engine announces.
Without an announcement the rounds just keep their period.

    freeze          freeze          freeze
    |        [round]|        [round]|         start = freeze - margin - (mean + 4 deviations)
"""

from __future__ import annotations

MARGIN_NS = 2_500_000
"""Time between the end of a typical round and the freeze: timer resolution, decoding, publishing."""

_ALPHA, _BETA, _DEVIATIONS = 1 / 8, 1 / 4, 4.0
_STALE_CYCLES = 20


class Duration:
    """A duration that is learned, ns."""

    def __init__(self) -> None:
        self._mean = 0.0
        self._deviation = 0.0

    def learn(self, sample_ns: float) -> None:
        """Take one more measurement into account."""
        if self._mean == 0.0:
            self._mean, self._deviation = sample_ns, sample_ns / 2.0
            return
        self._deviation += _BETA * (abs(sample_ns - self._mean) - self._deviation)
        self._mean += _ALPHA * (sample_ns - self._mean)

    @property
    def bound_ns(self) -> float:
        """What it will almost surely not exceed."""
        return self._mean + _DEVIATIONS * self._deviation


def aligned_period(period_ns: int, cycle_ns: int) -> int:
    """The period nearest to `period_ns` that keeps its phase to a cycle: a multiple or a whole part of it."""
    if cycle_ns <= 0:
        return period_ns
    if period_ns >= cycle_ns:
        return cycle_ns * round(period_ns / cycle_ns)
    return cycle_ns // round(cycle_ns / period_ns)


def next_start(now_ns: int, last_ns: int, period_ns: int, cycle_ns: int, freeze_ns: int, duration_ns: float) -> int:
    """When the next round starts, CLOCK_MONOTONIC ns.

    last_ns: start of the round before. freeze_ns: the announced next freeze; 0 or long past when the engine stands still.
    """
    if cycle_ns <= 0 or freeze_ns <= now_ns - _STALE_CYCLES * cycle_ns:
        return max(now_ns, last_ns + period_ns)
    period = aligned_period(period_ns, cycle_ns)
    target = freeze_ns - MARGIN_NS - int(duration_ns)
    earliest = max(now_ns, last_ns + period // 2)
    return target - (target - earliest) // period * period
