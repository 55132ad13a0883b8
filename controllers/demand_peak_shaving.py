"""Hold the mean import of each billing window under a limit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from server.core.constraint import Bound, Calm, Constraint
from server.core.controller import Controller, ControllerOutputs, ControllerParams, GridRef, Now, param, shown
from server.core.image import Image
from server.core.ticks import TICKS
from server.core.units import Second, Watt

TIGHTEN_S = 10.0
"""So long before the end of a window the limit only tightens: an answer that comes late does not make it swing."""
STILL_S = 1.0
"""So long before the end it stands still: no unit would follow in time."""


class DemandPeakShaving(Controller):
    """Hold the mean import of each window, 15 minutes of the clock, under the limit that the contract bills.

        E        energy imported in the window so far
        left     (demand_max_w · T_window - E) / T_left              import <= max(min(left, import_max_w), 0)

    In the last 10 s of a window the limit only tightens, in the last second it stands still, so that it does not swing.
    A short peak costs nothing while its window has energy left, so a storage does less than for a limit at every moment. Time
    that was not seen, because the meter was silent or this did not run, counts as used at the limit. Source: mean power per
    measuring period of 15 min, German Metering Code VDE-AR-N 4400:2019, 4; demand limiting in ASHRAE Handbook, HVAC Applications,
    2019, chapter 43.
    """

    priority = 10

    class Params(ControllerParams):
        grid: GridRef = param("The connection that is billed.")
        demand_max_w: Watt = param("Highest mean import of a window.", low=0, high=1e9)
        import_max_w: Watt = param("Highest import at any moment.", low=0, high=1e9, default=1e9)
        window_s: Second = param("Length of a window.", low=60, high=3600, default=900.0)
        hysteresis_w: Watt = param("Smaller easings of the need are not followed.", low=0, high=1e6, default=100.0)

    @dataclass
    class State:
        """window: number of the window since 1601, -1 before the first. energy_wh: imported in it until seen_at [ticks]. left_w:
        what was left then."""

        window: int = -1
        energy_wh: float = 0.0
        seen_at: int = 0
        left_w: float = 0.0

    class Outputs(ControllerOutputs):
        remaining_w: Watt = shown("Mean import that is left for the rest of the window.", low=0)
        mean_w: Watt = shown("Mean import of the window, had it ended now without further import.", low=0)
        window_left_s: Second = shown("Time left in the window.", low=0)

    params: Params
    state: State

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p, state = self.params, self.state
        seconds = now.time / TICKS
        window, gone = int(seconds // p.window_s), seconds % p.window_s
        if window != state.window:
            state.window, state.energy_wh, state.seen_at = window, 0.0, now.time - round(gone * TICKS)
            state.left_w = p.demand_max_w
        state.energy_wh += self._used_w(image, now) * max(now.time - state.seen_at, 0) / TICKS / 3600
        state.seen_at = now.time
        left_s = p.window_s - gone
        left = state.left_w = self._left_w(left_s)
        self.out.remaining_w, self.out.window_left_s = left, left_s
        self.out.mean_w = state.energy_wh * 3600 / p.window_s
        why = ("{:W} are left for {:s} of the window", left, left_s)
        yield Bound(p.grid.import_power, at_most=min(left, p.import_max_w), why=why, calm=Calm(deadband=p.hysteresis_w))

    def _left_w(self, left_s: float) -> float:
        """Mean import that is left for the rest of the window, calm at its end."""
        if left_s < STILL_S:
            return self.state.left_w
        left = max((self.params.demand_max_w * self.params.window_s - self.state.energy_wh * 3600) / left_s, 0.0)
        return left if left_s >= TIGHTEN_S else min(left, self.state.left_w)

    def _used_w(self, image: Image, now: Now) -> float:
        """Import since what was seen before; the limit where the meter was silent, or a cycle is missing."""
        power = self.params.grid.power(image)
        whole = now.time - self.state.seen_at <= 2 * now.dt_s * TICKS
        return max(power, 0.0) if whole and power is not None else self.params.demand_max_w
