"""Answer the rate of change of frequency as a rotating mass does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from server.core.blocks import lagged
from server.core.constraint import Add, Constraint, Reserve
from server.core.controller import Controller, ControllerOutputs, ControllerParams, EssRef, Memory, MeterRef, Now, param, shown
from server.core.image import Image
from server.core.units import Hertz, Second, Watt


class VirtualInertia(Controller):
    """Put power on top of the base point against the change of frequency; discharge while it falls.

        r = d/dt PT1(f, filter_s)
        P = P_base - clip(2 · H · S / f_n · r, ±power_w)         0 while |r| < deadband

    The filter keeps measurement noise out of the derivative; it delays the answer by its time constant. Source: H.-P. Beck,
    R. Hesse, "Virtual synchronous machine", EPQU 2007, doi:10.1109/EPQU.2007.4424220; swing equation, P. Kundur, "Power System
    Stability and Control", 1994, section 3.9.
    """

    priority = 10
    memory = Memory.Brief

    class Params(ControllerParams):
        ess: EssRef = param("The storage.")
        meter: MeterRef = param("Where the frequency is measured.")
        inertia_s: Second = param("Inertia constant H.", low=0.1, high=50, default=5.0)
        power_w: Watt = param("Highest answer; so much is kept free.", low=0, high=1e9)
        nominal_hz: Hertz = param("Nominal frequency.", low=40, high=70, default=50.0)
        filter_s: Second = param("Time constant of the frequency's filter.", low=0.01, high=10, default=0.2)
        deadband_hz_per_s: float = param("No answer to slower changes [Hz/s].", low=0, high=10, default=0.02)

    @dataclass
    class State:
        """filtered: frequency after the filter [Hz], None before the first."""

        filtered: float | None = None

    class Outputs(ControllerOutputs):
        rocof_hz_per_s: float = shown("Rate of change of frequency [Hz/s].")

    params: Params
    state: State

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p, before = self.params, self.state.filtered
        hertz, rated = p.meter.frequency(image), p.ess.rating(image)
        if hertz is None or rated is None:
            return
        yield Reserve(p.ess.power, up=p.power_w, down=p.power_w, why="keeps room for inertia")
        self.state.filtered = filtered = lagged(before, hertz, p.filter_s, now.dt_s)
        if before is None or now.dt_s <= 0:
            return
        self.out.rocof_hz_per_s = rate = (filtered - before) / now.dt_s
        if abs(rate) >= p.deadband_hz_per_s:
            answer = -2 * p.inertia_s * rated / p.nominal_hz * rate
            answer = min(max(answer, -p.power_w), p.power_w)
            yield Add(p.ess.power, answer, why=("answers {:+.2f} Hz/s", rate))
