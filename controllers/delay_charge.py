"""Spread charging over the day, so that the storage is full at an hour and not before."""

from __future__ import annotations

from collections.abc import Iterable

from server.core.constraint import Bound, Constraint
from server.core.controller import Controller, ControllerOutputs, ControllerParams, EssRef, Now, param, shown
from server.core.image import Image
from server.core.units import Hour, Watt


class DelayCharge(Controller):
    """Bound the charge power by the energy that is missing and the time that is left.

        P >= -(100 % - SoC) · capacity / (target_hour - now)                no bound after target_hour

    A storage that is full at noon ages, and has no room for the export peak of noon. Source: constant charging to a target time,
    J. Weniger et al., "Sizing of residential PV battery systems", Energy Procedia 46 (2014), doi:10.1016/j.egypro.2014.01.160.
    """

    priority = 20

    class Params(ControllerParams):
        ess: EssRef = param("The storage.")
        target_hour: Hour = param("Local time at which it shall be full.", low=0, high=24, default=15.0)
        from_hour: Hour = param("The bound holds from this time of day on.", low=0, high=24, default=0.0)

    class Outputs(ControllerOutputs):
        charge_max_w: Watt = shown("Highest charge power now.", low=0)

    params: Params

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p = self.params
        hour, soc, capacity = self.hour(now), p.ess.soc(image), p.ess.capacity(image)
        self.out.charge_max_w = float("nan")
        if soc is None or capacity is None or not p.from_hour <= hour < p.target_hour:
            return
        self.out.charge_max_w = limit = (100 - soc) / 100 * capacity / (p.target_hour - hour)
        yield Bound(p.ess.power, at_least=-limit, why=("is full at {:.1f} h, charges {:W} at most", p.target_hour, limit))
