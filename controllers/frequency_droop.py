"""Answer deviations of the grid frequency in proportion."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from server.core.blocks import lagged, switched_above, switched_below
from server.core.constraint import Add, Constraint, Reserve, Target
from server.core.controller import Controller, ControllerOutputs, ControllerParams, EssRef, MeterRef, Now, param, shown
from server.core.gridcodes import activation
from server.core.image import Image
from server.core.units import Hertz, Percent, Second, Watt

SETTLED = 2.302585
"""Time constants until 90 % of a step is answered."""


class FrequencyDroop(Controller):
    """Put power on top of the base point in proportion to the frequency's deviation; discharge at under-frequency.

        P = P_base - power_w · clip((f - nominal_hz) / full_hz, -1, 1)             0 inside ±deadband_hz
        from_deadband:  the slope starts at the deadband's edge
        SoC <= low_soc  the base point does not discharge, and charges recovery_w while f is normal; high likewise
        room            reserve · power_w is kept free up and down

    The defaults are FCR in Continental Europe: full at 200 mHz, answered at once (30 s are allowed). Droop of 5 % at 60 Hz with
    36 mHz is full_hz 3.036, from_deadband. hold_base keeps the base point of the moment the deviation began. Source: Regulation
    (EU) 2017/1485, articles 154 and 156, Annex V; IEEE 1547-2018, 6.5.2.7.
    """

    priority = 10

    class Params(ControllerParams):
        ess: EssRef = param("The storage.")
        meter: MeterRef = param("Where the frequency is measured.")
        power_w: Watt = param("Power at full activation.", low=0, high=1e9)
        nominal_hz: Hertz = param("Nominal frequency.", low=40, high=70, default=50.0)
        deadband_hz: Hertz = param("No answer to smaller deviations.", low=0, high=1, default=0.01)
        full_hz: Hertz = param("Deviation of full activation.", low=0.01, high=10, default=0.2)
        from_deadband: bool = param("The slope starts at the deadband's edge.", default=False)
        response_s: Second = param("90 % time of the answer.", low=0, high=30, default=0.0)
        reserve: Percent = param("Share of the power that is kept free.", low=0, high=100, default=100.0)
        hold_base: bool = param("Keep the base point while the frequency deviates.", default=False)
        low_soc: Percent = param("Below this the base point does not discharge.", low=0, high=100, default=20.0)
        high_soc: Percent = param("Above this the base point does not charge.", low=0, high=100, above="low_soc", default=80.0)
        recovered: Percent = param("Recovery goes so far into the band.", low=0.1, high=50, default=5.0)
        recovery_w: Watt = param("Power of the recovery; 0 for none.", low=0, high=1e9, default=0.0)
        normal_hz: Hertz = param("Recovery runs while the deviation is below this.", low=0, high=1, default=0.05)

    @dataclass
    class State:
        """added: answer before [W]. base: base point held [W], None while the frequency is normal. low, high: recovery runs."""

        added: float | None = None
        base: float | None = None
        low: bool = False
        high: bool = False

    class Outputs(ControllerOutputs):
        answer_w: Watt = shown("Power put on top of the base point.")

    params: Params
    state: State

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p, state = self.params, self.state
        self.out.answer_w = float("nan")
        hertz = p.meter.frequency(image)
        if hertz is None:
            return
        deviation = hertz - p.nominal_hz
        share = activation(deviation, p.full_hz, p.deadband_hz, from_deadband=p.from_deadband)
        yield from self._manage(image, abs(deviation) < p.normal_hz)
        if p.hold_base:
            yield from self._hold(image, abs(deviation) > p.deadband_hz)
        wanted = share * p.power_w
        state.added = lagged(state.added, wanted, p.response_s / SETTLED, now.dt_s)
        self.out.answer_w = state.added
        if state.added:
            yield Add(p.ess.power, state.added, why=("answers {:+.0f} mHz", deviation * 1000))

    def _manage(self, image: Image, normal: bool) -> Iterable[Constraint]:
        """Keep room for the answer, and energy."""
        p, state = self.params, self.state
        soc, (charge, discharge) = p.ess.soc(image), p.ess.allowed(image)
        if soc is not None:
            state.low = switched_below(state.low, soc, on=p.low_soc, off=p.low_soc + p.recovered)
            state.high = switched_above(state.high, soc, on=p.high_soc, off=p.high_soc - p.recovered)
        free = p.power_w * p.reserve / 100
        up, down = discharge if state.low else free, -charge if state.high else free
        yield Reserve(p.ess.power, up=min(up, discharge), down=min(down, -charge), why="keeps room for frequency support")
        if normal and p.recovery_w and state.low:
            yield Target(p.ess.power, at_most=-p.recovery_w, why=("recovers to {:%}", p.low_soc + p.recovered))
        elif normal and p.recovery_w and state.high:
            yield Target(p.ess.power, at_least=p.recovery_w, why=("recovers to {:%}", p.high_soc - p.recovered))

    def _hold(self, image: Image, deviates: bool) -> Iterable[Constraint]:
        p, state = self.params, self.state
        if not deviates:
            state.base = None
            return
        if state.base is None:
            power = p.ess.active_power(image)
            state.base = None if power is None else power - (state.added or 0.0)
        if state.base is not None:
            yield Target(p.ess.power, equals=state.base, why=("holds {:W} while the frequency deviates", state.base))
