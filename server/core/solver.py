"""From constraints to set-points: one pass over a tree of intervals.

Problem: several controllers want different things of the same units and meters, units have limits, and the answer must come in
microseconds, never fail, and say who decided.

Idea: everything is supply to the site [W]; each unit and each connection is an interval, and

    1. bounds and reserves narrow the intervals in order of priority; what does not fit is clamped, so the first wins;
    2. what the bounds demand of a connection is taken from storage first, then chargers, then loads, then production; the last
       three are then fixed;
    3. targets narrow what is left, in the same order, so wants move storage only (or the unit they name);
    4. each unit takes the supply nearest to its rest inside its interval, storages sharing by the site's rule;
    5. services are added on top, and set-points are rounded inwards.

A limit at a connection is one requirement over all units below it: with the demand d that the meter would show without units,
import = d - supply, so `import <= 8 kW` is `supply >= d - 8 kW` (balance.py tells where d comes from).

Reactive power runs through a second tree. The two meet in each unit's circle P² + Q² <= S²: what one plane was granted cuts the
other, so here too the first wins; for demands on a connection active power is spread first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from math import ceil, floor, inf, isinf, sqrt
from operator import sub
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .blocks import ramped
from .constraint import Add, Bound, Node, Reserve, Target, Weighed
from .topology import Kind, Topology
from .tree import EPSILON, Divide, Spread, Tree, proportional, share

if TYPE_CHECKING:
    from .phases import Coupled

SORT_HYSTERESIS: Final = 5.0
"""Storages change places in the order of use only when their SoC differs by more [%]."""

STEPS_MAX: Final = 1e15
"""More steps than this are no numbers that differ by one."""

AS_THREE_PHASE: Final = "limits of single phases are kept as if all units were three-phase"

Range = tuple[float | None, float | None]
"""At least and at most [W], None where open."""

NOTHING: Final[Range] = (None, None)


class Followed(NamedTuple):
    """How much less and more than before the followers below a connection may supply now, and the least and most that it can
    supply while they do [W]."""

    less: float = 0.0
    more: float = 0.0
    least: float = -inf
    most: float = inf


NONE_FOLLOW: Final = Followed()


class Claim(NamedTuple):
    """A constraint and the controller that asks for it."""

    who: str
    constraint: Weighed


class Grant(NamedTuple):
    """What became of a claim, in supply [W]: the range asked for, the range granted, and who limited it (None: the units)."""

    claim: Claim
    asked: tuple[float | None, float | None]
    granted: tuple[float | None, float | None]
    limiter: Claim | None = None

    @property
    def heard(self) -> bool:
        """False when the claim could not be understood as supply, because a meter is not measured."""
        return self.asked != (None, None)

    @property
    def limited(self) -> bool:
        """The claim did not get all it asked for."""
        if self.asked == self.granted:
            return False
        return any(a is not None and g is not None and abs(a - g) > 1.0 for a, g in zip(self.asked, self.granted, strict=True))


Outcome = tuple[Claim, Range, Range, Claim | None]
"""A Grant as a plain tuple."""


@dataclass(slots=True)
class Ability:
    """What the units can do this cycle, by leaf, all in supply [W, var].

    low, high: interval of active power. rest: supply without any wish. ceiling: highest power of a charger, load or producer
    in its own sign (unused for storage). apparent: circle S, inf where unknown. reactive: highest |Q|. step: PowerPrecision,
    0 for none. minimum: below this a charger stops. soc: state of charge [%], 50 where unknown. supply: measured now, for
    bumpless starts. demand: by plane, of each group, None while not measured. phases: by tree node of the groups that
    constraints on phases name, the demand on L1, L2, L3. dc_pv: by leaf of hybrids, what PV gives on their DC side.
    forming: leaves of the storages that form an island; what is asked of groups above is asked of them first. stopped: leaves
    of followers whose ceiling in force is zero.
    """

    low: list[float]
    high: list[float]
    rest: list[float]
    ceiling: list[float]
    apparent: list[float]
    reactive: list[float]
    step: list[float]
    minimum: list[float]
    soc: list[float]
    supply: list[float]
    demand: tuple[list[float | None], list[float | None]]
    phases: Mapping[int, Sequence[float | None]] = field(default_factory=dict)
    dc_pv: dict[int, float] = field(default_factory=dict)
    forming: list[int] = field(default_factory=list)
    stopped: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Solution:
    """The answer of one cycle.

    active, reactive: supply of each tree node. allowed: of each follower, the supply it has room for.
    ceiling, ceiling_by: highest power granted to a follower by name, own sign, and who asked.
    tree, reactive_tree: final intervals, with who set their ends. fixed: of each group, the supply of the followers below it;
    0 at leaves. base: supply of each node before services and rounding, which is what the intervals are about. outcomes: the
    grants as plain tuples; few of them are read in a cycle. phases: power of L1, L2, L3 of asymmetric units, where they were
    decided on.
    """

    active: list[float]
    allowed: list[float]
    reactive: list[float]
    ceiling: list[float]
    ceiling_by: list[Claim | None]
    outcomes: list[Outcome]
    tree: Tree
    reactive_tree: Tree
    fixed: list[float]
    base: list[float]
    phases: dict[int, tuple[float, float, float]] = field(default_factory=dict)

    @property
    def grants(self) -> list[Grant]:
        """What became of each claim."""
        return [Grant._make(o) for o in self.outcomes]

    def grants_of(self, who: str) -> list[Grant]:
        """What became of the claims of one controller."""
        return [Grant._make(o) for o in self.outcomes if o[0][0] == who]


class Solver:
    """Solves for one topology. Remembers the answer before, for ramps and deadbands of the base point, and the order in which
    storages are used."""

    def __init__(self, topology: Topology) -> None:
        self._leaves = len(topology.units)
        self._labels = topology.labels
        self._follower = [u.kind is not Kind.Storage for u in topology.units]
        self._follows = any(self._follower)
        self._following = _following(topology.parents, self._follower)
        ranks = [int(u.kind) for u in topology.units]
        self._tree = Tree(topology.parents, self._leaves)
        self._reactive = Tree(topology.parents, self._leaves)
        self._outer = Tree(topology.parents, self._leaves)
        sharing = Sharing(topology.parents, ranks)
        chosen = {g.index: g.distribution for g in topology.clusters}
        usual = topology.site.distribution
        rules = [DISTRIBUTIONS.get(chosen.get(n) or usual, _by_proportion)(sharing) for n in range(len(topology.parents))]
        self._rules = (rules, [_forming_first(sharing, rule) for rule in rules])
        self._spread = Spread(self._tree, ranks, rules)
        self._spread_reactive = Spread(self._reactive, ranks, rules)
        self._spread_outer = Spread(self._outer, ranks, rules)
        self._sharing = sharing
        self._before: tuple[list[float], list[float], list[float] | None] | None = None
        self._limits: tuple[list[float], list[float]] = ([], [])
        self.unsolved = ""
        """Why the last answer does not reckon with single phases as it should."""
        self.notes: list[str] = []
        """What this installation cannot solve as it should."""
        self._phases = self._make_phases(topology) if topology.phased and topology.uneven else None

    def _make_phases(self, topology: Topology) -> Coupled | None:
        """The coupled form for limits of single phases, imported only where a site needs it."""
        try:
            coupled: Coupled = import_module(".phases", __package__).Coupled(topology)
        except ImportError as error:
            self.notes.append(f"{AS_THREE_PHASE}: {error}; `pip install highspy`")
            return None
        return coupled

    def forget(self) -> None:
        """Start the next answer from what is measured, not from the answer before."""
        self._before = None

    def state(self) -> dict[str, Any]:
        """What must survive a restart, as JSON: in which order storages are used."""
        order = self._sharing.order
        return {"order": [self._labels[node] for node in order]} if order != sorted(order) else {}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Take up what `state` gave; nodes that are new come last."""
        places = {label: i for i, label in enumerate(saved.get("order", ()))}
        self._sharing.order.sort(key=lambda node: places.get(self._labels[node], len(places)))

    def solve(self, ability: Ability, claims: Sequence[Claim], dt_s: float) -> Solution:
        """The answer to claims in order of priority. Never raises, whatever is asked."""
        if self._phases is not None and (phased := [c for c in claims if c.constraint.node.phase]):
            before = self._before
            solution = self._solve(ability, [c for c in claims if not c.constraint.node.phase], dt_s)
            try:
                self._phases.refine(ability, solution, self._limits, phased)
            except ArithmeticError as error:
                self._before = before
                self.unsolved = f"{AS_THREE_PHASE}: {error}"
            else:
                self.unsolved = ""
                return self._in_steps(solution)
        return self._in_steps(self._solve(ability, claims, dt_s))

    def _solve(self, ability: Ability, claims: Sequence[Claim], dt_s: float) -> Solution:
        bounds, targets, services = self._begin(ability, claims, dt_s)
        for claim in bounds:
            constraint = claim[1]
            if type(constraint) is Bound:
                self._apply(claim, constraint)
            elif type(constraint) is Reserve:
                self._reserve(claim, constraint)
        if self._layered:
            self._keep_reserves()
        if self._follows:
            self._fix_followers(targets)
        limits = self._outer if self._layered else self._tree
        self._limits = limits.low.copy(), limits.high.copy()
        for claim, target in targets:
            if not self._is_follower(target.node):
                self._apply(claim, target)
        active = self._spread.settle(ability.rest)
        base = active.copy()
        if services:
            self._serve(services, active)
        served = [*map(sub, active, base)] if services else None
        reactive = self._settle_reactive(active) if self._turning else [0.0] * len(active)
        self._before = active, reactive, served
        fixed = self._fixed(active)
        allowed = self._allowed if self._follows else active
        return Solution(
            active, allowed, reactive, self._ceiling, self._ceiling_by, self._outcomes, self._tree, self._reactive, fixed, base
        )

    def _begin(
        self, ability: Ability, claims: Sequence[Claim], dt_s: float
    ) -> tuple[list[Claim], list[tuple[Claim, Target]], list[tuple[Claim, Add]]]:
        """Start from the units' own intervals; bounds with reserves, targets, and services, each in order."""
        self._ability = ability
        self._dt_s = dt_s
        self._sharing.soc = ability.soc
        if ability.forming or self._sharing.forming:
            self._form(ability)
        self._outcomes: list[Outcome] = []
        self._ceiling = ability.ceiling.copy()
        self._ceiling_by: list[Claim | None] = [None] * self._leaves
        self._reserves: list[tuple[Claim, int, float, float]] = []
        bounds: list[Claim] = []
        targets: list[tuple[Claim, Target]] = []
        services: list[tuple[Claim, Add]] = []
        turning: set[int] = set()
        self._layered = False
        for claim in claims:
            constraint = claim[1]
            if type(constraint) is Bound:
                bounds.append(claim)
            elif type(constraint) is Target:
                targets.append((claim, constraint))
            elif type(constraint) is Add:
                services.append((claim, constraint))
                self._layered = True
            else:
                bounds.append(claim)
                self._layered = True
            if constraint.node.plane:
                turning.add(constraint.node.place)
        if turning and max(turning) >= self._leaves:
            turning.update(range(self._leaves))
        self._turning = turning
        self._tree.reset(ability.low, ability.high)
        if self._layered:
            self._outer.reset(ability.low, ability.high)
        if turning:
            self._reactive.reset([-q for q in ability.reactive], ability.reactive)
        self._base = self._base_before(ability)
        return bounds, targets, services

    def _base_before(self, ability: Ability) -> tuple[list[float], list[float]]:
        """The base point of the answer before, active and reactive, by node: without the services on top of it."""
        if self._before is None:
            return self._spread.rest(ability.supply), self._spread.rest([0.0] * self._leaves)
        active, reactive, served = self._before
        return (active if served is None else [*map(sub, active, served)]), reactive

    def _form(self, ability: Ability) -> None:
        """An island begins, is there, or ends: who forms it moves first."""
        self._sharing.form(ability.forming)
        rules = self._rules[bool(ability.forming)]
        for spread in (self._spread, self._spread_reactive, self._spread_outer):
            spread.divides = rules

    def _is_follower(self, node: Node) -> bool:
        return node.place < self._leaves and self._follower[node.place]

    def _apply(self, claim: Claim, constraint: Bound | Target) -> None:
        node = constraint.node
        plane, place = node.plane, node.place
        asked = wanted = self._as_supply(node, constraint.low, constraint.high)
        if asked is NOTHING:
            self._outcomes.append((claim, NOTHING, NOTHING, None))
            return
        if constraint.calm is not None:
            followed = NONE_FOLLOW if plane or type(constraint) is not Bound else self._followed(place)
            wanted = calmed(constraint, asked, self._base[plane][place], self._dt_s, followed)
        tree = self._reactive if plane else self._tree
        if place in self._turning:
            granted = tree.narrow(place, *self._inside_circle(node, wanted), claim)
            self._cut_other_plane(node, claim)
        else:
            granted = tree.narrow(place, wanted[0], wanted[1], claim)
        if self._layered and not plane and type(constraint) is Bound:
            self._outer.narrow(place, wanted[0], wanted[1], claim)
        if place < self._leaves and self._follower[place]:
            granted = self._hear_ceiling(claim, constraint, asked, granted)
        if granted == wanted:  # it may move calmly, nobody limits it
            self._outcomes.append((claim, wanted, wanted, None))
        else:
            self._outcomes.append((claim, asked, granted, _limiter(tree, place, wanted, granted)))

    def _followed(self, place: int) -> Followed:
        following = self._following[place]
        if not following:
            return NONE_FOLLOW
        rest, before, low, high = self._ability.rest, self._base[0], self._tree.low, self._tree.high
        changes = [rest[n] - before[n] for n in following]
        return Followed(
            sum(c for c in changes if c < 0),
            sum(c for c in changes if c > 0),
            low[place] + sum(rest[n] - low[n] for n in following),
            high[place] + sum(rest[n] - high[n] for n in following),
        )

    def _as_supply(self, node: Node, low: float | None, high: float | None) -> Range:
        """A range in the node's own sign as supply; NOTHING while what it depends on is not measured."""
        if node.sign > 0:
            if not node.dc:
                return low, high
            pv = self._ability.dc_pv.get(node.place)
            return NOTHING if pv is None else ((None if low is None else low + pv), (None if high is None else high + pv))
        demand: float | None = 0.0
        if node.phase:
            demand = self._ability.phases[node.place][node.phase - 1]
        elif node.place >= self._leaves:
            demand = self._ability.demand[node.plane][node.place - self._leaves]
        if demand is None:
            return NOTHING
        low, high = (None if high is None else demand - high), (None if low is None else demand - low)
        if node.phase:  # as if all units below were three-phase
            return (None if low is None else 3 * low), (None if high is None else 3 * high)
        return low, high

    def _inside_circle(self, node: Node, wanted: Range) -> Range:
        """What of a unit's range fits into its circle beside what the other plane was granted."""
        limit = self._circle(node, self._tree if node.plane else self._reactive)
        low, high = wanted
        if (low is None or -limit <= low <= limit) and (high is None or -limit <= high <= limit):
            return wanted
        return (None if low is None else min(max(low, -limit), limit)), (None if high is None else min(max(high, -limit), limit))

    def _cut_other_plane(self, node: Node, claim: Claim) -> None:
        limit = self._circle(node, self._reactive if node.plane else self._tree)
        if not isinf(limit):
            (self._tree if node.plane else self._reactive).narrow(node.place, -limit, limit, claim)

    def _circle(self, node: Node, other: Tree) -> float:
        """sqrt(S² - x²) of a unit, x the least power that `other` was granted; inf for connections and unknown S."""
        leaf = node.place
        if leaf >= self._leaves:
            return inf
        apparent = self._ability.apparent[leaf]
        low, high = other.room(leaf)
        if isinf(apparent) or low <= 0 <= high:
            return apparent
        return sqrt(max(apparent**2 - max(low, -high) ** 2, 0.0))

    def _hear_ceiling(self, claim: Claim, constraint: Bound | Target, asked: Range, granted: Range) -> Range:
        """A follower's range names its ceiling; above what the unit does now there is nothing to narrow, and all is granted."""
        if constraint.high is None:
            return granted
        leaf = constraint.node.place
        potential = max(self._ability.high[leaf], -self._ability.low[leaf])
        ceiling = constraint.high
        if ceiling < potential:
            upper = granted[1] if constraint.node.sign > 0 else granted[0]
            ceiling = abs(upper) if upper is not None else ceiling
        else:
            granted = asked
        if ceiling < self._ceiling[leaf]:
            self._ceiling[leaf] = max(ceiling, 0.0)
            self._ceiling_by[leaf] = claim
        return granted

    def _fix_followers(self, targets: Sequence[tuple[Claim, Target]]) -> None:
        """Hear the targets that name a follower, then fix all followers: later targets do not move them.

        Bounds reckon with what a follower may do. Wants see what it does: storage answers a charger when it draws, not when it
        is let. So it is fixed at what it may do, and then moved, with the intervals above, to what it does.
        """
        for claim, target in targets:
            if self._is_follower(target.node):
                self._apply(claim, target)
        rest, supply = self._ability.rest, self._ability.supply
        totals = self._spread.settle(rest)
        stopped: set[int] = set()
        while starved := self._starved(totals, stopped):
            stopped.update(starved)
            for leaf in starved:
                self._tree.narrow(leaf, 0.0, None, self._relieved_by(leaf, totals))
            totals = self._spread.settle(rest)
        self._allowed = totals
        for leaf, follows in enumerate(self._follower):
            if follows:
                self._tree.narrow(leaf, totals[leaf], totals[leaf], None)
                change = min(totals[leaf], supply[leaf], key=abs) - totals[leaf]
                self._tree.shift(leaf, change)
                if self._layered:
                    self._outer.shift(self._outer.parents[leaf], change)

    def _starved(self, totals: Sequence[float], stopped: set[int]) -> list[int]:
        """Consumers to stop because they get less than they run with: those that stand anyway, then those that miss most, until
        what they leave may be enough for the others; more each time it was not."""
        standing = self._ability.stopped
        lacks = [
            (self._needs(n, least) + totals[n], n)
            for n, least in enumerate(self._ability.minimum)
            if least and totals[n] < 0 and n not in stopped
        ]
        short = sorted(((lack, n) for lack, n in lacks if lack > EPSILON), key=lambda item: (item[1] not in standing, -item[0]))
        chosen: list[int] = []
        left, missing = 0.0, sum(lack for lack, _ in short)
        for lack, leaf in short:
            if left >= missing and len(chosen) > len(stopped):
                break
            chosen.append(leaf)
            left, missing = left - totals[leaf], missing - lack
        return chosen

    def _needs(self, leaf: int, least: float) -> float:
        """What a consumer must get to run. One that stands needs all it would begin with, as far as its own limits let it."""
        potential = -self._ability.rest[leaf]
        needed = min(least, potential)
        return max(needed, min(potential, -self._tree.low[leaf])) if leaf in self._ability.stopped else needed

    def _relieved_by(self, leaf: int, totals: list[float]) -> object:
        """Who keeps a consumer down: set the lower end at which a group above it is."""
        low, by = self._tree.low, self._tree.low_by
        return next((by[n] for n in self._path(leaf) if by[n] is not None and totals[n] <= low[n] + EPSILON), None)

    def _fixed(self, active: list[float]) -> list[float]:
        if not self._follows:
            return [0.0] * len(active)
        leaves = self._leaves
        totals = self._spread.rest([p if follows else 0.0 for p, follows in zip(active, self._follower, strict=False)])
        return [0.0] * leaves + totals[leaves:]

    def _reserve(self, claim: Claim, constraint: Reserve) -> None:
        """Keep room: the base point stays away from the ends that bounds leave; services may use the room."""
        node = constraint.node
        up, down = (constraint.up, constraint.down) if node.sign > 0 else (constraint.down, constraint.up)
        low, high = self._tree.room(node.place)
        wanted = (low + down if down else None, high - up if up else None)
        if wanted != NOTHING:
            granted = self._tree.narrow(node.place, *wanted, claim)
            self._outcomes.append((claim, wanted, granted, _limiter(self._tree, node.place, wanted, granted)))
            self._reserves.append((claim, node.place, up, down))

    def _keep_reserves(self) -> None:
        """Bounds that came after a reserve may have moved the ends: restore the room as far as possible."""
        for claim, place, up, down in self._reserves:
            low, high = self._outer.room(place)
            self._tree.narrow(place, low + down if down else None, high - up if up else None, claim)

    def _serve(self, services: Sequence[tuple[Claim, Add]], active: list[float]) -> None:
        """Put the services on top of the base point, inside the bounds."""
        self._spread_outer.totals = active
        for claim, service in services:
            value = service.value * service.node.sign
            done = self._spread_outer.add(service.node.place, value)
            self._outcomes.append((claim, (value, value), (done, done), None))

    def _settle_reactive(self, active: list[float]) -> list[float]:
        apparent = self._ability.apparent
        for leaf in sorted(self._turning):
            if leaf < self._leaves and not isinf(apparent[leaf]):
                limit = sqrt(max(apparent[leaf] ** 2 - active[leaf] ** 2, 0.0))
                self._reactive.narrow(leaf, -limit, limit, None)
        return self._spread_reactive.settle([0.0] * self._leaves)

    def _in_steps(self, solution: Solution) -> Solution:
        """The answer as devices can follow it."""
        if any(self._ability.step):
            solution.active = self._rounded(solution.active, *self._limits)
        return solution

    def _rounded(self, active: list[float], low: list[float], high: list[float]) -> list[float]:
        """Round storages to their PowerPrecision, to the nearest step that keeps every interval; inwards when none does."""
        totals = active.copy()
        for leaf, step in enumerate(self._ability.step):
            if step > 0 and not self._follower[leaf]:
                nodes = list(self._path(leaf))
                change = _rounding(totals[leaf], step, [(low[n] - totals[n], high[n] - totals[n]) for n in nodes])
                for node in nodes:
                    totals[node] += change
        return totals

    def _path(self, node: int) -> Iterator[int]:
        while node >= 0:
            yield node
            node = self._tree.parents[node]


