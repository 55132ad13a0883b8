"""Interval narrowing on the tree of units and connections, and distribution of what a connection needs.

Every tree node has an interval of supply [W]. A leaf's comes from its unit; a group's is what its children can supply together,
narrowed by what was asked of the group itself. `room` is what a node may still be asked for without breaking anything that was
granted before: its own interval, cut by what its siblings can take over from the groups above.

    room(child) = child's interval  ∩  room(group) - (what the siblings can supply together)

`narrow` clamps a request into the room, so the first wins and nothing is ever infeasible. `Spread` then finds one supply for each
leaf: start from where the units would rest, and move them, rank by rank, until every group is inside its interval.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

RANKS: Final = 4

EPSILON: Final = 1e-6
"""Powers closer than this are equal [W]."""

HELD_W: Final = 1.0
"""A node this near to an end of its interval is held there."""


class Tree:
    """Intervals of one plane (active or reactive). Leaves are 0..leaves-1, groups follow, parents before children.

    low_by, high_by: who last moved an end of a node's interval, None while it is the unit's own.
    """

    __slots__ = ("_sum_high", "_sum_low", "high", "high_by", "leaves", "low", "low_by", "parents", "upwards")

    def __init__(self, parents: Sequence[int], leaves: int) -> None:
        self.parents = list(parents)
        self.leaves = leaves
        self.upwards = [*range(leaves), *range(len(self.parents) - 1, leaves, -1)]
        """All nodes but the root, each before its parent."""
        size = len(self.parents)
        self.low = [0.0] * size
        self.high = [0.0] * size
        self._sum_low = [0.0] * size
        self._sum_high = [0.0] * size
        self.low_by: list[Any] = [None] * size
        self.high_by: list[Any] = [None] * size

    def reset(self, low: Sequence[float], high: Sequence[float]) -> None:
        """Start anew from the units' own intervals."""
        parents, leaves = self.parents, self.leaves
        size = len(parents)
        groups = [0.0] * (size - leaves)
        self.low = lows = [*low, *groups]
        self.high = highs = [*high, *groups]
        self.low_by = [None] * size
        self.high_by = [None] * size
        if size == leaves + 1:
            lows[leaves], highs[leaves] = sum(low), sum(high)
        else:
            for i in self.upwards:
                parent = parents[i]
                lows[parent] += lows[i]
                highs[parent] += highs[i]
        self._sum_low = lows.copy()
        self._sum_high = highs.copy()

    def room(self, node: int) -> tuple[float, float]:
        """What the node may be asked for now; low <= high."""
        low, high = self.low[node], self.high[node]
        parent = self.parents[node]
        if parent < 0:
            return low, high
        if self.parents[parent] < 0:
            above_low, above_high = self.low[parent], self.high[parent]
        else:
            above_low, above_high = self.room(parent)
        floor = above_low - (self._sum_high[parent] - high)
        ceiling = above_high - (self._sum_low[parent] - low)
        if floor > low:
            low = floor
        if ceiling < high:
            high = ceiling
        return low, (high if high > low else low)

    def holder(self, leaf: int, totals: Sequence[float]) -> Any:
        """Who set the end of an interval at which a leaf is, or a group above it; None: nobody. totals: supply by node."""
        node = leaf
        while node >= 0:
            for ends, by in ((self.low, self.low_by), (self.high, self.high_by)):
                if by[node] is not None and abs(totals[node] - ends[node]) <= HELD_W:
                    return by[node]
            node = self.parents[node]
        return None

    def narrow(self, node: int, low: float | None, high: float | None, by: Any) -> tuple[float | None, float | None]:
        """Ask the node for at least `low` and at most `high`; returns what of it was granted."""
        if (low is None or low <= self.low[node]) and (high is None or high >= self.high[node]):
            return low, high
        room_low, room_high = self.room(node)
        asked = low if low == high else None
        if low is not None:
            if low > room_high:
                low = room_high
            if low > self.low[node]:
                self._raise(node, low)
                self.low_by[node] = by
                if low > room_low:
                    room_low = low
        if high is not None:
            if high < room_low:
                high = room_low
            if high < self.high[node]:
                self._lower(node, high)
                self.high_by[node] = by
        if asked is None:
            return low, high
        return (low, low) if low is not None and low < asked else (high, high)

    def _raise(self, node: int, value: float) -> None:
        """Set the lower end of a node's interval, and tell the groups above: a group is at least as tight as its children."""
        low, sums, parents = self.low, self._sum_low, self.parents
        change, low[node] = value - low[node], value
        node = parents[node]
        while node >= 0:
            sums[node] = total = sums[node] + change
            if total <= low[node]:
                return
            change, low[node] = total - low[node], total
            node = parents[node]

    def _lower(self, node: int, value: float) -> None:
        """Set the upper end, as `_raise` does the lower."""
        high, sums, parents = self.high, self._sum_high, self.parents
        change, high[node] = value - high[node], value
        node = parents[node]
        while node >= 0:
            sums[node] = total = sums[node] + change
            if total >= high[node]:
                return
            change, high[node] = total - high[node], total
            node = parents[node]

    def shift(self, node: int, change: float) -> None:
        """Move the interval of a node by what its supply differs from what was reckoned with. A group above that is bound at an
        end keeps it for the worse of both: a car that may draw more is reckoned with for import, and what it draws for export.
        """
        low, high = self.low, self.high
        below_low = below_high = change
        if node < self.leaves:
            low[node] += change
            high[node] += change
            node = self.parents[node]
        while node >= 0:
            free_low, free_high = low[node] <= self._sum_low[node], high[node] >= self._sum_high[node]
            self._sum_low[node] += below_low
            self._sum_high[node] += below_high
            least, most = self._sum_low[node], self._sum_high[node]
            new_high = most if free_high else min(max(high[node] + min(change, 0.0), least), most)
            new_low = least if free_low else min(max(low[node] + max(change, 0.0), least), new_high)
            below_low, below_high = new_low - low[node], new_high - high[node]
            low[node], high[node] = new_low, new_high
            node = self.parents[node]

    def limiter(self, node: int, *, upper: bool) -> Any:
        """Who keeps a node from supplying more (upper) or less: the claim, or None when units can do no more themselves."""
        ends, sums, by = (self.high, self._sum_high, self.high_by) if upper else (self.low, self._sum_low, self.low_by)
        edge = self.room(node)[upper]
        while abs(ends[node] - edge) > EPSILON and self.parents[node] >= 0:
            node = self.parents[node]
            edge = self.room(node)[upper]
        if by[node] is not None and (node < self.leaves or abs(ends[node] - sums[node]) > EPSILON):
            return by[node]
        return next((by[i] for i in range(self.leaves) if by[i] is not None and self.parents[i] == node), None)


