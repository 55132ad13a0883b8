"""Ask for what another program asks for."""

from __future__ import annotations

from collections.abc import Iterable
from math import nan

from server.core.constraint import Constraint
from server.core.controller import Controller, ControllerOutputs, Now, shown
from server.core.image import Image
from server.core.natures import ForeignControl
from server.core.units import Second


class ForeignController(Controller):
    """Ask for the constraints that a client of the OPC UA server proposes.

        constraints = those of the last ProposeConstraints     while its lease holds

    The client has the role Controller, is written in any language, and calls ProposeConstraints again before its lease is over.
    No constraint comes before the priority of this controller; who wants more room gives it another in site.toml. Source: leases
    as in C. Gray, D. Cheriton, "Leases: an efficient fault-tolerant mechanism", SOSP 1989, doi:10.1145/74850.74870.
    """

    priority = 50
    nature = ForeignControl

    class Outputs(ControllerOutputs):
        left_s: Second = shown("Time until the lease is over; unknown while nobody proposes.", low=0)

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        held = now.proposals.get(self.alias)
        self.out.left_s = nan if held is None else (held.until_ns - now.monotonic_ns) * 1e-9
        return () if held is None else held.constraints
