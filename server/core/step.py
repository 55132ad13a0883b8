"""One step of the control engine: the frozen image and what clients wrote in, set-points with their reasons out.

    writes ─ commands ─┐
    image ── sensing ──┼─ state machine ─ controllers ─ solver ─ safety ─┬─ set-points
             sums ─────┘                                                 └─ sums, status, explanations

Pure but for its own memory: no clock, no I/O. Slots are looked up once, when the engine is built; a step moves plain numbers.
Texts are checked a few per cycle and written when they changed, at most once a second each, at once when it is about a fault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from .channel import Level
from .commands import Commands, Write
from .controller import Controller, Now
from .explain import controller_text, site_text
from .follower import Followers
from .image import Image
from .layout import CONTROL, DEVICE, Layout
from .natures import Ess, GridMode, RunState, Site, SiteMode
from .runner import Controllers, Guard, OverBudget, make_runners
from .safety import fuse_claims, within_device, within_rating
from .sensing import Sensing
from .site import SITE_ALIAS, SiteSettings
from .solver import Ability, Claim, Solution, Solver
from .state_machine import SITE, SiteSeen, follow
from .status import BAD_NO_DATA, GOOD
from .sums import Sums
from .topology import Topology
from .trips import SAFE_W, Trips

__all__ = ["Engine", "Guard", "Now", "Output", "OverBudget", "Write"]

TEXTS_PER_CYCLE: Final = 8
"""Controllers whose explanation is looked at in one cycle, in turn."""

TEXT_EVERY_NS: Final = 1_000_000_000
"""An explanation changes at most so often, unless who decides changed."""


class Output(Protocol):
    """Where a step leaves its results."""

    @property
    def records(self) -> NDArray[Any]:
        """The staged SLOT records of control's block; index = slot - first."""
        ...

    def set_text(self, slot: int, text: str) -> None:
        """Set a string channel."""
        ...

    def event(self, kind: str, text: str, data: dict[str, Any]) -> None:
        """Something to be journaled."""
        ...


