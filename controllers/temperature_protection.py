"""Derate a unit that gets hot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from server.core.blocks import Polyline, switched_above
from server.core.constraint import Bound, Constraint
from server.core.controller import ChannelRef, Controller, ControllerParams, Memory, Now, UnitRef, param
from server.core.image import Image
from server.core.units import Celsius


class TemperatureProtection(Controller):
    """Bound the power of a unit by a temperature, and stop it above the highest.

        |P| <= rated · curve(T)
        T >= stop                            P = 0             until T <= stop - hysteresis

    While the temperature is not known, nothing is bound: the device protects itself too. Source: derating curves of power
    electronics, e.g. IEC 62109-1:2010, 4.3 (temperatures of components).
    """

    priority = 1
    memory = Memory.Lasting

    class Params(ControllerParams):
        unit: UnitRef = param("The unit to protect.")
        temperature: ChannelRef = param("Its temperature, such as `inverter0/Temperature`.")
        curve: Polyline = param(
            "Share of rated power over temperature, as points [°C, 0..1].", default=Polyline(((45.0, 1.0), (60.0, 0.5)))
        )
        stop: Celsius = param("At and above this the unit stops.", low=-40, high=200, default=65.0)
        hysteresis: Celsius = param("It starts again so much below.", low=0, high=50, default=5.0)

    @dataclass
    class State:
        """stopped: it was too hot."""

        stopped: bool = False

    params: Params
    state: State

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p = self.params
        heat, rated = p.temperature.read(image), p.unit.rating(image)
        if heat is None:
            return
        self.state.stopped = switched_above(self.state.stopped, heat, on=p.stop, off=p.stop - p.hysteresis)
        share = 0.0 if self.state.stopped else p.curve.at(heat)
        if share >= 1 or rated is None:
            return
        limit = max(share, 0.0) * rated
        low = -limit if p.unit.unit.is_storage else None
        yield Bound(p.unit.power, at_least=low, at_most=limit, why=("derates to {:W} at {:.0f} °C", limit, heat))
