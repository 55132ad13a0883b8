"""Constraints that a client of the OPC UA server proposes: checked, leased, and heard through the same arbitration as all others.

A *proposal* is everything one foreign controller asks for; the next one replaces it whole. It says how long it is to be heard:
its lease, a duration, counted by the monotonic clock of this host from the moment it arrived. When the lease is over nothing is
left of it. An empty proposal ends the one before.

A constraint names the power it is about by the variable that measures it: `ess0/ActivePower`, `ess0/ReactivePower`,
`ess0/DcDischargePower` of a hybrid; `grid/ActivePower` or `grid/ReactivePower` for what the site imports, or the same of another
meter that units are connected to. `ess0` and `grid` alone are their active power.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import inf, isnan
from typing import Final, NamedTuple

from .constraint import ACTIVE, REACTIVE, Add, Bound, ConstraintError, Node, Reserve, Target, Weighed
from .errors import ConfigError
from .natures import Ess, HybridEss
from .scheduler import PRIORITY_MAX
from .site import GRID_ALIAS
from .topology import Topology

CONSTRAINTS_MAX: Final = 64
"""Constraints of one proposal."""
LEASE_S: Final = (0.1, 3600.0)
"""Shortest and longest lease [s]."""
WHY_LENGTH_MAX: Final = 200
"""Characters of a reason."""


class Proposed(NamedTuple):
    """One constraint as a client writes it.

    kind: a name in KINDS. node: the power it is about. low, high: of a bound or target the range the power shall be in, in the
    node's own sign, infinite where it is open; of a reserve the room to keep down and up; of an add the same value twice.
    priority: None for the controller's own. why: the reason, for people.
    """

    kind: str
    node: str
    low: float
    high: float
    priority: int | None
    why: str


class Proposal(NamedTuple):
    """What a foreign controller asks for. controller: its alias. proposer: who proposes. lease_ns: from arrived_ns on."""

    controller: str
    proposer: str
    arrived_ns: int
    lease_ns: int
    constraints: tuple[Proposed, ...]


def constraint(topology: Topology, proposed: Proposed, proposer: str, rank: int) -> Weighed:
    """A checked constraint. ConstraintError says what is wrong. rank: the priority of the controller, which none may outrank."""
    make = KINDS.get(proposed.kind)
    if make is None:
        raise ConstraintError(f"{proposed.kind!r} is none of {', '.join(KINDS)}")
    if isnan(proposed.low) or isnan(proposed.high):
        raise ConstraintError(f"{proposed.node}: NaN is no power")
    if len(proposed.why) > WHY_LENGTH_MAX:
        raise ConstraintError(f"{proposed.node}: the reason is longer than {WHY_LENGTH_MAX} characters")
    if proposed.priority is not None and not rank <= proposed.priority <= PRIORITY_MAX:
        raise ConstraintError(f"{proposed.node}: priority {proposed.priority} is not in {rank}..{PRIORITY_MAX}")
    return make(node_of(topology, proposed.node), proposed, f"{proposed.why} (proposed by {proposer})".lstrip())


def refusals(topology: Topology, proposed: Iterable[Proposed], rank: int) -> list[str]:
    """What is wrong with each of the constraints, `2: ess9 takes no set-points`; empty when all are fine."""
    found = []
    for number, one in enumerate(proposed):
        try:
            constraint(topology, one, "", rank)
        except ConstraintError as error:
            found.append(f"{number}: {error}")
    return found


def node_of(topology: Topology, name: str) -> Node:
    """The node of a power named as above. ConstraintError when there is none."""
    alias, _, quantity = name.partition("/")
    quantity = quantity or Ess.ActivePower.name
    try:
        is_unit = alias in topology.by_alias or any(cluster.alias == alias for cluster in topology.clusters)
        found = _unit_node(topology, alias, quantity) if is_unit else _connection_node(topology, alias, quantity)
    except ConfigError as error:
        raise ConstraintError(f"{error.field} {error.problem}") from error
    if found is None:
        raise ConstraintError(f"{name!r} is no power that is controlled, expected for instance {alias}/{Ess.ActivePower.name}")
    return found


_PLANES: Final = {Ess.ActivePower.name: ACTIVE, Ess.ReactivePower.name: REACTIVE}


def _unit_node(topology: Topology, alias: str, quantity: str) -> Node | None:
    if quantity == HybridEss.DcDischargePower.name:
        return topology.dc_node(alias)
    unit, plane = topology.by_alias.get(alias), _PLANES.get(quantity)
    if plane is None or (plane == REACTIVE and unit is not None and unit.setpoint_q < 0):
        return None
    return topology.unit_node(alias, plane)


def _connection_node(topology: Topology, alias: str, quantity: str) -> Node | None:
    if alias != GRID_ALIAS and alias not in topology.layout.by_alias:
        raise ConstraintError(f"{alias!r} is not in this site")
    plane = _PLANES.get(quantity)
    return None if plane is None else topology.import_node(alias, plane)


def _open(value: float) -> float | None:
    return None if value in (-inf, inf) else value


def _range(kind: type[Bound] | type[Target], node: Node, p: Proposed, why: str) -> Bound | Target:
    if p.low == inf or p.high == -inf:
        raise ConstraintError(f"{node.label}: nothing is in {p.low}..{p.high}")
    return kind(node, at_least=_open(p.low), at_most=_open(p.high), why=why, priority=p.priority)


def _bound(node: Node, p: Proposed, why: str) -> Weighed:
    return _range(Bound, node, p, why)


def _target(node: Node, p: Proposed, why: str) -> Weighed:
    return _range(Target, node, p, why)


def _reserve(node: Node, p: Proposed, why: str) -> Weighed:
    return Reserve(node, down=p.low, up=p.high, why=why, priority=p.priority)


def _add(node: Node, p: Proposed, why: str) -> Weighed:
    if p.low != p.high:
        raise ConstraintError(f"{node.label}: what is added is one value, not {p.low:g}..{p.high:g}")
    return Add(node, p.low, why=why, priority=p.priority)


KINDS: Final[Mapping[str, Callable[[Node, Proposed, str], Weighed]]] = {
    "bound": _bound,
    "target": _target,
    "reserve": _reserve,
    "add": _add,
}
"""What can be proposed."""


class InForce(NamedTuple):
    """A proposal that is heard. until_ns: CLOCK_MONOTONIC."""

    proposer: str
    until_ns: int
    constraints: tuple[Weighed, ...]


class Proposals:
    """The proposals in force, by controller."""

    def __init__(self) -> None:
        self.held: dict[str, InForce] = {}

    def take(self, proposal: Proposal, topology: Topology, ranks: Mapping[str, int]) -> str:
        """Put a proposal in force. ranks: priority of each foreign controller. Returns who begins or ends to propose,
        in words, or nothing. ConstraintError when it cannot be taken: the one before stays.
        """
        alias, proposer = proposal.controller, proposal.proposer
        made = _made(proposal, topology, ranks.get(alias))
        before = self.held.pop(alias, None)
        if made:
            self.held[alias] = InForce(proposer, proposal.arrived_ns + proposal.lease_ns, made)
        if (before is not None and before.proposer == proposer) == bool(made):
            return ""
        return f"{alias}: {proposer} {'begins' if made else 'ends'} to propose"

    def expire(self, now_ns: int) -> list[str]:
        """Drop what is over; who proposed it, in words. now_ns: CLOCK_MONOTONIC."""
        over = {alias: held.proposer for alias, held in self.held.items() if held.until_ns <= now_ns}
        for alias in over:
            del self.held[alias]
        return [f"{alias}: the lease of {proposer} is over" for alias, proposer in over.items()]

    def imitate(self, other: Proposals) -> None:
        """Take over what is in force from the proposals of another engine of the same site."""
        self.held = other.held.copy()


def _made(proposal: Proposal, topology: Topology, rank: int | None) -> tuple[Weighed, ...]:
    if rank is None:
        raise ConstraintError(f"{proposal.controller!r} is no foreign controller")
    if len(proposal.constraints) > CONSTRAINTS_MAX:
        raise ConstraintError(f"{len(proposal.constraints)} constraints, at most {CONSTRAINTS_MAX} are expected")
    lease_s = proposal.lease_ns * 1e-9
    if not LEASE_S[0] <= lease_s <= LEASE_S[1]:
        raise ConstraintError(f"a lease of {lease_s:g} s is not in {LEASE_S[0]:g}..{LEASE_S[1]:g} s")
    return tuple(constraint(topology, p, proposal.proposer, rank) for p in proposal.constraints)
