"""Run a generator when the storage is low."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from server.core.blocks import switched_below
from server.core.constraint import Constraint
from server.core.controller import ActuatorRef, Controller, ControllerParams, EssRef, Now, param
from server.core.image import Image
from server.core.units import Percent, Second


class ChpSoc(Controller):
    """Start a combined heat and power plant or a genset at a low state of charge, and stop it at a high one.

        SoC <= low                           output = on_value      until SoC >= high, for min_s at least

    Source: cycle charging dispatch, C. D. Barley, C. B. Winn, "Optimal dispatch strategy in remote hybrid power systems", Solar
    Energy 58 (1996), doi:10.1016/S0038-092X(96)00087-4.
    """

    priority = 50

    class Params(ControllerParams):
        ess: EssRef = param("The storage.")
        output: ActuatorRef = param("Relay, or `gen0/StartStop`.")
        low: Percent = param("Start at and below this.", low=0, high=100, default=20.0)
        high: Percent = param("Stop at and above this.", low=0, high=100, above="low", default=80.0)
        min_s: Second = param("It runs and rests at least so long.", low=0, high=86400, default=600.0)
        on_value: int = param("What the output is told to run; StartStop: 1.", low=0, high=10, default=1)
        off_value: int = param("What the output is told to stop; StartStop: 2.", low=0, high=10, default=0)

    @dataclass
    class State:
        """on: it runs. here_s: time in this state."""

        on: bool = False
        here_s: float = 1e9

    params: Params
    state: State

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p, state = self.params, self.state
        soc = p.ess.soc(image)
        state.here_s += now.dt_s
        if soc is not None:
            wanted = switched_below(state.on, soc, on=p.low, off=p.high)
            if wanted is not state.on and state.here_s >= p.min_s:
                state.on, state.here_s = wanted, 0.0
            yield p.output.set(p.on_value if state.on else p.off_value, why=("charge is {:%}", soc))
