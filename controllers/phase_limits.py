"""Keep import and export of every phase of a grid connection inside what the fuse or the contract allows."""

from __future__ import annotations

from collections.abc import Iterable

from server.core.constraint import Bound, Constraint
from server.core.controller import Controller, ControllerParams, PhasedGridRef, param
from server.core.units import Watt

NO_LIMIT_W = 1e9


class PhaseLimits(Controller):
    """Bound import and export on each phase.

        -export_max_w <= d_p - s_p <= import_max_w        for p = L1, L2, L3

    with the uncontrolled demand d_p of a phase and the supply s_p of the units below on it: a three-phase unit is on all phases
    alike, a single-phase one on its own, an asymmetric one as it is told. Storage moves first, then chargers and loads are cut
    for import, producers for export. A fuse of I ampere stands for I · 230 W. Source: VDE-AR-N 4100:2019, 5.5 (unbalance of
    single-phase units, at most 4.6 kVA).
    """

    priority = 10

    class Params(ControllerParams):
        grid: PhasedGridRef = param("The connection; its meter measures each phase.")
        import_max_w: Watt = param("Highest import of a phase; 1 GW is no limit.", low=0, high=NO_LIMIT_W, default=NO_LIMIT_W)
        export_max_w: Watt = param("Highest export of a phase; 1 GW is no limit.", low=0, high=NO_LIMIT_W, default=NO_LIMIT_W)

    params: Params

    def standing(self) -> Iterable[Constraint]:
        p = self.params
        for node in p.grid.phase_imports:
            if p.import_max_w < NO_LIMIT_W:
                yield Bound(node, at_most=p.import_max_w, why=("keeps import of a phase under {:W}", p.import_max_w))
            if p.export_max_w < NO_LIMIT_W:
                yield Bound(node, at_least=-p.export_max_w, why=("keeps export of a phase under {:W}", p.export_max_w))
