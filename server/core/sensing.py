"""What the units can do and what they do now, read from the image: one gather a cycle, then plain numbers.

A capability with Bad status is [0, 0] with the reason; a unit whose power is not measured takes no part in any balance. Storage
follows its set-point. Chargers, loads and producers are *followers*: their set-point is a ceiling, and what they would do without
one, their potential, is what they do now; while a ceiling holds one of them down, its potential is a little above the ceiling,
so that it is released step by step (follower.py).
"""

from __future__ import annotations

from math import inf
from typing import Final, NamedTuple

from .balance import Balance, History
from .channel import Level
from .follower import Followers
from .gather import Gather
from .image import Image
from .natures import EvcsStatus, GridMode
from .phase_sensing import PhaseSensing
from .solver import Ability
from .topology import Group, Kind, Topology, Unit


class _Seen(NamedTuple):
    """What one unit tells in one cycle, None while Bad or missing. The names are those of Unit's slots."""

    power: float | None
    power_q: float | None
    lowest: float | None
    highest: float | None
    apparent: float | None
    precision: float | None
    soc: float | None
    state: float | None
    grid_mode: float | None
    dc: float | None
    rating: float | None
    minimum: float | None
    status: float | None


IDLE_STATES: Final = frozenset(
    {
        EvcsStatus.Available,
        EvcsStatus.SuspendedEV,
        EvcsStatus.Finishing,
        EvcsStatus.Reserved,
        EvcsStatus.Unavailable,
        EvcsStatus.Faulted,
    }
)
"""Connector states in which no vehicle waits for power."""


class Sensing:
    """Reads abilities and balances for a topology. After `read`: why each unit is limited by itself, and whether it is usable."""

    def __init__(self, topology: Topology, followers: Followers) -> None:
        self._units = topology.units
        self._groups = topology.groups
        self._followers = followers
        slots = [getattr(u, column) for column in _Seen._fields for u in self._units]
        slots += [g.power for g in self._groups] + [g.power_q for g in self._groups]
        self._slots = Gather(slots)
        self._histories = [History() for _ in self._units]
        self._reactive_histories = [History() for _ in self._units]
        self._balances = [Balance() for _ in self._groups]
        self._reactive_balances = [Balance() for _ in self._groups]
        self._periods = [u.power_period_s for u in self._units]
        self._below = [tuple(_below(topology, g)) for g in self._groups]
        self._phases = PhaseSensing(topology) if topology.phased else None
        self.reasons: list[str] = [""] * len(self._units)
        self.usable: list[bool] = [False] * len(self._units)

    def read(self, image: Image) -> Ability:
        """The abilities of this cycle."""
        numbers, source = self._slots.read(image), self._slots.source(image)
        n, groups = len(self._units), len(self._groups)
        columns = len(_Seen._fields) * n
        meters = numbers[columns:]
        rows = list(map(_Seen._make, zip(*(numbers[i : i + n] for i in range(0, columns, n)), strict=True))) if n else []
        active, reactive = source[columns : columns + groups], source[columns + groups :]
        self._remember(rows, source[:n], source[n : 2 * n])
        measured = [r.power is not None for r in rows]
        measured_q = [r.power_q is not None for r in rows]
        demand = self._update(self._balances, self._histories, measured, meters[:groups], active)
        demand_q = self._update(self._reactive_balances, self._reactive_histories, measured_q, meters[groups:], reactive)
        ability = _blank(n, (demand, demand_q))
        if self._phases is not None:
            ability.phases = self._phases.read(image)
        aligned = self._balances[0].supply
        for unit, seen in zip(self._units, rows, strict=True):
            i = unit.index
            self.usable[i] = seen.power is not None
            ability.supply[i] = (seen.power or 0.0) * unit.sign
            if unit.kind is Kind.Storage:
                self.reasons[i] = _storage(unit, ability, seen)
            else:
                self.reasons[i] = self._follower(unit, ability, seen, aligned)
        return ability

    def _remember(self, rows: list[_Seen], source: list[int], source_q: list[int]) -> None:
        for unit, seen, moment, moment_q in zip(self._units, rows, source, source_q, strict=True):
            if seen.power is not None:
                self._histories[unit.index].push(moment, seen.power * unit.sign)
            if seen.power_q is not None:
                self._reactive_histories[unit.index].push(moment_q, seen.power_q)

    def _update(
        self,
        balances: list[Balance],
        histories: list[History],
        measured: list[bool],
        meters: list[float | None],
        source: list[int],
    ) -> list[float | None]:
        complete = all(measured)
        for balance, below, power, time in zip(balances, self._below, meters, source, strict=True):
            if power is None:
                balance.clear()
            else:
                members = below if complete else tuple(i for i in below if measured[i])
                balance.update(power, time, members, histories, self._periods)
        return [b.demand for b in balances]

    def _follower(self, unit: Unit, ability: Ability, seen: _Seen, aligned: dict[int, float]) -> str:
        """Fill in a follower's ability; the reason why it takes no part, or nothing."""
        i = unit.index
        rated = seen.rating or unit.rating_w
        if seen.power is None or rated <= 0:
            self.usable[i] = False
            missing = "power" if seen.power is None else "rated power"
            return f"the {missing} of {unit.alias} is not known"
        now = max(aligned.get(i, seen.power * unit.sign) * unit.sign, 0.0)
        idle = seen.status is not None and int(seen.status) in IDLE_STATES
        least = seen.minimum or 0.0
        potential = self._followers.potential(i, now, rated, least, idle)
        ability.supply[i] = now * unit.sign
        ability.ceiling[i] = rated
        ability.minimum[i] = least
        ability.rest[i] = potential * unit.sign
        (ability.high if unit.sign > 0 else ability.low)[i] = ability.rest[i]
        return ""


