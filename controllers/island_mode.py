"""Leave the grid when it fails, feed the site, and return to it in step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Self

from server.core.constraint import Bound, Constraint, Set
from server.core.controller import (
    ActuatorRef,
    ChannelRef,
    Controller,
    ControllerOutputs,
    ControllerParams,
    EssRef,
    LoadRef,
    MeterRef,
    Now,
    param,
    shown,
)
from server.core.errors import ConfigError
from server.core.image import Image
from server.core.topology import Topology
from server.core.units import Hertz, Percent, Second, Volt

DEAD_V = 0.1
"""A side below this share of nominal voltage is dead."""
DEAD_S = 2.0
"""It is dead for so long before the contactor closes onto it."""
RELEASE_S = 10.0
"""A storage that forms its grid still, so long after it was told to end, is left to go on."""


class GridPhase(IntEnum):
    """Where the site stands."""

    OnGrid = 0
    Opening = 1
    Starting = 2
    Island = 3
    Synchronising = 4
    Returning = 5


class IslandMode(Controller):
    """Open the grid contactor when the grid is lost, start the island in order, shed loads by charge, and close in step.

        OnGrid         V or f outside the window, or the meter silent, for detect_s              -> Opening
        Opening        contactor open, all loads off; the forming storage told to form
                       open confirmed, or not known and open_s over                              -> Starting
                       still closed, and grid good for stable_s                                  -> OnGrid
        Starting       one more of `start` every step_s, as long as the island has voltage       -> Island, when all are on
                       dead, and grid good for stable_s                                          -> Returning
        Island         load i of n is off while SoC < shed_soc · (n - i) / n;  grid good for stable_s  -> Synchronising
        Synchronising  |ΔV| <= sync_v and |Δf| <= sync_hz of both sides                           -> OnGrid, contactor closed
                       dead, or without `island`                                                 -> Returning
        Returning      all loads off; the storage told to form no more;  dead for 2 s             -> OnGrid, contactor closed
                       grid bad, or not dead in 10 s, then not before stable_s again             -> Starting

    Dead is an `island` with less than 0.1 of nominal voltage; without `island`, a storage that says it is on the grid. What is
    not known is not dead. The contactor never closes onto an island that lives and is not measured: without `island` the site
    returns with an interruption, and needs `form` and a storage that tells GridMode. detect_s and one cycle are well under a
    second. The storage that forms the island follows its load, whatever its set-point says. The phase angle is the synchro-check
    relay's, which this does not replace, and which must let the contactor close onto a dead island. Source: IEEE 1547-2018, 8.2;
    IEEE 1547.4-2011, 5; IEC TS 62898-1:2017; IEEE C37.2-2008, device 25.
    """

    priority = 5
    protects = True

    class Params(ControllerParams):
        meter: MeterRef = param("The grid side of the contactor.")
        ess: EssRef = param("The storage that forms the island.")
        contactor: ActuatorRef = param("The contactor to the grid; 1 is closed.")
        closed: ChannelRef | None = param("Feedback of the contactor; 1 is closed.", default=None)
        form: ActuatorRef | None = param("Tells the storage to form the grid.", default=None)
        island: MeterRef | None = param("The site's side of the contactor; without it the return interrupts.", default=None)
        start: tuple[ActuatorRef, ...] = param("What is switched on one after the other, inverters before loads.", default=())
        loads: tuple[LoadRef, ...] = param("Loads to shed, the least important first.", default=())
        nominal_v: Volt = param("Nominal voltage, phase to neutral.", low=1, high=1e6, default=230.0)
        low_v: float = param("Lowest voltage of a grid [pu].", low=0, high=1, default=0.8)
        high_v: float = param("Highest voltage of a grid [pu].", low=1, high=2, default=1.15)
        nominal_hz: Hertz = param("Nominal frequency.", low=40, high=70, default=50.0)
        window_hz: Hertz = param("Deviation of a grid's frequency.", low=0.1, high=10, default=2.0)
        detect_s: Second = param("The grid is bad for so long.", low=0.05, high=10, default=0.2)
        open_s: Second = param("The contactor opens within this.", low=0, high=10, default=0.3)
        step_s: Second = param("Time between two steps of the start.", low=0, high=600, default=2.0)
        stable_s: Second = param("The grid is good for so long before the return.", low=1, high=3600, default=60.0)
        sync_v: float = param("Difference of voltage to close at [pu].", low=0.001, high=0.2, default=0.05)
        sync_hz: Hertz = param("Difference of frequency to close at.", low=0.01, high=1, default=0.1)
        shed_soc: Percent = param("All loads are shed below the least step of this.", low=0, high=100, default=50.0)

    @dataclass
    class State:
        """phase: a GridPhase. here_s: time in it. bad_s, good_s: how long the grid is bad or good. dead_s: how long the island is
        dead. on: steps done."""

        phase: int = GridPhase.OnGrid
        here_s: float = 0.0
        bad_s: float = 0.0
        good_s: float = 0.0
        dead_s: float = 0.0
        on: int = 0

    class Outputs(ControllerOutputs):
        phase: GridPhase = shown("Where the site stands.")

    params: Params
    state: State

    @classmethod
    def bind(cls, alias: str, settings: Mapping[str, Any], topology: Topology) -> Self:
        """As Controller.bind. ConfigError also where nothing would tell whether the contactor may close."""
        controller = super().bind(alias, settings, topology)
        p = controller.params
        if p.island is None and (p.form is None or not p.ess.tells_grid_mode):
            raise ConfigError("site.toml", f"{alias}.island", "is missing; only with form and a storage with GridMode it may be")
        return controller

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p, state = self.params, self.state
        good = self._is_grid(p.meter, image)
        state.bad_s = 0.0 if good else state.bad_s + now.dt_s
        state.good_s = state.good_s + now.dt_s if good else 0.0
        state.dead_s = state.dead_s + now.dt_s if self._is_dead(image) else 0.0
        state.here_s += now.dt_s
        before = state.phase
        state.phase = self._next(image)
        if state.phase != before:
            state.here_s = 0.0
        if state.phase in (GridPhase.Opening, GridPhase.Returning):
            state.on = 0
        self.out.phase = phase = GridPhase(state.phase)
        on_grid = phase is GridPhase.OnGrid
        why = f"the site is in {phase.name}"
        yield p.contactor.set(on_grid, why=why)
        if p.form is not None:
            yield p.form.set(phase not in (GridPhase.OnGrid, GridPhase.Returning), why=why)
        for i, step in enumerate(p.start):
            yield step.set(on_grid or i < state.on, why=why)
        if not on_grid:
            yield from self._shed(image, why)

    def _is_grid(self, meter: MeterRef, image: Image) -> bool:
        """The meter shows a grid: voltage of all phases and frequency in the window."""
        p, volts, hertz = self.params, meter.phase_voltages(image), meter.frequency(image)
        inside = bool(volts) and p.low_v * p.nominal_v <= min(volts) and max(volts) <= p.high_v * p.nominal_v
        return inside and (hertz is None or abs(hertz - p.nominal_hz) <= p.window_hz)

    def _is_dead(self, image: Image) -> bool:
        """The site's side is known to have no voltage."""
        p = self.params
        if p.island is None:
            return p.ess.on_grid(image)
        volts = p.island.phase_voltages(image)
        return bool(volts) and max(volts) < DEAD_V * p.nominal_v

    def _next(self, image: Image) -> GridPhase:
        p, state = self.params, self.state
        phase = GridPhase(state.phase)
        if phase is GridPhase.OnGrid:
            return GridPhase.Opening if state.bad_s >= p.detect_s - 1e-9 else phase
        if phase is GridPhase.Opening:
            return self._open(image)
        if phase is GridPhase.Starting:
            return self._start(image)
        if phase is GridPhase.Island:
            return GridPhase.Synchronising if self._is_stable else phase
        return self._synchronise(image) if phase is GridPhase.Synchronising else self._return()

    @property
    def _is_stable(self) -> bool:
        """The grid is good for long enough to return to it."""
        return self.state.good_s >= self.params.stable_s

    def _open(self, image: Image) -> GridPhase:
        p, state = self.params, self.state
        closed = p.closed.is_on(image) if p.closed is not None else None
        if closed is False or (closed is None and state.here_s >= p.open_s):
            return GridPhase.Starting
        return GridPhase.OnGrid if closed and self._is_stable else GridPhase.Opening

    def _start(self, image: Image) -> GridPhase:
        p, state = self.params, self.state
        if self._is_stable and state.dead_s >= DEAD_S:
            return GridPhase.Returning
        alive = p.ess.islanded(image) if p.island is None else self._is_grid(p.island, image)
        if (alive or state.on == 0) and state.here_s >= p.step_s * (state.on + 1):
            state.on = min(state.on + 1, len(p.start))
        return GridPhase.Island if alive and state.on == len(p.start) else GridPhase.Starting

    def _synchronise(self, image: Image) -> GridPhase:
        p, state = self.params, self.state
        if state.good_s == 0:
            return GridPhase.Island
        if p.island is None or state.dead_s >= DEAD_S:
            return GridPhase.Returning
        return GridPhase.OnGrid if self._in_step(p.island, image) else GridPhase.Synchronising

    def _return(self) -> GridPhase:
        state = self.state
        if state.good_s == 0:
            return GridPhase.Starting
        if min(state.dead_s, state.here_s) >= DEAD_S:
            return GridPhase.OnGrid
        if state.here_s < RELEASE_S:
            return GridPhase.Returning
        state.good_s = 0.0
        return GridPhase.Starting

    def _in_step(self, island: MeterRef, image: Image) -> bool:
        p = self.params
        ours, theirs = island.voltage(image), p.meter.voltage(image)
        own_hz, grid_hz = island.frequency(image), p.meter.frequency(image)
        if ours is None or theirs is None or own_hz is None or grid_hz is None:
            return False
        return abs(ours - theirs) <= p.sync_v * p.nominal_v and abs(own_hz - grid_hz) <= p.sync_hz

    def _shed(self, image: Image, why: str) -> Iterable[Constraint]:
        p = self.params
        soc, count = p.ess.soc(image), len(p.loads)
        waiting = self.state.phase in (GridPhase.Opening, GridPhase.Starting, GridPhase.Returning)
        for i, load in enumerate(p.loads):
            off = waiting or soc is None or soc < p.shed_soc * (count - i) / count
            if load.switch is not None:
                yield Set(load.switch, not off, why=why)
            elif load.power is not None and off:
                yield Bound(load.power, at_most=0.0, why=why)
