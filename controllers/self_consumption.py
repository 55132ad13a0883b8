"""Use on site what is produced on site."""

from __future__ import annotations

from collections.abc import Iterable

from server.core.constraint import Calm, Constraint, Target
from server.core.controller import Controller, ControllerParams, GridRef, param
from server.core.units import Watt


class SelfConsumption(Controller):
    """Balance a grid connection to a wanted import with the storage below it.

    With the demand d of everything behind the meter that storage does not cover, storage supplies

        s = d - target_w

    The answer moves calmly: changes under `deadband_w` are not followed, and discharge grows slower (`rise_w_per_s`) than it
    falls (`fall_w_per_s`), because discharging too much exports energy that was stored for later. Source: dead-beat balance of a
    measured disturbance; M. Braun et al., "Photovoltaic self-consumption in Germany using lithium-ion storage", EU PVSEC 2009.
    """

    priority = 20

    class Params(ControllerParams):
        grid: GridRef = param("The connection to balance.")
        target_w: Watt = param("Wanted import, negative for export.", low=-1e9, high=1e9, default=0.0)
        deadband_w: Watt = param("Smaller changes are not followed.", low=0, high=1e6, default=50.0)
        rise_w_per_s: float = param("How fast supply may grow [W/s].", low=1, high=1e9, default=5000.0)
        fall_w_per_s: float = param("How fast supply may fall [W/s].", low=1, high=1e9, default=20000.0)

    params: Params

    def standing(self) -> Iterable[Constraint]:
        p = self.params
        yield Target(
            p.grid.import_power,
            equals=p.target_w,
            why=("balances import to {:W}", p.target_w),
            calm=Calm(p.deadband_w, p.rise_w_per_s, p.fall_w_per_s),
        )
