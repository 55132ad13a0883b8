"""Take a set-point from a cloud or a control room, as long as it is alive."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from server.core.constraint import Calm, Constraint, Target
from server.core.controller import Controller, ControllerOutputs, ControllerParams, EssRef, Memory, Now, param, shown
from server.core.image import Image
from server.core.units import Second, Watt


class RemoteCommand(Controller):
    """Want the power that a remote client wrote, while its heartbeat changes.

        P = power_w                          while `heartbeat` changed within timeout_s

    The client writes power_w and, again and again, another heartbeat. When it falls silent the site goes on by itself. Source:
    watchdog of remote set-points, e.g. IEC 61850-7-420:2021 and SunSpec model 704 (reversion timers).
    """

    priority = 100
    memory = Memory.Brief

    class Params(ControllerParams):
        ess: EssRef = param("The storage.")
        power_w: Watt = param("Power that is wanted, + discharge.", low=-1e9, high=1e9, default=0.0)
        heartbeat: int = param("Any number that changes.", low=0, high=2147483647, default=0)
        timeout_s: Second = param("Without a change for so long the command is void.", low=1, high=86400, default=60.0)
        ramp_w_per_s: float = param("How fast power may change [W/s].", low=1, high=1e9, default=5000.0)

    @dataclass
    class State:
        """heard: last heartbeat, -1 before the first. left_s: what is left of the command's time."""

        heard: int = -1
        left_s: float = 0.0

    class Outputs(ControllerOutputs):
        left_s: Second = shown("Time until the command is void.", low=0)

    params: Params
    state: State

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p, state = self.params, self.state
        state.left_s = max(state.left_s - now.dt_s, 0.0)
        if state.heard not in (-1, p.heartbeat):
            state.left_s = p.timeout_s
        state.heard = p.heartbeat
        self.out.left_s = state.left_s
        if state.left_s > 0:
            calm = Calm(rise=p.ramp_w_per_s, fall=p.ramp_w_per_s)
            yield Target(p.ess.power, equals=p.power_w, why=("a remote client wants {:W}", p.power_w), calm=calm)
