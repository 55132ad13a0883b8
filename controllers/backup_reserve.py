"""Keep energy for the loss of the grid."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from server.core.blocks import ramped, switched_below
from server.core.constraint import Bound, Constraint, Target
from server.core.controller import Controller, ControllerOutputs, ControllerParams, EssRef, Memory, Now, param, shown
from server.core.image import Image
from server.core.units import Percent, Watt

RECHARGE_PRIORITY = 12
"""Recharge is a want below fuse and grid limits."""


class BackupReserve(Controller):
    """Hold an emergency capacity while the grid is there; off grid it may be used.

        P <= max(rated · clip((SoC - reserve) / approach, 0, 1), P_pv)  while on grid, moving by `ramp` of rated each second
        SoC < reserve - 1 %                      P <= -recharge_w        until SoC >= reserve

    Discharge fades out over `approach`, so it does not chatter at the reserve. P_pv, what PV gives on the DC side of a hybrid, is
    no discharge. Source: state-of-charge limits for backup, IEEE
    1547.9-2022, 4.6.
    """

    priority = 8
    memory = Memory.Lasting

    class Params(ControllerParams):
        ess: EssRef = param("The storage.")
        reserve: Percent = param("State of charge that is kept.", low=5, high=100, default=20.0)
        approach: Percent = param("Discharge fades out over this.", low=0.1, high=20, default=2.0)
        ramp: Percent = param("Change of the limit each second, share of rated.", low=0.1, high=100, default=100.0)
        recharge_w: Watt = param("Power that restores the reserve; 0 for none.", low=0, high=1e9, default=0.0)

    @dataclass
    class State:
        """limit: share of rated that may be given now. recharging: the reserve is being restored."""

        limit: float = 1.0
        recharging: bool = False

    class Outputs(ControllerOutputs):
        discharge_max_w: Watt = shown("Highest power now; unknown while there is no limit.", low=0)

    params: Params
    state: State

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p, state = self.params, self.state
        soc = p.ess.soc(image)
        self.out.discharge_max_w = float("nan")
        if soc is None or p.ess.islanded(image):
            return
        rated = p.ess.rating(image) or p.ess.allowed(image)[1]
        share = (soc - p.reserve) / p.approach
        if share < 1:
            share = min(max(share, p.ess.dc_production(image) / rated if rated else 0.0, 0.0), 1.0)
        state.limit = ramped(state.limit, min(share, 1.0), p.ramp / 100, p.ramp / 100, now.dt_s)
        if state.limit < 1:
            self.out.discharge_max_w = rated * state.limit
            yield Bound(p.ess.power, at_most=rated * state.limit, why=("keeps {:%} for the loss of the grid", p.reserve))
        state.recharging = p.recharge_w > 0 and switched_below(state.recharging, soc, on=p.reserve - 1, off=p.reserve)
        if state.recharging:
            why = ("restores the reserve of {:%}", p.reserve)
            yield Target(p.ess.power, at_most=-p.recharge_w, why=why, priority=RECHARGE_PRIORITY)
