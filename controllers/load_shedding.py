"""Drop loads in order when the connection is overloaded or energy is short."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from server.core.constraint import Bound, Constraint, Set
from server.core.controller import Controller, ControllerOutputs, ControllerParams, EssRef, GridRef, LoadRef, Now, param, shown
from server.core.image import Image
from server.core.units import Percent, Second, Watt


class LoadShedding(Controller):
    """Switch loads off one by one while there is too little, and on again in reverse order.

        import > import_max_w for off_s, or off grid and SoC < soc_low       one more load is off
        import < import_max_w - margin_w for on_s, and SoC >= soc_low + 5 % off grid       one less

    The first in the list goes first and comes back last. While what decides is not known, nothing changes. Source: IEEE
    C37.117-2007, 5 (stages and priorities of load shedding).
    """

    priority = 50

    class Params(ControllerParams):
        loads: tuple[LoadRef, ...] = param("Loads, the least important first.")
        grid: GridRef | None = param("A connection that is protected.", default=None)
        ess: EssRef | None = param("The storage that feeds the island.", default=None)
        import_max_w: Watt = param("Import above this sheds.", low=0, high=1e9, default=1e9)
        margin_w: Watt = param("A load comes back with so much room.", low=0, high=1e9, default=1000.0)
        soc_low: Percent = param("Off grid, below this a load is shed.", low=0, high=100, default=30.0)
        off_s: Second = param("Overload lasts so long before a load is shed.", low=0, high=600, default=2.0)
        on_s: Second = param("Room lasts so long before a load comes back.", low=0, high=7200, default=120.0)

    @dataclass
    class State:
        """shed: loads that are off. waited_s: how long one more (positive) or one less (negative) is due."""

        shed: int = 0
        waited_s: float = 0.0

    class Outputs(ControllerOutputs):
        shed: int = shown("Loads that are off.", low=0)

    params: Params
    state: State

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p, state = self.params, self.state
        need = self._need(image)
        if need is not None:
            self._count(need, now.dt_s)
        self.out.shed = state.shed
        for i, load in enumerate(p.loads):
            why = "is shed" if i < state.shed else "is supplied"
            if load.switch is not None:
                yield Set(load.switch, i >= state.shed, why=f"{load.alias} {why}")
            elif load.power is not None and i < state.shed:
                yield Bound(load.power, at_most=0.0, why=why)

    def _count(self, need: int, dt_s: float) -> None:
        """Shed one more, or one less, when it has been due for long enough."""
        p, state = self.params, self.state
        state.waited_s = state.waited_s + dt_s if need > 0 else state.waited_s - dt_s if need < 0 else 0.0
        state.waited_s = max(state.waited_s, 0.0) if need > 0 else min(state.waited_s, 0.0)
        if state.waited_s >= p.off_s and need > 0:
            state.shed, state.waited_s = min(state.shed + 1, len(p.loads)), 0.0
        elif -state.waited_s >= p.on_s and need < 0:
            state.shed, state.waited_s = max(state.shed - 1, 0), 0.0

    def _need(self, image: Image) -> int | None:
        """1: one more is to be shed. -1: one may come back. 0: neither. None: not known."""
        overload, shortage = self._overload(image), self._shortage(image)
        if 1 in (overload, shortage):
            return 1
        if overload is None or shortage is None:
            return None
        return max(overload, shortage) if self.state.shed else 0

    def _overload(self, image: Image) -> int | None:
        """What the connection asks for, as `_need`."""
        p = self.params
        if p.grid is None:
            return -1
        power = p.grid.power(image)
        if power is None:
            return None
        return 1 if power > p.import_max_w else -1 if power < p.import_max_w - p.margin_w else 0

    def _shortage(self, image: Image) -> int | None:
        """What the energy of the island asks for, as `_need`."""
        p = self.params
        formed = False if p.ess is None else p.ess.forms_grid(image)
        if p.ess is None or formed is False:
            return -1
        soc = p.ess.soc(image)
        if formed is None or soc is None:
            return None
        return 1 if soc < p.soc_low else -1 if soc >= p.soc_low + 5 else 0
