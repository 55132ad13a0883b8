"""Limits of single phases, where units are single-phase or asymmetric: a matrix, not a tree.

Problem: a charger on L1 loads L1 alone, a three-phase inverter all three alike, an asymmetric one each as it is told. A limit of
one phase is then a requirement on a weighted sum of units, which no tree of intervals can express.

Idea: the tree answers first, as if there were no phases. That answer is corrected as little as possible by a small linear program
over *legs* (what can be chosen on its own: a unit, or one phase of an asymmetric one):

    1. each claim on a phase, bounds in order of priority, is granted as far as those before it and the tree's bounds leave room:
       one program each that minimises what is missing;
    2. among all answers that keep what was granted, take the one whose largest change of a storage, relative to its range, is
       smallest; chargers, loads and producers are cut only when storage cannot do it, in this order;
    3. followers are then fixed, and targets are granted like bounds were, by storage alone; they shift power between phases
       and leave the sums of connections alone.

The programs differ by a few numbers only and each starts from the solution before (HiGHS dual simplex, some 20 µs each).
Source: Q. Huangfu, J. A. J. Hall, "Parallelizing the dual revised simplex method", Math. Prog. Comp. 10 (2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isinf
from typing import TYPE_CHECKING, Any, Final

import highspy
import numpy as np

from .channel import PHASES
from .constraint import Bound, Target
from .topology import Kind, Topology, Unit, legs_of
from .tree import EPSILON, share

if TYPE_CHECKING:
    from .solver import Ability, Claim, Outcome, Range, Solution

ITERATIONS_MAX: Final = 200
"""Simplex iterations of one program; small programs need about ten."""

CUT_COST: Final = {Kind.Charger: 1.0, Kind.Load: 10.0, Kind.Production: 100.0}
"""Cost of cutting a follower by one watt. Moving a storage costs at most 1 per range, so storage moves first."""

SPREAD_COST: Final = 0.05
"""Cost of moving a storage through its range, so that no change below the largest one is made without need; a little more from
one to the next, so that of equal answers always the same is found.
"""

OPTIONS: Final[dict[str, Any]] = {
    "output_flag": False,
    "threads": 1,
    "presolve": "off",
    "solver": "simplex",
    "simplex_iteration_limit": ITERATIONS_MAX,
}

SOLVED: Final = (highspy.HighsModelStatus.kOptimal,)


EDGE_W: Final = 0.1
"""A phase this near to the end of its range is held there."""

Limits = tuple[list[float], list[float]]
"""Lowest and highest supply of each tree node."""


class CoupledError(ArithmeticError):
    """A program was not solved within its iterations."""


class Program:
    """A linear program in HiGHS whose bounds and costs change from run to run."""

    def __init__(self) -> None:
        self._highs: Any = highspy.Highs()  # type: ignore[no-untyped-call]
        for option, value in OPTIONS.items():
            self._highs.setOptionValue(option, value)
        self.columns = 0
        self.rows = 0

    def column(self) -> int:
        """A new variable."""
        self._highs.addVar(0.0, inf)
        self.columns += 1
        return self.columns - 1

    def row(self, terms: Sequence[tuple[int, float]], low: float = -inf, high: float = inf) -> int:
        """A new row: low <= sum of (variable, factor) <= high."""
        columns = np.array([c for c, f in terms if f], np.int32)
        self._highs.addRow(low, high, len(columns), columns, np.array([f for _, f in terms if f], np.float64))
        self.rows += 1
        return self.rows - 1

    def limit(self, column: int, low: float, high: float) -> None:
        """Bounds of a variable."""
        self._highs.changeColBounds(column, low, high)

    def bound(self, row: int, low: float, high: float) -> None:
        """Bounds of a row."""
        self._highs.changeRowBounds(row, low, high)

    def factor(self, row: int, column: int, value: float) -> None:
        """A factor of a row."""
        self._highs.changeCoeff(row, column, value)

    def minimise(self, costs: Sequence[float]) -> list[float]:
        """Values of all variables at the least cost. CoupledError when it was not found."""
        self._highs.changeColsCost(len(costs), np.arange(len(costs), dtype=np.int32), np.array(costs, np.float64))
        if not self._solved():
            self._highs.clearSolver()
            if not self._solved():
                raise CoupledError(str(self._highs.getModelStatus()))
        return list(self._highs.getSolution().col_value)

    def _solved(self) -> bool:
        """Run from the basis before. There the dual simplex may find itself unbounded by rounding and give up; without that basis
        it does not."""
        self._highs.run()
        return self._highs.getModelStatus() in SOLVED


class Coupled:
    """The program of one topology, made and warmed once."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._legs = [leg for unit in topology.units for leg in legs_of(unit)]
        self._ranges = [1.0] * len(self._legs)
        self._twins = self._make_twins()
        self._own = [[i for i, leg in enumerate(self._legs) if leg.unit is unit] for unit in topology.units]
        self._program = program = Program()
        self._x = [program.column() for _ in self._legs]
        self._largest = program.column()
        self._moves = {i: program.column() for i, leg in enumerate(self._legs) if leg.unit.is_storage}
        self._missing, self._excess = program.column(), program.column()
        self._near = {i: self._make_near(i) for i in self._moves}
        self._units = {u.index: program.row([(i, 1.0) for i in self._own[u.index]]) for u in topology.units if u.phase_setpoints}
        places = range(topology.root, len(topology.parents))
        self._groups = {place: program.row(self._terms(place, None)) for place in places}
        keys = [(place, phase) for place in sorted(topology.phased) for phase in range(len(PHASES))]
        self._parts = {key: self._terms(*key) for key in keys}
        self._hard = {key: program.row(parts) for key, parts in self._parts.items()}
        slack = [(self._missing, 1.0), (self._excess, -1.0)]
        self._soft = {key: program.row([*parts, *slack]) for key, parts in self._parts.items()}

    def refine(self, ability: Ability, solution: Solution, limits: Limits, claims: Sequence[Claim]) -> None:
        """Correct the tree's answer for claims on phases, in order of priority. limits: the tree's intervals after its bounds.

        CoupledError leaves the solution as it was.
        """
        self._prepare(ability, solution, limits)
        granted = dict.fromkeys(self._hard, (-inf, inf))
        bounds = [c for c in claims if type(c.constraint) is Bound]
        targets = [c for c in claims if type(c.constraint) is Target]
        offsets = self._offsets(solution.allowed)
        outcomes = [self._grant(c, ability, offsets, granted) for c in bounds]
        found = self._program.minimise(self._costs())
        allowed, supply = self._cut(found, solution)
        offsets = self._offsets(supply, minus=found)
        if targets:
            self._hold_sums(found)
        outcomes += [self._grant(c, ability, offsets, granted) for c in targets]
        if targets:
            found = self._program.minimise(self._costs())
        found = self._evened(found, solution, limits)
        self._take(found, solution, allowed, supply, self._binding(found, granted, outcomes))
        solution.outcomes += outcomes

    def _make_twins(self) -> list[list[int]]:
        """Storages that are the same to the program: on the same phases of the same group."""
        found: dict[tuple[int, tuple[float, ...]], list[int]] = {}
        for i, leg in enumerate(self._legs):
            if leg.unit.is_storage and not leg.unit.phase_setpoints:
                found.setdefault((leg.unit.parent, leg.shares), []).append(i)
        return [legs for legs in found.values() if len(legs) > 1]

    def _evened(self, found: Sequence[float], solution: Solution, limits: Limits) -> list[float]:
        """Let twins share their change by their range: the program does not care, and would give it to one or the other."""
        even, (low, high) = list(found), limits
        for legs in self._twins:
            units = [self._legs[i].unit.index for i in legs]
            before = [solution.active[u] for u in units]
            change = sum(found[i] for i in legs) - sum(before)
            rooms = [max(high[u] - b if change > 0 else b - low[u], 0.0) for u, b in zip(units, before, strict=True)]
            parts = share(abs(change), rooms, [high[u] - low[u] for u in units])
            for i, b, part in zip(legs, before, parts, strict=True):
                even[i] = b + (part if change > 0 else -part)
        return even

    def _make_near(self, leg: int) -> tuple[int, int, int]:
        """Rows that make a storage's move count: the move is at least the distance to the tree's answer, and at most the
        largest one."""
        x, move = self._x[leg], self._moves[leg]
        above = self._program.row([(x, 1.0), (move, -1.0)])
        below = self._program.row([(x, 1.0), (move, 1.0)])
        return above, below, self._program.row([(move, 1.0), (self._largest, -1.0)], high=0.0)

    def _terms(self, place: int, phase: int | None) -> list[tuple[int, float]]:
        """The legs below a group with their effect on its supply, in all or on one phase."""
        parents = self._topology.parents

        def below(leaf: int) -> bool:
            node = leaf
            while node >= 0 and node != place:
                node = parents[node]
            return node == place

        chosen = [(i, leg) for i, leg in enumerate(self._legs) if below(leg.unit.index)]
        return [(self._x[i], leg.step * (1.0 if phase is None else leg.shares[phase])) for i, leg in chosen]

    def _prepare(self, ability: Ability, solution: Solution, limits: Limits) -> None:
        """Put this cycle's numbers in: ranges of legs, the tree's answer, the tree's intervals."""
        program, (low, high) = self._program, limits
        for i, leg in enumerate(self._legs):
            unit = leg.unit.index
            if not leg.unit.is_storage:
                program.limit(self._x[i], 0.0, abs(solution.allowed[unit]))
                continue
            count = len(self._own[unit])
            whole = ability.apparent[unit]
            if count > 1:
                third = (whole if not isinf(whole) else max(-low[unit], high[unit])) / len(PHASES)
                program.limit(self._x[i], -third, third)
            else:
                program.limit(self._x[i], low[unit], high[unit])
            above, below, largest = self._near[i]
            program.bound(above, -inf, solution.active[unit] / count)
            program.bound(below, solution.active[unit] / count, inf)
            self._ranges[i] = max(ability.high[unit] - ability.low[unit], 1.0) / count
            program.factor(largest, self._largest, -self._ranges[i])
        for unit, row in self._units.items():
            program.bound(row, low[unit], high[unit])
        for place, row in self._groups.items():
            fixed = solution.fixed[place]
            program.bound(row, low[place] - fixed, high[place] - fixed)
        for key, row in self._hard.items():
            program.bound(row, -inf, inf)
            program.bound(self._soft[key], -inf, inf)

    def _hold_sums(self, found: Sequence[float]) -> None:
        """Wants on phases shift power between phases; what a connection takes in all stays as the tree and bounds decided."""
        for place, row in self._groups.items():
            total = sum(found[column] * factor for column, factor in self._terms(place, None))
            self._program.bound(row, total - EPSILON, total + EPSILON)

    def _offsets(self, supply: Sequence[float], minus: Sequence[float] | None = None) -> dict[tuple[int, int], float]:
        """What followers supply on each phase of each group, beside what their legs say (`minus`)."""
        found = {}
        for place, phase in self._hard:
            total = 0.0
            for column, factor in self._parts[place, phase]:
                leg = self._legs[column]
                if not leg.unit.is_storage:
                    total += leg.shares[phase] * supply[leg.unit.index] - (minus[column] * factor if minus else 0.0)
            found[place, phase] = total
        return found

    def _grant(
        self,
        claim: Claim,
        ability: Ability,
        offsets: dict[tuple[int, int], float],
        granted: dict[tuple[int, int], tuple[float, float]],
    ) -> Outcome:
        """Give a claim what is left for it."""
        constraint = claim.constraint
        assert isinstance(constraint, Bound | Target)
        node = constraint.node
        key = (node.place, node.phase - 1)
        demand = ability.phases[node.place][node.phase - 1]
        if demand is None:
            return claim, (None, None), (None, None), None
        asked: Range = (
            None if constraint.high is None else demand - constraint.high,
            None if constraint.low is None else demand - constraint.low,
        )
        before, offset = granted[key], offsets[key]
        low = min(max(-inf if asked[0] is None else asked[0] - offset, before[0]), before[1])
        high = max(min(inf if asked[1] is None else asked[1] - offset, before[1]), before[0])
        self._program.bound(self._soft[key], low, high)
        costs = [0.0] * self._program.columns
        costs[self._missing] = costs[self._excess] = 1.0
        found = self._program.minimise(costs)
        self._program.bound(self._soft[key], -inf, inf)
        low, high = low - max(found[self._missing], 0.0), high + max(found[self._excess], 0.0)
        granted[key] = (max(before[0], low), min(before[1], high))
        self._program.bound(self._hard[key], *granted[key])
        got: Range = (None if asked[0] is None else low + offset, None if asked[1] is None else high + offset)
        return claim, asked, got, None

    def _costs(self) -> list[float]:
        costs = [0.0] * self._program.columns
        costs[self._largest] = 1.0
        for i, leg in enumerate(self._legs):
            if leg.unit.is_storage:
                costs[self._moves[i]] = SPREAD_COST * (1 + i / len(self._legs)) / self._ranges[i]
            else:
                costs[self._x[i]] = CUT_COST[leg.unit.kind]
        return costs

    def _cut(self, found: Sequence[float], solution: Solution) -> tuple[list[float], list[float]]:
        """Fix the followers at what is left of them; what they may do then, and what they do, by leaf."""
        allowed, supply = list(solution.allowed), list(solution.active)
        for i, leg in enumerate(self._legs):
            if not leg.unit.is_storage:
                unit = leg.unit.index
                self._program.limit(self._x[i], found[i], found[i])
                allowed[unit] += leg.step * found[i]
                supply[unit] = min(allowed[unit], supply[unit], key=abs)
        return allowed, supply

    def _binding(
        self, found: Sequence[float], granted: dict[tuple[int, int], tuple[float, float]], outcomes: Sequence[Outcome]
    ) -> list[Claim]:
        """The claims on phases that hold the answer where it is."""
        at_edge = set()
        for key, ends in granted.items():
            value = sum(found[column] * factor for column, factor in self._parts[key])
            if min(abs(value - end) for end in ends) < EDGE_W:
                at_edge.add(key)
        return [claim for claim, *_ in outcomes if (claim.constraint.node.place, claim.constraint.node.phase - 1) in at_edge]

    def _mover(self, unit: Unit, binding: Sequence[Claim]) -> Claim | None:
        """Who moved a unit, for the explanation."""
        shares = [leg.shares for leg in self._legs if leg.unit is unit]
        own = (c for c in binding if any(s[c.constraint.node.phase - 1] for s in shares))
        return next(own, binding[0] if binding else None)  # else it takes over what others gave up for them

    def _take(
        self,
        found: Sequence[float],
        solution: Solution,
        allowed: Sequence[float],
        supply: Sequence[float],
        binding: Sequence[Claim],
    ) -> None:
        """Put the answer into the solution: leaves, groups, and the phases of asymmetric units, and who holds each unit there:
        for one that stays where the tree left it, who held it before the groups above it moved."""
        totals, base, tree = solution.active, solution.base, solution.tree
        holders = [tree.holder(unit.index, base) for unit in self._topology.units]
        for unit in self._topology.units:
            values = [found[i] for i in self._own[unit.index]]
            power = sum(values) if unit.is_storage else supply[unit.index]
            change, node = power - totals[unit.index], unit.index
            while node >= 0:
                totals[node] += change
                base[node] += change
                node = self._topology.parents[node]
            if unit.phase_setpoints:
                solution.phases[unit.index] = (values[0], values[1], values[2])
            moved = change if unit.is_storage else -unit.sign * values[0]
            by = (self._mover(unit, binding) if abs(moved) > EPSILON else None) or holders[unit.index]
            if by is not None:
                ends, signed = (tree.low, tree.low_by) if (change or moved) > 0 else (tree.high, tree.high_by)
                ends[unit.index], signed[unit.index] = base[unit.index], by
            if not unit.is_storage:
                solution.allowed[unit.index] = allowed[unit.index]
