"""Bring a storage to a state of charge, and hold it there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from server.core.blocks import hours_until, ramped
from server.core.constraint import Constraint, Target
from server.core.controller import Controller, ControllerOutputs, ControllerParams, EssRef, Now, param, shown
from server.core.image import Image
from server.core.units import Hour, Percent, Watt

REACHED = 0.25
"""So near the target it is reached [%]."""


class SocPhase(IntEnum):
    """Where the storage stands."""

    NotStarted = 0
    Below = 1
    Above = 2
    Within = 3
    AtTarget = 4


class FixStateOfCharge(Controller):
    """Charge or discharge to a target, at once or just in time, and hold it.

        NotStarted   hours until target_hour > |target - SoC| · capacity / power_w + buffer_h      no wish
        Below/Above  |SoC - target| > band                 P = ∓power_w
        Within       |SoC - target| <= band                P = ∓power_w / 4      until the target is reached
        AtTarget     P = 0                                 until |SoC - target| > band

    P moves by `ramp` of power_w each second. Used before a battery is extended or stored. Source: storage state of charge in
    IEC 62485-5:2020 and the makers' instructions (30 %).
    """

    priority = 20

    class Params(ControllerParams):
        ess: EssRef = param("The storage.")
        target: Percent = param("State of charge that is wanted.", low=0, high=100, default=30.0)
        power_w: Watt = param("Power on the way.", low=1, high=1e9, default=3000.0)
        band: Percent = param("So near the target the power is small.", low=0.5, high=10, default=2.0)
        ramp: Percent = param("Change of power each second.", low=0.1, high=100, default=5.0)
        just_in_time: bool = param("Be there at target_hour, not as soon as possible.", default=False)
        target_hour: Hour = param("Local time of day.", low=0, high=24, default=7.0)
        buffer_h: Hour = param("Start so much earlier.", low=0, high=12, default=0.5)

    @dataclass
    class State:
        """phase: a SocPhase. power_w: the wish before, after its ramp."""

        phase: int = SocPhase.NotStarted
        power_w: float = 0.0

    class Outputs(ControllerOutputs):
        phase: SocPhase = shown("Where the storage stands.")

    params: Params
    state: State

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p, state = self.params, self.state
        soc = p.ess.soc(image)
        if soc is None:
            return
        state.phase = phase = self._phase(soc, image, now)
        self.out.phase = phase
        if phase is SocPhase.NotStarted:
            state.power_w = 0.0
            return
        share = {SocPhase.AtTarget: 0.0, SocPhase.Within: 0.25}.get(phase, 1.0)
        wanted = (p.power_w if soc > p.target else -p.power_w) * share
        step = p.ramp / 100 * p.power_w
        state.power_w = ramped(state.power_w, wanted, step, step, now.dt_s)
        yield Target(p.ess.power, equals=state.power_w, why=("goes from {:%} to {:%} charge", soc, p.target))

    def _phase(self, soc: float, image: Image, now: Now) -> SocPhase:
        p, before = self.params, SocPhase(self.state.phase)
        gap = soc - p.target
        if before is SocPhase.NotStarted and p.just_in_time:
            capacity = p.ess.capacity(image)
            needed = 0.0 if capacity is None else abs(gap) / 100 * capacity / p.power_w + p.buffer_h
            if hours_until(self.hour(now), p.target_hour) > needed:
                return SocPhase.NotStarted
        if abs(gap) > p.band:
            return SocPhase.Above if gap > 0 else SocPhase.Below
        return SocPhase.AtTarget if abs(gap) <= REACHED or before is SocPhase.AtTarget else SocPhase.Within
