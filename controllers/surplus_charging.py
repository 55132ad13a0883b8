"""Charge a vehicle with what would be exported."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from server.core.constraint import Constraint
from server.core.controller import Controller, ControllerOutputs, ControllerParams, EssRef, EvcsRef, GridRef, Now, param, shown
from server.core.image import Image
from server.core.units import Ampere, Percent, Second, Volt, Watt


class ChargeMode(IntEnum):
    """How a vehicle is charged; the names of evcc."""

    Off = 0
    Now = 1
    MinPv = 2
    Pv = 3


class SurplusCharging(Controller):
    """Choose the power of a station by the surplus of the site.

        surplus = P_car - (P_grid + reserve_w + P_ess) / sharing    P_ess + discharge; its charge counts while SoC >= ess_first
        Off      0            Now      highest power
        MinPv    max(surplus, least power)
        Pv       surplus, on after surplus >= least for on_s, off after surplus < least for off_s; between, least power
        phases   3 when surplus >= least of three phases for switch_s, 1 when it is less for as long

    least = 6 A · V · phases. Several stations at one connection each take their part of what is left, so that together they take
    all of it and no more, and what one cannot take goes to the others. A cloud does not stop the car, and a contactor does not
    chatter. Source: IEC 61851-1:2017, table A.8; modes and delays as users of evcc know them.
    """

    priority = 50

    class Params(ControllerParams):
        evcs: EvcsRef = param("The station.")
        grid: GridRef = param("The connection whose export is the surplus.")
        ess: EssRef | None = param("A storage that charges first.", default=None)
        mode: ChargeMode = param("How the vehicle is charged.", default=ChargeMode.Pv)
        ess_first: Percent = param("The storage charges first below this.", low=0, high=100, default=50.0)
        sharing: int = param("Stations that follow this surplus, each with its own controller.", low=1, high=1000, default=1)
        reserve_w: Watt = param("Export that is left.", low=-10000, high=10000, default=100.0)
        min_a: Ampere = param("Least current.", low=6, high=32, default=6.0)
        max_a: Ampere = param("Highest current.", low=6, high=80, default=16.0)
        nominal_v: Volt = param("Voltage, phase to neutral.", low=100, high=400, default=230.0)
        on_s: Second = param("Pv: surplus lasts so long before charging starts.", low=0, high=3600, default=60.0)
        off_s: Second = param("Pv: lack lasts so long before charging stops.", low=0, high=3600, default=180.0)
        switch_s: Second = param(
            "Surplus asks so long for other phases before they are switched.", low=0, high=3600, default=300.0
        )

    @dataclass
    class State:
        """on: it charges. waited_s: how long on or off is asked for. phases: 1 or 3, 0 before the first. asked_s: how long other
        phases are asked for."""

        on: bool = False
        waited_s: float = 0.0
        phases: int = 0
        asked_s: float = 0.0

    class Outputs(ControllerOutputs):
        surplus_w: Watt = shown("Power that the vehicle could take without import.")

    params: Params
    state: State

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p = self.params
        surplus = self._surplus(image)
        if surplus is None and p.mode in (ChargeMode.MinPv, ChargeMode.Pv):
            yield p.evcs.charge(0.0, why="waits, the surplus is not known")
            return
        self.out.surplus_w = float("nan") if surplus is None else surplus
        phases = self._choose_phases(image, surplus or 0.0, now.dt_s)
        least, most = p.min_a * p.nominal_v * phases, p.max_a * p.nominal_v * phases
        limit = self._limit(surplus or 0.0, least, most, now.dt_s)
        if p.evcs.switches_phases:
            yield from p.evcs.set_phases(phases, why=("uses {} phases", str(phases)))
        yield p.evcs.charge(limit, why=(f"charges by {p.mode.name}, {{:W}} at most", limit))

    def _surplus(self, image: Image) -> float | None:
        p = self.params
        grid, car = p.grid.power(image), p.evcs.charge_power(image)
        if grid is None or car is None:
            return None
        stored, soc = (p.ess.active_power(image) or 0.0, p.ess.soc(image)) if p.ess is not None else (0.0, None)
        if stored < 0 and (soc is None or soc < p.ess_first):
            stored = 0.0
        return car - (grid + p.reserve_w + stored) / p.sharing

    def _limit(self, surplus: float, least: float, most: float, dt_s: float) -> float:
        p, state = self.params, self.state
        if p.mode in (ChargeMode.Off, ChargeMode.Now):
            state.on, state.waited_s = p.mode is ChargeMode.Now, 0.0
            return most if state.on else 0.0
        if p.mode is ChargeMode.Pv:
            enough = surplus >= least
            state.waited_s = 0.0 if enough is state.on else state.waited_s + dt_s
            if state.waited_s >= (p.off_s if state.on else p.on_s):
                state.on, state.waited_s = enough, 0.0
            if not state.on:
                return 0.0
        return min(max(surplus, least), most)

    def _choose_phases(self, image: Image, surplus: float, dt_s: float) -> int:
        p, state = self.params, self.state
        if not p.evcs.switches_phases:
            return p.evcs.phases(image)
        if not state.phases:
            state.phases = 1 if p.evcs.phases(image) == 1 else 3
        wanted = 3 if p.mode is ChargeMode.Now or surplus >= 3 * p.min_a * p.nominal_v else 1
        state.asked_s = 0.0 if wanted == state.phases or p.mode is ChargeMode.Off else state.asked_s + dt_s
        if state.asked_s >= p.switch_s:
            state.phases, state.asked_s = wanted, 0.0
        return state.phases
