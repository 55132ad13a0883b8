"""A three-phase charging station and the cars that come to it.

IEC 61851: a car draws nothing below 6 A; the station tells it the highest current, the car takes what it can. Above
80 % state of charge a car takes less. Cars come and go by a random timetable that is fixed by the seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import IntEnum

from .noise import uniform

PHASES = 3
NOMINAL_V = 230.0
MIN_CURRENT_A = 6.0
MAX_CURRENT_A = 16.0
MIN_POWER_W = PHASES * NOMINAL_V * MIN_CURRENT_A
MAX_POWER_W = PHASES * NOMINAL_V * MAX_CURRENT_A
OPENS_H, CLOSES_H = 5.5, 19.0


class ChargerState(IntEnum):
    """State of the station; the numbers stand in its register."""

    Available = 1
    Charging = 2
    SuspendedByStation = 3
    SuspendedByCar = 4


@dataclass(slots=True)
class Car:
    """A car at the plug. SoC 0 to 1; leaves at `departure_s` (simulated time)."""

    soc: float
    departure_s: float
    capacity_wh: float = 60_000.0

    def wanted_w(self) -> float:
        """What the car would take, in W: all until 80 %, then less, nothing when full."""
        return 0.0 if self.soc >= 1.0 else MAX_POWER_W * min(1.0, (1.03 - self.soc) / 0.23)


@dataclass(slots=True)
class Charger:
    """Power + consumption. `limit_w` is the set-point; below 6 A on three phases the car pauses."""

    seed: int
    first_arrival_s: float
    limit_w: float = MAX_POWER_W
    limit_age_s: float = 0.0
    watchdog_s: float = 0.0
    fallback_w: float = MIN_POWER_W
    power: float = 0.0
    session_wh: float = 0.0
    energy_wh: float = 2_150_000.0
    car: Car | None = None
    visits: int = 0
    arrival_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.arrival_s = self.first_arrival_s

    @property
    def watchdog_expired(self) -> bool:
        """The limit is older than the armed watchdog allows."""
        return 0.0 < self.watchdog_s < self.limit_age_s

    @property
    def effective_limit_w(self) -> float:
        """The limit that holds: the set-point, or the fall-back once the watchdog expired."""
        limit = min(self.limit_w, self.fallback_w) if self.watchdog_expired else self.limit_w
        return min(limit, MAX_POWER_W) if limit >= MIN_POWER_W else 0.0

    @property
    def state(self) -> ChargerState:
        """What the station shows."""
        if self.car is None:
            return ChargerState.Available
        if self.effective_limit_w == 0.0:
            return ChargerState.SuspendedByStation
        return ChargerState.SuspendedByCar if self.car.wanted_w() < MIN_POWER_W else ChargerState.Charging

    def command(self, limit_w: float) -> None:
        """A new limit in W arrived; strokes the watchdog."""
        self.limit_w = limit_w
        self.limit_age_s = 0.0

    def step(self, real_s: float, simulated_s: float, now_s: float) -> None:
        """Advance by one step to the simulated moment `now_s`."""
        self.limit_age_s += real_s
        self._visit(now_s)
        wanted = min(self.effective_limit_w, self.car.wanted_w()) if self.car else 0.0
        wanted = wanted if wanted >= MIN_POWER_W else 0.0
        self.power += (1.0 - math.exp(-real_s / 0.8)) * (wanted - self.power)
        if abs(wanted - self.power) < 1.0:
            self.power = wanted
        energy = self.power * simulated_s / 3600.0
        self.energy_wh += energy
        if self.car:
            self.session_wh += energy
            self.car.soc = min(self.car.soc + 0.93 * energy / self.car.capacity_wh, 1.0)

    def _visit(self, now_s: float) -> None:
        if self.car and now_s >= self.car.departure_s:
            self.car = None
            self.arrival_s = self._in_the_day(now_s + 1200.0 + 4800.0 * self._draw(0))
        elif self.car is None and now_s >= self.arrival_s:
            self.visits += 1
            self.car = Car(0.25 + 0.4 * self._draw(1), now_s + 3600.0 * (1.0 + 3.0 * self._draw(2)))
            self.session_wh = 0.0

    def _in_the_day(self, arrival_s: float) -> float:
        """Nobody comes between 19:00 and 5:30 UTC; the next one in the morning after."""
        hour = arrival_s / 3600.0 % 24.0
        if OPENS_H <= hour < CLOSES_H:
            return arrival_s
        morning_s = arrival_s + ((OPENS_H - hour) % 24.0) * 3600.0
        return morning_s + 7200.0 * self._draw(3)

    def _draw(self, what: int) -> float:
        return float(uniform(self.seed + 3000 + what, self.visits))
