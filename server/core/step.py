"""One step of the control engine: the frozen image and what clients wrote in, set-points with their reasons out.

    writes ─ commands ─┐
    image ── sensing ──┼─ state machine ─ controllers ─ solver ─ safety ─┬─ set-points
             sums ─────┘                                                 └─ sums, status        explain ─ texts

Pure but for its own memory: no clock, no I/O. Slots are looked up once, when the engine is built; a step moves plain numbers.
Texts are made by `explain`, when the set-points are on their way: a few are checked per cycle and written when they changed, at
most once a second each, at once when it is about a fault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any, Final

from .ask import TRIP
from .board import Board
from .channel import PHASES, Level
from .cluster import ClusterSums, clusters_of
from .commands import Commands, Write
from .constraint import ConstraintError, Setting
from .controller import Controller, Now
from .decision import NOBODY, Decision, Decisions, Step
from .errors import ConfigError
from .explain import site_text
from .follower import Followers
from .gather import Gather
from .image import Image
from .layout import CONTROL, DEVICE, Layout
from .machines import Machines
from .natures import Ess, ForeignControl, GridMode, RunState, SiteMode
from .output import Output
from .proposal import Proposal, Proposals
from .runner import Controllers, Guard, OverBudget, Runner, make_runners
from .safety import fuse_claims, island_claims, within_device, within_rating
from .schedule import Schedules
from .sensing import Sensing
from .site import SITE_ALIAS, SiteSettings
from .solver import Ability, Claim, Solution, Solver
from .state_machine import SITE, SiteSeen, follow, number_of
from .stop_inputs import StopInputs
from .succession import Generation, Successors, gone, line_up, retire, succeed
from .sums import Sums
from .texts import Texts
from .timetable import Timetable
from .topology import Topology
from .trips import EMERGENCY_STOP, SAFE_W, Trips
from .words import render

__all__ = ["Engine", "Guard", "Now", "Output", "OverBudget", "Write"]

CUT_W: Final = 1.0
"""A follower is not cut by less."""


class Engine:
    """The control engine of one site. What of the settings does not fit the layout is left out, and told in the first step."""

    def __init__(self, layout: Layout, site: SiteSettings, classes: Mapping[str, type[Controller]], guard: Guard) -> None:
        self.topology = topology = Topology(layout, site)
        self.mode = SiteMode.Init
        self.healthy = False
        """The last step decided on every output, and they passed the safety layers (REQ-SAFE-021)."""
        self.solution: Solution | None = None
        self._layout = layout
        self._first = layout.owner(CONTROL).first
        self._trips = Trips()
        self._stops = StopInputs(topology)
        self._runners = make_runners(topology, classes)
        self._controllers = Controllers(self._runners, guard)
        self._machines = Machines(topology)
        self._commands = Commands(topology, self._runners, self._trips, self._machines)
        self._proposals = Proposals()
        self._foreign = _foreign(self._runners)
        self._schedules = Schedules()
        self._followers = Followers(len(topology.units))
        self._sensing = Sensing(topology, self._followers)
        self._solver = Solver(topology)
        self._sums = Sums(layout, site)
        self._clusters = [ClusterSums(layout, o.alias) for o in clusters_of(layout)]
        self._notes = [
            *map(str, topology.problems),
            *map(str, self._machines.problems),
            *map(str, self._stops.problems),
            *self._solver.notes,
        ]
        self._fuse = self._make_fuse()
        self._island = [*island_claims(self.topology), *self._fuse]
        self._lost_s = 0.0
        self._told: tuple[Now, Ability, Solution, list[float | None], list[float | None]]
        self._settings: list[Setting] = []
        self._fresh = True
        self._gone: list[int] | None = None
        self._guard = guard
        self._board = Board(topology, self._runners, self._commands.plain_slots)
        self._texts = Texts(topology, self._runners)
        self._decisions = Decisions(topology, self._commands.plain_slots)
        devices = [o.alias for o in layout.objects if o.kind == DEVICE]
        self._grid_modes = Gather([c.slot for alias in devices if (c := layout.find(alias, Ess.GridMode))])

    def step(self, image: Image, now: Now, writes: Sequence[Write], out: Output) -> None:
        """Decide one cycle and leave everything in `out`."""
        self.healthy = False
        if self._fresh:
            self._start(image, now, out)
        if self._gone is not None:
            self._show_successors(now, out)
        self._commands.apply(writes, now.dt_s, out.event)
        self._follow_schedules(now, out)
        now = self._heard(self._commands.moment(now), out)
        if self._stops:
            self._hear_stops(image, now, out)
        if self._machines:
            self._machines.step(image, self._forbidden(), now, out)
        ability = self._sensing.read(image, self._machines.idle)
        self._change_mode(image, ability, now, out)
        claims = self._ask(image, now, out)
        solution = self._solve(ability, claims, now)
        active, reactive = self._setpoints(ability, solution, now)
        phases = self._phases(active, solution)
        self._board.write(out.records, now, active, reactive, phases, self._plain(), self._commands.params_changed)
        self._publish(image, now, out)
        self._told = now, ability, solution, active, reactive
        self.healthy = True

    def explain(self, out: Output) -> None:
        """Bring those explanations of the last step up to date that are due, and tell which decisions changed."""
        now, ability, solution, active, _ = self._told
        failing = [runner for runner, _ in self._controllers.news]
        self._texts.write(
            lambda: self._situation(ability, solution, active), self.mode, solution, self._settings, failing, now, out
        )
        self._decisions.tell(self._decided(), out)

    def decision(self, setpoint: str) -> Decision:
        """Who decided on a set-point in the last step, and why. KeyError for what is no set-point."""
        return self._decisions.of(setpoint, self._decided())

    def _decided(self) -> Step:
        now, ability, solution, active, reactive = self._told
        hand = {} if self._trips else self._commands.plain_wishes() | self._machines.wishes()
        reasons, settings = self._sensing.reasons, self._settings
        return Step(now, solution, active, reactive, ability.ceiling, reasons, settings, hand, self._forced())

    def _forced(self) -> tuple[str, str]:
        """Who decides while no controller is heard, and why."""
        if self._trips:
            return TRIP, self._trips.reason
        return NOBODY if _operates(self.mode) else (SITE_ALIAS, self._unheard())

    def _unheard(self) -> str:
        """Why no controller is heard in this mode."""
        awaited = self._stops.waiting or "the grid meter and at least one unit"
        reason = f"waiting for {awaited}" if self.mode is SiteMode.Init else "as wished"
        return f"{self.mode.name}: {reason}"

    def propose(self, proposal: Proposal, out: Output) -> None:
        """Hear what a client proposes from the next step on. What cannot be taken changes nothing and leaves an event."""
        data = {"controller": proposal.controller, "user": proposal.proposer}
        try:
            if news := self._proposals.take(proposal, self.topology, self._foreign):
                out.event("proposal", news, data)
        except ConstraintError as error:
            out.event("proposal_refused", f"{proposal.controller}: {error}", data)

    def _heard(self, now: Now, out: Output) -> Now:
        """Now with what clients propose in it."""
        if not self._proposals.held:
            return now
        for news in self._proposals.expire(now.monotonic_ns):
            out.event("proposal", news, {})
        return replace(now, proposals=self._proposals.held)

    def state(self) -> dict[str, Any]:
        """What must survive a restart, as JSON."""
        return {
            "commands": self._commands.state(),
            "controllers": {r.alias: r.state() for r in self._runners},
            "energies": self._sums.state(),
            "solver": self._solver.state(),
            "followers": self._followers.state(self.topology.labels),
            "machines": self._machines.state(),
            "trips": self._trips.state(),
        }

    def restore(self, state: Mapping[str, Any], age_s: float = 0.0) -> None:
        """Take up what `state` gave so many seconds ago. What cannot be taken up is left out, and told in the first step."""
        self._commands.restore(state.get("commands", {}), age_s)
        self._sums.restore(state.get("energies", {}))
        self._solver.restore(state.get("solver", {}))
        self._followers.restore(state.get("followers", {}), self.topology.labels, age_s)
        self._trips.restore(state.get("trips", {}))
        self._machines.restore(state.get("machines", {}))
        saved = state.get("controllers", {})
        for runner in self._runners:
            self._notes += runner.restore(saved.get(runner.alias, {}), age_s)

    def imitate(self, other: Engine) -> None:
        """Take over switches, parameters and wishes of another engine of the same site: what a rehearsal of its steps needs."""
        self._commands.imitate(other._commands)
        self._proposals.imitate(other._proposals)
        self._machines.imitate(other._machines)
        self._trips.imitate(other._trips)
        for runner, original in zip(self._runners, other._runners, strict=True):
            runner.imitate(original)

    @property
    def runners(self) -> Sequence[Runner]:
        """The controllers, in the order of arbitration."""
        return self._runners

    def prepare(self, generation: Generation) -> Successors:
        """Make other controllers ready, beside those that run. NeedsNewEngine when a running engine cannot take them over."""
        topology, runners = line_up(generation, self.topology, self._runners)
        commands = Commands(topology, runners, self._trips, self._machines)
        return Successors(
            topology,
            runners,
            Controllers(runners, self._guard),
            commands,
            Board(topology, runners, commands.plain_slots),
            Texts(topology, runners),
            generation.renewed,
            gone(self._layout, generation.layout),
        )

    def adopt(self, successors: Successors) -> None:
        """Go on with other controllers from the next step on. An error leaves everything as it was."""
        before = {r.alias: r for r in self._runners}
        for runner in successors.runners:
            if runner.alias in successors.renewed and runner.alias in before:
                succeed(runner, before[runner.alias])
        successors.commands.imitate(self._commands)
        self.topology, self._layout = successors.topology, successors.topology.layout
        self._runners, self._controllers, self._commands = successors.runners, successors.controllers, successors.commands
        self._foreign = _foreign(self._runners)
        self._board, self._texts = successors.board, successors.texts
        self._gone = [*(self._gone or ()), *successors.gone]
        self._schedules.look_again()

    def _show_successors(self, now: Now, out: Output) -> None:
        """Show what does not change by itself of other controllers, and end the trips of those that are gone."""
        retire(out.records, self._first, self._gone or ())
        self._gone = None
        self._trips.keep({EMERGENCY_STOP, *(r.alias for r in self._controllers.protectors)})
        self._board.start(out.records, now, self._runners)

    def use(self, timetable: Timetable) -> None:
        """Let other schedules switch controllers and set their parameters, from the next step on."""
        self._schedules.use(timetable)

    def _follow_schedules(self, now: Now, out: Output) -> None:
        """A person's writes of this cycle outrank what schedules set."""
        self._commands.params_changed += self._schedules.apply(self._runners, now, out, self._commands.touched)

    def _make_fuse(self) -> list[Claim]:
        try:
            return fuse_claims(self.topology)
        except ConfigError as error:
            self._notes.append(str(error))
            return []

    def _start(self, image: Image, now: Now, out: Output) -> None:
        """Show what does not change by itself, take up the ceilings in force, and tell what had to be left out."""
        self._fresh = False
        self._trips.keep({EMERGENCY_STOP, *(r.alias for r in self._controllers.protectors)})
        self._board.start(out.records, now, self._runners)
        self._sums.resume(image)
        for unit in self.topology.units:
            ceiling = image.value.item(unit.setpoint)
            if not unit.is_storage and isfinite(ceiling):
                self._followers.force(unit.index, ceiling)
        for note in self._notes:
            out.event("left_out", note, {})
        for runner in self._runners:
            if runner.failure:
                out.event("controller_fault", f"{runner.alias}: {runner.failure}", {"controller": runner.alias})

    def _change_mode(self, image: Image, ability: Ability, now: Now, out: Output) -> None:
        metered = not self.topology.site.grid_meter or ability.demand[0][0] is not None
        usable = metered and (any(self._sensing.usable) or not self.topology.units) and not self._stops.waiting
        self._lost_s = 0.0 if usable else self._lost_s + now.dt_s
        off_grid = float(GridMode.OffGrid) in self._grid_modes.read(image)
        seen = SiteSeen(self._commands.mode, bool(self._trips), usable, self._lost_s, off_grid)
        while True:
            mode, why = follow(SITE, self.mode, seen)
            if mode is self.mode:
                return
            cause = f"{why}: {self._trips.reason}" if mode is SiteMode.Fault else why
            out.event("mode", f"{self.mode.name} to {mode.name}: {cause}", {"mode": int(mode)})
            self._board.write_transition(out.records, now, number_of(self.mode, mode))
            self.mode = mode
            if not _operates(mode):
                self._solver.forget()

    def _hear_stops(self, image: Image, now: Now, out: Output) -> None:
        """REQ-SAFE-033: a digital input stops the site in this cycle, and keeps it stopped."""
        pressed = self._stops.step(image, now.dt_s)
        self._trips.hold(EMERGENCY_STOP, pressed)
        if pressed and self._trips.set(EMERGENCY_STOP, f"emergency stop: {pressed}"):
            out.event("trip", f"emergency stop: {pressed}", {})

    def _forbidden(self) -> str:
        """Why no device may run, or empty."""
        if EMERGENCY_STOP in self._trips:
            return "an emergency stop is active"
        return "the site is shut down" if self._commands.mode is SiteMode.Shutdown else ""

    def _ask(self, image: Image, now: Now, out: Output) -> list[Claim]:
        operates = _operates(self.mode)
        claims = self._controllers.run(image, now, only_protection=not operates)
        self._take_trips(out)
        if not operates:
            return []
        first = self._island if self.mode is SiteMode.Island else self._fuse
        return [*first, *claims]

    def _take_trips(self, out: Output) -> None:
        """A controller's trip holds while it is claimed; that of one that fails meanwhile holds on."""
        for runner in self._controllers.protectors:
            trip = self._controllers.trips.get(runner.alias)
            if trip is not None:
                reason = f"{runner.alias} {render(trip.why)}"
                if self._trips.set(runner.alias, reason):
                    out.event("trip", reason, {"controller": runner.alias})
            elif runner.run_state is not RunState.Fault and self._trips.reset(runner.alias):
                out.event("trip_over", f"the trip of {runner.alias} is over", {"controller": runner.alias})

    def _plain(self) -> dict[int, float]:
        """Values of set-points that are no power, by slot: what a hand set, then the first that asked. While a trip is active
        switches are off and of the others nothing is asserted, apart from what a protecting controller asks for."""
        tripped = bool(self._trips)
        held = {} if tripped else self._commands.plain_wishes() | self._machines.wishes()
        self._settings = []
        for runner, wish in self._controllers.wishes:
            slot = wish.actuator.slot
            if not tripped or runner.cls.protects:
                held.setdefault(slot, wish.value)
            elif wish.actuator.switches:
                held.setdefault(slot, SAFE_W)
            self._settings.append(Setting(runner.alias, wish, held.get(slot)))
        if self._machines:
            self._machines.ask(held)
        return held

    def _solve(self, ability: Ability, claims: Sequence[Claim], now: Now) -> Solution:
        self.solution = self._solver.solve(ability, claims, now.dt_s)
        return self.solution

    def _setpoints(self, ability: Ability, solution: Solution, now: Now) -> tuple[list[float | None], list[float | None]]:
        """Set-points of all units in their own sign, past the safety layers; None where none is asserted.

        REQ-SAFE-031: a trip outranks all. REQ-SAFE-012: nothing is asserted in Init and Shutdown.
        """
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
            elif i in self._machines.idle:
                active.append(self._followers.force(i, SAFE_W))
                reactive.append(None)
            else:
                active.append(self._ceiling(ability, solution, i, now.dt_s) if self._sensing.usable[i] else None)
                reactive.append(None)
        return active, reactive

    def _phases(self, active: Sequence[float | None], solution: Solution) -> list[float | None]:
        """Set-points of L1, L2, L3 of the asymmetric units: as they were decided, or alike; together the unit's set-point."""
        found: list[float | None] = []
        for unit in self.topology.units:
            if not unit.phase_setpoints:
                continue
            power, decided = active[unit.index], solution.phases.get(unit.index)
            if power is None:
                found += [None] * len(PHASES)
            else:
                parts = decided or (0.0,) * len(PHASES)
                rest = (power - sum(parts)) / len(PHASES)
                found += [part + rest for part in parts]
        return found

    def _ceiling(self, ability: Ability, solution: Solution, i: int, dt_s: float) -> float:
        """The ceiling of a follower: what it was cut to, else what it was granted by name, else its rating."""
        supplied, potential = abs(solution.allowed[i]), max(-ability.low[i], ability.high[i])
        cut = supplied < potential - CUT_W
        wanted = supplied if cut else solution.ceiling[i]
        least = ability.minimum[i]
        starved = supplied < least <= solution.ceiling[i] and cut
        moved = self._followers.move(i, wanted, ability.ceiling[i], least, dt_s, cut=cut, starved=starved)
        return within_rating(moved, ability.ceiling[i])

    def _publish(self, image: Image, now: Now, out: Output) -> None:
        sums = self._sums.compute(image, now.dt_s)
        worst = max(self._sums.worst_device(image), self._worst_here())
        for cluster in self._clusters:
            self._board.write_values(out.records, now, cluster.compute(image))
        self._board.write_site(out.records, now, sums, self.mode, worst, self._trips, self._commands.override_s)
        for runner, cause in self._controllers.news:
            text = f"{runner.alias}: {cause}" if cause else f"{runner.alias} works again"
            out.event("controller_fault" if cause else "controller_recovered", text, {"controller": runner.alias})

    def _worst_here(self) -> Level:
        if self._trips or self._machines.failed:
            return Level.Fault
        failed = any(r.run_state is RunState.Fault for r in self._runners)
        return Level.Warning if failed else Level.Ok

    def _situation(self, ability: Ability, solution: Solution, active: Sequence[float | None]) -> str:
        """The site's explanation of this moment."""
        if self._trips:
            return f"All outputs are at safe values: {self._trips.reason}"
        if not _operates(self.mode):
            return self._unheard()
        shown = [0.0 if a is None else a for a in active]
        text = site_text(solution, self.topology, shown, ability.ceiling, self._sensing.reasons)
        return f"{text}; {self._solver.unsolved}" if self._solver.unsolved else text


def _foreign(runners: Sequence[Runner]) -> dict[str, int]:
    """Priority of each foreign controller."""
    return {r.alias: r.rank.priority for r in runners if issubclass(r.cls.nature, ForeignControl)}


def _operates(mode: SiteMode) -> bool:
    """Controllers are heard in this mode."""
    return mode in (SiteMode.Run, SiteMode.Island)
