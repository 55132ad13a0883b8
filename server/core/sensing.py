"""What the units can do and what they do now, read from the image: one gather a cycle, then plain numbers.

A capability with Bad status is [0, 0] with the reason; a unit whose power is not measured takes no part in any balance. Storage
follows its set-point. Chargers, loads and producers are *followers*: their set-point is a ceiling, and what they would do without
one, their potential, is what they do now; while a ceiling holds one of them down, its potential is a little above the ceiling,
so that it is released step by step (follower.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Final

import numpy as np

from .balance import Balance, History
from .follower import Followers
from .image import Image
from .natures import EvcsStatus
from .solver import Ability
from .topology import Group, Kind, Topology, Unit

_COLUMNS: Final = (
    "power",
    "power_q",
    "lowest",
    "highest",
    "apparent",
    "precision",
    "soc",
    "rating",
    "minimum",
    "status",
)
_BAD: Final = 0x80000000

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
        slots = [getattr(u, column) for column in _COLUMNS for u in self._units]
        slots += [g.power for g in self._groups] + [g.power_q for g in self._groups]
        self._absent = np.array(slots, np.int64) < 0
        self._slots = np.maximum(np.array(slots, np.int64), 0)
        self._histories = [History() for _ in self._units]
        self._reactive_histories = [History() for _ in self._units]
        self._balances = [Balance() for _ in self._groups]
        self._reactive_balances = [Balance() for _ in self._groups]
        self._periods = [u.power_period_s for u in self._units]
        self._below = [_below(topology, g) for g in self._groups]
        self.reasons: list[str] = [""] * len(self._units)
        self.usable: list[bool] = [False] * len(self._units)

    def read(self, image: Image) -> Ability:
        """The abilities of this cycle."""
        value = image.value[self._slots]
        bad = (image.status[self._slots] >= _BAD) | self._absent | ~np.isfinite(value)
        value[bad] = np.nan
        source = image.source[self._slots].tolist()
        numbers: list[float | None] = [None if b else v for v, b in zip(value.tolist(), bad.tolist(), strict=True)]
        n = len(self._units)
        columns = {name: numbers[i * n : (i + 1) * n] for i, name in enumerate(_COLUMNS)}
        meters = numbers[len(_COLUMNS) * n :]
        self._remember(columns, source)
        demand = self._demands(columns, meters, source)
        ability = _blank(n, demand)
        aligned = self._balances[0].supply
        for unit in self._units:
            self._assess(unit, ability, {name: column[unit.index] for name, column in columns.items()}, aligned)
        return ability

    def _remember(self, columns: dict[str, list[float | None]], source: list[int]) -> None:
        n = len(self._units)
        for i, unit in enumerate(self._units):
            power, reactive = columns["power"][i], columns["power_q"][i]
            if power is not None:
                self._histories[i].push(source[i], power * unit.sign)
            if reactive is not None:
                self._reactive_histories[i].push(source[n + i], reactive)

    def _demands(
        self, columns: dict[str, list[float | None]], meters: list[float | None], source: list[int]
    ) -> tuple[list[float | None], list[float | None]]:
        groups = len(self._groups)
        active = self._update(self._balances, self._histories, columns["power"], meters[:groups], source[-2 * groups : -groups])
        reactive = self._update(
            self._reactive_balances, self._reactive_histories, columns["power_q"], meters[groups:], source[-groups:]
        )
        return active, reactive

    def _update(
        self,
        balances: list[Balance],
        histories: list[History],
        measured: list[float | None],
        meters: list[float | None],
        source: list[int],
    ) -> list[float | None]:
        for balance, below, power, time in zip(balances, self._below, meters, source, strict=True):
            if power is None:
                balance.clear()
            else:
                balance.update(power, time, tuple(i for i in below if measured[i] is not None), histories, self._periods)
        return [b.demand for b in balances]

    def _assess(self, unit: Unit, ability: Ability, seen: dict[str, float | None], aligned: dict[int, float]) -> None:
        i, power = unit.index, seen["power"]
        self.usable[i] = power is not None
        self.reasons[i] = "" if power is not None else f"{unit.alias} is not measured"
        ability.supply[i] = (power or 0.0) * unit.sign
        if unit.kind is Kind.Storage:
            self.reasons[i] = _storage(unit, ability, seen)
            return
        rated = seen["rating"] or unit.rating_w
        if rated <= 0:
            self.usable[i] = False
            self.reasons[i] = f"the rated power of {unit.alias} is not known"
        if not self.usable[i] or power is None:
            return
        now = abs(aligned.get(i, power))
        idle = seen["status"] is not None and int(seen["status"]) in IDLE_STATES
        least = seen["minimum"] or 0.0
        potential = self._followers.potential(i, max(now, 0.0), rated, least, idle)
        ability.ceiling[i] = rated
        ability.minimum[i] = least
        if unit.sign > 0:
            ability.high[i] = ability.rest[i] = potential
        else:
            ability.low[i] = ability.rest[i] = -potential


def _storage(unit: Unit, ability: Ability, seen: dict[str, float | None]) -> str:
    """Fill in a storage's ability; the reason why it can do less than it should, or nothing."""
    i = unit.index
    apparent, soc = seen["apparent"], seen["soc"]
    ability.apparent[i] = inf if apparent is None else apparent
    ability.soc[i] = 50.0 if soc is None else soc
    ability.step[i] = seen["precision"] or 0.0
    if seen["power"] is None:
        return f"the power of {unit.alias} is not measured"
    lowest, highest = seen["lowest"], seen["highest"]
    limit = ability.apparent[i]
    low = max(min(0.0 if lowest is None else lowest, limit), -limit)
    high = min(max(0.0 if highest is None else highest, -limit), limit)
    ability.low[i], ability.high[i] = (low, high) if low <= high else (min(low, high, key=abs),) * 2
    if unit.setpoint_q >= 0 and apparent is not None:
        ability.reactive[i] = apparent
    missing = [name for name, v in (("AllowedChargePower", lowest), ("AllowedDischargePower", highest)) if v is None]
    return f"{' and '.join(missing)} of {unit.alias} not known" if missing else ""


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


def worst(levels: Sequence[float]) -> float:
    """The worst of some states; 0 when there is none."""
    return max(levels, default=0.0)
