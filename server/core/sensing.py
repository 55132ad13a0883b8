"""What the units can do and what they do now, read from the image: one gather a cycle, then plain numbers.

A capability with Bad status is [0, 0] with the reason; a unit that cannot be steered, because its power is not measured or beyond
belief, or the rating of a follower is not known, takes no part in any balance. Storage follows its set-point. Chargers, loads and
producers are *followers*: their set-point is a ceiling, and what they would do without one, their potential, is what they do now;
while a ceiling holds one of them down, its potential is a little above the ceiling, so that it is released step by step
(follower.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .balance import Balance, History
from .channel import Level
from .follower import Followers
from .gather import Gather, known
from .image import Image
from .natures import EvcsStatus, GridMode
from .phase_sensing import PhaseSensing
from .solver import Ability
from .topology import Group, Topology, Unit

_COLUMNS: Final = (
    "power",
    "power_q",
    "lowest",
    "highest",
    "apparent",
    "precision",
    "soc",
    "state",
    "grid_mode",
    "dc",
    "rating",
    "minimum",
    "status",
)
"""What units tell, by row of the table that is read in a cycle: names of Unit's slots."""

BELIEVED: Final = 10.0
"""A unit that tells more than this multiple of its rating is not believed: ratings may be rough, and registers may hold -1 GW."""

_POWER, _POWER_Q, _LOWEST, _HIGHEST, _APPARENT, _, _SOC, _STATE, _, _DC, _RATING = range(11)

_UNKNOWN: Final = np.zeros((len(_COLUMNS), 1))
"""What is reckoned with where a unit does not tell."""
_UNKNOWN[_APPARENT] = inf
_UNKNOWN[_SOC] = 50.0

Table = NDArray[np.float64]
"""What units tell in one cycle, by column name and unit; NaN while Bad or missing."""

