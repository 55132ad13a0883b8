"""Keep the cells of a battery inside their limits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from server.core.blocks import Polyline, ramped, switched
from server.core.constraint import Bound, Constraint, Target
from server.core.controller import Controller, ControllerParams, EssRef, Now, param
from server.core.image import Image
from server.core.units import Ampere, Volt

FORCE_PRIORITY = 12
"""Forced charge and discharge are wants below fuse and grid limits; blocking is protection."""


class BatteryProtection(Controller):
    """Bound charge and discharge by cell voltages, cell temperatures, state of charge and what the BMS allows.

        I_charge = min(I_bms, max_a · min(charge(V_max), charge(T_min), charge(T_max), charge(SoC)))
        I_discharge likewise with V_min          growing by recovery_a_per_s at most
        -I_charge · V <= P <= I_discharge · V
        V_min <= force_charge_below_v            P = -force_a · V      until V_min >= force_charge_until_v; discharge likewise

    Each characteristic gives a share, 0 to 1. Discharge and charge fall at once and recover slowly, so a limit does not chatter
    with the voltage that it moves itself. Source: lithium-ion charging limits, e.g. P. Keil, A. Jossen, "Charging protocols for
    lithium-ion batteries", J. Energy Storage 6 (2016), doi:10.1016/j.est.2016.02.005; LFP defaults.
    """

    priority = 0

    class Params(ControllerParams):
        ess: EssRef = param("The storage to protect.")
        max_a: Ampere = param("Highest current of the battery.", low=0, high=1e5, default=80.0)
        nominal_v: Volt = param("Battery voltage where it is not measured.", low=1, high=2000, default=400.0)
        charge_by_voltage: Polyline = param(
            "Share over the highest cell voltage.",
            default=Polyline(((3.0, 0.1), (3.1, 1.0), (3.45, 1.0), (3.6499, 0.02), (3.65, 0.0))),
        )
        discharge_by_voltage: Polyline = param(
            "Share over the lowest cell voltage.",
            default=Polyline(((2.9, 0.0), (2.9001, 0.05), (2.92, 0.05), (3.0, 1.0), (3.7, 1.0))),
        )
        by_temperature: Polyline = param(
            "Share over the coldest and the hottest cell.",
            default=Polyline(((-10.0, 0.0), (0.0, 0.2), (5.0, 0.3), (15.0, 1.0), (45.0, 1.0), (55.0, 0.0))),
        )
        charge_by_soc: Polyline = param("Share over state of charge [%].", default=Polyline(((95.0, 1.0), (100.0, 0.2))))
        discharge_by_soc: Polyline = param("Share over state of charge [%].", default=Polyline(((0.0, 0.2), (5.0, 1.0))))
        recovery_a_per_s: float = param("How fast a limit grows again [A/s].", low=0.001, high=1e5, default=0.5)
        force_a: Ampere = param("Current of a forced charge or discharge; 0 for none.", low=0, high=1e4, default=0.0)
        force_charge_below_v: Volt = param("Lowest cell voltage that forces charge.", low=0, high=10, default=2.85)
        force_charge_until_v: Volt = param("Lowest cell voltage that ends it.", low=0, high=10, default=2.91)
        force_discharge_above_v: Volt = param("Highest cell voltage that forces discharge.", low=0, high=10, default=3.66)
        force_discharge_until_v: Volt = param("Highest cell voltage that ends it.", low=0, high=10, default=3.64)

    @dataclass
    class State:
        """charge_a, discharge_a: limits in force, None before the first. low, high: charge or discharge is forced."""

        charge_a: float | None = None
        discharge_a: float | None = None
        low: bool = False
        high: bool = False

    params: Params
    state: State

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p, state = self.params, self.state
        low_v, high_v, cold, hot = p.ess.cells(image)
        volts, bms_charge, bms_discharge = p.ess.battery(image)
        soc, volts = p.ess.soc(image), p.nominal_v if volts is None else volts
        heat = [(p.by_temperature, cold), (p.by_temperature, hot)]
        charge = self._limit(bms_charge, [(p.charge_by_voltage, high_v), (p.charge_by_soc, soc), *heat])
        discharge = self._limit(bms_discharge, [(p.discharge_by_voltage, low_v), (p.discharge_by_soc, soc), *heat])
        rise = p.recovery_a_per_s
        state.charge_a = charge if state.charge_a is None else ramped(state.charge_a, charge, rise, None, now.dt_s)
        state.discharge_a = discharge if state.discharge_a is None else ramped(state.discharge_a, discharge, rise, None, now.dt_s)
        why = ("protects cells, {:.0f} A charge, {:.0f} A discharge", state.charge_a, state.discharge_a)
        yield Bound(p.ess.power, at_least=-state.charge_a * volts, at_most=state.discharge_a * volts, why=why)
        if p.force_a > 0:
            yield from self._force(low_v, high_v, p.force_a * volts)

    def _limit(self, bms_a: float | None, shares: list[tuple[Polyline, float | None]]) -> float:
        """The lowest current of all characteristics whose input is known."""
        factor = min((curve.at(x) for curve, x in shares if x is not None), default=1.0)
        limit = self.params.max_a * max(factor, 0.0)
        return limit if bms_a is None else min(limit, max(bms_a, 0.0))

    def _force(self, low_v: float | None, high_v: float | None, watts: float) -> Iterable[Constraint]:
        p, state = self.params, self.state
        if low_v is not None:
            state.low = switched(state.low, low_v, on=p.force_charge_below_v, off=p.force_charge_until_v)
        if high_v is not None:
            state.high = switched(state.high, high_v, on=p.force_discharge_above_v, off=p.force_discharge_until_v)
        if state.low:
            yield Target(p.ess.power, at_most=-watts, why="charges an empty cell", priority=FORCE_PRIORITY)
        elif state.high:
            yield Target(p.ess.power, at_least=watts, why="discharges a full cell", priority=FORCE_PRIORITY)
