"""Follow the plan of an optimiser."""

from __future__ import annotations

from collections.abc import Iterable

from server.core.constraint import Calm, Constraint, Target
from server.core.controller import Controller, ControllerOutputs, ControllerParams, EssRef, Now, param, shown
from server.core.image import Image
from server.core.units import Second, Watt


class FollowSchedule(Controller):
    """Want the power that the plan says, while the plan is fresh.

        P = power_w of the row that holds now, of document `schedule/<alias of the storage>`, while its age <= max_age_s

    A plan that is older, or whose rows are over, is no wish: the local rules after it (self-consumption, time of use) take
    over. Source: the separation of plan and control in model predictive control, J. B. Rawlings et al., "Model Predictive
    Control", 2017.
    """

    priority = 20

    class Params(ControllerParams):
        ess: EssRef = param("The storage.")
        max_age_s: Second = param("An older plan is not followed.", low=1, high=172800, default=1800.0)
        ramp_w_per_s: float = param("How fast power may change [W/s].", low=1, high=1e9, default=5000.0)

    class Outputs(ControllerOutputs):
        planned_w: Watt = shown("Power that the plan says now.")
        age_s: Second = shown("Age of the plan.", low=0)

    params: Params

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p = self.params
        plan = image.document(f"schedule/{p.ess.alias}")
        self.out.planned_w = self.out.age_s = float("nan")
        if plan is None:
            return
        self.out.age_s = plan.age_s(now.time)
        power = plan.at(now.time)
        if power is None or self.out.age_s > p.max_age_s:
            return
        self.out.planned_w = power
        calm = Calm(rise=p.ramp_w_per_s, fall=p.ramp_w_per_s)
        yield Target(p.ess.power, equals=power, why=("follows plan {}, {:W}", str(plan.revision), power), calm=calm)
