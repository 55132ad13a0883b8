"""Hold the import of a grid connection under a limit."""

from __future__ import annotations

from collections.abc import Iterable

from server.core.blocks import within_hours
from server.core.constraint import Bound, Calm, Constraint, Target
from server.core.controller import Controller, ControllerParams, GridRef, Now, param
from server.core.image import Image
from server.core.units import Hour, Watt

RECHARGE_PRIORITY = 28
"""Recharging is a want that comes after the strategies that use the same storage (20 to 25)."""
EVERY_DAY = 127


class PeakShaving(Controller):
    """Hold the import of a grid connection, or of each of its phases, under a limit; always, or in a time slot.

    With the demand d of everything behind the meter that is not controlled, supply s of the units must satisfy

        d - s <= import_max_w                                 (bound)
        d - s <= 3 · phase_max_w - u                          (bound; u = 3 · max_k d_k - d, which s does not change)
        d - s >= recharge_below_w, as far as s <= 0           (want: recharge with what is free below)

    The meter is what the contract bills (the highest mean import of a month), so the limit names the meter and not a battery: all
    units below it share the effort, storage first, then chargers. Outside its slot it leaves the storage to the others. Source:
    peak clipping and valley filling in C. W. Gellings, "The concept of demand-side management for electric utilities", Proc. IEEE
    73 (1985), doi:10.1109/PROC.1985.13318.
    """

    priority = 10

    class Params(ControllerParams):
        grid: GridRef = param("The connection to protect, `grid` or the meter of a feeder.")
        import_max_w: Watt = param("Highest import.", low=0, high=1e9)
        phase_max_w: Watt = param("Highest import of a phase; 0 for no limit.", low=0, high=1e9, default=0.0)
        recharge_below_w: Watt = param("Recharge while import stays below this.", low=0, high=1e9, default=0.0)
        hysteresis_w: Watt = param("Smaller easings of the need are not followed.", low=0, high=1e6, default=100.0)
        recharge_ramp_w_per_s: float = param("How fast recharging may grow [W/s].", low=1, high=1e9, default=1000.0)
        from_hour: Hour = param("Start of the slot, local time; equal to its end for always.", low=0, high=24, default=0.0)
        to_hour: Hour = param("End of the slot.", low=0, high=24, default=0.0)
        weekdays: int = param("Days of the slot, sum of Monday 1, Tuesday 2, ... Sunday 64.", low=0, high=127, default=EVERY_DAY)

    params: Params

    def standing(self) -> Iterable[Constraint]:
        return () if self._slotted else self._limits()

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p = self.params
        if self._slotted:
            if not (p.weekdays >> self.local(now).weekday() & 1 and within_hours(self.hour(now), p.from_hour, p.to_hour)):
                return
            yield from self._limits()
        unbalance = p.grid.unbalance(image) if p.phase_max_w else None
        if unbalance is not None:
            why = ("keeps each phase under {:W}", p.phase_max_w)
            yield Bound(p.grid.import_power, at_most=3 * p.phase_max_w - unbalance, why=why, calm=Calm(deadband=p.hysteresis_w))

    @property
    def _slotted(self) -> bool:
        p = self.params
        return p.from_hour != p.to_hour or p.weekdays != EVERY_DAY

    def _limits(self) -> Iterable[Constraint]:
        p = self.params
        why = ("keeps import under {:W}", p.import_max_w)
        yield Bound(p.grid.import_power, at_most=p.import_max_w, why=why, calm=Calm(deadband=p.hysteresis_w))
        if p.recharge_below_w > 0:
            yield Target(
                p.grid.import_power,
                at_least=min(p.recharge_below_w, p.import_max_w),
                why=("recharges with import up to {:W}", p.recharge_below_w),
                calm=Calm(deadband=p.hysteresis_w, fall=p.recharge_ramp_w_per_s),
                priority=RECHARGE_PRIORITY,
            )
