"""Store what is above one feed-in power, give back below another."""

from __future__ import annotations

from collections.abc import Iterable

from server.core.constraint import Calm, Constraint, Target
from server.core.controller import Controller, ControllerParams, GridRef, param
from server.core.units import Watt


class DelayedSellToGrid(Controller):
    """Keep the export of a connection between two powers with the storage below it.

        continuous_w <= export <= export_max_w

    Above export_max_w storage charges, below continuous_w it discharges, in between it rests: a plant that sells a steady power
    through the evening. Source: peak shifting of PV, e.g. A. Nottrott et al., "Energy dispatch schedule optimization for demand
    charge reduction", Renewable Energy 55 (2013), doi:10.1016/j.renene.2012.12.036.
    """

    priority = 20

    class Params(ControllerParams):
        grid: GridRef = param("The connection.")
        export_max_w: Watt = param("What is above this is stored.", low=0, high=1e9)
        continuous_w: Watt = param("What is missing to this is given back.", low=0, high=1e9)
        deadband_w: Watt = param("Smaller changes are not followed.", low=0, high=1e6, default=50.0)

    params: Params

    def standing(self) -> Iterable[Constraint]:
        p = self.params
        calm = Calm(deadband=p.deadband_w)
        high = max(p.export_max_w, p.continuous_w)
        why = ("sells {:W} to {:W}", p.continuous_w, high)
        yield Target(p.grid.import_power, at_least=-high, at_most=-p.continuous_w, why=why, calm=calm)
