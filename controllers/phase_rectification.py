"""Load the three phases of a connection equally."""

from __future__ import annotations

from collections.abc import Iterable

from server.core.constraint import Constraint
from server.core.controller import Controller, ControllerParams, EssRef, MeterRef, Now, param
from server.core.image import Image
from server.core.units import Percent


class PhaseRectification(Controller):
    """Shift the power of a storage between its phases so that the connection is balanced; the sum is left to the others.

        P_k = P / 3 + o_k,   o_k = g_k + s_k - mean(g + s),   |P_k| <= share · S / 3

    g_k: import of phase k; s_k: what the storage gives there now; P: its power now. The offsets add up to 0. Needs a storage
    that takes a set-point for each phase. Source: unbalance limits, EN 50160, 4.2.10, and VDE-AR-N 4100, 5.5.2 (4.6 kVA).
    """

    priority = 15

    class Params(ControllerParams):
        meter: MeterRef = param("The connection, measured in each phase.")
        ess: EssRef = param("The storage with a set-point for each phase.")
        share: Percent = param("Share of a phase's rated power that is used.", low=0, high=100, default=100.0)

    params: Params

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p = self.params
        grid, own = p.meter.phase_powers(image), p.ess.phase_powers(image)
        rated, total = p.ess.rating(image), p.ess.active_power(image)
        if len(grid) != 3 or len(own) != 3 or rated is None or total is None:
            return
        loads = [g + s for g, s in zip(grid, own, strict=True)]
        mean, limit = sum(loads) / 3, rated / 3 * p.share / 100
        offsets = _fitted([load - mean for load in loads], total / 3, limit)
        yield from p.ess.set_phases([total / 3 + o for o in offsets], why="loads the phases equally")


def _fitted(offsets: list[float], base: float, limit: float) -> list[float]:
    """The offsets, made smaller all alike until base + offset fits into ±limit; so they still add up to nothing."""
    factors = [1.0]
    for offset in offsets:
        room = limit - base if offset > 0 else limit + base
        if abs(offset) > max(room, 0.0):
            factors.append(max(room, 0.0) / abs(offset))
    return [offset * min(factors) for offset in offsets]
