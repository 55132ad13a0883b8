"""Answer a demand response event."""

from __future__ import annotations

from collections.abc import Iterable

from server.core.constraint import Bound, Calm, Constraint
from server.core.controller import Controller, ControllerOutputs, ControllerParams, GridRef, Now, UnitRef, param, shown
from server.core.image import Image
from server.core.units import Percent, Watt


class DemandResponse(Controller):
    """Bound import and flexible units while an event of the aggregator runs.

        level of the row that holds now in `event/<alias of the meter>`:   0 normal, 1 moderate, 2 high, 3 special
        import <= import_max_w of that row, where it has one
        P_unit <= share(level) · rated,  storage: P >= -share(level) · rated      of each flexible unit

    Levels are the SIMPLE signal of OpenADR. Events act by bounds, so a plan or self-consumption goes on inside them. Source:
    OpenADR 2.0b Profile Specification (OASIS Energy Interoperation 1.0), signal names SIMPLE and LOAD_DISPATCH.
    """

    priority = 25

    class Params(ControllerParams):
        grid: GridRef = param("The connection of the contract.")
        units: tuple[UnitRef, ...] = param("Flexible chargers, loads and storages.", default=())
        moderate: Percent = param("Level 1: share of rated power.", low=0, high=100, default=75.0)
        high: Percent = param("Level 2: share of rated power.", low=0, high=100, default=40.0)
        special: Percent = param("Level 3: share of rated power.", low=0, high=100, default=0.0)
        hysteresis_w: Watt = param("Smaller easings of the need are not followed.", low=0, high=1e6, default=100.0)

    class Outputs(ControllerOutputs):
        level: int = shown("Level of the event, 0 without one.", low=0, high=3)

    params: Params

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p = self.params
        event = image.document(f"event/{p.grid.alias}")
        level = 0 if event is None else int(event.at(now.time, "level") or 0)
        limit = None if event is None else event.at(now.time, "import_max_w")
        self.out.level = level
        if limit is not None:
            why = ("demand response keeps import under {:W}", limit)
            yield Bound(p.grid.import_power, at_most=limit, why=why, calm=Calm(deadband=p.hysteresis_w))
        if level:
            share = (p.moderate, p.high, p.special)[min(level, 3) - 1]
            for unit in p.units:
                rated = unit.rating(image)
                if rated is not None:
                    reason = ("demand response of level {} leaves {:%}", str(level), share)
                    yield unit.draw(rated * share / 100, why=reason)
