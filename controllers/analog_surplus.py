"""Drive an analogue output by the surplus."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from server.core.blocks import ramped
from server.core.constraint import Constraint
from server.core.controller import ActuatorRef, Controller, ControllerParams, EssRef, GridRef, Now, param
from server.core.image import Image
from server.core.units import Watt


class LoadMode(IntEnum):
    """Who chooses the load."""

    Automatic = 0
    Manual = 1


class AnalogSurplus(Controller):
    """Let a continuous load, such as a thyristor heater, take the surplus.

        load   = clip(load + surplus - reserve_w, 0, max_w), by ramp_w_per_s      surplus = export + charge of the storage
        output = low + (high - low) · load / max_w                                        Manual: load = manual_w

    The load's own power is part of the balance, so the output integrates the surplus until nothing is left. Source: integrating
    controller, K. J. Åström, R. M. Murray, "Feedback Systems", 2008, section 10.1.
    """

    priority = 50

    class Params(ControllerParams):
        grid: GridRef = param("The connection.")
        output: ActuatorRef = param("The output, such as `analog0/Output[0]`.")
        ess: EssRef | None = param("A storage whose charge counts as surplus, and whose discharge does not.", default=None)
        mode: LoadMode = param("Who chooses the load.", default=LoadMode.Automatic)
        manual_w: Watt = param("Manual: the load.", low=0, high=1e6, default=0.0)
        max_w: Watt = param("Power at the highest output.", low=1, high=1e6, default=12000.0)
        reserve_w: Watt = param("Export that is left.", low=-10000, high=10000, default=50.0)
        ramp_w_per_s: float = param("How fast the load may change [W/s].", low=1, high=1e6, default=2000.0)
        low: float = param("Output of no power.", low=-1e6, high=1e6, default=0.0)
        high: float = param("Output of highest power.", low=-1e6, high=1e6, default=100.0)

    @dataclass
    class State:
        """load_w: power asked for."""

        load_w: float = 0.0

    params: Params
    state: State

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p, state = self.params, self.state
        power = p.grid.power(image)
        stored = (p.ess.active_power(image) or 0.0) if p.ess is not None else 0.0
        wanted = 0.0 if power is None else state.load_w - power - stored - p.reserve_w
        wanted = p.manual_w if p.mode is LoadMode.Manual else wanted
        state.load_w = ramped(state.load_w, min(max(wanted, 0.0), p.max_w), p.ramp_w_per_s, p.ramp_w_per_s, now.dt_s)
        share = state.load_w / p.max_w
        yield p.output.set(p.low + (p.high - p.low) * share, why=(f"takes {{:W}}, {p.mode.name.lower()}", state.load_w))
