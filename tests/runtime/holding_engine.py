"""An engine for tests of the control process: holds the battery at one power, says what it was told, keeps a count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from server.core.image import Image
from server.core.step import Now, Output, Write


class HoldingEngine:
    """Asserts SetActivePower = 1500 W, counts cycles, and answers each client write with an event."""

    def __init__(self, layout: Any, site: Any, classes: Mapping[str, Any], guard: Any) -> None:
        self.index = layout.by_node["ess0/SetActivePower"].slot - layout.owner("control").first
        self.count = 0
        self.healthy = True

    def step(self, image: Image, now: Now, writes: Sequence[Write], out: Output) -> None:
        self.count += 1
        out.records["value"][self.index] = 1500.0
        out.records["status"][self.index] = 0
        for write in writes:
            out.event("written", "a client wrote", {"slot": write.slot, "value": write.value, "user": write.user})

    def explain(self, out: Output) -> None:
        pass

    def imitate(self, other: HoldingEngine) -> None:
        pass

    def use(self, timetable: Any) -> None:
        pass

    def state(self) -> dict[str, Any]:
        return {"count": self.count}

    def restore(self, state: Mapping[str, Any], age_s: float = 0.0) -> None:
        self.count = state["count"]
