"""Give reactive power: fixed, by power factor, by voltage, by active power, or to balance the connection."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from math import acos, copysign, tan

from server.core.blocks import Polyline, lagged
from server.core.constraint import Bound, Constraint, Target
from server.core.controller import Controller, ControllerParams, EssRef, GridRef, Now, param
from server.core.gridcodes import VOLT_VAR, WATT_VAR
from server.core.image import Image
from server.core.units import Second, Var, Volt, VoltAmpere

SETTLED = 2.302585
"""Time constants until 90 % of a step is answered: the open loop response time of IEEE 1547."""
LAST_PRIORITY = 1000
"""Reactive power beyond the required share comes after all active power."""


class ReactiveMode(IntEnum):
    """Where the reactive power comes from."""

    Fixed = 0
    CosPhi = 1
    VoltVar = 2
    WattVar = 3
    BalancingCosPhi = 4


GIVES = {mode: f"gives reactive power by {mode.name}, {{:.0f}} var" for mode in ReactiveMode}
"""The reason, by where the reactive power comes from."""


class ReactivePower(Controller):
    """Bound the reactive power of a storage; injection (over-excited) is positive and raises the voltage.

        Fixed             Q = power_var
        CosPhi            Q = ±P · tan(acos cos_phi),  |P| <= S · cos_phi
        VoltVar           Q = S · volt_var(V / V_nominal - V_ref + 1),  V_ref = PT1(V) when reference_s > 0, else 1
        WattVar           Q = S · watt_var(P / S)
        BalancingCosPhi   Q_grid = ±P_grid · tan(acos cos_phi)
        always            |Q| <= S · capability(|P| / S), answered to 90 % after response_s

    Q is kept before P (P is cut to sqrt(S² - Q²)); with active_first only the share `required` is, the rest takes what P leaves.
    Source: IEEE 1547-2018, 5.3 and tables 7 to 9; EN 50549-1, 4.7.2.
    """

    priority = 15

    class Params(ControllerParams):
        ess: EssRef = param("The storage whose inverter gives it.")
        grid: GridRef | None = param("Connection: its voltage for VoltVar, its power for BalancingCosPhi.", default=None)
        mode: ReactiveMode = param("Where the reactive power comes from.", default=ReactiveMode.VoltVar)
        power_var: Var = param("Fixed: reactive power, + injects.", low=-1e9, high=1e9, default=0.0)
        cos_phi: float = param("CosPhi: power factor; negative absorbs.", low=-1, high=1, default=1.0)
        rated_va: VoltAmpere = param("What characteristics refer to; 0 for the inverter's own.", low=0, high=1e9, default=0.0)
        nominal_v: Volt = param("Nominal voltage, phase to neutral.", low=1, high=1e6, default=230.0)
        volt_var: Polyline = param("Points [pu of V, pu of S]; category B of the standard.", default=VOLT_VAR["B"])
        watt_var: Polyline = param("Points [pu of S, pu of S]; category B of the standard.", default=WATT_VAR["B"])
        capability: Polyline = param("Highest |Q| over |P|, as points [pu of S].", default=Polyline(((0.0, 1.0),)))
        reference_s: Second = param("VoltVar: 90 % time of the reference; 0 for a fixed one.", low=0, high=5000, default=0.0)
        response_s: Second = param("90 % time of the answer.", low=0, high=90, default=0.0)
        active_first: bool = param("Beyond `required`, active power comes first.", default=False)
        required: float = param("Share of S that is kept before active power.", low=0, high=1, default=0.44)

    @dataclass
    class State:
        """reactive: answer before [var]. reference: filtered voltage [pu]. None before the first."""

        reactive: float | None = None
        reference: float | None = None

    params: Params
    state: State

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p = self.params
        if p.mode is ReactiveMode.BalancingCosPhi:
            yield from self._balance(image)
            return
        rated = p.rated_va or p.ess.rating(image)
        active = p.ess.active_power(image)
        if not rated or active is None:
            return
        wanted = self._wanted(image, now, rated, active)
        if wanted is None:
            return
        most = p.capability.at(abs(active) / rated) * rated
        wanted = min(max(wanted, -most), most)
        self.state.reactive = asked = lagged(self.state.reactive, wanted, p.response_s / SETTLED, now.dt_s)
        if p.mode is ReactiveMode.CosPhi and abs(p.cos_phi) < 1:
            limit = rated * abs(p.cos_phi)
            yield Bound(p.ess.power, at_least=-limit, at_most=limit, why=("leaves room for cos φ {:g}", p.cos_phi))
        first = min(abs(asked), p.required * rated) if p.active_first else abs(asked)
        why = (GIVES[p.mode], asked)
        yield Bound(p.ess.reactive_power, equals=copysign(first, asked), why=why)
        if first < abs(asked):
            yield Target(p.ess.reactive_power, equals=asked, why=why, priority=LAST_PRIORITY)

    def _wanted(self, image: Image, now: Now, rated: float, active: float) -> float | None:
        p = self.params
        if p.mode is ReactiveMode.Fixed:
            return p.power_var
        if p.mode is ReactiveMode.CosPhi:
            return copysign(abs(active) * _tangent(p.cos_phi), p.cos_phi)
        if p.mode is ReactiveMode.WattVar:
            return p.watt_var.at(active / rated) * rated
        volts = p.grid.voltage(image) if p.grid is not None else None
        if volts is None:
            return None
        volts /= p.nominal_v
        if p.reference_s > 0:
            self.state.reference = lagged(self.state.reference or 1.0, volts, p.reference_s / SETTLED, now.dt_s)
            volts += 1 - self.state.reference
        return p.volt_var.at(volts) * rated

    def _balance(self, image: Image) -> Iterable[Constraint]:
        p = self.params
        if p.grid is None:
            return
        power = p.grid.power(image)
        if power is not None:
            wanted = copysign(abs(power) * _tangent(p.cos_phi), p.cos_phi)
            yield Bound(p.grid.import_reactive_power, equals=wanted, why=("balances the connection to cos φ {:g}", p.cos_phi))


def _tangent(cos_phi: float) -> float:
    return tan(acos(min(abs(cos_phi), 1.0))) if cos_phi else 0.0
