"""Proposals on their way between processes: whole, or not at all; the lease of one from elsewhere counts from its arrival."""

from __future__ import annotations

import json
from math import inf
from types import SimpleNamespace
from typing import Any

import pytest

from server.bridge.process import Bridge
from server.core.proposal import Proposal, Proposed
from server.runtime.proposing import pack, unpack

ROW = ["bound", "grid", -inf, 400.0, None, "fuse"]


def test_a_proposal_arrives_as_it_was_sent() -> None:
    rows = (Proposed(*ROW), Proposed("target", "ess0", 1.0, 1.0, 40, ""))
    sent = Proposal("mpc0", "anna", 5, 7_000_000_000, rows)
    assert unpack(pack(sent)) == sent


@pytest.mark.parametrize(
    "told",
    [
        "no JSON",
        json.dumps(None),
        json.dumps(["mpc0", "anna", 1, 2]),
        json.dumps(["mpc0", "anna", "soon", 2, []]),
        json.dumps(["mpc0", "anna", 1, inf, []]),
        json.dumps(["mpc0", "anna", 1, 2, [["bound"]]]),
        json.dumps(["mpc0", "anna", 1, 2, [["bound", "grid", "much", 1, None, ""]]]),
    ],
)
def test_what_is_no_proposal_is_refused(told: str) -> None:
    with pytest.raises(ValueError):
        unpack(told.encode())


def test_the_lease_of_a_proposal_made_at_the_site_counts_by_the_hosts_clock() -> None:
    records: list[bytes] = []
    bridge: Any = SimpleNamespace(_image=SimpleNamespace(proposals=SimpleNamespace(put=records.append)))
    far_away = 1 << 62  # the other host has been up for a century
    Bridge._pass_on(bridge, pack(Proposal("mpc0", "anna", far_away, 1_000_000_000, ())))
    assert unpack(records[0]).arrived_ns < far_away
    assert unpack(records[0]).lease_ns == 1_000_000_000