def _following(parents: Sequence[int], follower: Sequence[bool]) -> list[list[int]]:
    """The followers below each connection and cluster; none for a unit itself."""
    found: list[list[int]] = [[] for _ in parents]
    for leaf, follows in enumerate(follower):
        node = parents[leaf] if follows else -1
        while node >= 0:
            found[node].append(leaf)
            node = parents[node]
    return found


def calmed(constraint: Bound | Target, wanted: Range, before: float, dt_s: float, followed: Followed = NONE_FOLLOW) -> Range:
    """A target moves as its Calm says, from the answer before; a bound tightens at once, only its easing waits for the deadband.

    A target with one side eases at once too: once it asks for less, nothing holds the unit there. followed: of a bound; the
    deadband keeps storage calm and takes nothing from followers, also where storage cannot do any more what it did before.
    """
    calm, (low, high) = constraint.calm, wanted
    if calm is None:
        return wanted
    band = calm.deadband
    if type(constraint) is Bound:
        held_low = low is not None and before - band <= low < before
        held_high = high is not None and before < high <= before + band
        if held_low and low is not None:
            low = max(low, min(before + followed.less, followed.most))
        if held_high and high is not None:
            high = min(high, max(before + followed.more, followed.least))
        return low, high
    both = low is not None and low == high
    if low is not None:
        low = before if abs(low - before) <= band else ramped(before, low, calm.rise, calm.fall if both else None, dt_s)
    if both:
        return low, low
    if high is not None:
        high = before if abs(high - before) <= band else ramped(before, high, None, calm.fall, dt_s)
    return low, high


