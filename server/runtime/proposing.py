"""Proposals of foreign controllers on their way through a ring: packed by the OPC UA server, unpacked by control."""

from __future__ import annotations

import json

from server.core.proposal import Proposal, Proposed


def pack(proposal: Proposal) -> bytes:
    """A proposal as a record."""
    return json.dumps(proposal).encode()


def unpack(record: bytes) -> Proposal:
    """The proposal of a record. ValueError or TypeError when it is none."""
    controller, proposer, arrived_ns, lease_ns, constraints = json.loads(record)
    return Proposal(str(controller), str(proposer), int(arrived_ns), int(lease_ns), tuple(Proposed(*c) for c in constraints))
