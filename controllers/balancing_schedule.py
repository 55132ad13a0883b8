"""Hold the import of a connection at a scheduled value."""

from __future__ import annotations

from collections.abc import Iterable

from server.core.constraint import Calm, Constraint, Target
from server.core.controller import Controller, ControllerOutputs, ControllerParams, GridRef, Now, param, shown
from server.core.image import Image
from server.core.units import Watt


class BalancingSchedule(Controller):
    """Balance a connection to what the schedule says, with the storage below it.

        import = power_w of the row that holds now, of document `schedule/<alias of the meter>`

    Where no row holds there is no wish, and the next strategy is heard. Source: schedules of balancing groups, ENTSO-E Scheduling
    System (ESS) implementation guide.
    """

    priority = 20

    class Params(ControllerParams):
        grid: GridRef = param("The connection.")
        deadband_w: Watt = param("Smaller changes are not followed.", low=0, high=1e6, default=50.0)
        ramp_w_per_s: float = param("How fast supply may change [W/s].", low=1, high=1e9, default=5000.0)

    class Outputs(ControllerOutputs):
        target_w: Watt = shown("Import that is scheduled now.")

    params: Params

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p = self.params
        schedule = image.document(f"schedule/{p.grid.alias}")
        target = None if schedule is None else schedule.at(now.time)
        self.out.target_w = float("nan") if target is None else target
        if target is not None:
            calm = Calm(p.deadband_w, p.ramp_w_per_s, p.ramp_w_per_s)
            yield Target(p.grid.import_power, equals=target, why=("balances import to the scheduled {:W}", target), calm=calm)
