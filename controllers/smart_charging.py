"""Charge a vehicle in the cheapest hours before it leaves, and let it give where it can."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from server.core.blocks import hours_until
from server.core.constraint import Constraint, Target
from server.core.controller import Controller, ControllerOutputs, ControllerParams, EvcsRef, Now, param, shown
from server.core.image import Image
from server.core.ticks import TICKS
from server.core.units import Hour, Percent, Watt, WattHour

NO_PRICE = 1e9
"""Above every price."""


class SmartCharging(Controller):
    """Charge in the cheapest slots that give the energy until departure; a bidirectional station discharges in dear ones.

        E      = (target - SoC) / 100 · capacity_wh / efficiency, or energy_wh less the session's where the car tells no SoC
        charge   in the cheapest slots of `price/buy` with sum(hours · power_w) >= E; at once when time is short
        V2G      price >= what charging it again costs + gain, SoC > min_soc: P = +discharge_w, needed energy still in time

    Without prices it charges as late as is safe (margin of one hour). Source: deadline scheduling of deferrable loads, e.g.
    S. Chen, L. Tong, "iEMS for large scale charging of electric vehicles", IEEE SmartGridComm 2012; W. Kempton, J. Tomić,
    "Vehicle-to-grid power fundamentals", J. Power Sources 144 (2005), doi:10.1016/j.jpowsour.2004.12.025.
    """

    priority = 40

    class Params(ControllerParams):
        evcs: EvcsRef = param("The station.")
        departure_hour: Hour = param("Local time of departure.", low=0, high=24, default=7.0)
        target: Percent = param("State of charge at departure.", low=0, high=100, default=80.0)
        capacity_wh: WattHour = param("Capacity of the vehicle.", low=1000, high=1e6, default=60000.0)
        energy_wh: WattHour = param(
            "Energy of a session, where the vehicle tells no state of charge.", low=0, high=1e6, default=10000.0
        )
        power_w: Watt = param("Power of charging.", low=1000, high=1e6, default=11000.0)
        efficiency: Percent = param("Part of the energy that arrives.", low=50, high=100, default=90.0)
        min_soc: Percent = param("V2G: the vehicle keeps this.", low=0, high=100, default=50.0)
        discharge_w: Watt = param("V2G: power of discharge; 0 for none.", low=0, high=1e6, default=0.0)
        gain: float = param("V2G: least gain, currency per kWh.", low=0, high=10, default=0.1)

    @dataclass
    class State:
        """planned: slot and revision of the plan. ceiling: dearest price at which it charges. cheapest: least
        price until departure. late: no time to choose."""

        planned: int = -1
        ceiling: float = NO_PRICE
        cheapest: float = NO_PRICE
        late: bool = True

    class Outputs(ControllerOutputs):
        needed_wh: WattHour = shown("Energy that the vehicle still needs.", low=0)

    params: Params
    state: State

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p, state = self.params, self.state
        self.out.needed_wh = needed = self._needed(image)
        left_h = hours_until(self.hour(now), p.departure_hour)
        price = self._plan(image, now, needed, left_h)
        if needed > 0 and (state.late or (price is not None and price <= state.ceiling)):
            yield p.evcs.charge(p.power_w, why=("charges {:.1f} kWh until {:.1f} h", needed / 1000, p.departure_hour))
        elif self._may_give(image, price, needed, left_h):
            yield Target(p.evcs.power, at_least=p.discharge_w, why=("energy is dear: the vehicle gives {:W}", p.discharge_w))
        else:
            yield p.evcs.charge(0.0, why=("waits for a cheaper hour, {:.1f} kWh to go", needed / 1000))

    def _needed(self, image: Image) -> float:
        p = self.params
        soc = p.evcs.soc(image)
        if soc is None:
            return max(p.energy_wh - (p.evcs.session_energy(image) or 0.0), 0.0)
        return max(p.target - soc, 0.0) / 100 * p.capacity_wh / (p.efficiency / 100)

    def _plan(self, image: Image, now: Now, needed: float, left_h: float) -> float | None:
        """Choose the slots; the price now."""
        p, state = self.params, self.state
        prices = image.document("price/buy")
        state.late = left_h <= needed / p.power_w * 1.05 or (prices is None and left_h <= needed / p.power_w + 1)
        price = None if prices is None else prices.at(now.time, "buy")
        row = None if prices is None else prices.row(now.time)
        if prices is None or row is None or state.planned == prices.starts[row] + prices.revision:
            return price
        state.planned = prices.starts[row] + prices.revision
        slots = sorted((s.value, s.hours) for s in prices.spans(now.time, now.time + round(left_h * 3600 * TICKS), "buy"))
        state.ceiling, state.cheapest, gathered = -NO_PRICE, slots[0][0] if slots else NO_PRICE, 0.0
        for value, hours in slots:
            if gathered >= needed:
                break
            gathered += hours * p.power_w
            state.ceiling = value
        return price

    def _may_give(self, image: Image, price: float | None, needed: float, left_h: float) -> bool:
        p = self.params
        soc = p.evcs.soc(image)
        if not (p.evcs.bidirectional and p.discharge_w and soc is not None and price is not None and soc > p.min_soc):
            return False
        in_time = left_h > (needed + p.discharge_w) / p.power_w + 1
        return in_time and price >= max(self.state.ceiling, self.state.cheapest) + p.gain