def _limiter(tree: Tree, node: int, wanted: Range, granted: Range) -> Claim | None:
    (low, high), (got_low, got_high) = wanted, granted
    if low is not None and got_low is not None and got_low < low - EPSILON:
        return _claim(tree.limiter(node, upper=True))
    if high is not None and got_high is not None and got_high > high + EPSILON:
        return _claim(tree.limiter(node, upper=False))
    return None


def _claim(by: object) -> Claim | None:
    return by if isinstance(by, Claim) else None


def _rounding(value: float, step: float, slack: list[tuple[float, float]]) -> float:
    """The change that puts value on a step: the nearest that all slacks (down, up) allow, else the first of the unit's own. None
    for steps so small that they cannot be counted, which a device may tell."""
    if not abs(value / step) < STEPS_MAX:
        return 0.0
    options = sorted((floor(value / step) * step - value, ceil(value / step) * step - value), key=abs)
    for width in (len(slack), 1):
        for change in options:
            if all(down - EPSILON <= change <= up + EPSILON for down, up in slack[:width]):
                return change
    return 0.0


class Sharing:
    """What rules of distribution know of the nodes of a tree. soc: of each leaf [%]. storages: how many are below each node.
    order: of use, the fullest first. forming: storages that form an island, and the groups above them."""

    def __init__(self, parents: Sequence[int], ranks: Sequence[int]) -> None:
        self._below: list[list[int]] = [[] for _ in parents]
        for leaf, rank in enumerate(ranks):
            node = leaf
            while node >= 0:
                if rank == Kind.Storage or node == leaf:
                    self._below[node].append(leaf)
                node = parents[node]
        self._parents = parents
        self.soc = [50.0] * len(ranks)
        self.forming: set[int] = set()
        self.storages = [len(below) for below in self._below]
        self.order = list(range(len(parents)))

    def form(self, leaves: Sequence[int]) -> None:
        """These storages form an island now."""
        self.forming = set(leaves)
        for leaf in leaves:
            node = self._parents[leaf]
            while node >= 0:
                self.forming.add(node)
                node = self._parents[node]

    def levels(self, nodes: Sequence[int]) -> list[float]:
        """State of charge of each node, of groups the mean of their storages [%]."""
        soc, below = self.soc, self._below
        leaves = len(soc)
        return [soc[n] if n < leaves else _mean([soc[i] for i in below[n]]) for n in nodes]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 50.0


