"""Trip when the site may feed an island that nobody wants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from server.core.blocks import lagged
from server.core.controller import Now, param
from server.core.gridcodes import Element
from server.core.image import Image
from server.core.protection import GridProtection, ProtectionParams, ProtectionState
from server.core.units import Second


class AntiIslanding(GridProtection):
    """Detect the loss of the grid by the rate of change of frequency, and make all outputs safe.

        r = d/dt PT1(f, filter_s)                          |r| > rocof_hz_per_s for clear_s: trip

    A part of the grid that is cut off does not balance, so its frequency runs away. The limit has to be above what the plant has
    to ride through. Source: IEEE 1547-2018, 8.1 and 6.5.2.5 (ride-through of 0.5, 2 and 3 Hz/s by category).
    """

    class Params(ProtectionParams):
        rocof_hz_per_s: float = param("Highest rate of change of frequency [Hz/s].", low=0.1, high=100, default=3.5)
        clear_s: Second = param("It is exceeded for so long.", low=0, high=10, default=0.5)
        filter_s: Second = param("Time constant of the frequency's filter.", low=0, high=10, default=0.1)

    @dataclass
    class State(ProtectionState):
        """filtered: frequency after the filter [Hz], None before the first."""

        filtered: float | None = None

    params: Params
    state: State

    def elements(self) -> Sequence[Element]:
        p = self.params
        return Element("over", p.rocof_hz_per_s, p.clear_s, True), Element("under", -p.rocof_hz_per_s, p.clear_s, False)

    def measure(self, image: Image, now: Now) -> tuple[float, float] | None:
        hertz, before = self.params.meter.frequency(image), self.state.filtered
        if hertz is None:
            return None
        self.state.filtered = lagged(before, hertz, self.params.filter_s, now.dt_s)
        rate = 0.0 if before is None or now.dt_s <= 0 else (self.state.filtered - before) / now.dt_s
        return rate, rate
