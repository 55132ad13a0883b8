"""Charge and discharge a storage in full cycles."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from server.core.constraint import Constraint, Target
from server.core.controller import Controller, ControllerOutputs, ControllerParams, EssRef, Now, param, shown
from server.core.image import Image
from server.core.units import Percent, Second, Watt


class CyclePhase(IntEnum):
    """Where the cycle stands."""

    Charge = 0
    RestFull = 1
    Discharge = 2
    RestEmpty = 3
    Final = 4
    Done = 5


class Cycle(Controller):
    """Run a number of full cycles with rests, then go to a final state of charge.

        Charge      P = -power_w until SoC >= high      RestFull   P = 0 for rest_s
        Discharge   P = power_w until SoC <= low        RestEmpty  P = 0 for rest_s; one cycle is done
        Final       P = ∓power_w until final_soc        Done       no wish

    An end is also reached when the battery allows no more power in that direction. Source: cycle test of IEC 62620:2014, 6.6.1.
    """

    priority = 100

    class Params(ControllerParams):
        ess: EssRef = param("The storage.")
        power_w: Watt = param("Power of charge and discharge.", low=1, high=1e9)
        low: Percent = param("A discharge ends here.", low=0, high=100, default=0.0)
        high: Percent = param("A charge ends here.", low=0, high=100, default=100.0)
        rest_s: Second = param("Rest at each end.", low=0, high=86400, default=1800.0)
        cycles: int = param("Cycles to run.", low=1, high=100000, default=10)
        final_soc: Percent = param("State of charge at the end.", low=0, high=100, default=50.0)

    @dataclass
    class State:
        """phase: a CyclePhase. here_s: time in it. done: cycles that are over."""

        phase: int = CyclePhase.Charge
        here_s: float = 0.0
        done: int = 0

    class Outputs(ControllerOutputs):
        phase: CyclePhase = shown("Where the cycle stands.")
        done: int = shown("Cycles that are over.", low=0)

    params: Params
    state: State

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p, state = self.params, self.state
        soc = p.ess.soc(image)
        if soc is None:
            return
        state.here_s += now.dt_s
        after = self._next(soc, image)
        if after != state.phase:
            state.done += state.phase == CyclePhase.RestEmpty
            state.phase, state.here_s = after, 0.0
        self.out.phase, self.out.done = CyclePhase(state.phase), state.done
        power = {CyclePhase.Charge: -p.power_w, CyclePhase.Discharge: p.power_w}.get(CyclePhase(state.phase), 0.0)
        if state.phase == CyclePhase.Final:
            power = p.power_w if soc > p.final_soc else -p.power_w
        if state.phase != CyclePhase.Done:
            yield Target(p.ess.power, equals=power, why=("cycle {} of {}, {:W}", str(state.done + 1), str(p.cycles), power))

    def _next(self, soc: float, image: Image) -> CyclePhase:
        p, state = self.params, self.state
        phase = CyclePhase(state.phase)
        full, empty = p.ess.exhausted(image)
        rested = state.here_s >= p.rest_s
        if phase is CyclePhase.Charge and (soc >= p.high or full):
            return CyclePhase.RestFull
        if phase is CyclePhase.RestFull and rested:
            return CyclePhase.Discharge
        if phase is CyclePhase.Discharge and (soc <= p.low or empty):
            return CyclePhase.RestEmpty
        if phase is CyclePhase.RestEmpty and rested:
            return CyclePhase.Final if state.done + 1 >= p.cycles else CyclePhase.Charge
        if phase is CyclePhase.Final and abs(soc - p.final_soc) < 0.5:
            return CyclePhase.Done
        return phase
