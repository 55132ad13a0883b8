"""Heat water with surplus, in steps, and in time for the evening."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from server.core.constraint import Constraint
from server.core.controller import (
    ActuatorRef,
    Controller,
    ControllerOutputs,
    ControllerParams,
    EssRef,
    GridRef,
    Memory,
    Now,
    param,
    shown,
)
from server.core.image import Image
from server.core.units import Hour, Second, Watt


class HeatingElement(Controller):
    """Switch the phases of a heating element by the surplus, and force the rest of a daily run time before an hour.

        surplus = export + charge of the storage + power switched on now;     level = floor(surplus / power_w), 0..n
        end_hour - now <= min_h - run today                                   level = n
        a level lasts min_s at least

    Source: power-to-heat as flexible load, e.g. D. Fischer, H. Madani, "On heat pumps in smart grids", Renew. Sustain. Energy
    Rev. 70 (2017), doi:10.1016/j.rser.2016.11.182.
    """

    priority = 50
    memory = Memory.Lasting

    class Params(ControllerParams):
        grid: GridRef = param("The connection.")
        relays: tuple[ActuatorRef, ...] = param("One relay for each phase, in order of use.")
        ess: EssRef | None = param("A storage whose charge counts as surplus, and whose discharge does not.", default=None)
        power_w: Watt = param("Power of one phase.", low=1, high=100000, default=2000.0)
        min_h: Hour = param("Least time of full power a day; 0 for none.", low=0, high=24, default=0.0)
        end_hour: Hour = param("Local time until which that is reached.", low=0, high=24, default=17.0)
        min_s: Second = param("A level lasts at least so long.", low=0, high=3600, default=60.0)

    @dataclass
    class State:
        """level: phases that are on. here_s: time at this level. run_h: time of full power today. day: day it is counted for."""

        level: int = 0
        here_s: float = 1e9
        run_h: float = 0.0
        day: int = 0

    class Outputs(ControllerOutputs):
        level: int = shown("Phases that are on.", low=0, high=3)
        run_h: Hour = shown("Time of full power today.", low=0)

    params: Params
    state: State

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p, state = self.params, self.state
        today = self.local(now).toordinal()
        if today != state.day:
            state.day, state.run_h = today, 0.0
        state.here_s += now.dt_s
        state.run_h += min(now.dt_s / 3600, self.hour(now)) * state.level / max(len(p.relays), 1)
        wanted = self._level(image, now)
        if wanted != state.level and state.here_s >= p.min_s:
            state.level, state.here_s = wanted, 0.0
        self.out.level, self.out.run_h = state.level, state.run_h
        for i, relay in enumerate(p.relays):
            yield relay.set(i < state.level, why=("heats with {} of {} phases", str(state.level), str(len(p.relays))))

    def _level(self, image: Image, now: Now) -> int:
        p, state = self.params, self.state
        left_h = p.end_hour - self.hour(now)
        if p.min_h > state.run_h and 0 <= left_h <= p.min_h - state.run_h:
            return len(p.relays)
        power = p.grid.power(image)
        if power is None:
            return 0
        stored = (p.ess.active_power(image) or 0.0) if p.ess is not None else 0.0
        surplus = -power - stored + state.level * p.power_w
        return min(max(int(surplus // p.power_w), 0), len(p.relays))
