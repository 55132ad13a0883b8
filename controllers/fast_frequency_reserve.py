"""Give full power at once when the frequency falls, for seconds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from server.core.constraint import Add, Constraint, Reserve, Target
from server.core.controller import Controller, ControllerOutputs, ControllerParams, EssRef, Memory, MeterRef, Now, param, shown
from server.core.image import Image
from server.core.units import Hertz, Percent, Second, Watt


class Activation(IntEnum):
    """Longest time to full activation, each with its own trigger: 700 ms, 1000 ms, 1300 ms."""

    Short = 0
    Medium = 1
    Long = 2


TRIGGER_HZ = {Activation.Short: 49.5, Activation.Medium: 49.6, Activation.Long: 49.7}


class Phase(IntEnum):
    """Where the service stands."""

    Ready = 0
    Support = 1
    Deactivation = 2
    Buffer = 3
    Recovery = 4


class FastFrequencyReserve(Controller):
    """Hold a reserve, and release all of it in one step when the frequency falls to the trigger.

        Ready         power_w is kept free; f <= trigger: Support
        Support       P = P_base + power_w for support_s
        Deactivation  back to nothing within deactivation_s
        Buffer        nothing for buffer_s, then Recovery
        Recovery      P <= -recovery · power_w for recovery_s, then Ready

    Trigger and longest activation time go together: 49.7 Hz 1300 ms, 49.6 Hz 1000 ms, 49.5 Hz 700 ms; the step takes a cycle
    and the inverter's time. Support of 5 s needs a deactivation of at most 20 % per second. Source: ENTSO-E Nordic, "Technical
    requirements for fast frequency reserve provision in the Nordic synchronous area", 2021.
    """

    priority = 10
    memory = Memory.Brief

    class Params(ControllerParams):
        ess: EssRef = param("The storage.")
        meter: MeterRef = param("Where the frequency is measured.")
        power_w: Watt = param("Power of the reserve.", low=0, high=1e9)
        activation: Activation = param("Longest time to full activation, with its trigger.", default=Activation.Long)
        trigger_hz: Hertz = param("Trigger; 0 for that of the activation time.", low=0, high=70, default=0.0)
        support_s: Second = param("Support lasts so long.", low=5, high=3600, default=30.0)
        deactivation_s: Second = param("Support ends over this time.", low=0, high=60, default=5.0)
        buffer_s: Second = param("Rest before recovery.", low=0, high=3600, default=240.0)
        recovery_s: Second = param("Recovery lasts so long.", low=0, high=7200, default=900.0)
        recovery: Percent = param("Power of the recovery, share of the reserve.", low=0, high=25, default=18.0)

    @dataclass
    class State:
        """phase: a Phase. here_s: time in it."""

        phase: int = Phase.Ready
        here_s: float = 0.0

    class Outputs(ControllerOutputs):
        phase: Phase = shown("Where the service stands.")

    params: Params
    state: State

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p, state = self.params, self.state
        self._advance(p.meter.frequency(image), now.dt_s)
        self.out.phase = phase = Phase(state.phase)
        if phase is Phase.Ready:
            yield Reserve(p.ess.power, up=p.power_w, why="keeps room for fast frequency reserve")
        elif phase is Phase.Support:
            yield Add(p.ess.power, p.power_w, why="the frequency fell to the trigger")
        elif phase is Phase.Deactivation:
            left = p.power_w * (1 - state.here_s / p.deactivation_s)
            yield Add(p.ess.power, left, why="the support ends")
        elif phase is Phase.Recovery:
            yield Target(p.ess.power, at_most=-p.recovery / 100 * p.power_w, why="recovers the energy of the support")

    def _advance(self, hertz: float | None, dt_s: float) -> None:
        p, state = self.params, self.state
        state.here_s += dt_s
        if state.phase == Phase.Ready:
            if hertz is not None and hertz <= (p.trigger_hz or TRIGGER_HZ[p.activation]):
                state.phase, state.here_s = Phase.Support, 0.0
            return
        last = {Phase.Support: p.support_s, Phase.Deactivation: p.deactivation_s, Phase.Buffer: p.buffer_s}
        while state.here_s >= last.get(Phase(state.phase), p.recovery_s) - 1e-9 and state.phase != Phase.Ready:
            state.here_s -= last.get(Phase(state.phase), p.recovery_s)
            state.phase = (state.phase + 1) % len(Phase)
