"""Drive a storage up and down a band of power."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from server.core.constraint import Constraint, Target
from server.core.controller import Controller, ControllerOutputs, ControllerParams, EssRef, Now, param, shown
from server.core.image import Image
from server.core.units import Watt


class LinearPowerBand(Controller):
    """Want a triangle of power between two ends, for tests and commissioning.

        P(t + dt) = P(t) ∓ slope_w_per_s · dt                turning at low_w and at high_w

    Source: ramp tests of power plant controllers, FGW TR3 revision 25, 4.1.
    """

    priority = 100

    class Params(ControllerParams):
        ess: EssRef = param("The storage.")
        low_w: Watt = param("Lowest power.", low=-1e9, high=1e9, default=-10000.0)
        high_w: Watt = param("Highest power.", low=-1e9, high=1e9, default=10000.0)
        slope_w_per_s: float = param("Change of power [W/s].", low=0.001, high=1e9, default=10.0)
        starts_down: bool = param("It starts with charging.", default=True)

    @dataclass
    class State:
        """power_w: the wish before. down: it falls; None before the first."""

        power_w: float = 0.0
        down: bool | None = None

    class Outputs(ControllerOutputs):
        target_w: Watt = shown("Power that is wanted.")

    params: Params
    state: State

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p, state = self.params, self.state
        state.down = p.starts_down if state.down is None else state.down
        if state.power_w <= p.low_w:
            state.down = False
        elif state.power_w >= p.high_w:
            state.down = True
        step = p.slope_w_per_s * now.dt_s
        state.power_w = min(max(state.power_w + (-step if state.down else step), p.low_w), p.high_w)
        self.out.target_w = state.power_w
        yield Target(p.ess.power, equals=state.power_w, why=("runs through its band, {:W}", state.power_w))
