"""Trip on abnormal frequency."""

from __future__ import annotations

from collections.abc import Sequence

from server.core.controller import Now, param
from server.core.gridcodes import Element, elements
from server.core.image import Image
from server.core.protection import GridProtection, ProtectionParams
from server.core.units import Hertz, Second


class FrequencyProtection(GridProtection):
    """Make all outputs safe when the frequency stays abnormal.

        f > over or f < under for the clearing time        trip
        tripped, V and f inside the window for delay_s     return, |P| <= rated · t / ramp_s

    The defaults stay connected between 47.5 and 51.5 Hz. For 60 Hz IEEE 1547-2018, table 18, sets over 62.0 Hz 0.16 s, 61.2 Hz
    300 s, under 58.5 Hz 300 s, 56.5 Hz 0.16 s. Source: IEEE 1547-2018, 6.5.1 and 4.10; Regulation (EU) 2016/631, article 13(1)
    for the range; times are those of the network operator.
    """

    class Params(ProtectionParams):
        over2_hz: Hertz = param("Second over-frequency threshold.", low=50, high=70, default=52.0)
        over2_s: Second = param("Its clearing time.", low=0, high=1000, default=0.1)
        over1_hz: Hertz = param("First over-frequency threshold.", low=50, high=70, default=51.5)
        over1_s: Second = param("Its clearing time.", low=0, high=1000, default=0.1)
        under1_hz: Hertz = param("First under-frequency threshold.", low=40, high=60, default=47.5)
        under1_s: Second = param("Its clearing time.", low=0, high=1000, default=0.1)
        under2_hz: Hertz = param("Second under-frequency threshold.", low=40, high=60, default=47.0)
        under2_s: Second = param("Its clearing time.", low=0, high=1000, default=0.1)

    params: Params

    def elements(self) -> Sequence[Element]:
        p = self.params
        over2, over1 = (p.over2_hz, p.over2_s), (p.over1_hz, p.over1_s)
        return elements(over2, over1, (p.under1_hz, p.under1_s), (p.under2_hz, p.under2_s))

    def measure(self, image: Image, now: Now) -> tuple[float, float] | None:
        hertz = self.params.meter.frequency(image)
        return None if hertz is None else (hertz, hertz)