class Engine:
    """The control engine of one site. ConfigError when the layout and the settings do not fit together."""

    def __init__(self, layout: Layout, site: SiteSettings, classes: Mapping[str, type[Controller]], guard: Guard) -> None:
        self.topology = topology = Topology(layout, site)
        self.mode = SiteMode.Init
        self.healthy = False
        """REQ-SAFE-003: the last step wrote all its outputs and they passed the safety layers."""
        self.solution: Solution | None = None
        self._layout = layout
        self._first = layout.owner(CONTROL).first
        self._trips = Trips()
        self._runners = make_runners(topology, classes)
        self._controllers = Controllers(self._runners, guard)
        self._commands = Commands(topology, self._runners, self._trips)
        self._followers = Followers(len(topology.units))
        self._sensing = Sensing(topology, self._followers)
        self._solver = Solver(topology, site.distribution)
        self._sums = Sums(layout, site)
        self._fuse = fuse_claims(topology)
        self._lost_s = 0.0
        self._notes: list[str] = []
        self._fresh = True
        self._board = _Board(topology, self._runners, self._commands.plain_slots)
        self._texts = _Texts(topology, self._runners)
        self._grid_modes = [c.slot for o in layout.objects if o.kind == DEVICE and (c := layout.find(o.alias, Ess.GridMode))]

    def step(self, image: Image, now: Now, writes: Sequence[Write], out: Output) -> None:
        """Decide one cycle and leave everything in `out`."""
        self.healthy = False
        if self._fresh:
            self._start(now, out)
        self._commands.apply(writes, now.dt_s, out.event)
        now = self._commands.moment(now)
        ability = self._sensing.read(image)
        self._change_mode(image, ability, now, out)
        claims = self._ask(image, now)
        solution = self._solve(ability, claims, now)
        active, reactive = self._setpoints(ability, solution, now)
        self._board.write(out.records, now, active, reactive, self._commands)
        self._publish(image, ability, solution, active, now, out)
        self.healthy = True

    def state(self) -> dict[str, Any]:
        """What must survive a restart, as JSON."""
        return {
            "commands": self._commands.state(),
            "controllers": {r.alias: r.state() for r in self._runners},
            "energies": self._sums.state(),
            "trips": self._trips.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave. What cannot be taken up is left out, and told in the first step."""
        self._commands.restore(state.get("commands", {}), self._layout.by_node)
        self._sums.restore(state.get("energies", {}))
        self._trips.restore(state.get("trips", {}))
        saved = state.get("controllers", {})
        for runner in self._runners:
            self._notes += runner.restore(saved.get(runner.alias, {}))

    def _start(self, now: Now, out: Output) -> None:
        """Show what does not change by itself, and tell what could not be restored."""
        self._fresh = False
        self._board.start(out.records, now, self._runners)
        for note in self._notes:
            out.event("not_restored", note, {})
        for runner in self._runners:
            if runner.failure:
                out.event("controller_fault", f"{runner.alias}: {runner.failure}", {"controller": runner.alias})

    def _change_mode(self, image: Image, ability: Ability, now: Now, out: Output) -> None:
        metered = not self.topology.site.grid_meter or ability.demand[0][0] is not None
        usable = metered and any(self._sensing.usable)
        self._lost_s = 0.0 if usable else self._lost_s + now.dt_s
        off_grid = any(image.get(slot) == GridMode.OffGrid for slot in self._grid_modes)
        seen = SiteSeen(self._commands.mode, bool(self._trips), usable, self._lost_s, off_grid)
        while True:
            mode, why = follow(SITE, self.mode, seen)
            if mode is self.mode:
                return
            cause = f"{why}: {self._trips.reason}" if mode is SiteMode.Fault else why
            out.event("mode", f"{self.mode.name} to {mode.name}: {cause}", {"mode": int(mode)})
            self.mode = mode
            if not _operates(mode):
                self._solver.forget()

    def _ask(self, image: Image, now: Now) -> list[Claim]:
        if not _operates(self.mode):
            self._controllers.rest()
            return []
        return [*self._fuse, *self._controllers.run(image, now)]

    def _solve(self, ability: Ability, claims: Sequence[Claim], now: Now) -> Solution:
        self.solution = self._solver.solve(ability, claims, now.dt_s)
        return self.solution

    def _setpoints(self, ability: Ability, solution: Solution, now: Now) -> tuple[list[float | None], list[float | None]]:
        """Set-points of all units in their own sign, past the safety layers; None where none is asserted."""
        units = self.topology.units
        if self._trips:
            for unit in units:
                if not unit.is_storage:
                    self._followers.force(unit.index, SAFE_W)
            return [SAFE_W] * len(units), [SAFE_W] * len(units)
        if self.mode in (SiteMode.Init, SiteMode.Shutdown):
            return [None] * len(units), [None] * len(units)
        active: list[float | None] = []
        reactive: list[float | None] = []
        for unit in units:
            i = unit.index
            if unit.is_storage:
                p, q = within_device(
                    solution.active[i], solution.reactive[i], ability.low[i], ability.high[i], ability.apparent[i]
                )
                active.append(p)
                reactive.append(q)
            else:
                active.append(self._ceiling(ability, solution, i, now.dt_s) if self._sensing.usable[i] else None)
                reactive.append(None)
        return active, reactive

    def _ceiling(self, ability: Ability, solution: Solution, i: int, dt_s: float) -> float:
        """The ceiling of a follower: what it was cut to, else what it was granted by name, else its rating."""
        supplied, potential = abs(solution.active[i]), max(-ability.low[i], ability.high[i])
        wanted = supplied if supplied < potential - 1.0 else solution.ceiling[i]
        moved = self._followers.move(i, wanted, ability.ceiling[i], ability.minimum[i], dt_s)
        return within_rating(moved, ability.ceiling[i])

    def _publish(
        self, image: Image, ability: Ability, solution: Solution, active: list[float | None], now: Now, out: Output
    ) -> None:
        sums = self._sums.compute(image, now.dt_s)
        worst = max(self._sums.worst_device(image), self._worst_here())
        self._board.write_site(out.records, now, sums, self.mode, worst, self._trips, self._commands.override_s)
        for runner, cause in self._controllers.news:
            text = f"{runner.alias}: {cause}" if cause else f"{runner.alias} works again"
            out.event("controller_fault" if cause else "controller_recovered", text, {"controller": runner.alias})
        self._texts.write(self, ability, solution, active, now, out)

    def _worst_here(self) -> Level:
        if self._trips:
            return Level.Fault
        failed = any(r.run_state is RunState.Fault for r in self._runners)
        return Level.Warning if failed else Level.Ok

    def situation(self, ability: Ability, solution: Solution, active: Sequence[float | None]) -> str:
        """The site's explanation of this moment."""
        if self._trips:
            return f"All outputs are at safe values: {self._trips.reason}"
        if not _operates(self.mode):
            reason = "waiting for the grid meter and at least one unit" if self.mode is SiteMode.Init else "as wished"
            return f"{self.mode.name}: {reason}"
        shown = [0.0 if a is None else a for a in active]
        return site_text(solution, self.topology, shown, ability.ceiling, self._sensing.reasons)


def _operates(mode: SiteMode) -> bool:
    """Controllers are heard in this mode."""
    return mode in (SiteMode.Run, SiteMode.Island)


class _Board:
    """Control's slots: where each result goes, resolved once. Values are staged in lists and written column by column."""

    def __init__(self, topology: Topology, runners: Sequence[Any], plain: Sequence[int]) -> None:
        layout = topology.layout
        first = layout.owner(CONTROL).first
        self._first = first
        self._runners = list(runners)
        self._units = [(u.setpoint - first, u.setpoint_q - first if u.setpoint_q >= 0 else -1) for u in topology.units]
        slots = [p for p, _ in self._units] + [q for _, q in self._units if q >= 0]
        self._setpoints = np.array(slots, np.int64)
        self._plain = np.array([s - first for s in plain], np.int64)
        self._plain_slots = list(plain)
        self._site = {n: topology.slot(SITE_ALIAS, s) - first for n, s in Site.channels().items() if s is not Site.Explanation}
        self._site_index = np.array(list(self._site.values()), np.int64)
        self._runs = np.array([r.slots["RunState"] - first for r in runners], np.int64)
        self._durations = np.array([r.slots["LastRunDuration"] - first for r in runners], np.int64)
        self._errors = np.array([r.slots["ErrorCount"] - first for r in runners], np.int64)

    def start(self, records: NDArray[Any], now: Now, runners: Sequence[Any]) -> None:
        """Write what only writes of clients change."""
        for runner in runners:
            values = {runner.slots["Enabled"]: float(runner.enabled), runner.slots["Priority"]: float(runner.rank.priority)}
            for slot, value in (values | runner.param_values()).items():
                self._put(records, slot - self._first, value, now)

    def _put(self, records: NDArray[Any], index: int, value: float, now: Now) -> None:
        records[index] = (value, now.time, now.monotonic_ns, GOOD, records[index]["changed"])

    def write(
        self, records: NDArray[Any], now: Now, active: list[float | None], reactive: list[float | None], commands: Commands
    ) -> None:
        """Set-points, hand-written plain set-points, controllers' figures, and parameters that were just changed."""
        reactive = [q for q, (_, slot) in zip(reactive, self._units, strict=True) if slot >= 0]
        _column(records, self._setpoints, [*active, *reactive], now)
        if len(self._plain):
            held = commands.plain_wishes()
            _column(records, self._plain, [held.get(s) for s in self._plain_slots], now)
        if self._runners:
            _column(records, self._runs, [float(r.run_state) for r in self._runners], now)
            _column(records, self._durations, [r.duration_ns * 1e-9 for r in self._runners], now)
            _column(records, self._errors, [float(r.errors) for r in self._runners], now)
        for slot, value in commands.params_changed:
            self._put(records, slot - self._first, value, now)

    def write_site(
        self,
        records: NDArray[Any],
        now: Now,
        sums: Mapping[str, Any],
        mode: SiteMode,
        worst: float,
        trips: Trips,
        override_s: float,
    ) -> None:
        """The site's channels."""
        own = {"Mode": mode, "WorstState": worst, "EmergencyStop": bool(trips), "OverrideRemaining": override_s}
        pairs = [sums[n] if n in sums else (float(own[n]), GOOD) for n in self._site]
        index = self._site_index
        records["value"][index] = [number for number, _ in pairs]
        records["status"][index] = [status for _, status in pairs]
        records["source"][index] = now.time
        records["arrival"][index] = now.monotonic_ns


def _column(records: NDArray[Any], index: NDArray[np.int64], values: Sequence[float | None], now: Now) -> None:
    """Write one value per slot; None keeps the value and asserts nothing."""
    if None in values:
        known = np.array([v is not None for v in values])
        records["status"][index[~known]] = BAD_NO_DATA
        index, values = index[known], [v for v in values if v is not None]
    records["value"][index] = values
    records["status"][index] = GOOD
    records["source"][index] = now.time
    records["arrival"][index] = now.monotonic_ns


class _Texts:
    """Explanations of the site and of its controllers, looked at in turn."""

    def __init__(self, topology: Topology, runners: Sequence[Any]) -> None:
        self._runners = list(runners)
        self._site_slot = topology.slot(SITE_ALIAS, Site.Explanation)
        self._turn = 0
        self._said: dict[int, tuple[str, int, str]] = {}
        """By slot: the text, when it was written, and a mark of who decided then."""

    def write(
        self, engine: Engine, ability: Ability, solution: Solution, active: Sequence[float | None], now: Now, out: Output
    ) -> None:
        """Bring texts up to date that are due."""
        mark = f"{engine.mode}"
        if self._due(self._site_slot, mark, now):
            self._say(self._site_slot, engine.situation(ability, solution, active), mark, now, out)
        grants: dict[str, list[Any]] | None = None
        for runner in self._next():
            mark = f"{runner.run_state}{runner.failure}{runner.enabled}"
            if self._due(runner.explanation_slot, mark, now):
                if grants is None:
                    grants = {}
                    for grant in solution.grants:
                        grants.setdefault(grant.claim.who, []).append(grant)
                self._say(runner.explanation_slot, _runner_text(runner, grants.get(runner.alias, [])), mark, now, out)

    def _next(self) -> list[Any]:
        count = min(TEXTS_PER_CYCLE, len(self._runners))
        chosen = [self._runners[(self._turn + i) % len(self._runners)] for i in range(count)]
        self._turn = (self._turn + count) % max(len(self._runners), 1)
        return chosen

    def _due(self, slot: int, mark: str, now: Now) -> bool:
        said = self._said.get(slot)
        return slot >= 0 and (said is None or said[2] != mark or now.monotonic_ns - said[1] >= TEXT_EVERY_NS)

    def _say(self, slot: int, text: str, mark: str, now: Now, out: Output) -> None:
        said = self._said.get(slot)
        if said is None or said[0] != text:
            out.set_text(slot, text)
        self._said[slot] = (text, now.monotonic_ns, mark)


def _runner_text(runner: Any, grants: Sequence[Any]) -> str:
    if runner.failure:
        return runner.failure if runner.controller is None else f"failed: {runner.failure}"
    return controller_text(grants) if runner.enabled else "disabled"
