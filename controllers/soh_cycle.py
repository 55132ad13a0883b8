"""Measure the capacity of a battery."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from server.core.constraint import Constraint, Target
from server.core.controller import Controller, ControllerOutputs, ControllerParams, EssRef, Now, param, shown
from server.core.image import Image
from server.core.ticks import TICKS
from server.core.units import Percent, Second, WattHour

GAP_S = 5.0
"""So long the power may be unknown [s]: at the slow rate 0.03 % of the capacity flow meanwhile."""


class SohPhase(IntEnum):
    """Where the measurement stands."""

    Prepare = 0
    Charge = 1
    RestFull = 2
    Measure = 3
    Done = 4


class SohCycle(Controller):
    """Empty, fill and empty a battery slowly, and integrate what the last discharge gave.

        Prepare  P = c_rate · E until empty      Charge  P = -c_rate · E until full      RestFull  P = 0 for rest_s
        Measure  P = c_rate · E until empty      E_measured = ∫ P dt                     Done      SoH = E_measured / E_nominal

    The slow rate keeps the voltage drop of the inner resistance out of the result. Empty and full are 0 and 100 %, or where the
    battery allows no more. What flows in a gap of some seconds is taken from the power after it; a longer one, or a pause of the
    site, voids the measurement, and it fills again. Source: capacity test of IEC 62620:2014, 6.3.1 (0.2 C).
    """

    priority = 100

    class Params(ControllerParams):
        ess: EssRef = param("The storage.")
        nominal_wh: WattHour = param("Capacity when new.", low=1, high=1e9)
        c_rate: float = param("Power by capacity [1/h].", low=0.01, high=2, default=0.2)
        rest_s: Second = param("Rest before the measurement.", low=0, high=86400, default=1800.0)

    @dataclass
    class State:
        """phase: a SohPhase. here_s: time in it. energy_wh: discharged while it measures. counted_at: until when [ticks]."""

        phase: int = SohPhase.Prepare
        here_s: float = 0.0
        energy_wh: float = 0.0
        counted_at: int = 0

    class Outputs(ControllerOutputs):
        phase: SohPhase = shown("Where the measurement stands.")
        measured_wh: WattHour = shown("Capacity that was measured.", low=0)
        soh: Percent = shown("State of health, not above 100.", low=0, high=100)

    params: Params
    state: State

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p, state = self.params, self.state
        soc, power = p.ess.soc(image), p.ess.active_power(image)
        if soc is None:
            return
        if state.phase == SohPhase.Measure and power is not None:
            self._count(power, now)
        full, empty = p.ess.exhausted(image)
        over = {
            SohPhase.Prepare: soc <= 0 or empty,
            SohPhase.Charge: soc >= 100 or full,
            SohPhase.RestFull: state.here_s >= p.rest_s,
            SohPhase.Measure: power is not None and (soc <= 0 or empty),
        }
        state.here_s += now.dt_s
        if over.get(SohPhase(state.phase), False):
            state.phase, state.here_s = state.phase + 1, 0.0
            if state.phase == SohPhase.Measure:
                state.energy_wh, state.counted_at = 0.0, now.time
        self.out.phase = phase = SohPhase(state.phase)
        if phase is SohPhase.Done:
            self.out.measured_wh, self.out.soh = state.energy_wh, min(100 * state.energy_wh / p.nominal_wh, 100.0)
            return
        watts = p.c_rate * p.nominal_wh * {SohPhase.Charge: -1, SohPhase.RestFull: 0}.get(phase, 1)
        yield Target(p.ess.power, equals=watts, why=("measures the capacity, {:W}", watts))

    def _count(self, power: float, now: Now) -> None:
        """Add what was discharged since it was counted last; fill again where that is not known."""
        state = self.state
        passed_s = (now.time - state.counted_at) / TICKS
        if passed_s > now.dt_s + GAP_S:
            state.phase, state.here_s = SohPhase.Charge, 0.0
            return
        state.energy_wh += power * passed_s / 3600
        state.counted_at = now.time
