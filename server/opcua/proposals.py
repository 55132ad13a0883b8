"""Foreign controllers: what a client with the role Controller proposes, checked here and arbitrated by control.

    <controller>.ProposeConstraints(Kinds, Nodes, Low, High, Priorities, Reasons, Lease) -> Refusals
    <controller>.WithdrawConstraints()

All constraints of a call are taken or none: BadInvalidArgument and the refusals say what is wrong. A foreign controller has one
proposer at a time: until its lease is over, or its session ends, another user is refused with BadInvalidState. Arguments are
plain arrays, so that a PLC can call, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cached_property
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final

from asyncua import ua

from server.core.layout import ObjectSpec
from server.core.natures import ControllerStatus, ForeignControl
from server.core.proposal import CONSTRAINTS_MAX, LEASE_S, Proposal, Proposed, refusals
from server.core.topology import Topology
from server.runtime.proposing import pack

from .metadata import Refused
from .nodes import Node

if TYPE_CHECKING:
    from .call import Outputs
    from .server import UaServer
    from .session import Session

_CODES: Final = ua.StatusCodes


class Proposers:
    """Who proposes for which foreign controller, and until when."""

    def __init__(self, server: UaServer) -> None:
        self._server = server
        self._holders: dict[str, tuple[Session, float]] = {}

    @cached_property
    def _topology(self) -> Topology:
        return Topology(self._server.layout, self._server.settings.of_site)

    def propose(self, session: Session, alias: str, proposed: list[Proposed], lease_s: float) -> list[str]:
        """Hand a proposal to control; what is wrong with it, in which case nothing happened. Refused with the reason."""
        self._check_holder(session, alias)
        found = refusals(self._topology, proposed, self._rank(alias))
        if not found:
            self._send(session, alias, proposed, lease_s)
            self._hold(session, alias, lease_s)
        return found

    def withdraw(self, session: Session, alias: str) -> None:
        """End what the session, or its user in another one, proposed."""
        self._check_holder(session, alias)
        self._holders.pop(alias, None)
        self._send(session, alias, [], LEASE_S[0])

    def _check_holder(self, session: Session, alias: str) -> None:
        holder, until = self._holders.get(alias, (session, 0.0))
        if holder.user.name != session.user.name and time.monotonic() < until:
            raise Refused(_CODES.BadInvalidState)

    def _rank(self, alias: str) -> int:
        """Priority of the controller. Refused while it is disabled, or control has not shown it yet."""
        enabled, priority = (self._value(alias, s) for s in (ControllerStatus.Enabled.name, ControllerStatus.Priority.name))
        if not enabled or priority is None:
            raise Refused(_CODES.BadInvalidState)
        return int(priority)

    def _value(self, alias: str, name: str) -> float | None:
        channel = self._server.layout.by_node.get(f"{alias}/{name}")
        return None if channel is None else self._server.frame.get(channel.slot)

    def _send(self, session: Session, alias: str, proposed: list[Proposed], lease_s: float) -> None:
        arrived_ns, lease_ns = time.monotonic_ns(), round(lease_s * 1e9)
        record = pack(Proposal(alias, session.user.name, arrived_ns, lease_ns, tuple(proposed)))
        if not self._server.propose(record):
            raise Refused(_CODES.BadResourceUnavailable)

    def _hold(self, session: Session, alias: str, lease_s: float) -> None:
        if self._released not in session.on_close:
            session.on_close.append(self._released)
        self._holders[alias] = session, time.monotonic() + lease_s

    def _released(self, session: Session, _: bool) -> None:
        """A session ended, and with it what it proposed."""
        for alias, (holder, _until) in list(self._holders.items()):
            if holder is session:
                self.withdraw(session, alias)


def _propose(server: UaServer, session: Session, target: Node, values: list[Any]) -> Outputs:
    lease_s = values[-1]
    if not LEASE_S[0] <= lease_s <= LEASE_S[1]:
        raise _refused(_CODES.BadOutOfRange, f"a lease of {lease_s:g} s is not in {LEASE_S[0]:g}..{LEASE_S[1]:g} s")
    found = server.proposers.propose(session, target.node_id.Identifier, _rows(values[:-1]), lease_s)
    if found:
        raise _refused(_CODES.BadInvalidArgument, *found)
    return [_texts()]


def _rows(columns: list[Any]) -> list[Proposed]:
    """The constraints of a call, from its arrays. Refused when these do not fit together."""
    kinds, nodes, low, high, priorities, reasons = (column or [] for column in columns)
    count = len(kinds)
    if count > CONSTRAINTS_MAX:
        raise _refused(_CODES.BadTooManyOperations, f"{count} constraints, at most {CONSTRAINTS_MAX} are expected")
    if any(len(c) != count for c in (nodes, low, high)) or any(len(c) not in (0, count) for c in (priorities, reasons)):
        raise _refused(_CODES.BadInvalidArgument, "the arrays are not of one length")
    rows = zip(kinds, nodes, low, high, priorities or repeat(None), reasons or repeat(""), strict=False)
    return [Proposed(kind or "", node or "", least, most, p, why or "") for kind, node, least, most, p, why in rows]


def _refused(status: int, *reasons: str) -> Refused:
    return Refused(status, [_texts(*reasons)])


def _texts(*texts: str) -> ua.Variant:
    return ua.Variant(list(texts), ua.VariantType.String, is_array=True)


def _withdraw(server: UaServer, session: Session, target: Node, values: list[Any]) -> Outputs:
    server.proposers.withdraw(session, target.node_id.Identifier)
    return []


METHODS: Final[Mapping[str, Callable[[UaServer, Session, Node, list[Any]], Outputs]]] = {
    "ProposeConstraints": _propose,
    "WithdrawConstraints": _withdraw,
}


def is_foreign(obj: ObjectSpec) -> bool:
    """A controller that asks for what a client proposes."""
    return any(issubclass(nature, ForeignControl) for nature in obj.natures)
