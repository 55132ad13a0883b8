"""Keep a storage from being discharged below a floor (REQ-SAFE-013)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from server.core.blocks import switched_below
from server.core.constraint import Bound, Constraint, Target
from server.core.controller import Controller, ControllerParams, EssRef, Now, param
from server.core.image import Image
from server.core.units import Percent, Second, Watt

RECHARGE_PRIORITY = 12
"""Forced recharge is a want below fuse and grid limits; blocking is protection."""


class LimitTotalDischarge(Controller):
    """Block discharge at a floor of the state of charge, and recharge at another.

        SoC <= min_soc                       P <= 0            until SoC >= min_soc + hysteresis, for hold_s at least
        SoC <= recharge_soc                  P = -recharge_w   until SoC >= max(min_soc, recharge_soc + hysteresis)

    The hysteresis spans what the state of charge recovers by itself when the load is gone. Source: cycle life against depth of
    discharge, e.g. B. Xu et al., "Modeling of lithium-ion battery degradation for cell life assessment", IEEE Trans. Smart Grid 9
    (2018), doi:10.1109/TSG.2016.2578950.
    """

    priority = 0

    class Params(ControllerParams):
        ess: EssRef = param("The storage to protect.")
        min_soc: Percent = param("Discharge is blocked at and below this.", low=0, high=100, default=15.0)
        hysteresis: Percent = param("Discharge is free again this much above the floor.", low=0.1, high=50, default=2.0)
        hold_s: Second = param("Discharge stays blocked at least so long.", low=0, high=86400, default=0.0)
        recharge_soc: Percent = param("Recharge starts at and below this; 0 for never.", low=0, high=100, default=0.0)
        recharge_w: Watt = param("Power of the recharge.", low=0, high=1e9, default=1000.0)

    @dataclass
    class State:
        """blocked: discharge is blocked. blocked_s: for how long. recharging: the recharge runs."""

        blocked: bool = False
        blocked_s: float = 0.0
        recharging: bool = False

    params: Params
    state: State

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p, state = self.params, self.state
        soc = p.ess.soc(image)
        if soc is None:
            return
        state.blocked_s = state.blocked_s + now.dt_s if state.blocked else 0.0
        held = state.blocked and state.blocked_s < p.hold_s
        state.blocked = held or switched_below(state.blocked, soc, on=p.min_soc, off=p.min_soc + p.hysteresis)
        target = min(max(p.min_soc, p.recharge_soc + p.hysteresis), 100.0)
        state.recharging = p.recharge_soc > 0 and switched_below(state.recharging, soc, on=p.recharge_soc, off=target)
        if state.blocked:
            yield Bound(p.ess.power, at_most=0, why=("blocks discharge at {:%} charge", p.min_soc))
        if state.recharging:
            why = ("recharges to {:%} charge", target)
            yield Target(p.ess.power, at_most=-p.recharge_w, why=why, priority=RECHARGE_PRIORITY)
