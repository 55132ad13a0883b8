"""What must hold while the world stands still: set-points come to rest, and a restart of control changes nothing.

After SETTLE of the stretch every set-point that is a power is watched. A *reversal* is a turn of direction with a swing of more
than the deadband; more than REVERSALS a minute is an oscillation. At RESTART of the stretch control is started anew; a set-point
that stood still before must stand still after.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

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
DEADBAND_W: Final = 100.0
DEADBAND_SHARE: Final = 0.02


class Calm:
    """Watches one calm stretch."""

    def __init__(self, stretch: Stretch, case: Case) -> None:
        self._steps, self._minutes = stretch.steps, stretch.steps * stretch.step_s * (1 - SETTLE) / 60
        self._at = 0
        self._rows: list[list[float]] = []

    def restarts_now(self) -> bool:
        """Control is to be started anew after this step."""
        return self._at == int(self._steps * RESTART)

    def look(self, step: Step) -> str:
        """Take a step; what is wrong, when the stretch is over."""
        self._at += 1
        if self._at > self._steps * SETTLE:
            self._rows.append([s.setpoint or 0.0 for s in step.seen])
        if self._at < self._steps:
            return ""
        bands = [max(DEADBAND_W, DEADBAND_SHARE * max(abs(s.low), s.high)) + s.step for s in step.seen]
        for s, values, band in zip(step.seen, zip(*self._rows, strict=True), bands, strict=True):
            turns = reversals(values, band)
            if turns > REVERSALS * max(self._minutes, 1):
                return f"calm: {s.unit.alias} turns {turns} times in {self._minutes:.2f} min: {_shown(values)}"
            known = int(self._steps * (RESTART - SETTLE))
            after = values[known : known + AFTER]
            if max(values[:known]) - min(values[:known]) < 1 and max(after) - min(after) > band:
                return f"calm: {s.unit.alias} stood still until control was started anew: {_shown(values[known - 1 :])}"
        return ""


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
