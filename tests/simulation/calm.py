"""What must hold while the world stands still: set-points come to rest, and a restart of control changes nothing.

After SETTLE of the stretch every set-point that is a power is watched. A *reversal* is a turn of direction with a swing of more
than the deadband; more than REVERSALS a minute is an oscillation. A consumer that is switched off or on, no more than SWITCHES
times a minute, makes others turn until they found together again: SETTLING reversals each. At RESTART of the stretch control is
started anew; where a set-point stood still before, it must be what it were without that: the engine from before goes on beside
for AFTER steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from server.core.follower import RELEASE, STEP

from .site import Case
from .view import Step

if TYPE_CHECKING:
    from .run import Stretch

SETTLE: Final = 0.5
RESTART: Final = 0.8
AFTER: Final = 5
"""So many steps show what a restart changed."""
REVERSALS: Final = 2
"""Reversals that each minute may have; a controller's timer may switch something meanwhile."""
SWITCHES: Final = 2
"""How often a minute a ceiling may come to zero or leave it: a charger rests for a minute after it was stopped."""
SETTLING: Final = 2
"""Reversals that each of these may cost a unit."""
DEADBAND_W: Final = 100.0
DEADBAND_SHARE: Final = 0.02


class Calm:
    """Watches one calm stretch."""

    def __init__(self, stretch: Stretch, case: Case) -> None:
        self._steps, self._minutes = stretch.steps, stretch.steps * stretch.step_s * (1 - SETTLE) / 60
        self._sampling_s = max(d.sample_s for d in case.physical.devices)
        self._at = 0
        self._rows: list[list[float]] = []
        self._beside: list[list[float]] = []

    def restarts_now(self) -> bool:
        """Control is to be started anew after this step."""
        return self._at == int(self._steps * RESTART)

    def compared(self) -> bool:
        """It is known what the restart changed."""
        return self._at > int(self._steps * RESTART) + AFTER

    def look(self, step: Step, beside: Sequence[float] = ()) -> str:
        """Take a step; what is wrong, when the stretch is over. beside: set-points of the engine that was not started anew."""
        self._at += 1
        if self._at > self._steps * SETTLE:
            self._rows.append([s.setpoint or 0.0 for s in step.seen])
        if beside:
            self._beside.append(list(beside))
        return self._judge(step) if self._at == self._steps else ""

    def _judge(self, step: Step) -> str:
        columns = list(zip(*self._rows, strict=True))
        units = list(zip(step.seen, columns, strict=True))
        span = max(round(self._sampling_s / step.now.dt_s), 1)
        share = min(STEP * span, max(STEP, RELEASE * self._sampling_s))
        released = sum(climb(values, span, share * s.high) for s, values in units if not s.unit.is_storage)
        known = int(self._steps * (RESTART - SETTLE))
        minutes = max(self._minutes, 1)
        switched = {s.unit.alias: switches(values) for s, values in units if not s.unit.is_storage}
        for alias, count in switched.items():
            if count > SWITCHES * minutes:
                return f"calm: {alias} is switched {count} times in {self._minutes:.2f} min"
        allowed = REVERSALS * minutes + SETTLING * sum(switched.values())
        for i, (s, values) in enumerate(units):
            band = max(DEADBAND_W, DEADBAND_SHARE * max(abs(s.low), s.high)) + s.step
            turns = reversals(values, band + released if s.unit.is_storage else band)
            if turns > allowed:
                return f"calm: {s.unit.alias} turns {turns} times in {self._minutes:.2f} min: {_shown(values)}"
            still = max(values[:known]) - min(values[:known]) < 1
            after, beside = values[known + 1 :], [row[i] for row in self._beside]
            if still and any(abs(a - b) > band for a, b in zip(after, beside, strict=False)):
                return f"calm: {s.unit.alias} was started anew: {_shown(values[known:])}; else: {_shown(beside)}"
        return ""


def climb(values: Sequence[float], span: int, most: float) -> float:
    """By how much a ceiling is released within so many steps, which storage answers on top of its deadband [W]; 0 where it falls.
    span: steps between two samples of the slowest device, since a demand is reckoned for moments that all were sampled at."""
    return min(max(0.0, *(after - before for before, after in zip(values, values[span:], strict=False))), most)


def switches(values: Sequence[float]) -> int:
    """How often a series comes to zero or leaves it."""
    return sum(bool(before) != bool(after) for before, after in pairwise(values))


def reversals(values: Sequence[float], band: float) -> int:
    """How often a series turns by more than a band."""
    turns, direction, extreme = 0, 0, values[0]
    for value in values:
        change = value - extreme
        if direction == 0 and abs(change) > band:
            direction, extreme = (1 if change > 0 else -1), value
        elif direction * change > 0:
            extreme = value
        elif direction and -direction * change > band:
            turns, direction, extreme = turns + 1, -direction, value
    return turns


def _shown(values: Sequence[float]) -> str:
    return " ".join(f"{v:.0f}" for v in values[:60])
