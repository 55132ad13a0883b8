"""Proposals of foreign controllers on their way through a ring: packed by the OPC UA server, unpacked by control."""

from __future__ import annotations

import json

from server.core.proposal import Proposal, Proposed


def pack(proposal: Proposal) -> bytes:
    """A proposal as a record."""
    return json.dumps(proposal).encode()


def unpack(record: bytes) -> Proposal:
    """The proposal of a record. ValueError when it is none."""
    try:
        controller, proposer, arrived_ns, lease_ns, constraints = json.loads(record)
        made = tuple(_constraint(*row) for row in constraints)
        return Proposal(str(controller), str(proposer), int(arrived_ns), int(lease_ns), made)
    except (TypeError, OverflowError) as error:
        raise ValueError(f"this is no proposal: {error}") from error


def _constraint(kind: str, node: str, low: float, high: float, priority: int | None, why: str) -> Proposed:
    return Proposed(str(kind), str(node), float(low), float(high), None if priority is None else int(priority), str(why))
