"""Reduce power while the voltage is high."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from server.core.blocks import Polyline, lagged
from server.core.constraint import Bound, Constraint
from server.core.controller import Controller, ControllerParams, MeterRef, Now, UnitRef, param
from server.core.image import Image
from server.core.units import Second, Volt, Watt

SETTLED = 2.302585
"""Time constants until 90 % of a step is answered."""


class VoltWatt(Controller):
    """Bound what a storage or a plant gives by the voltage where it is connected.

        P <= rated · curve(V / V_nominal), answered to 90 % after response_s

    Where the curve is negative a storage must charge; then charge_rated_w is what it refers to. Source: IEEE 1547-2018, 5.4.2 and
    table 10 (V1 1.06, V2 1.10); EN 50549-1, 4.7.3.
    """

    priority = 15

    class Params(ControllerParams):
        unit: UnitRef = param("The storage or the plant.")
        meter: MeterRef = param("Where the voltage is measured.")
        nominal_v: Volt = param("Nominal voltage, phase to neutral.", low=1, high=1e6, default=230.0)
        curve: Polyline = param("Points [pu of V, share of rated].", default=Polyline(((1.06, 1.0), (1.1, 0.0))))
        rated_w: Watt = param("Rated power; 0 for the unit's own.", low=0, high=1e9, default=0.0)
        charge_rated_w: Watt = param("Rated charge; 0 for rated_w.", low=0, high=1e9, default=0.0)
        response_s: Second = param("90 % time of the answer.", low=0, high=60, default=0.0)

    @dataclass
    class State:
        """limit_w: the bound in force, None before the first."""

        limit_w: float | None = None

    params: Params
    state: State

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p = self.params
        volts = p.meter.voltage(image)
        rated = p.rated_w or p.unit.rating(image)
        if volts is None or rated is None:
            return
        wanted = _scaled(p.curve, rated, p.charge_rated_w or rated).at(volts / p.nominal_v)
        self.state.limit_w = limit = lagged(self.state.limit_w, wanted, p.response_s / SETTLED, now.dt_s)
        if limit < rated - 1e-6:
            at_most = limit if p.unit.unit.is_storage else max(limit, 0.0)
            yield Bound(p.unit.power, at_most=at_most, why=("gives {:W} at most at {:.1f} V", limit, volts))


def _scaled(curve: Polyline, rated: float, charge: float) -> Polyline:
    """The characteristic in W: discharge refers to one rating, charge to another."""
    return Polyline(tuple((v, share * (rated if share >= 0 else charge)) for v, share in curve.points))