def _forming_first(sharing: Sharing, rule: Divide) -> Divide:
    """In an island the storage that forms it is the slack: it takes what it can, the others share the rest."""

    def divide(amount: float, nodes: list[int], rooms: list[float], up: bool) -> list[float]:
        forming = [room if n in sharing.forming else 0.0 for n, room in zip(nodes, rooms, strict=True)]
        first = share(amount, forming, forming)
        rest = rule(max(amount - sum(first), 0.0), nodes, [r - f for r, f in zip(rooms, first, strict=True)], up)
        return [f + r for f, r in zip(first, rest, strict=True)]

    return divide


def _by_proportion(sharing: Sharing) -> Divide:
    return proportional


def _by_soc(sharing: Sharing) -> Divide:
    """Fuller storages discharge more, emptier ones charge more, so that they meet."""

    def divide(amount: float, nodes: list[int], rooms: list[float], up: bool) -> list[float]:
        level = [soc if up else 100 - soc for soc in sharing.levels(nodes)]
        return share(amount, rooms, [room * (x + 1) for room, x in zip(rooms, level, strict=True)])

    return divide


def _equally(sharing: Sharing) -> Divide:
    """The same power for each storage."""

    def divide(amount: float, nodes: list[int], rooms: list[float], up: bool) -> list[float]:
        return share(amount, rooms, [float(sharing.storages[n]) for n in nodes])

    return divide


