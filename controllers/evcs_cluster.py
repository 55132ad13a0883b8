"""Share the power of a connection among charging stations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from server.core.constraint import Constraint
from server.core.controller import Controller, ControllerOutputs, ControllerParams, EssRef, EvcsRef, GridRef, Now, param, shown
from server.core.image import Image
from server.core.natures import EvcsStatus
from server.core.units import Ampere, Second, Volt, Watt

WAITING = frozenset({EvcsStatus.Preparing, EvcsStatus.Charging, EvcsStatus.SuspendedEVSE})
"""Connector states in which a vehicle wants power."""
FLOWS_A = 1.0
"""A phase with more current than this is in use [A]."""


class Sharing(IntEnum):
    """How what is left above the least currents is shared."""

    Fair = 0
    ByPriority = 1


class Car(NamedTuple):
    """A vehicle that wants power. place: its station. phases: those it loads. most_w: highest power on them, most_a: in whole
    amperes on each."""

    place: int
    phases: tuple[int, ...]
    most_a: int
    most_w: float


class EvcsCluster(Controller):
    """Give each vehicle a current so that the connection and each of its phases keep their limits.

        room_k     = phase_max_a - (I_grid,k - sum of the cars' currents on phase k) + P_give / 3V
        room       = min(import_max_w - P_grid + sum of the cars' powers + P_give, cars_max_w) / V
        P_give     = what a storage named in `ess` may still give more than it does: it stops charging, and discharges, for cars
        allotment  first min_a for each car, running ones first, as long as there is room; then ampere by ampere, to all alike
                   (Fair) or to the first in the list until it has enough (ByPriority);   P_car <= V · phases · current

    A car that gets less than min_a is paused, since it cannot charge with less (IEC 61851-1). One that runs is paused only when
    there is no room even for that; it starts again after pause_s at the earliest, and only one starts every start_s. While the
    current of a phase is not known, there is no room on any. Source: IEC 61851-1:2017, table A.8 (6 A); max-min fairness, D.
    Bertsekas, R. Gallager, "Data Networks", 1992, section 6.5.2.
    """

    priority = 40

    class Params(ControllerParams):
        stations: tuple[EvcsRef, ...] = param("The stations, most important first.")
        grid: GridRef = param("The connection that they share.")
        import_max_w: Watt = param("Highest import of the connection.", low=0, high=1e9)
        phase_max_a: Ampere = param("Highest current of a phase; 0 for no limit.", low=0, high=10000, default=0.0)
        cars_max_w: Watt = param("Highest power of all cars together; 1 GW is no limit.", low=0, high=1e9, default=1e9)
        ess: EssRef | None = param("A storage that helps the cars.", default=None)
        sharing: Sharing = param("How power is shared.", default=Sharing.Fair)
        min_a: Ampere = param("Least current of a car that charges.", low=6, high=32, default=6.0)
        nominal_v: Volt = param("Voltage, phase to neutral.", low=100, high=400, default=230.0)
        start_s: Second = param("At most one car starts in this time.", low=0, high=600, default=5.0)
        pause_s: Second = param("A car that was paused does not start sooner.", low=0, high=3600, default=60.0)

    @dataclass
    class State:
        """running: by station, whether its car charges. here_s: for how long that is so. started_s: time since the last start."""

        running: list[bool] = field(default_factory=list)
        here_s: list[float] = field(default_factory=list)
        started_s: float = 1e9

    class Outputs(ControllerOutputs):
        room_w: Watt = shown("Power that three-phase cars may draw in all.", low=0)
        charging: int = shown("Cars that may charge.", low=0)
        waiting: int = shown("Cars that wait for power.", low=0)

    params: Params
    state: State

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p, state = self.params, self.state
        if len(state.running) != len(p.stations):
            state.running, state.here_s = [False] * len(p.stations), [1e9] * len(p.stations)
        state.started_s += now.dt_s
        state.here_s = [s + now.dt_s for s in state.here_s]
        rooms, total = self._rooms(image)
        self.out.room_w = min(total, 3 * min(rooms)) * p.nominal_v
        cars = [self._car(i, image) for i, s in enumerate(p.stations) if s.status(image) in WAITING]
        amperes = self._allot(cars, rooms, total)
        self.out.charging, self.out.waiting = sum(a > 0 for a in amperes.values()), sum(a == 0 for a in amperes.values())
        for i in range(len(p.stations)):
            running = amperes.get(i, 0) > 0
            if running is not state.running[i]:
                state.running[i], state.here_s[i] = running, 0.0
                state.started_s = 0.0 if running else state.started_s
        for car in cars:
            enough = amperes[car.place] >= car.most_a
            limit = car.most_w if enough else amperes[car.place] * p.nominal_v * len(car.phases)
            why = ("shares the connection, {:.0f} A", amperes[car.place])
            yield p.stations[car.place].draw(limit, why=why)

    def _car(self, index: int, image: Image) -> Car:
        """What is known of a car: the phases with current, or as many as the station says; a single unknown phase may be any."""
        station, p = self.params.stations[index], self.params
        flowing = tuple(k for k, a in enumerate(station.currents(image)) if a > FLOWS_A)
        phases = flowing or ((0, 1, 2) if station.phases(image) >= 3 else (0,))
        most_w = station.limits(image)[1] or 3 * 32 * p.nominal_v
        most_a = most_w / p.nominal_v / max(station.phases(image), 1)
        return Car(index, phases, int(most_a), most_a * p.nominal_v * len(phases))

    def _rooms(self, image: Image) -> tuple[list[float], float]:
        """Current that all cars may draw on each phase, and on all together [A]."""
        p = self.params
        power = p.grid.power(image)
        drawn = sum(s.charge_power(image) or 0.0 for s in p.stations)
        given = self._given(image)
        total = 0.0 if power is None else min(max(p.import_max_w - power + drawn + given, 0.0), p.cars_max_w) / p.nominal_v
        grid = p.grid.phase_currents(image)
        if not p.phase_max_a:
            return [1e9] * 3, total
        if len(grid) != 3:
            return [0.0] * 3, total
        own = [sum(values) for values in zip(*(s.currents(image) or [0.0] * 3 for s in p.stations), strict=True)]
        each = given / 3 / p.nominal_v
        return [max(p.phase_max_a - (g - c) + each, 0.0) for g, c in zip(grid, own, strict=True)], total

    def _given(self, image: Image) -> float:
        """What the storage may still give more than it does [W]."""
        ess = self.params.ess
        power = None if ess is None else ess.active_power(image)
        return 0.0 if ess is None or power is None else ess.allowed(image)[1] - power

    def _allot(self, cars: Sequence[Car], rooms: list[float], total: float) -> dict[int, int]:
        """Current of each car [A]; 0 for one that waits."""
        p, state = self.params, self.state
        least = round(p.min_a)
        given = {car.place: 0 for car in cars}
        budget = _Budget(list(rooms), total)
        may_start = state.started_s >= p.start_s
        for car in sorted(cars, key=lambda c: (not state.running[c.place], c.place)):
            running = state.running[car.place]
            rested = may_start and state.here_s[car.place] >= p.pause_s
            if (running or rested) and budget.take(car, least):
                given[car.place] = least
                may_start = may_start and (running or p.start_s == 0)
        charging = [car for car in cars if given[car.place]]
        growing = list(charging)
        while growing:
            for car in growing[:1] if p.sharing is Sharing.ByPriority else list(growing):
                if given[car.place] < car.most_a and budget.take(car, 1):
                    given[car.place] += 1
                else:
                    growing.remove(car)
        return given


class _Budget:
    """What is left of each phase and of all together [A]."""

    def __init__(self, rooms: list[float], total: float) -> None:
        self.rooms, self.total = rooms, total

    def take(self, car: Car, amperes: int) -> bool:
        """Take a current on a car's phases, if there is room."""
        if self.total < amperes * len(car.phases) - 1e-9 or any(self.rooms[k] < amperes - 1e-9 for k in car.phases):
            return False
        self.total -= amperes * len(car.phases)
        for k in car.phases:
            self.rooms[k] -= amperes
        return True
