"""Keep the cells of a battery inside their limits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from server.core.blocks import Polyline, ramped
from server.core.constraint import Bound, Constraint, Target
from server.core.controller import Controller, ControllerOutputs, ControllerParams, EssRef, Memory, Now, param, shown
from server.core.image import Image
from server.core.units import Ampere, Second, Volt

FORCE_PRIORITY = 12
"""Forced charge and discharge are wants below fuse and grid limits; blocking is protection."""

VOLTS_MAX = 2000.0
"""No battery has more [V]; a voltage beyond this, or none above zero, counts as not measured."""

CHARGE = ("charge_low", "charge_high", "cold", "hot", "charge_soc")
DISCHARGE = ("discharge_low", "discharge_high", "cold", "hot", "discharge_soc")
"""The characteristics of each direction: over the lowest and the highest cell voltage, the coldest and the hottest cell, and the
state of charge."""


class Force(IntEnum):
    """Where a forced charge or discharge stands."""

    Off = 0
    Waiting = 1
    On = 2
    Blocked = 3


class BatteryProtection(Controller):
    """Bound charge and discharge by cell voltages, cell temperatures, state of charge and what the BMS allows.

        I_charge = min(I_bms, max_a · min(charge(V_min), charge(V_max), temperature(T_min), temperature(T_max), charge(SoC)))
        I_discharge likewise                     both fall at once and grow by recovery_a_per_s at most
        -I_charge · V <= P <= I_discharge · V
        V_min <= force_charge_below_v for force_wait_s     P = -force_a · V      until V_min > force_charge_until_v
        then until V_min > force_charge_free_v             I_discharge <= 0      and discharge likewise with V_max

    Each characteristic gives a share, 0 to 1. With `latch` a share that fell stays until its characteristic gives all again, so a
    limit does not chatter with the voltage that it moves itself. Source: lithium-ion charging limits, e.g. P. Keil, A. Jossen,
    "Charging protocols for lithium-ion batteries", J. Energy Storage 6 (2016), doi:10.1016/j.est.2016.02.005; LFP defaults.
    """

    priority = 0
    memory = Memory.Lasting

    class Params(ControllerParams):
        ess: EssRef = param("The storage to protect.")
        max_a: Ampere = param("Highest current of the battery.", low=0, high=1e5, default=80.0)
        nominal_v: Volt = param("Battery voltage where it is not measured.", low=1, high=VOLTS_MAX, default=400.0)
        charge_by_voltage: Polyline = param(
            "Share over the lowest and the highest cell voltage.",
            default=Polyline(((3.0, 0.1), (3.1, 1.0), (3.45, 1.0), (3.6499, 0.02), (3.65, 0.0))),
        )
        discharge_by_voltage: Polyline = param(
            "Share over the lowest and the highest cell voltage.",
            default=Polyline(((2.9, 0.0), (2.9001, 0.05), (2.92, 0.05), (3.0, 1.0), (3.7, 1.0))),
        )
        by_temperature: Polyline = param(
            "Share over the coldest and the hottest cell.",
            default=Polyline(((-10.0, 0.0), (0.0, 0.2), (5.0, 0.3), (15.0, 1.0), (45.0, 1.0), (55.0, 0.0))),
        )
        charge_by_soc: Polyline = param("Share over state of charge [%].", default=Polyline(((95.0, 1.0), (100.0, 0.2))))
        discharge_by_soc: Polyline = param("Share over state of charge [%].", default=Polyline(((0.0, 0.2), (5.0, 1.0))))
        recovery_a_per_s: float = param("How fast a limit grows again [A/s].", low=0.001, high=1e5, default=0.5)
        latch: bool = param("A share that fell stays until its characteristic gives all again.", default=False)
        force_a: Ampere = param("Current of a forced charge or discharge; 0 for none.", low=0, high=1e4, default=0.0)
        force_wait_s: Second = param("A cell is beyond its limit for so long.", low=0, high=3600, default=60.0)
        force_charge_below_v: Volt = param("Lowest cell voltage that forces charge.", low=0, high=10, default=2.85)
        force_charge_until_v: Volt = param("Lowest cell voltage up to which it lasts.", low=0, high=10, default=2.91)
        force_charge_free_v: Volt = param("Then discharge is blocked up to this.", low=0, high=10, default=3.0)
        force_discharge_above_v: Volt = param("Highest cell voltage that forces discharge.", low=0, high=10, default=3.66)
        force_discharge_until_v: Volt = param("Highest cell voltage down to which it lasts.", low=0, high=10, default=3.64)
        force_discharge_free_v: Volt = param("Then charge is blocked down to this.", low=0, high=10, default=3.45)

    @dataclass
    class State:
        """charge_a, discharge_a: limits in force, negative while forced, None before the first. shares: of each characteristic,
        latched. charging, discharging: a Force; charging_s, discharging_s: time in it."""

        charge_a: float | None = None
        discharge_a: float | None = None
        shares: dict[str, float] = field(default_factory=dict)
        charging: int = Force.Off
        charging_s: float = 0.0
        discharging: int = Force.Off
        discharging_s: float = 0.0

    class Outputs(ControllerOutputs):
        charge_max_a: Ampere = shown("Highest charge current now; negative forces discharge.")
        discharge_max_a: Ampere = shown("Highest discharge current now; negative forces charge.")

    params: Params
    state: State

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p, state = self.params, self.state
        seen = (*p.ess.cells(image), p.ess.soc(image))
        volts, bms_charge, bms_discharge = p.ess.battery(image)
        volts = volts if volts is not None and 0 < volts <= VOLTS_MAX else p.nominal_v
        charge = self._limit(bms_charge, CHARGE, p.charge_by_voltage, p.charge_by_soc, seen)
        discharge = self._limit(bms_discharge, DISCHARGE, p.discharge_by_voltage, p.discharge_by_soc, seen)
        self._force(seen[0], seen[1], now.dt_s)
        state.charge_a = self._follow(state.charge_a, charge, state.discharging, now.dt_s)
        state.discharge_a = self._follow(state.discharge_a, discharge, state.charging, now.dt_s)
        self.out.charge_max_a, self.out.discharge_max_a = state.charge_a, state.discharge_a
        low, high = -max(state.charge_a, 0.0) * volts, max(state.discharge_a, 0.0) * volts
        why = ("protects cells, {:.0f} A charge, {:.0f} A discharge", state.charge_a, state.discharge_a)
        yield Bound(p.ess.power, at_least=low, at_most=high, why=why)
        if state.charging or state.discharging:
            yield from self._forced(volts)

    def _forced(self, volts: float) -> Iterable[Constraint]:
        p, state = self.params, self.state
        if state.charging == Force.On:
            yield Target(p.ess.power, at_most=-p.force_a * volts, why="charges an empty cell", priority=FORCE_PRIORITY)
        elif state.discharging == Force.On:
            yield Target(p.ess.power, at_least=p.force_a * volts, why="discharges a full cell", priority=FORCE_PRIORITY)

    def _limit(
        self, bms_a: float | None, names: Sequence[str], voltage: Polyline, soc: Polyline, seen: Sequence[float | None]
    ) -> float:
        """The lowest current of all characteristics whose input was seen."""
        p, heat = self.params, self.params.by_temperature
        curves = voltage, voltage, heat, heat, soc
        shares = [1.0 if x is None else curve.at(x) for curve, x in zip(curves, seen, strict=True)]
        if p.latch:
            shares = [s if x is None else self._latched(n, s) for n, s, x in zip(names, shares, seen, strict=True)]
        limit = p.max_a * max(min(shares), 0.0)
        return limit if bms_a is None else min(limit, max(bms_a, 0.0))

    def _latched(self, name: str, share: float) -> float:
        """A share that fell stays until its characteristic gives all again."""
        latched = self.state.shares
        latched[name] = share if share >= 1 else min(share, latched.get(name, 1.0))
        return latched[name]

    def _follow(self, before: float | None, limit: float, forced: int, dt_s: float) -> float:
        """The limit in force, with what the other direction is forced to."""
        if forced:
            limit = {Force.On: -self.params.force_a, Force.Blocked: min(limit, 0.0)}.get(Force(forced), limit)
        return limit if before is None else ramped(before, limit, self.params.recovery_a_per_s, None, dt_s)

    def _force(self, low_v: float | None, high_v: float | None, dt_s: float) -> None:
        p, state = self.params, self.state
        if p.force_a == 0:
            state.charging, state.discharging, state.charging_s, state.discharging_s = Force.Off, Force.Off, 0.0, 0.0
            return
        if low_v is not None:
            beyond, lasts, free = low_v <= p.force_charge_below_v, low_v <= p.force_charge_until_v, low_v > p.force_charge_free_v
            state.charging, state.charging_s = self._next(state.charging, state.charging_s + dt_s, beyond, lasts, free)
        if high_v is not None:
            beyond, lasts = high_v >= p.force_discharge_above_v, high_v >= p.force_discharge_until_v
            free = high_v < p.force_discharge_free_v
            state.discharging, state.discharging_s = self._next(
                state.discharging, state.discharging_s + dt_s, beyond, lasts, free
            )

    def _next(self, phase: int, here_s: float, beyond: bool, lasts: bool, free: bool) -> tuple[Force, float]:
        """The next phase and the time in it."""
        before = Force(phase)
        after = {
            Force.Off: Force.Waiting if beyond else Force.Off,
            Force.Waiting: Force.Waiting if beyond else Force.Off,
            Force.On: Force.On if lasts else Force.Blocked,
            Force.Blocked: Force.On if beyond else Force.Off if free else Force.Blocked,
        }[before]
        here_s = here_s if after is before else 0.0
        return (Force.On, 0.0) if after is Force.Waiting and here_s >= self.params.force_wait_s else (after, here_s)