def _by_fewest(sharing: Sharing) -> Divide:
    """As few inverters as possible: the fullest discharge first, the emptiest charge first, calmly."""

    def divide(amount: float, nodes: list[int], rooms: list[float], up: bool) -> list[float]:
        order = sort_calmly(sharing.order, sharing.levels(range(len(sharing.order))))
        rank = {node: i if up else -i for i, node in enumerate(order)}
        parts = [0.0] * len(nodes)
        for i in sorted(range(len(nodes)), key=lambda i: rank[nodes[i]]):
            parts[i] = min(rooms[i], amount)
            amount -= parts[i]
        return parts

    return divide


def sort_calmly(order: list[int], soc: Sequence[float]) -> list[int]:
    """Sort in place by SoC, highest first; neighbours swap only when they differ by more than SORT_HYSTERESIS."""
    for end in range(len(order) - 1, 0, -1):
        for i in range(end):
            if soc[order[i + 1]] - soc[order[i]] > SORT_HYSTERESIS:
                order[i], order[i + 1] = order[i + 1], order[i]
    return order


DISTRIBUTIONS: Final[Mapping[str, Callable[[Sharing], Divide]]] = {
    "proportional": _by_proportion,
    "soc": _by_soc,
    "equal": _equally,
    "fewest": _by_fewest,
}
"""How storages share what the site asks of them."""
