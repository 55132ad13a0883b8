"""Re-wire PV between the grid and the island, break before make."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from server.core.blocks import switched_below
from server.core.constraint import Constraint
from server.core.controller import ActuatorRef, Controller, ControllerParams, EssRef, Now, param
from server.core.image import Image
from server.core.units import Percent, Second


class AcIsland(Controller):
    """Connect a PV plant to the grid on grid, and to the island off grid while the storage has room.

        on grid                              grid side
        off grid, SoC <= low                 island side      until SoC >= high, then neither
        every change                         both open for break_s

    A storage that is full cannot take what the plant gives, and an island has no other place for it. Source: AC-coupled
    stand-alone systems, M. Braun, R. Geipel, "Battery control in PV hybrid systems", EU PVSEC 2006.
    """

    priority = 5

    class Params(ControllerParams):
        ess: EssRef = param("The storage that forms the island.")
        grid_side: ActuatorRef = param("Contactor of the plant to the grid.")
        island_side: ActuatorRef = param("Contactor of the plant to the island.")
        low: Percent = param("Off grid, connect at and below this.", low=0, high=100, default=70.0)
        high: Percent = param("Off grid, disconnect at and above this.", low=0, high=100, above="low", default=85.0)
        break_s: Second = param("Both are open for so long.", low=0.1, high=600, default=10.0)

    @dataclass
    class State:
        """side: 1 grid, -1 island, 0 neither. open_s: how long both are open. room: the storage takes the plant's power."""

        side: int = 0
        open_s: float = 0.0
        room: bool = True

    params: Params
    state: State

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p, state = self.params, self.state
        soc = p.ess.soc(image)
        if soc is not None:
            state.room = switched_below(state.room, soc, on=p.low, off=p.high)
        wanted = 1 if not p.ess.islanded(image) else -1 if state.room and soc is not None else 0
        if state.side != wanted and state.side != 0:
            state.side, state.open_s = 0, 0.0
        elif state.side != wanted:
            state.open_s += now.dt_s
            state.side = wanted if state.open_s >= p.break_s else 0
        why = {1: "the plant is on the grid", -1: "the plant is on the island", 0: "the plant is disconnected"}[state.side]
        yield p.grid_side.set(state.side == 1, why=why)
        yield p.island_side.set(state.side == -1, why=why)
