"""Limit what a PV plant produces."""

from __future__ import annotations

from collections.abc import Iterable

from server.core.constraint import Bound, Calm, Constraint
from server.core.controller import Controller, ControllerParams, GridRef, Now, PvRef, param
from server.core.image import Image
from server.core.units import Percent, Watt

NO_LIMIT_W = 1e9


class PvLimit(Controller):
    """Bound the production of a plant: to a fixed power, to a share of its rating, and so that export stays under a threshold.

        P_pv <= power_w,   P_pv <= share · rated,   export <= export_max_w

    The export threshold is a bound of the connection, so storage charges first and the plant is cut for the rest. Each limit is
    off at its highest value. Source: VDE-AR-N 4105:2018, 5.7.4.2; § 9 EEG 2023 (60 % of rated power).
    """

    priority = 10

    class Params(ControllerParams):
        pv: PvRef = param("The plant.")
        grid: GridRef | None = param("The connection for export_max_w.", default=None)
        power_w: Watt = param("Highest production; 1 GW is no limit.", low=0, high=NO_LIMIT_W, default=NO_LIMIT_W)
        share: Percent = param("Highest share of rated production.", low=0, high=100, default=100.0)
        export_max_w: Watt = param("Highest export; 1 GW is no limit.", low=0, high=NO_LIMIT_W, default=NO_LIMIT_W)
        hysteresis_w: Watt = param("Smaller easings of the need are not followed.", low=0, high=1e6, default=50.0)

    params: Params

    def standing(self) -> Iterable[Constraint]:
        p = self.params
        if p.power_w < NO_LIMIT_W:
            yield Bound(p.pv.power, at_most=p.power_w, why=("produces {:W} at most", p.power_w))
        if p.grid is not None and p.export_max_w < NO_LIMIT_W:
            why = ("keeps export under {:W}", p.export_max_w)
            yield Bound(p.grid.import_power, at_least=-p.export_max_w, why=why, calm=Calm(deadband=p.hysteresis_w))

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p = self.params
        rated = p.pv.rating(image) if p.share < 100 else None
        if rated is not None:
            yield Bound(p.pv.power, at_most=rated * p.share / 100, why=("produces {:%} of rated at most", p.share))
