"""Follow the optimiser's plan, corrected in real time for what the forecast did not know."""

from __future__ import annotations

from collections.abc import Iterable

from server.core.constraint import Calm, Constraint, Target
from server.core.controller import Controller, ControllerOutputs, ControllerParams, EssRef, GridRef, Now, param, shown
from server.core.image import Image
from server.core.units import Second, Watt


class PredictiveMpc(Controller):
    """Hold the planned import with the storage, as far as its power stays near the plan.

        |P - plan_w| <= correction_w                 import = import_w

    plan_w and import_w: columns power_w and import_w of document `plan/<alias of the storage>`. A cloud or a kettle is answered
    at once by the storage and not bought at the price of the moment; a deviation that lasts is the next plan's. A plan older
    than max_age_s is no wish. Source: two-layer control of microgrids, e.g. A. Parisio et al., "A model predictive control
    approach to microgrid operation optimization", IEEE Trans. Control Syst. Technol. 22 (2014), doi:10.1109/TCST.2013.2295737.
    """

    priority = 30

    class Params(ControllerParams):
        ess: EssRef = param("The storage that is planned.")
        grid: GridRef = param("The connection whose import is planned.")
        correction_w: Watt = param("Power stays so near to the plan.", low=0, high=1e9, default=1000.0)
        max_age_s: Second = param("An older plan is not followed.", low=1, high=172800, default=1800.0)
        deadband_w: Watt = param("Smaller deviations are not corrected.", low=0, high=1e6, default=50.0)
        ramp_w_per_s: float = param("How fast power may change [W/s].", low=1, high=1e9, default=5000.0)

    class Outputs(ControllerOutputs):
        planned_w: Watt = shown("Power that the plan says now.")
        planned_import_w: Watt = shown("Import that the plan says now.")

    params: Params

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p = self.params
        plan = image.document(f"plan/{p.ess.alias}")
        power = None if plan is None or plan.age_s(now.time) > p.max_age_s else plan.at(now.time)
        self.out.planned_w = self.out.planned_import_w = float("nan")
        if plan is None or power is None:
            return
        self.out.planned_w = power
        planned = plan.at(now.time, "import_w")
        room = 0.0 if planned is None else p.correction_w
        why = ("follows plan {}, {:W} at ±{:W}", str(plan.revision), power, room)
        yield Target(p.ess.power, at_least=power - room, at_most=power + room, why=why)
        if planned is not None:
            self.out.planned_import_w = planned
            calm = Calm(p.deadband_w, p.ramp_w_per_s, p.ramp_w_per_s)
            yield Target(p.grid.import_power, equals=planned, why=("holds the planned import of {:W}", planned), calm=calm)
