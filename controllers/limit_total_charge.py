"""Keep a storage from being charged above a ceiling (REQ-SAFE-013)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from server.core.blocks import switched_above
from server.core.constraint import Bound, Constraint
from server.core.controller import Controller, ControllerParams, EssRef, Now, param
from server.core.image import Image
from server.core.units import Percent


class LimitTotalCharge(Controller):
    """Block charge at a ceiling of the state of charge.

        SoC >= max_soc                       P >= 0            until SoC <= max_soc - hysteresis

    Calendar ageing of lithium-ion cells grows with the state of charge they rest at. Source: P. Keil et al., "Calendar aging of
    lithium-ion batteries", J. Electrochem. Soc. 163 (2016), doi:10.1149/2.0411609jes.
    """

    priority = 0

    class Params(ControllerParams):
        ess: EssRef = param("The storage to protect.")
        max_soc: Percent = param("Charge is blocked at and above this.", low=0, high=100, default=95.0)
        hysteresis: Percent = param("Charge is free again this much below the ceiling.", low=0.1, high=50, default=2.0)

    @dataclass
    class State:
        """blocked: charge is blocked."""

        blocked: bool = False

    params: Params
    state: State

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p = self.params
        soc = p.ess.soc(image)
        if soc is None:
            return
        self.state.blocked = switched_above(self.state.blocked, soc, on=p.max_soc, off=p.max_soc - p.hysteresis)
        if self.state.blocked:
            yield Bound(p.ess.power, at_least=0, why=("blocks charge at {:%} charge", p.max_soc))