_FAULT: Final = float(Level.Fault)
_OFF_GRID: Final = float(GridMode.OffGrid)

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
        self._slots = Gather(slots)
        powers = [u.power for u in self._units] + [u.power_q for u in self._units]
        self._moments = Gather(powers + slots[len(slots) - 2 * len(self._groups) :])
        self._signs = np.array([u.sign for u in self._units], np.float64)
        self._turns = np.array([u.is_storage and u.setpoint_q >= 0 for u in self._units], bool)
        self._following = [u for u in self._units if not u.is_storage]
        self._stores = np.array([u.is_storage for u in self._units], bool)
        self._rated = np.array([u.rating_w for u in self._units], np.float64)
        self._histories = [History() for _ in self._units]
        self._reactive_histories = [History() for _ in self._units]
        self._balances = [Balance() for _ in self._groups]
        self._reactive_balances = [Balance() for _ in self._groups]
        self._periods = [u.power_period_s for u in self._units]
        self._below = [tuple(_below(topology, g)) for g in self._groups]
        self._phases = PhaseSensing(topology) if topology.phased else None
        self._doubted: list[bool] = [False] * len(self._units)
        self.reasons: list[str] = [""] * len(self._units)
        self.usable: list[bool] = [False] * len(self._units)

    def read(self, image: Image, idle: Mapping[int, str]) -> Ability:
        """The abilities of this cycle. idle: why units, by index, do not run."""
        numbers, source = self._slots.column(image), self._moments.source(image)
        n, groups = len(self._units), len(self._groups)
        columns = len(_COLUMNS) * n
        table = numbers[:columns].reshape(len(_COLUMNS), n)
        meters = known(numbers[columns:])
        active, reactive = source[2 * n : 2 * n + groups], source[2 * n + groups :]
        rated = self._doubt(table)
        unknown = np.isnan(table)
        supply = table[_POWER] * self._signs
        part = ~unknown[_POWER] & (self._stores | (rated > 0))
        self.usable, usable_q = part.tolist(), (~unknown[_POWER_Q]).tolist()
        _remember(self._histories, self.usable, source[:n], supply.tolist())
        _remember(self._reactive_histories, usable_q, source[n : 2 * n], table[_POWER_Q].tolist())
        demand = self._update(self._balances, self._histories, self.usable, meters[:groups], active)
        demand_q = self._update(self._reactive_balances, self._reactive_histories, usable_q, meters[groups:], reactive)
        ability = self._storages(table, unknown, idle)
        ability.supply = np.where(part, supply, 0.0).tolist()
        ability.demand = demand, demand_q
        if self._phases is not None:
            ability.phases = self._phases.read(image, self._doubted)
        aligned, ratings = self._balances[0].supply, rated.tolist()
        for unit in self._following:
            told = dict(zip(_COLUMNS, known(table[:, unit.index]), strict=True))
            self.reasons[unit.index] = self._follower(unit, ability, told, aligned, ratings[unit.index], idle)
        return ability

    def _doubt(self, table: Table) -> Table:
        """Make unknown what a unit cannot be rated for, and powers far beyond its rating; the ratings of followers."""
        table[_APPARENT, table[_APPARENT] < 0] = np.nan
        rated = np.where(table[_RATING] > 0, table[_RATING], self._rated)
        most = np.where(self._stores, table[_APPARENT], rated) * BELIEVED
        beyond = (abs(table[: _POWER_Q + 1]) > most) & (most > 0)
        table[: _POWER_Q + 1][beyond] = np.nan
        self._doubted = beyond[_POWER].tolist()
        return rated

    def _storages(self, table: Table, unknown: NDArray[np.bool_], idle: Mapping[int, str]) -> Ability:
        """The abilities of all storages, zero for others; and why one can do less than it should.

        REQ-SAFE-002: what is Bad, missing or in fault counts as zero. REQ-SAFE-003: so does what does not run.
        """
        off = unknown[_POWER] | (table[_STATE] == _FAULT)
        if idle:
            off[list(idle)] = True
        filled = np.where(unknown, _UNKNOWN, table)
        filled[_LOWEST : _HIGHEST + 1, off] = 0.0
        power, _, low, high, limit, step, soc, _, grid_mode, dc, *_ = filled
        ends = filled[_LOWEST : _HIGHEST + 1]
        np.maximum(np.minimum(ends, limit, out=ends), -limit, out=ends)
        if (crossed := low > high).any():
            low[crossed] = high[crossed] = np.where(abs(low) <= abs(high), low, high)[crossed]
        flawed = self._stores & (off | unknown[_LOWEST] | unknown[_HIGHEST])
        zeros = [0.0] * len(self._units)
        self.reasons = [""] * len(self._units)
        for i in flawed.nonzero()[0].tolist():
            self.reasons[i] = idle.get(i) or self._flaw(i, unknown[:, i], off[i])
        return Ability(
            low=low.tolist(),
            high=high.tolist(),
            rest=zeros,
            ceiling=zeros.copy(),
            apparent=limit.tolist(),
            reactive=np.where(self._turns & ~(off | unknown[_APPARENT]), limit, 0.0).tolist(),
            step=step.tolist(),
            minimum=zeros.copy(),
            soc=soc.tolist(),
            supply=[],
            demand=([], []),
            dc_pv={i: float(power[i] - dc[i]) for i in (~(off | unknown[_DC])).nonzero()[0].tolist()},
            forming=((grid_mode == _OFF_GRID) & ~off).nonzero()[0].tolist(),
        )

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

    def _follower(
        self,
        unit: Unit,
        ability: Ability,
        told: Mapping[str, float | None],
        aligned: Mapping[int, float],
        rated: float,
        idle: Mapping[int, str],
    ) -> str:
        """Fill in a follower's ability; the reason why it takes no part, or nothing."""
        i = unit.index
        power, status = told["power"], told["status"]
        if power is None:
            return self._powerless(i)
        if rated <= 0:
            return f"the rated power of {unit.alias} is not known"
        now = max(aligned.get(i, power * unit.sign) * unit.sign, 0.0)
        waits = status is None or int(status) not in IDLE_STATES
        least = min(told["minimum"] or 0.0, rated)
        potential = self._followers.potential(i, now, rated, least, not waits or i in idle)
        ability.supply[i] = now * unit.sign
        ability.ceiling[i] = rated
        ability.minimum[i] = least
        if self._followers.stopped(i):
            ability.stopped.add(i)
        ability.rest[i] = potential * unit.sign
        (ability.high if unit.sign > 0 else ability.low)[i] = ability.rest[i]
        return idle.get(i) or (f"{unit.alias} rests after it was stopped" if self._followers.rests(i) else "")

    def _flaw(self, i: int, unknown: NDArray[np.bool_], off: np.bool_) -> str:
        """Why a storage can do less than it should."""
        alias = self._units[i].alias
        if unknown[_POWER]:
            return self._powerless(i)
        if off:
            return f"{alias} is in fault"
        ends = {"AllowedChargePower": _LOWEST, "AllowedDischargePower": _HIGHEST}
        return f"{' and '.join(name for name, end in ends.items() if unknown[end])} of {alias} not known"

    def _powerless(self, i: int) -> str:
        """Why a unit's power is not reckoned with."""
        return f"the power of {self._units[i].alias} is {'beyond belief' if self._doubted[i] else 'not known'}"


def _remember(histories: Sequence[History], measured: Sequence[bool], source: Sequence[int], supply: Sequence[float]) -> None:
    for history, usable, moment, value in zip(histories, measured, source, supply, strict=True):
        if usable and moment != history.newest:
            history.push(moment, value)


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
