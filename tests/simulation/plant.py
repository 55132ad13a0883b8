"""All devices of a site at one connection: what flows where, what happens when the public grid is gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from drivers.plant.demand import PHASE_SHARES, TAN_PHI

from .devices import NOTHING, Phased, PowerMeter, Simulated, Station, Storage
from .devices import Plant as PvPlant
from .world import World

FEEDER_SHARE: Final = 0.3
"""Part of the building that is behind the feeder, where there is one."""
FORMS_AFTER_S: Final = 1.0
"""A storage that can forms an island so long after the grid is lost."""
BLACK_S: Final = 60.0
"""An island that breaks down stays dark so long."""


class Site:
    """The physical site. former: the storage that can form an island."""

    def __init__(self, devices: Sequence[Simulated], world: World, former: str = "") -> None:
        self.devices, self.world = list(devices), world
        self.by_alias: Mapping[str, Simulated] = {d.alias: d for d in devices}
        self.storages = [d for d in devices if isinstance(d, Storage)]
        self.plants = [d for d in devices if isinstance(d, PvPlant)]
        self.stations = [d for d in devices if isinstance(d, Station)]
        self._meters = [d for d in devices if isinstance(d, PowerMeter)]
        self.grid = next(m for m in self._meters if not m.connected)
        self._feeders = [m for m in self._meters if m is not self.grid]
        self._former = next((s for s in self.storages if s.alias == former), None)
        self._lost_s = self._black_s = 0.0

    @property
    def island(self) -> bool:
        """A storage forms the grid."""
        return self._former is not None and self._former.forming

    def advance(self, step_s: float) -> None:
        """Go on by one step."""
        world = self.world
        world.advance(step_s)
        self._switch(step_s)
        for device in self.devices:
            if device is not self._former or not self._former.forming:
                device.advance(step_s, world)
        if self._former is not None and self._former.forming:
            self._feed(self._former, step_s)
        self._measure()

    def _switch(self, step_s: float) -> None:
        """Is there a grid, and whose."""
        world = self.world
        self._black_s = max(self._black_s - step_s, 0.0)
        self._lost_s = 0.0 if world.grid else self._lost_s + step_s
        if self._former is not None:
            ready = self._lost_s >= FORMS_AFTER_S and not self._black_s and self._former.allowed[1] > 0
            self._former.forming = ready
        world.supplied = world.grid or self.island

    def _feed(self, former: Storage, step_s: float) -> None:
        needed = self.world.load_w - sum(d.power for d in self.devices if d is not former)
        low, high = former.allowed
        if not low <= needed <= high:
            self._black_s, former.forming, self.world.supplied = BLACK_S, False, False
            needed = 0.0
        former.form(needed, step_s)
        former.advance(step_s, self.world)

    def _measure(self) -> None:
        world = self.world
        live = world.supplied
        building = world.load_w if live else 0.0
        below = building * FEEDER_SHARE if self._feeders else 0.0
        total, reactive = _building(building - below), (building - below) * TAN_PHI
        for feeder in self._feeders:
            inside = [d for d in self.devices if d.connected == feeder.alias]
            flow = _less(_building(below), inside)
            feeder.carry(flow, below * TAN_PHI - sum(d.reactive for d in inside), world, live=live)
            total = _sum(total, flow)
            reactive += feeder.flow_q
        own = [d for d in self.devices if not d.connected]
        total = _less(total, own)
        reactive -= sum(d.reactive for d in own)
        joined = world.grid
        self.grid.carry(total if joined else NOTHING, reactive if joined else 0.0, world, live=joined)


def _building(power: float) -> Phased:
    return tuple(power * share for share in PHASE_SHARES)  # type: ignore[return-value]


def _sum(a: Phased, b: Phased) -> Phased:
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2])


def _less(flow: Phased, devices: Sequence[Simulated]) -> Phased:
    x, y, z = flow
    for device in devices:
        a, b, c = device.supply
        x, y, z = x - a, y - b, z - c
    return (x, y, z)
