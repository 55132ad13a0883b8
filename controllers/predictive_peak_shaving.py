"""Hold the lowest peak that the storage can hold to its end, as far as the forecast tells."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from server.core.constraint import Bound, Calm, Constraint, Target
from server.core.controller import Controller, ControllerOutputs, ControllerParams, EssRef, GridRef, Now, param, shown
from server.core.document import Document, Span
from server.core.image import Image
from server.core.ticks import TICKS
from server.core.units import Hour, Percent, Second, Watt, WattHour

RECHARGE_PRIORITY = 19
"""Charging for a coming peak is a want just before the strategies that use the same storage."""
SPARE = 0.02
"""Share of the usable energy that is charged beyond the need, so that charging does not come and go with each watt-hour."""


class PredictivePeakShaving(Controller):
    """Bound the import by the lowest level L >= import_max_w that the storage's energy can hold over the forecast.

        e(L, t) = min(E_max, e(L, t-1) - efficient(d(t) - L) · dt)        energy, when import is held at L where d exceeds it
        L       = least level with e(L, t) >= 0 for all t in the horizon       import <= L
        E < need(L)                  want: charge, with import up to L, until E = need + spare
        E < need(L) + spare          want: no discharge, which would be charged again

    d: forecast of the net demand (`forecast/consumption` less `forecast/production`), e starts at the energy above min_soc. A
    storage that cannot hold import_max_w would run empty in the middle of the peak and leave it whole; the higher level is held
    to the end. Without a fresh forecast it is plain peak shaving. Source: A. Oudalov et al., "Sizing and optimal operation of
    battery energy storage system for peak shaving application", IEEE PowerTech 2007, doi:10.1109/PCT.2007.4538388.
    """

    priority = 10

    class Params(ControllerParams):
        grid: GridRef = param("The connection to protect.")
        ess: EssRef = param("The storage whose energy is planned.")
        import_max_w: Watt = param("Highest import, where energy suffices.", low=0, high=1e9)
        min_soc: Percent = param("Energy above this is planned with.", low=0, high=100, default=15.0)
        horizon_h: Hour = param("How far the plan looks ahead.", low=1, high=48, default=24.0)
        margin: Percent = param("Energy is planned with so much in reserve.", low=0, high=50, default=10.0)
        max_age_s: Second = param("An older forecast is not used.", low=60, high=172800, default=21600.0)
        replan_s: Second = param("The plan is made anew so often.", low=1, high=3600, default=60.0)
        hysteresis_w: Watt = param("Smaller easings of the need are not followed.", low=0, high=1e6, default=100.0)

    @dataclass
    class State:
        """planned_at: ticks of the last plan. level_w: import held. need_wh: energy for the peak that comes first. charging: for
        that peak."""

        planned_at: int = 0
        level_w: float | None = None
        need_wh: float = 0.0
        charging: bool = False

    class Outputs(ControllerOutputs):
        level_w: Watt = shown("Import that is held.", low=0)
        need_wh: WattHour = shown("Energy that the coming peak needs.", low=0)

    params: Params
    state: State

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p, state = self.params, self.state
        if now.time - state.planned_at >= p.replan_s * TICKS:
            state.planned_at = now.time
            self._plan(image, now)
        level = p.import_max_w if state.level_w is None else state.level_w
        self.out.level_w, self.out.need_wh = level, state.need_wh
        why = ("keeps import under {:W}, which the storage can hold", level)
        yield Bound(p.grid.import_power, at_most=level, why=why, calm=Calm(deadband=p.hysteresis_w))
        stored = self._stored(image)
        if stored is not None and state.need_wh > 0:
            yield from self._kept(*stored, level)
        else:
            state.charging = False

    def _kept(self, stored: float, most: float, level: float) -> Iterable[Constraint]:
        """Charge what the coming peak needs, and leave it in the storage."""
        p, state = self.params, self.state
        enough = min(state.need_wh + SPARE * most, most)
        state.charging = stored < enough and (state.charging or stored < state.need_wh)
        if stored < enough:
            yield Target(p.ess.power, at_most=0.0, why="keeps energy for a coming peak", priority=RECHARGE_PRIORITY)
        if state.charging:
            why = ("charges {:.1f} kWh for a coming peak", (enough - stored) / 1000)
            yield Target(p.grid.import_power, at_least=level, why=why, calm=Calm(p.hysteresis_w), priority=RECHARGE_PRIORITY)

    def _stored(self, image: Image) -> tuple[float, float] | None:
        """Energy above the floor, and what fits at most [Wh]."""
        soc, capacity = self.params.ess.soc(image), self.params.ess.capacity(image)
        if soc is None or capacity is None:
            return None
        return max(soc - self.params.min_soc, 0.0) / 100 * capacity, (100 - self.params.min_soc) / 100 * capacity

    def _plan(self, image: Image, now: Now) -> None:
        p, state = self.params, self.state
        state.level_w, state.need_wh = None, 0.0
        stored, spans = self._stored(image), self._net(image, now)
        if stored is None or not spans:
            return
        charge_w, _ = p.ess.allowed(image)
        usable = 1 - p.margin / 100
        low, high = p.import_max_w, max(p.import_max_w, *(s.value for s in spans))
        if not _holds(spans, low, stored[0] * usable, stored[1] * usable, -charge_w):
            while high - low > max(10.0, 0.001 * high):
                middle = (low + high) / 2
                if _holds(spans, middle, stored[0] * usable, stored[1] * usable, -charge_w):
                    high = middle
                else:
                    low = middle
            low = high
        state.level_w = low
        state.need_wh = min(_first_peak(spans, low) / usable, stored[1])

    def _net(self, image: Image, now: Now) -> list[Span]:
        """Forecast of the net demand over the horizon; empty without a fresh one."""
        p = self.params
        used, made = image.document("forecast/consumption"), image.document("forecast/production")
        if used is None or used.age_s(now.time) > p.max_age_s:
            return []
        end = now.time + round(p.horizon_h * 3600 * TICKS)
        return [s._replace(value=s.value - _made(made, s)) for s in used.spans(now.time, end)]


def _made(production: Document | None, span: Span) -> float:
    power = None if production is None else production.at(span.start)
    return power or 0.0


def _holds(spans: list[Span], level: float, stored: float, most: float, charge_w: float) -> bool:
    """The energy lasts when import is held at the level, and recharged below it."""
    for span in spans:
        flow = span.value - level
        stored = min(stored - max(flow, -charge_w) * span.hours, most)
        if stored < 0:
            return False
    return True


def _first_peak(spans: list[Span], level: float) -> float:
    """Energy above the level until the demand is below it again [Wh]."""
    need = 0.0
    for span in spans:
        if span.value > level:
            need += (span.value - level) * span.hours
        elif need:
            break
    return need