Divide = Callable[[float, list[int], list[float], bool], list[float]]
"""How nodes of one rank share a change: (amount, nodes, room of each, upwards) -> part of each; amounts are not negative."""


def share(amount: float, rooms: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Divide an amount by weights; none gets more than its room, the others take what is over, and nothing exceeds all rooms."""
    if amount >= sum(rooms):
        return list(rooms)
    shares = [0.0] * len(rooms)
    active = [i for i, room in enumerate(rooms) if room > 0]
    while active:
        weight = sum(weights[i] for i in active)
        wanted = {i: amount * (weights[i] / weight if weight > 0 else 1 / len(active)) for i in active}
        full = [i for i in active if wanted[i] >= rooms[i]]
        for i in full or active:
            shares[i] = min(wanted[i], rooms[i])
        if not full:
            break
        amount -= sum(rooms[i] for i in full)
        active = [i for i in active if i not in full]
    return shares


def proportional(amount: float, nodes: list[int], rooms: list[float], up: bool) -> list[float]:
    """Each node moves by the same share of its room."""
    total = sum(rooms)
    factor = 1.0 if amount >= total else amount / total
    return [room * factor for room in rooms]


class Spread:
    """Finds one supply for each leaf inside the intervals of a tree.

    ranks: of each leaf, who moves first. divides: of each node, how those of one rank below it share a change.
    """

    __slots__ = ("_children", "_known", "_ranks", "_tree", "divides", "totals")

    def __init__(self, tree: Tree, ranks: Sequence[int], divides: Sequence[Divide]) -> None:
        self._tree = tree
        self.divides = divides
        self._known: dict[int, list[float]] = {}
        """Room of each child of a group, found on the way down to the groups below."""
        self._ranks = sorted(set(ranks))
        self._children = _children(tree, ranks)
        self.totals: list[float] = []
        """Supply of every node after `settle`."""

    def rest(self, supply: Sequence[float]) -> list[float]:
        """Supply of each node, leaves first, when every leaf supplies what is given."""
        tree = self._tree
        leaves, size = tree.leaves, len(tree.parents)
        totals = [*supply, *([0.0] * (size - leaves))]
        if size == leaves + 1:
            totals[leaves] = sum(supply)
            return totals
        parents = tree.parents
        for i in tree.upwards:
            totals[parents[i]] += totals[i]
        return totals

    def settle(self, rest: Sequence[float]) -> list[float]:
        """Supply of each node, leaves first: at rest where the intervals allow, else moved as little as needed."""
        tree = self._tree
        lows, highs = tree.low, tree.high
        clamped = [low if r < low else high if r > high else r for r, low, high in zip(rest, lows, highs, strict=False)]
        totals = self.totals = self.rest(clamped)
        for group in range(len(totals) - 1, tree.leaves - 1, -1):
            total = totals[group]
            if total < lows[group] - EPSILON:
                self.shift(group, lows[group] - total)
            elif total > highs[group] + EPSILON:
                self.shift(group, highs[group] - total)
        return totals

    def add(self, node: int, amount: float) -> float:
        """Change the supply of a node as far as it and the groups above allow; returns the change made."""
        tree, totals = self._tree, self.totals
        above = node
        while above >= 0:
            amount = min(max(amount, tree.low[above] - totals[above]), tree.high[above] - totals[above])
            above = tree.parents[above]
        if node >= tree.leaves:
            return self.shift(node, amount)
        above = node
        while above >= 0:
            totals[above] += amount
            above = tree.parents[above]
        return amount

    def shift(self, group: int, amount: float) -> float:
        """Change the supply of a group by an amount, as far as its leaves and the groups below can; returns the change made."""
        moved = 0.0
        for rank in self._ranks:
            rest = amount - moved
            if -EPSILON <= rest <= EPSILON:
                break
            self._known.clear()
            moved += self._change(group, rank, rest)
        parent = self._tree.parents[group]
        while parent >= 0:
            self.totals[parent] += moved
            parent = self._tree.parents[parent]
        return moved

    def _change(self, group: int, rank: int, amount: float) -> float:
        children = self._children[group][rank]
        up = amount > 0
        rooms = self._known.pop(group, None) or self._rooms(children, rank, up)
        parts = self.divides[group](amount if up else -amount, children, rooms, up)
        totals, leaves = self.totals, self._tree.leaves
        moved = 0.0
        for child, part in zip(children, parts, strict=True):
            if child >= leaves:
                moved += self._change(child, rank, part if up else -part)
            elif up:
                totals[child] += part
                moved += part
            else:
                totals[child] -= part
                moved -= part
        totals[group] += moved
        return moved

    def _rooms(self, nodes: list[int], rank: int, up: bool) -> list[float]:
        """How far leaves of a rank can move each node, not negative."""
        tree, totals = self._tree, self.totals
        ends = tree.high if up else tree.low
        own = [ends[n] - totals[n] for n in nodes] if up else [totals[n] - ends[n] for n in nodes]
        if nodes and nodes[-1] >= tree.leaves:
            for i, node in enumerate(nodes):
                if node >= tree.leaves:
                    self._known[node] = rooms = self._rooms(self._children[node][rank], rank, up)
                    below = sum(rooms)
                    if below < own[i]:
                        own[i] = below
                    if own[i] < 0.0:
                        own[i] = 0.0
        return own


def _children(tree: Tree, ranks: Sequence[int]) -> list[list[list[int]]]:
    """For each node and rank: its children that are, or contain, leaves of that rank; leaves before groups."""
    found: list[list[list[int]]] = [[[] for _ in range(RANKS)] for _ in tree.parents]
    for leaf, rank in enumerate(ranks):
        node, parent = leaf, tree.parents[leaf]
        while parent >= 0 and node not in found[parent][rank]:
            found[parent][rank].append(node)
            node, parent = parent, tree.parents[parent]
    return [[sorted(children) for children in ranked] for ranked in found]
