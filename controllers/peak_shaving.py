"""Hold the import of a grid connection under a limit."""

from __future__ import annotations

from collections.abc import Iterable

from server.core.constraint import Bound, Calm, Constraint, Target
from server.core.controller import Controller, ControllerParams, GridRef, param
from server.core.units import Watt


class PeakShaving(Controller):
    """Hold the import of a grid connection under a limit.

    With the demand d of everything behind the meter that is not controlled, supply s of the units must satisfy

        d - s <= import_max_w                                 (bound)
        d - s >= recharge_below_w, as far as s <= 0           (want: recharge with what is free below)

    The meter is what the contract bills (the highest mean import of a month), so the limit names the meter and not a battery: all
    units below it share the effort, storage first, then chargers. Source: peak clipping and valley filling in C. W. Gellings,
    "The concept of demand-side management for electric utilities", Proc. IEEE 73 (1985), doi:10.1109/PROC.1985.13318.
    """

    priority = 10

    class Params(ControllerParams):
        grid: GridRef = param("The connection to protect, `grid` or the meter of a feeder.")
        import_max_w: Watt = param("Highest import.", low=0, high=1e9)
        recharge_below_w: Watt = param("Recharge while import stays below this.", low=0, high=1e9, default=0.0)
        hysteresis_w: Watt = param("Smaller easings of the need are not followed.", low=0, high=1e6, default=100.0)
        recharge_ramp_w_per_s: float = param("How fast recharging may grow.", low=1, high=1e9, default=1000.0)

    params: Params

    def standing(self) -> Iterable[Constraint]:
        p = self.params
        yield Bound(
            p.grid.import_power,
            at_most=p.import_max_w,
            why=("keeps import under {:W}", p.import_max_w),
            calm=Calm(deadband=p.hysteresis_w),
        )
        if p.recharge_below_w > 0:
            yield Target(
                p.grid.import_power,
                at_least=min(p.recharge_below_w, p.import_max_w),
                why=("recharges with import up to {:W}", p.recharge_below_w),
                calm=Calm(deadband=p.hysteresis_w, fall=p.recharge_ramp_w_per_s),
                priority=RECHARGE_PRIORITY,
            )


RECHARGE_PRIORITY = 28
"""Recharging is a want that comes after the strategies that use the same storage (20 to 25)."""
