"""Keep room in the storage for the export peak that is forecast."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from server.core.blocks import ramped
from server.core.constraint import Bound, Calm, Constraint, Target
from server.core.controller import Controller, ControllerOutputs, ControllerParams, EssRef, GridRef, Now, param, shown
from server.core.image import Image
from server.core.ticks import TICKS
from server.core.units import Hour, Percent, Second, Watt


class ChargeMode(IntEnum):
    """How the target time is found."""

    Off = 0
    Manual = 1
    Automatic = 2


class GridOptimizedCharge(Controller):
    """Delay charging until a target time, and charge at once what would exceed the export limit.

        export <= export_max_w                                                  first
        P <= -excess                                                            what exceeds export_max_w, easing by `ramp`
        P >= -max((100 % - SoC - buffer) · capacity / (target - now), excess)   then; none below `least` of capacity in an hour

    target: manual_hour, or by forecast the last moment of the day at which production exceeds consumption, less an hour for each
    step of caution; when the surplus that is forecast until then does not fill the storage, charging is not delayed. Source:
    forecast-based operation, J. Struth et al., "PV-Speicherwellen", and J. Weniger et al., Energy Procedia 46 (2014),
    doi:10.1016/j.egypro.2014.01.160.
    """

    priority = 20

    class Params(ControllerParams):
        ess: EssRef = param("The storage.")
        grid: GridRef = param("The connection.")
        mode: ChargeMode = param("How the target time is found.", default=ChargeMode.Automatic)
        manual_hour: Hour = param("Manual: local time at which the storage shall be full.", low=0, high=24, default=17.0)
        caution_h: Hour = param("Automatic: the storage is full so long before the surplus ends.", low=0, high=8, default=2.0)
        export_max_w: Watt = param("Highest export; 1 GW is no limit.", low=0, high=1e9, default=1e9)
        buffer: Percent = param(
            "Room that is left for what the forecast missed; negative to be full earlier.", low=-10, high=50, default=0.0
        )
        least: Percent = param("Charging waits until this share of capacity an hour is needed.", low=0, high=50, default=0.0)
        ramp: Percent = param("Bounds change by this share of rated power each second.", low=0.1, high=100, default=2.0)
        max_age_s: Second = param("An older forecast is not used.", low=60, high=172800, default=21600.0)

    @dataclass
    class State:
        """limit_w: bound of the charge in force, None while there is none. excess_w: charge that keeps export under its limit,
        None while it is not known. planned_at, target: ticks; 0 for no target."""

        limit_w: float | None = None
        excess_w: float | None = None
        planned_at: int = 0
        target: int = 0

    class Outputs(ControllerOutputs):
        charge_max_w: Watt = shown("Highest charge power now.", low=0)
        charge_min_w: Watt = shown("Charge that keeps the export under its limit; negative where there is room for discharge.")
        target_in_s: Second = shown("Time until the storage shall be full.", low=0)
        starts_in_s: Second = shown("Time until charging starts.", low=0)

    params: Params
    state: State

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p, state = self.params, self.state
        self.out.charge_max_w = self.out.charge_min_w = self.out.target_in_s = self.out.starts_in_s = float("nan")
        rated = p.ess.rating(image)
        if p.export_max_w < 1e9:
            why = ("keeps export under {:W}", p.export_max_w)
            yield Bound(p.grid.import_power, at_least=-p.export_max_w, why=why, calm=Calm(deadband=50.0))
            yield from self._take_excess(image, rated or 0.0, now.dt_s)
        left_h = self._left_h(image, now)
        soc, capacity = p.ess.soc(image), p.ess.capacity(image)
        if not left_h or soc is None or capacity is None or rated is None:
            state.limit_w = None
            return
        wanted = min(self._needed_w(soc, capacity, left_h), rated)
        step = rated * p.ramp / 100
        state.limit_w = wanted if state.limit_w is None else ramped(state.limit_w, wanted, step, step, now.dt_s)
        state.limit_w = max(state.limit_w, state.excess_w or 0.0)
        self.out.charge_max_w, self.out.target_in_s = state.limit_w, left_h * 3600
        why = ("keeps room for the export peak, charges {:W} at most", state.limit_w)
        yield Bound(p.ess.power, at_least=-state.limit_w, why=why)

    def _take_excess(self, image: Image, rated: float, dt_s: float) -> Iterable[Constraint]:
        """The plant shall not be cut while the storage has room; what was taken is let go calmly."""
        p, state = self.params, self.state
        power, own = p.grid.power(image), p.ess.active_power(image)
        if power is None or own is None:
            state.excess_w = None
            return
        excess = -power - own - p.export_max_w
        fall = rated * p.ramp / 100
        state.excess_w = excess if state.excess_w is None else ramped(state.excess_w, excess, None, fall, dt_s)
        self.out.charge_min_w = state.excess_w
        if state.excess_w > 0:
            yield Target(p.ess.power, at_most=-state.excess_w, why=("takes the {:W} that may not be exported", state.excess_w))

    def _needed_w(self, soc: float, capacity: float, left_h: float) -> float:
        """Power that fills the storage in time; nothing while less than `least` would do [W]."""
        p = self.params
        missing_wh = max(100 - p.buffer - soc, 0.0) / 100 * capacity
        least_w = p.least / 100 * capacity
        self.out.starts_in_s = max(left_h - missing_wh / least_w, 0.0) * 3600 if least_w else 0.0
        return missing_wh / left_h if missing_wh >= least_w * left_h else 0.0

    def _left_h(self, image: Image, now: Now) -> float | None:
        """Hours until the storage shall be full; None when charging is not delayed."""
        p, state = self.params, self.state
        if p.mode is ChargeMode.Off:
            return None
        if p.mode is ChargeMode.Manual:
            left = p.manual_hour - self.hour(now)
            return left if left > 0 else None
        if now.time - state.planned_at >= 60 * TICKS:
            state.planned_at, state.target = now.time, self._target(image, now)
        left = (state.target - now.time) / TICKS / 3600
        return left if left > 0 else None

    def _target(self, image: Image, now: Now) -> int:
        """When the storage shall be full by forecast [ticks], 0 for no delay."""
        p = self.params
        made, used = image.document("forecast/production"), image.document("forecast/consumption")
        soc, capacity = p.ess.soc(image), p.ess.capacity(image)
        if made is None or used is None or made.age_s(now.time) > p.max_age_s or soc is None or capacity is None:
            return 0
        end = now.time + round((24 - self.hour(now)) * 3600 * TICKS)
        surplus = [(s, s.value - (used.at(s.start) or 0.0)) for s in made.spans(now.time, end)]
        rows = [(s, power) for s, power in surplus if power > 0]
        if not rows or sum(s.hours * power for s, power in rows) < (100 - soc) / 100 * capacity:
            return 0
        last = rows[-1][0]
        return last.start + round((last.hours - p.caution_h) * 3600 * TICKS)
