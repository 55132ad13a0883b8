"""Load the three phases of a connection equally."""

from __future__ import annotations

from collections.abc import Iterable

from server.core.constraint import Constraint, Target
from server.core.controller import Controller, ControllerParams, Now, PhasedGridRef, param
from server.core.image import Image
from server.core.units import Watt

AFTER_STRATEGIES = 35
"""The sum of the phases belongs to the strategies (20 to 30); what is left to choose is how it lies on the phases."""


class PhaseRectification(Controller):
    """Want the same import on each phase of a connection.

        |g_k - mean(g)| <= band_w          for each phase k, by storages that take a set-point for each phase

    g_k: import of phase k. The mean is what the meter shows now, and the want comes after those that decide on the sum, so power
    is shifted between phases and not taken. Source: unbalance of voltages, EN 50160:2010, 4.2.10; of single-phase units, at most
    4.6 kVA, VDE-AR-N 4100:2019, 5.5.
    """

    priority = 15

    class Params(ControllerParams):
        grid: PhasedGridRef = param("The connection; its meter measures each phase.")
        band_w: Watt = param("Phases may differ so much from their mean.", low=0, high=1e6, default=50.0)

    params: Params

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p = self.params
        phases = p.grid.phase_powers(image)
        if len(phases) != len(p.grid.phase_imports):
            return
        mean = sum(phases) / len(phases)
        for node in p.grid.phase_imports:
            why = ("loads the phases equally, {:W} each", mean)
            yield Target(node, at_least=mean - p.band_w, at_most=mean + p.band_w, why=why, priority=AFTER_STRATEGIES)
