"""Go easy on a unit that behaves strangely."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from server.core.blocks import switched_above
from server.core.constraint import Bound, Constraint
from server.core.controller import ChannelRef, Controller, ControllerParams, Memory, Now, UnitRef, param
from server.core.image import Image
from server.core.units import Percent, Second


class AnomalyResponse(Controller):
    """Bound the power of a unit while its anomaly score is high.

        score > 0.8                          |P| <= share · rated     until score < 0.6 for hold_s

    The score comes from the anomaly detection of analytics, 0 (usual) to 1 (never seen). Half the power halves the heat of a
    loose contact to a quarter (I²R). Source: V. Chandola et al., "Anomaly detection: a survey", ACM Comput. Surv. 41 (2009),
    doi:10.1145/1541880.1541882.
    """

    priority = 1
    memory = Memory.Lasting

    class Params(ControllerParams):
        unit: UnitRef = param("The unit to protect.")
        score: ChannelRef = param("Its anomaly score, 0 to 1.")
        high: float = param("The score is high above this.", low=0, high=1, above="low", default=0.8)
        low: float = param("The score is usual below this.", low=0, high=1, default=0.6)
        share: Percent = param("Share of rated power that is left.", low=0, high=100, default=50.0)
        hold_s: Second = param("The score is usual for so long before the bound ends.", low=0, high=86400, default=600.0)

    @dataclass
    class State:
        """limited: the bound holds. calm_s: how long the score is usual."""

        limited: bool = False
        calm_s: float = 0.0

    params: Params
    state: State

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p, state = self.params, self.state
        score, rated = p.score.read(image), p.unit.rating(image)
        if score is not None:
            state.calm_s = state.calm_s + now.dt_s if score < p.low else 0.0
            high = switched_above(state.limited, score, on=p.high, off=p.low)
            state.limited = high or (state.limited and state.calm_s < p.hold_s)
        if state.limited and rated is not None:
            limit = rated * p.share / 100
            low = -limit if p.unit.unit.is_storage else None
            yield Bound(p.unit.power, at_least=low, at_most=limit, why=("an anomaly leaves {:W}", limit))
