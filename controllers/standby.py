"""Exercise a storage that only waits."""

from __future__ import annotations

from collections.abc import Iterable

from server.core.blocks import within_hours
from server.core.constraint import Constraint, Target
from server.core.controller import Controller, ControllerParams, EssRef, GridRef, Now, param
from server.core.image import Image
from server.core.units import Hour, Percent


class Standby(Controller):
    """Rest, but on one day of the week discharge into the site and charge from what is free.

        other days                           P = 0
        the day, discharge slot              import = 0, P >= 0         while SoC > low
        the day, charge slot                 export <= 0, P <= 0        until SoC >= rest_soc

    A battery that never moves loses its state-of-charge reference. Source: refreshing charge of stand-by batteries,
    EN IEC 62485-2:2018; makers' instructions.
    """

    priority = 100

    class Params(ControllerParams):
        ess: EssRef = param("The storage.")
        grid: GridRef = param("The connection.")
        weekday: int = param("Day of the exercise, Monday 0 to Sunday 6.", low=0, high=6, default=6)
        from_month: int = param("First month of the season.", low=1, high=12, default=1)
        to_month: int = param("Last month of the season.", low=1, high=12, default=12)
        discharge_hour: Hour = param("Discharge starts, local time.", low=0, high=24, default=8.0)
        charge_hour: Hour = param("Charge starts and discharge ends.", low=0, high=24, default=13.0)
        end_hour: Hour = param("The exercise ends.", low=0, high=24, default=20.0)
        low: Percent = param("Discharge ends at this state of charge.", low=0, high=100, default=20.0)
        rest_soc: Percent = param("Charge ends at this state of charge.", low=0, high=100, default=80.0)

    params: Params

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p = self.params
        today, hour, soc = self.local(now), self.hour(now), p.ess.soc(image)
        season = p.from_month <= today.month <= p.to_month
        if p.from_month > p.to_month:
            season = today.month >= p.from_month or today.month <= p.to_month
        exercise = season and today.weekday() == p.weekday and soc is not None
        if exercise and soc is not None and soc > p.low and within_hours(hour, p.discharge_hour, p.charge_hour):
            yield Target(p.ess.power, at_least=0, why="exercises the battery")
            yield Target(p.grid.import_power, equals=0, why="discharges into the site")
        elif exercise and soc is not None and soc < p.rest_soc and within_hours(hour, p.charge_hour, p.end_hour):
            yield Target(p.ess.power, at_most=0, why="exercises the battery")
            yield Target(p.grid.import_power, at_least=0, why="charges from the surplus")
        else:
            yield Target(p.ess.power, equals=0, why="rests until its exercise")
