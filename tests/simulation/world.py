"""What a site cannot change: sun, building, temperature, the public grid, the clock. Everything follows from the seed."""

from __future__ import annotations

import math
import random
from typing import Final

import numpy as np

from drivers.plant import demand, sky
from server.core.ticks import TICKS

BEGIN_S: Final = 1_742_000_000.0
"""Unix time of the first moment of every simulation, in March 2025: after two weeks clocks change for summer."""
EPOCH_S: Final = 11_644_473_600
"""From 1601 to 1970."""
NOMINAL_V: Final = 230.0
_FREQUENCY_S: Final = 40.0
_FREQUENCY_HZ: Final = 0.02


class World:
    """The surroundings at a moment. seconds: since the beginning; load_w: of the building; supplied: there is any grid here.

    offset_s: how wrong the site's clock is. grid: the public grid is there. While it is calm nothing but time changes.
    """

    def __init__(self, seed: int, scale: float, dice: random.Random) -> None:
        self.seed, self.scale, self._dice = seed, scale, dice
        self.place = sky.Place()
        self.seconds = self.real_s = 0.0
        self.offset_s = 0.0
        self.calm = False
        self.load_w, self.irradiance, self.air = 0.0, 0.0, 15.0
        self.added_w = 0.0
        self.frequency = 50.0
        self.dip_hz, self.voltage_pu = 0.0, 1.0
        self.grid = self.supplied = True
        self._rows: list[tuple[float, float, float]] = []
        self._row = 0

    @property
    def unix_s(self) -> float:
        """True UTC."""
        return BEGIN_S + self.seconds

    @property
    def time(self) -> int:
        """The site's clock [ticks]."""
        return round((self.unix_s + self.offset_s + EPOCH_S) * TICKS)

    def plan(self, steps: int, step_s: float, *, calm: bool) -> None:
        """Look ahead over a stretch of time; sun and building are reckoned for all of it at once."""
        self.calm, self._row = calm, 0
        if calm:
            self._rows = [(self.load_w - self.added_w, self.irradiance, self.air)] * steps
            return
        moments = self.unix_s + step_s * np.arange(1, steps + 1)
        load = demand.load_power(moments, sky.solar_time(moments, self.place), self.seed) * self.scale
        light = sky.clear_irradiance(moments, self.place) * (1.0 - 0.8 * sky.cloud_cover(moments, self.seed))
        air = sky.air_temperature(moments, self.place, self.seed)
        self._rows = list(zip(load.tolist(), light.tolist(), air.tolist(), strict=True))

    def advance(self, step_s: float) -> None:
        """Go on by one step."""
        self.seconds += step_s
        natural, self.irradiance, self.air = self._rows[self._row]
        self.load_w = natural + self.added_w
        self._row += 1
        if not self.calm:
            kept = math.exp(-step_s / _FREQUENCY_S)
            noise = _FREQUENCY_HZ * math.sqrt(1 - kept * kept) * self._dice.gauss(0, 1)
            self.frequency = 50.0 + (self.frequency - self.dip_hz - 50.0) * kept + noise + self.dip_hz
