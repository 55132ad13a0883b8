"""Go on discharging for a while after a peak."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from server.core.constraint import Constraint, Target
from server.core.controller import Controller, ControllerParams, EssRef, Memory, Now, param
from server.core.image import Image
from server.core.units import Second, Watt


class MinDischargePeriod(Controller):
    """Hold a least discharge for a time once a storage has discharged strongly.

        P > activate_w                       P >= least_w         for hold_s after the last such moment

    Keeps a genset or a feeder from seeing the same peak twice. Source: minimum run time of peak units, A. J. Wood et al., "Power
    Generation, Operation and Control", 2013, section 4.3.
    """

    priority = 20
    memory = Memory.Brief

    class Params(ControllerParams):
        ess: EssRef = param("The storage.")
        activate_w: Watt = param("Discharge above this starts the period.", low=0, high=1e9, default=10000.0)
        least_w: Watt = param("Least discharge during the period.", low=0, high=1e9, default=5000.0)
        hold_s: Second = param("Length of the period.", low=1, high=86400, default=120.0)

    @dataclass
    class State:
        """left_s: what is left of the period."""

        left_s: float = 0.0

    params: Params
    state: State

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p, state = self.params, self.state
        power = p.ess.active_power(image)
        state.left_s = max(state.left_s - now.dt_s, 0.0)
        if power is not None and power > p.activate_w:
            state.left_s = p.hold_s
        if state.left_s > 0:
            yield Target(p.ess.power, at_least=p.least_w, why=("discharges on after a peak, {:s} left", state.left_s))
