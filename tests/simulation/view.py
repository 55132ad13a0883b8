"""One step as an outsider sees it: what the engine was told, what it decided, what is physically so. Nothing here asks the solver
how it got there; limits and abilities are reckoned anew from the image."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.core.channel import Level
from server.core.controller import Now
from server.core.layout import CONTROL
from server.core.natures import Meter, RunState, SiteMode
from server.core.sensing import BELIEVED
from server.core.solver import Solution
from server.core.status import BAD
from server.core.topology import Kind, Topology, Unit

from .site import Case


@dataclass(slots=True)
class Seen:
    """A unit in one step, powers in its own sign [W]; None for what is not known. low, high: what a storage was allowed; of
    others 0 and the rating. setpoint, reactive: what it was told, None where nothing is asserted."""

    unit: Unit
    power: float | None
    low: float
    high: float
    apparent: float
    step: float
    setpoint: float | None
    reactive: float | None
    fresh: bool

    @property
    def usable(self) -> bool:
        """Its power is known."""
        return self.power is not None


@dataclass(slots=True)
class Step:
    """One step. records: the frozen image the engine decided on; out: control's records; calm: the world stands still.

    trusted: the site runs and what the engine is told is true, for so long that the plant has settled. meter: what the grid meter
    tells; demand: what it would show without units, None where not all was measured at one moment.
    """

    now: Now
    case: Case
    topology: Topology
    mode: SiteMode
    solution: Solution
    records: NDArray[Any]
    out: NDArray[Any]
    seen: list[Seen]
    tripped: bool
    trusted: bool
    calm: bool
    patience_s: float
    meter: float | None = None
    demand: float | None = None

    def parameter(self, alias: str, name: str) -> float:
        """A controller's parameter in force."""
        return float(self.records["value"][self.case.layout.by_node[f"{alias}/{name}"].slot])

    def runs(self, alias: str) -> bool:
        """A controller is enabled."""
        layout = self.case.layout
        state = self.out["value"][layout.by_node[f"{alias}/RunState"].slot - layout.owner(CONTROL).first]
        return bool(state != RunState.Disabled)


class Viewer:
    """Looks at the steps of one site."""

    def __init__(self, case: Case, topology: Topology) -> None:
        self.topology = topology
        units = topology.units
        self._first = case.layout.owner(CONTROL).first
        columns = ("power", "lowest", "highest", "apparent", "precision", "state", "rating")
        self._columns = np.array([[getattr(u, c) for u in units] for c in columns]).reshape(len(columns), len(units))
        self._absent = self._columns < 0
        self._columns = np.maximum(self._columns, 0)
        self._set = np.array([u.setpoint - self._first for u in units], np.int64)
        self._set_q = np.array([u.setpoint_q - self._first if u.setpoint_q >= 0 else -1 for u in units], np.int64)
        self._meter = case.layout.by_node[f"{case.settings.grid_meter}/{Meter.ActivePower.name}"].slot

    def units(self, records: NDArray[Any], out: NDArray[Any], time: int) -> list[Seen]:
        """All units."""
        value, status, source = records["value"][self._columns], records["status"][self._columns], records["source"]
        value = np.where(self._absent | (status >= BAD) | ~np.isfinite(value), np.nan, value)
        rows = value.tolist()
        fresh = (source[self._columns[0]] == time).tolist()
        told = np.where(out["status"][self._set] < BAD, out["value"][self._set], np.nan).tolist()
        reactive = np.where(out["status"][self._set_q] < BAD, out["value"][self._set_q], np.nan).tolist()
        found = []
        for i, unit in enumerate(self.topology.units):
            power, low, high, apparent, step, state, rating = (_known(row[i]) for row in rows)
            apparent = None if apparent is None or apparent < 0 else apparent
            rating = unit.rating_w if rating is None or rating <= 0 else rating
            power = _believed(power, apparent if unit.is_storage else rating)
            if unit.is_storage:
                off = power is None or state == Level.Fault
                circle = inf if apparent is None else apparent
                low = 0.0 if off or low is None else max(min(low, circle), -circle)
                high = 0.0 if off or high is None else min(max(high, -circle), circle)
                if low > high:
                    low = high = low if abs(low) <= abs(high) else high
            else:
                circle, low, high = inf, 0.0, rating
                power = power if high > 0 else None
            q = _known(reactive[i]) if unit.setpoint_q >= 0 else None
            found.append(Seen(unit, power, low, high, circle, max(step or 0.0, 0.0), _known(told[i]), q, fresh[i]))
        return found

    def balance(self, step: Step) -> None:
        """Demand at the grid meter, where everything was measured at one moment."""
        row = step.records[self._meter]
        if row["status"] >= BAD or not np.isfinite(row["value"]) or row["source"] != step.now.time:
            return
        step.meter = float(row["value"])
        if all(s.fresh for s in step.seen if s.usable):
            step.demand = step.meter + sum(s.power * s.unit.sign for s in step.seen if s.power is not None)


def _known(number: float) -> float | None:
    return number if number == number else None


def _believed(power: float | None, most: float | None) -> float | None:
    """What a unit tells of its power, where that can be."""
    return None if power is not None and most and abs(power) > BELIEVED * most else power


def range_of(seen: list[Seen]) -> tuple[float, float]:
    """Least and most supply that can be had from all units at once [W]: consumers may be stopped, producers curtailed, though no
    ceiling is lifted at once."""
    low = high = 0.0
    for s in seen:
        if s.unit.is_storage:
            low, high = low + s.low, high + s.high
            continue
        most = max(s.power or 0.0, 0.0)
        most = most if s.setpoint is None else min(most, s.setpoint)
        low, high = (low, high + most) if s.unit.kind is Kind.Production else (low - most, high)
    return low, high


def predicted(seen: list[Seen]) -> float:
    """Supply of all units once they do what they were told, chargers and producers no more than now [W]."""
    total = 0.0
    for s in seen:
        if s.unit.is_storage:
            total += s.setpoint or 0.0
        elif s.power is not None:
            held = s.setpoint is not None and s.setpoint < s.high
            total += s.unit.sign * (min(max(s.power, 0.0), s.setpoint or 0.0) if held else max(s.power, 0.0))
    return total
