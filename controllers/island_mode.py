"""Leave the grid when it fails, feed the site, and return to it in step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

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
from server.core.image import Image
from server.core.units import Hertz, Percent, Second, Volt


class GridPhase(IntEnum):
    """Where the site stands."""

    OnGrid = 0
    Opening = 1
    Starting = 2
    Island = 3
    Synchronising = 4


class IslandMode(Controller):
    """Open the grid contactor when the grid is lost, start the island in order, shed loads by charge, and close in step.

        OnGrid         V or f outside the window, or the meter silent, for detect_s              -> Opening
        Opening        contactor open, all loads off; the forming storage told to form;  open confirmed or open_s  -> Starting
        Starting       one more of `start` every step_s, as long as the island has voltage       -> Island, when all are on
        Island         load i of n is off while SoC < shed_soc · (n - i) / n;  grid good for stable_s  -> Synchronising
        Synchronising  |ΔV| <= sync_v and |Δf| <= sync_hz of both sides                           -> OnGrid, contactor closed

    detect_s and one cycle are well under a second. The storage that forms the island follows its load, whatever its set-point
    says. The phase angle is the synchro-check relay's, which this does not replace. Source: IEEE 1547-2018, 8.2; IEEE
    1547.4-2011, 5; IEC TS 62898-1:2017.
    """

    priority = 5
    protects = True

    class Params(ControllerParams):
        meter: MeterRef = param("The grid side of the contactor.")
        ess: EssRef = param("The storage that forms the island.")
        contactor: ActuatorRef = param("The contactor to the grid; 1 is closed.")
        closed: ChannelRef | None = param("Feedback of the contactor; 1 is closed.", default=None)
        form: ActuatorRef | None = param("Tells the storage to form the grid.", default=None)
        island: MeterRef | None = param("The site's side of the contactor.", default=None)
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
        """phase: a GridPhase. here_s: time in it. bad_s, good_s: how long the grid is bad or good. on: steps done."""

        phase: int = GridPhase.OnGrid
        here_s: float = 0.0
        bad_s: float = 0.0
        good_s: float = 0.0
        on: int = 0

    class Outputs(ControllerOutputs):
        phase: GridPhase = shown("Where the site stands.")

    params: Params
    state: State

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p, state = self.params, self.state
        good = self._is_grid(p.meter, image)
        state.bad_s = 0.0 if good else state.bad_s + now.dt_s
        state.good_s = state.good_s + now.dt_s if good else 0.0
        state.here_s += now.dt_s
        before = state.phase
        state.phase = self._next(image)
        if state.phase != before:
            state.here_s = 0.0
        self.out.phase = phase = GridPhase(state.phase)
        on_grid = phase is GridPhase.OnGrid
        why = f"the site is in {phase.name}"
        yield p.contactor.set(on_grid, why=why)
        if p.form is not None:
            yield p.form.set(not on_grid, why=why)
        for i, step in enumerate(p.start):
            yield step.set(on_grid or i < state.on, why=why)
        if not on_grid:
            yield from self._shed(image, why)

    def _is_grid(self, meter: MeterRef, image: Image) -> bool:
        """The meter shows a grid: voltage of all phases and frequency in the window."""
        p, volts, hertz = self.params, meter.phase_voltages(image), meter.frequency(image)
        inside = bool(volts) and p.low_v * p.nominal_v <= min(volts) and max(volts) <= p.high_v * p.nominal_v
        return inside and (hertz is None or abs(hertz - p.nominal_hz) <= p.window_hz)

    def _next(self, image: Image) -> GridPhase:
        p, state = self.params, self.state
        phase = GridPhase(state.phase)
        if phase is GridPhase.OnGrid:
            return GridPhase.Opening if state.bad_s >= p.detect_s - 1e-9 else phase
        if phase is GridPhase.Opening:
            state.on = 0
            told = p.closed.is_on(image) if p.closed is not None else None
            return GridPhase.Starting if told is False or (p.closed is None and state.here_s >= p.open_s) else phase
        if phase is GridPhase.Starting:
            return self._start(image)
        if phase is GridPhase.Island:
            return GridPhase.Synchronising if state.good_s >= p.stable_s else phase
        if state.good_s == 0:
            return GridPhase.Island
        return GridPhase.OnGrid if self._in_step(image) else phase

    def _start(self, image: Image) -> GridPhase:
        p, state = self.params, self.state
        alive = p.ess.islanded(image) if p.island is None else self._is_grid(p.island, image)
        if (alive or state.on == 0) and state.here_s >= p.step_s * (state.on + 1):
            state.on = min(state.on + 1, len(p.start))
        return GridPhase.Island if alive and state.on == len(p.start) else GridPhase.Starting

    def _in_step(self, image: Image) -> bool:
        p = self.params
        if p.island is None:
            return True
        ours, theirs = p.island.voltage(image), p.meter.voltage(image)
        own_hz, grid_hz = p.island.frequency(image), p.meter.frequency(image)
        if ours is None or theirs is None or own_hz is None or grid_hz is None:
            return False
        return abs(ours - theirs) <= p.sync_v * p.nominal_v and abs(own_hz - grid_hz) <= p.sync_hz

    def _shed(self, image: Image, why: str) -> Iterable[Constraint]:
        p = self.params
        soc, count = p.ess.soc(image), len(p.loads)
        starting = self.state.phase in (GridPhase.Opening, GridPhase.Starting)
        for i, load in enumerate(p.loads):
            off = starting or soc is None or soc < p.shed_soc * (count - i) / count
            if load.switch is not None:
                yield Set(load.switch, not off, why=why)
            elif load.power is not None and off:
                yield Bound(load.power, at_most=0.0, why=why)
