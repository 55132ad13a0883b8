"""Bring a storage to a state of charge, and hold it there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from server.core.blocks import hours_until, ramped
from server.core.constraint import Constraint, Target
from server.core.controller import Controller, ControllerOutputs, ControllerParams, EssRef, Now, param, shown
from server.core.image import Image
from server.core.units import Hour, Percent, Second, Watt

REACHED = 0.25
"""So near the target it is reached [%]."""


SLOW_H = 6.0
"""Near the target the storage is charged or discharged in so many hours."""


class SocPhase(IntEnum):
    """Where the storage stands."""

    NotStarted = 0
    Below = 1
    Above = 2
    Within = 3
    AtTarget = 4
    Reference = 5


class FixStateOfCharge(Controller):
    """Charge or discharge to a target, at once or just in time, and hold it.

        NotStarted   hours until target_hour > |target - SoC| · capacity / power_w + buffer_h      no wish
        Below/Above  |SoC - target| > band                 P = ∓power_w
        Within       |SoC - target| <= band                P = ∓capacity / 6 h   until the target is reached
        AtTarget     P = 0                                 until |SoC - target| >= band
        Reference    before all that, with `reference`     P = +power_w until empty, then nothing for rest_s

    P moves by `ramp` of power_w each second, twice as fast to rest. Used before a battery is extended or stored; the battery is
    emptied first where its state of charge has to be exact. Source: storage state of charge in IEC 62485-5:2020 and the makers'
    instructions (30 %).
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
        reference: bool = param("Empty the storage first.", default=False)
        rest_s: Second = param("Rest when it is empty.", low=0, high=86400, default=1800.0)

    @dataclass
    class State:
        """phase: a SocPhase. power_w: the wish before, after its ramp. empty_s: for how long it is empty, None when it
        has rested."""

        phase: int = SocPhase.NotStarted
        power_w: float = 0.0
        empty_s: float | None = 0.0

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
        step = p.ramp / 100 * p.power_w * (2 if phase is SocPhase.AtTarget else 1)
        state.power_w = ramped(state.power_w, self._wanted(phase, soc, image), step, step, now.dt_s)
        yield Target(p.ess.power, equals=state.power_w, why=("goes from {:%} to {:%} charge", soc, p.target))

    def _wanted(self, phase: SocPhase, soc: float, image: Image) -> float:
        p = self.params
        if phase is SocPhase.Reference:
            return 0.0 if _empty(p.ess, soc, image) else p.power_w
        slow = min((p.ess.capacity(image) or p.power_w) / SLOW_H, p.power_w)
        power = {SocPhase.AtTarget: 0.0, SocPhase.Within: slow}.get(phase, p.power_w)
        return power if soc > p.target else -power

    def _phase(self, soc: float, image: Image, now: Now) -> SocPhase:
        p, before = self.params, SocPhase(self.state.phase)
        gap = soc - p.target
        if before is SocPhase.NotStarted and p.just_in_time:
            capacity = p.ess.capacity(image)
            needed = 0.0 if capacity is None else abs(gap) / 100 * capacity / p.power_w + p.buffer_h
            if hours_until(self.hour(now), p.target_hour) > needed:
                return SocPhase.NotStarted
        if p.reference and self._refers(soc, image, now):
            return SocPhase.Reference
        if abs(gap) > p.band:
            return SocPhase.Above if gap > 0 else SocPhase.Below
        stays = before is SocPhase.AtTarget and abs(gap) < p.band
        return SocPhase.AtTarget if abs(gap) <= REACHED or stays else SocPhase.Within

    def _refers(self, soc: float, image: Image, now: Now) -> bool:
        """The storage is still to be emptied, or rests."""
        state = self.state
        if state.empty_s is not None and _empty(self.params.ess, soc, image):
            state.empty_s += now.dt_s
        if state.empty_s is not None and state.empty_s > 0 and state.empty_s >= self.params.rest_s:
            state.empty_s = None
        return state.empty_s is not None


def _empty(ess: EssRef, soc: float, image: Image) -> bool:
    return soc <= 0 or ess.allowed(image)[1] == 0
