"""Switch an output by a measured value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from server.core.blocks import switched
from server.core.constraint import Constraint
from server.core.controller import ActuatorRef, ChannelRef, Controller, ControllerParams, Now, param
from server.core.image import Image
from server.core.units import Second


class ChannelThreshold(Controller):
    """Switch on at one threshold and off at another; below a third it may be off again.

        x >= on                              output = 1         until x <= off          (on below off: the other way round)
        x + compensation · output            is what is compared

    `compensation` is what the switched load itself takes out of the value, e.g. its power where x is the export. A value that is
    not known sets `fallback`. Source: two-point control with hysteresis, K. J. Åström, R. M. Murray, "Feedback Systems", 2008,
    section 2.3.
    """

    priority = 50

    class Params(ControllerParams):
        value: ChannelRef = param("What is watched, such as `ess0/Soc`.")
        output: ActuatorRef = param("What is switched, such as `io0/Output[0]`.")
        on: float = param("Threshold to switch on.", low=-1e12, high=1e12)
        off: float = param("Threshold to switch off.", low=-1e12, high=1e12)
        compensation: float = param("Added to the value while on.", low=-1e12, high=1e12, default=0.0)
        min_s: Second = param("A state lasts at least so long.", low=0, high=86400, default=60.0)
        invert: bool = param("The output is off where it would be on.", default=False)
        fallback: bool = param("Output while the value is not known.", default=False)

    @dataclass
    class State:
        """on: switched on. here_s: time in this state."""

        on: bool = False
        here_s: float = 1e9

    params: Params
    state: State

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p, state = self.params, self.state
        value = p.value.read(image)
        state.here_s += now.dt_s
        if value is None:
            yield p.output.set(p.fallback, why=f"{p.value.alias} is not known")
            return
        value += p.compensation if state.on else 0.0
        wanted = switched(state.on, value, on=p.on, off=p.off)
        if wanted is not state.on and state.here_s >= p.min_s:
            state.on, state.here_s = wanted, 0.0
        yield p.output.set(state.on is not p.invert, why=(f"{p.value.alias} is {{:.6g}}", value))
