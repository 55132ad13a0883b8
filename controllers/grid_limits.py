"""Keep import and export of a grid connection inside what the contract allows."""

from __future__ import annotations

from collections.abc import Iterable

from server.core.constraint import Bound, Calm, Constraint
from server.core.controller import Controller, ControllerParams, GridRef, param
from server.core.units import Watt

NO_LIMIT_W = 1e9


class GridLimits(Controller):
    """Bound import and export of a connection.

        -export_max_w <= d - s <= import_max_w

    with the uncontrolled demand d and the supply s of all units below. Storage moves first, then chargers and loads are cut for
    import, producers for export. The fuse of the site itself is [grid] in site.toml and is kept before all controllers; these
    are the tighter limits of a contract or of an operator. Source: VDE-AR-N 4105:2018, 5.7.4.2 (limiting feed-in).
    """

    priority = 10

    class Params(ControllerParams):
        grid: GridRef = param("The connection, `grid` or the meter of a feeder.")
        import_max_w: Watt = param("Highest import; 1 GW is no limit.", low=0, high=NO_LIMIT_W, default=NO_LIMIT_W)
        export_max_w: Watt = param("Highest export; 1 GW is no limit.", low=0, high=NO_LIMIT_W, default=NO_LIMIT_W)
        hysteresis_w: Watt = param("Smaller easings of the need are not followed.", low=0, high=1e6, default=50.0)

    params: Params

    def standing(self) -> Iterable[Constraint]:
        p = self.params
        calm = Calm(deadband=p.hysteresis_w)
        if p.import_max_w < NO_LIMIT_W:
            why = ("keeps import under {:W}", p.import_max_w)
            yield Bound(p.grid.import_power, at_most=p.import_max_w, why=why, calm=calm)
        if p.export_max_w < NO_LIMIT_W:
            why = ("keeps export under {:W}", p.export_max_w)
            yield Bound(p.grid.import_power, at_least=-p.export_max_w, why=why, calm=calm)
