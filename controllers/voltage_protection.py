"""Trip on abnormal voltage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from server.core.constraint import Bound, Constraint
from server.core.controller import Now, param
from server.core.gridcodes import VOLTAGE_TRIPS, Category, Cessation, Element, Operation, elements, ride_through
from server.core.image import Image
from server.core.protection import GridProtection, ProtectionParams
from server.core.units import Second


class VoltageProtection(GridProtection):
    """Make all outputs safe when a phase's voltage stays abnormal, and cease for the moment where the category says so.

        V > threshold for its clearing time    trip        (over 2, over 1; under 2, under 1 the other way round)
        ride_through(category, V) = momentary cessation    P = 0 of each unit, back at once
        tripped, V and f inside the window for delay_s     return, |P| <= rated · t / ramp_s

    Voltages are per unit of nominal_v; the worst phase decides. Source: IEEE 1547-2018, tables 11 to 16 and 4.10. For EN 50549-1
    choose Custom and set the values of the network operator.
    """

    class Params(ProtectionParams):
        category: Category = param("Table of the standard; Custom for the values below.", default=Category.CategoryIII)
        cessation: bool = param("Momentary cessation is used.", default=False)
        over2: float = param("Custom: second over-voltage threshold [pu].", low=1, high=2, default=1.25)
        over2_s: Second = param("Custom: its clearing time.", low=0, high=1000, default=0.1)
        over1: float = param("Custom: first over-voltage threshold [pu].", low=1, high=2, default=1.1)
        over1_s: Second = param("Custom: its clearing time.", low=0, high=1000, default=3.0)
        under1: float = param("Custom: first under-voltage threshold [pu].", low=0, high=1, default=0.8)
        under1_s: Second = param("Custom: its clearing time.", low=0, high=1000, default=3.0)
        under2: float = param("Custom: second under-voltage threshold [pu].", low=0, high=1, default=0.45)
        under2_s: Second = param("Custom: its clearing time.", low=0, high=1000, default=0.3)

    params: Params

    def elements(self) -> Sequence[Element]:
        p = self.params
        if p.category is not Category.Custom:
            return VOLTAGE_TRIPS[p.category]
        return elements((p.over2, p.over2_s), (p.over1, p.over1_s), (p.under1, p.under1_s), (p.under2, p.under2_s))

    def measure(self, image: Image, now: Now) -> tuple[float, float] | None:
        volts = self.params.meter.phase_voltages(image)
        return (min(volts) / self.params.nominal_v, max(volts) / self.params.nominal_v) if volts else None

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        yield from super().run(image, now)
        p = self.params
        seen = self.measure(image, now)
        if p.cessation and p.category is not Category.Custom and seen is not None:
            operation = ride_through(p.category, seen, Cessation())
            if operation in (Operation.MomentaryCessation, Operation.CeaseToEnergize):
                for unit in p.units:
                    yield Bound(unit.power, equals=0, why="ceases while the voltage is abnormal")
