"""The time before a deadline, used to warm up: the parts of the coming cycle are rehearsed, as far as they fit.

    sleep ──▶│ woken ─ part ─ part ─ part ─ spin ─│ cycle
              ◀── lead, at most period / DIVISOR ──▶ deadline

How long a part takes is learned from how long it took. A part that does not fit into what is left of the lead is left out, and
forgotten slowly, so that it is tried again now and then; one that may not end before the deadline is not begun.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

WAKE_NS: Final = 200_000
"""How much later than asked a sleep may end."""
DIVISOR: Final = 10
"""Being early takes at most period / DIVISOR."""
LEARN_SHIFT: Final = 3
"""A rehearsal counts 1/8 in what the next is expected to take."""
FORGET_SHIFT: Final = 12
"""A part that is left out is expected to take 1/4096 less each cycle."""

Part = Callable[[int], None]
"""Rehearses a part of the cycle that is due at a moment of CLOCK_MONOTONIC [ns], without any effect."""


class Lead:
    """Plans and uses the time before each deadline."""

    def __init__(self, parts: Sequence[Part], period_ns: int) -> None:
        self._parts = list(parts)
        self._limit_ns = period_ns // DIVISOR
        self._took_ns = [0] * len(self._parts)
        self._chosen: list[int] = []

    def plan(self) -> int:
        """Choose the parts that fit; how long before the deadline to wake up [ns]."""
        lead_ns = WAKE_NS
        self._chosen = []
        for i, took_ns in enumerate(self._took_ns):
            if lead_ns + _ample(took_ns) <= self._limit_ns:
                self._chosen.append(i)
                lead_ns += _ample(took_ns)
            else:
                self._took_ns[i] -= took_ns >> FORGET_SHIFT
        return min(lead_ns, self._limit_ns)

    def use(self, deadline_ns: int) -> None:
        """Rehearse the chosen parts in their order, each if it is expected to end before the deadline."""
        now_ns = time.monotonic_ns()
        for i in self._chosen:
            if now_ns + self._took_ns[i] < deadline_ns:
                self._parts[i](deadline_ns)
                took_ns = time.monotonic_ns() - now_ns
                now_ns += took_ns
                self._took_ns[i] += (min(took_ns, self._limit_ns) - self._took_ns[i]) >> LEARN_SHIFT


def _ample(took_ns: int) -> int:
    """What is planned for a part: a quarter more than it takes on average."""
    return took_ns + (took_ns >> 2)
