"""Absolute deadlines: cycle k is due at start + k x period, however long the cycles before took.

    deadline        next            due, but missed
       │◀─ work ─▶   │                 │
    ───┼─────────────┼─────────────────┼────▶
       └ lateness of the start

A slip is a deadline that was not served in time: work that ended after the next one, or a start later than a tenth of the
period. Missed deadlines are counted and left out, so the phase is kept and nothing is made up for in a burst.
"""

from __future__ import annotations

from typing import Final

LATE_DIVISOR: Final = 10
"""A start later than period / LATE_DIVISOR is a slip."""


class Pacer:
    """When the next cycle is due, and how well the cycles kept to it. All times are CLOCK_MONOTONIC ns."""

    def __init__(self, period_ns: int, start_ns: int) -> None:
        self.period_ns = period_ns
        self.deadline_ns = start_ns
        self.lateness_ns = 0
        self.duration_ns = 0
        self.worst_ns = 0
        self.cycles = 0
        self.slips = 0
        self._started_ns = start_ns

    def started(self, now_ns: int) -> None:
        """The work of the cycle that was due at `deadline_ns` begins."""
        self._started_ns = now_ns
        self.lateness_ns = now_ns - self.deadline_ns

    def finished(self, now_ns: int) -> None:
        """The work is done; `deadline_ns` becomes the next deadline that can still be met."""
        self.duration_ns = now_ns - self._started_ns
        self.worst_ns = max(self.worst_ns, self.duration_ns)
        missed = max(0, (now_ns - self.deadline_ns - 1) // self.period_ns)
        self.slips += missed or self.lateness_ns * LATE_DIVISOR > self.period_ns
        self.cycles += 1
        self.deadline_ns += (missed + 1) * self.period_ns
