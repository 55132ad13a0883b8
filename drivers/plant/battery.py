"""A lithium iron phosphate battery behind its inverter.

Equations: the cell's open-circuit voltage over SoC (table, LFP at 25 °C), an ohmic resistance, hence the current from
`P = I·(U0 - I·R)`; inverter loss is a standby part plus a share of the power; temperature is one heat capacity against
the room. The inverter follows its set-point with a ramp and a first-order lag, inside limits that taper near full
and empty, and falls to 0 W when the set-point is older than its watchdog allows, or when it does not run (drive.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from .drive import Drive

CELLS = 120
_OCV_SOC = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.97, 1.0)
_OCV_V = (2.6, 3.0, 3.18, 3.24, 3.27, 3.29, 3.32, 3.34, 3.37, 3.55)


def cell_voltage(soc: float) -> float:
    """Open-circuit voltage of one cell in V at `soc` 0 to 1."""
    for n in range(1, len(_OCV_SOC)):
        if soc <= _OCV_SOC[n]:
            share = (soc - _OCV_SOC[n - 1]) / (_OCV_SOC[n] - _OCV_SOC[n - 1])
            return _OCV_V[n - 1] + share * (_OCV_V[n] - _OCV_V[n - 1])
    return _OCV_V[-1]


def taper(distance: float, width: float) -> float:
    """1 far from an edge, falling to 0 at it over `width`."""
    return min(max(distance / width, 0.0), 1.0)


@dataclass(slots=True)
class Battery:
    """Power + discharge, - charge. SoC 0 to 1. Times of the inverter are real, those of the energy are simulated."""

    rated_w: float = 10_000.0
    capacity_wh: float = 20_000.0
    soc: float = 0.55
    resistance_ohm: float = 0.12
    lag_s: float = 0.2
    ramp_w_per_s: float = 100_000.0
    standby_w: float = 30.0
    loss_share: float = 0.02
    temperature: float = 24.0
    set_power: float = 0.0
    set_reactive: float = 0.0
    set_age_s: float = 0.0
    watchdog_s: float = 0.0
    power: float = 0.0
    reactive: float = 0.0
    ramped: float = 0.0
    current: float = 0.0
    charge_wh: float = 412_000.0
    discharge_wh: float = 371_000.0
    drive: Drive = field(default_factory=Drive)

    @property
    def open_voltage(self) -> float:
        """Open-circuit voltage of the string in V."""
        return CELLS * cell_voltage(self.soc)

    @property
    def voltage(self) -> float:
        """Terminal voltage in V."""
        return self.open_voltage - self.current * self.resistance_ohm

    @property
    def allowed_discharge_w(self) -> float:
        """Highest power now, >= 0."""
        return self.rated_w * min(taper(self.soc - 0.02, 0.08), self._derating())

    @property
    def allowed_charge_w(self) -> float:
        """Most negative power now, <= 0."""
        cold = taper(self.temperature, 10.0)
        return -self.rated_w * min(taper(0.98 - self.soc, 0.08), self._derating(), cold)

    def _derating(self) -> float:
        return taper(58.0 - self.temperature, 10.0)

    @property
    def watchdog_expired(self) -> bool:
        """The set-point is older than the armed watchdog allows."""
        return 0.0 < self.watchdog_s < self.set_age_s

    def command(self, power: float | None = None, reactive: float | None = None) -> None:
        """A set-point arrived: power in W, reactive power in var; strokes the watchdog."""
        self.set_power = self.set_power if power is None else power
        self.set_reactive = self.set_reactive if reactive is None else reactive
        self.set_age_s = 0.0

    def step(self, real_s: float, simulated_s: float, room: float) -> None:
        """Advance by one step at room temperature `room` °C."""
        self.set_age_s += real_s
        self.drive.step(real_s)
        alive = self.drive.runs and not self.watchdog_expired
        self._follow(self.set_power if alive else 0.0, self.set_reactive if alive else 0.0, real_s)
        self._energy(simulated_s)
        heat = self.current**2 * self.resistance_ohm + 0.3 * self.loss_share * abs(self.power)
        self.temperature += simulated_s * (heat - (self.temperature - room) * 14.0) / 160_000.0

    def _follow(self, wanted: float, reactive: float, real_s: float) -> None:
        wanted = min(max(wanted, self.allowed_charge_w), self.allowed_discharge_w)
        reach = self.ramp_w_per_s * real_s
        self.ramped += min(max(wanted - self.ramped, -reach), reach)
        share = 1.0 - math.exp(-real_s / self.lag_s)
        self.power += share * (self.ramped - self.power)
        room = math.sqrt(max(self.rated_w**2 - self.power**2, 0.0))
        self.reactive += share * (min(max(reactive, -room), room) - self.reactive)

    def _energy(self, simulated_s: float) -> None:
        dc = self.power + self.standby_w + self.loss_share * abs(self.power)
        u0 = self.open_voltage
        self.current = (u0 - math.sqrt(max(u0**2 - 4.0 * self.resistance_ohm * dc, 0.0))) / (2.0 * self.resistance_ohm)
        hours = simulated_s / 3600.0
        amp_hours = self.capacity_wh / (CELLS * 3.29)
        self.soc = min(max(self.soc - self.current * hours / amp_hours, 0.0), 1.0)
        self.discharge_wh += max(self.power, 0.0) * hours
        self.charge_wh += max(-self.power, 0.0) * hours