def _storage(unit: Unit, ability: Ability, seen: _Seen) -> str:
    """Fill in a storage's ability; the reason why it can do less than it should, or nothing."""
    i, apparent = unit.index, seen.apparent
    ability.apparent[i] = limit = inf if apparent is None else apparent
    ability.soc[i] = 50.0 if seen.soc is None else seen.soc
    ability.step[i] = seen.precision or 0.0
    if seen.power is None:
        return f"the power of {unit.alias} is not known"
    if seen.state == Level.Fault:
        return f"{unit.alias} is in fault"
    if seen.dc is not None:
        ability.dc_pv[i] = seen.power - seen.dc
    if seen.grid_mode == GridMode.OffGrid:
        ability.forming.append(i)
    lowest, highest = seen.lowest, seen.highest
    low = max(min(0.0 if lowest is None else lowest, limit), -limit)
    high = min(max(0.0 if highest is None else highest, -limit), limit)
    ability.low[i], ability.high[i] = (low, high) if low <= high else (min(low, high, key=abs),) * 2
    if unit.setpoint_q >= 0 and apparent is not None:
        ability.reactive[i] = apparent
    if lowest is not None and highest is not None:
        return ""
    missing = [name for name, v in (("AllowedChargePower", lowest), ("AllowedDischargePower", highest)) if v is None]
    return f"{' and '.join(missing)} of {unit.alias} not known"


def _below(topology: Topology, group: Group) -> list[int]:
    """Leaves below a group, however deep."""
    found = []
    for unit in topology.units:
        node = unit.parent
        while node >= 0 and node != group.index:
            node = topology.parents[node]
        if node == group.index:
            found.append(unit.index)
    return found


def _blank(n: int, demand: tuple[list[float | None], list[float | None]]) -> Ability:
    def zeros() -> list[float]:
        return [0.0] * n

    return Ability(
        low=zeros(),
        high=zeros(),
        rest=zeros(),
        ceiling=zeros(),
        apparent=[inf] * n,
        reactive=zeros(),
        step=zeros(),
        minimum=zeros(),
        soc=[50.0] * n,
        supply=zeros(),
        demand=demand,
    )
