"""The plant: sun, building, car, battery and the grid connection that carries the difference.

Two clocks. The *real* clock drives what a controller fights with: inverter lag and ramp, watchdogs, grid frequency. The
*simulated* clock runs `speed` times faster and drives the sun, the weather, the building, the cars and every energy. So a
day can pass in minutes while the control loop still sees the dynamics of real devices.

Everything comes from the seed and the start moment; `advance(real_s)` takes fixed steps, so the same sequence of calls gives
the same plant. The grid power is never stored: at every instant it *is* load + car - PV - battery.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from . import demand, sky
from .battery import Battery
from .charger import Charger

STEP_S = 0.02
_LOOK_S = 0.2
LONG_STEP_S = 1.0
_CATCH_UP_S = 5.0
_NOMINAL_V = 230.0
_NOMINAL_HZ = 50.0
_LINE_OHM = 0.15


@dataclass(slots=True)
class PvPlant:
    """A PV inverter: follows the sun, never above its limit. Power + production, W."""

    peak_w: float = 12_000.0
    limit_w: float = 12_000.0
    limit_age_s: float = 0.0
    watchdog_s: float = 0.0
    lag_s: float = 0.2
    power: float = 0.0
    irradiance: float = 0.0
    module_temperature: float = 20.0
    energy_wh: float = 8_730_000.0

    @property
    def available_w(self) -> float:
        """What the sun gives now: -0.4 %/K from 25 °C, 3 % inverter loss."""
        heat = 1.0 - 0.004 * (self.module_temperature - 25.0)
        return max(self.peak_w * self.irradiance / 1000.0 * heat * 0.97, 0.0)

    @property
    def watchdog_expired(self) -> bool:
        """The limit is older than the armed watchdog allows; the inverter then produces freely."""
        return 0.0 < self.watchdog_s < self.limit_age_s

    def command(self, limit_w: float) -> None:
        """A new limit in W arrived; strokes the watchdog."""
        self.limit_w = limit_w
        self.limit_age_s = 0.0

    def step(self, real_s: float, simulated_s: float, irradiance: float, air: float) -> None:
        """Advance by one step under `irradiance` W/m² and `air` °C."""
        self.limit_age_s += real_s
        self.irradiance = irradiance
        target_temperature = air + irradiance * 0.03
        self.module_temperature += (1.0 - math.exp(-simulated_s / 300.0)) * (target_temperature - self.module_temperature)
        limit = self.peak_w if self.watchdog_expired else max(self.limit_w, 0.0)
        wanted = min(self.available_w, limit, self.peak_w)
        self.power += (1.0 - math.exp(-real_s / self.lag_s)) * (wanted - self.power)
        self.energy_wh += self.power * simulated_s / 3600.0


@dataclass(slots=True)
class Counter:
    """Energy of a power that may change its sign, Wh."""

    imported_wh: float
    exported_wh: float = 0.0

    def add(self, power_w: float, simulated_s: float) -> None:
        """Count `power_w` (+ import) for `simulated_s`."""
        self.imported_wh += max(power_w, 0.0) * simulated_s / 3600.0
        self.exported_wh += max(-power_w, 0.0) * simulated_s / 3600.0


@dataclass(frozen=True, slots=True)
class PhaseReading:
    """What a meter sees on one phase: W, var, V."""

    power: float
    reactive: float
    voltage: float

    @property
    def apparent(self) -> float:
        """Apparent power in VA."""
        return math.hypot(self.power, self.reactive)

    @property
    def current(self) -> float:
        """Current in A, never negative."""
        return self.apparent / self.voltage


@dataclass
class Plant:
    """The whole site. start_s: simulated unix time of the first moment."""

    seed: int = 1
    start_s: float = 1_747_300_000.0
    place: sky.Place = field(default_factory=sky.Place)
    speed: float = 1.0
    load_added_w: float = 0.0
    load_override_w: float | None = None
    cloud_override: float | None = None
    frequency_override: float | None = None

    def __post_init__(self) -> None:
        self.time_s = self.start_s
        self.real_s = 0.0
        self.battery = Battery()
        self.pv = PvPlant()
        self.charger = Charger(self.seed, self.start_s + 120.0)
        self.grid_energy = Counter(5_120_000.0, 3_480_000.0)
        self.load_energy = Counter(9_940_000.0)
        self.natural_load_w = 0.0
        self.air_temperature = 15.0
        self.natural_frequency = _NOMINAL_HZ
        self._random = np.random.default_rng(self.seed)
        self._next_look_s = 0.0
        self._clear_sky = 0.0
        self._natural_cover = 0.0
        self._look_around()
        self.pv.irradiance = self._irradiance()
        self.pv.power = self.pv.available_w

    @property
    def load_w(self) -> float:
        """Power of the building, + consumption, without the car."""
        natural = self.natural_load_w if self.load_override_w is None else self.load_override_w
        return natural + self.load_added_w

    @property
    def grid_w(self) -> float:
        """Power from the grid, + import."""
        return self.load_w + self.charger.power - self.pv.power - self.battery.power

    @property
    def grid_reactive(self) -> float:
        """Reactive power from the grid in var."""
        return self.load_w * demand.TAN_PHI - self.battery.reactive

    def grid_phases(self) -> tuple[PhaseReading, ...]:
        """The grid connection phase by phase; the phases' powers sum to `grid_w`."""
        even = self.charger.power - self.pv.power - self.battery.power
        reactive = -self.battery.reactive / 3.0
        return tuple(
            self._phase(share * self.load_w + even / 3.0, share * self.load_w * demand.TAN_PHI + reactive)
            for share in demand.PHASE_SHARES
        )

    def load_phases(self) -> tuple[PhaseReading, ...]:
        """The building phase by phase."""
        return tuple(self._phase(s * self.load_w, s * self.load_w * demand.TAN_PHI) for s in demand.PHASE_SHARES)

    def _phase(self, power: float, reactive: float) -> PhaseReading:
        return PhaseReading(power, reactive, _NOMINAL_V - _LINE_OHM * power / _NOMINAL_V)

    def advance(self, real_s: float) -> None:
        """Advance to the real moment `real_s` since the start; what is less than a step waits for the next call."""
        while (behind := real_s - self.real_s) >= STEP_S:
            self._step(STEP_S if behind < _CATCH_UP_S else LONG_STEP_S)

    def leap(self) -> None:
        """Advance by one long step: devices settle in it, and sun and energies go `speed` times as far."""
        self._step(LONG_STEP_S)

    def _step(self, dt: float) -> None:
        simulated = dt * self.speed
        self.real_s += dt
        self.time_s += simulated
        if self.real_s >= self._next_look_s:
            self._look_around()
        self.pv.step(dt, simulated, self._irradiance(), self.air_temperature)
        self.charger.step(dt, simulated, self.time_s)
        self.battery.step(dt, simulated, self.air_temperature * 0.3 + 15.0)
        self.grid_energy.add(self.grid_w, simulated)
        self.load_energy.add(self.load_w, simulated)
        self.natural_frequency = _NOMINAL_HZ + _ornstein_uhlenbeck(self.natural_frequency - _NOMINAL_HZ, dt, self._random)

    @property
    def frequency(self) -> float:
        """Frequency of the grid in Hz."""
        return self.natural_frequency if self.frequency_override is None else self.frequency_override

    @property
    def cloud_cover(self) -> float:
        """Cloud cover, 0 to 1."""
        return self._natural_cover if self.cloud_override is None else self.cloud_override

    def _look_around(self) -> None:
        """Ask sky and building; they change slowly, and asking is the dear part of a step."""
        self._next_look_s = self.real_s + _LOOK_S
        solar_s = float(sky.solar_time(self.time_s, self.place))
        self.natural_load_w = float(demand.load_power(self.time_s, solar_s, self.seed))
        self._natural_cover = float(sky.cloud_cover(self.time_s, self.seed))
        self._clear_sky = float(sky.clear_irradiance(self.time_s, self.place))
        self.air_temperature = float(sky.air_temperature(self.time_s, self.place, self.seed))

    def _irradiance(self) -> float:
        return sky.irradiance(self._clear_sky, self.cloud_cover)


def _ornstein_uhlenbeck(deviation: float, dt: float, random: np.random.Generator) -> float:
    """Next deviation of the grid frequency in Hz: reverts in 40 s, standard deviation 20 mHz (exact discretisation)."""
    kept = math.exp(-dt / 40.0)
    return float(deviation * kept + 0.02 * math.sqrt(1.0 - kept * kept) * random.standard_normal())
