"""A recorded period played again through today's controllers: what would they have decided?

    history ─ Recording ─ changes ─ image ─ Engine.step ─ set-points ─┐
                                                                      ├─ Comparison: same, or how much else
    history ─ Recording ─ set-points and sums as they were ───────────┘

Problem: a parameter is to be changed, or a controller was; what difference does that make on a day that has been?

Idea: everything the engine saw is in the history, so a fresh engine can see it again, in virtual time. It starts from the state
that the journal has of that time, and hears what clients wrote then. The first minutes only settle it and are not compared.

The loop is open: the plant does what it did. A battery that is told something else is not fuller afterwards; demand is told by
the meter and by what units really did, so it is right all the same, and a difference is that of one decision, not of all before.

The record tells when something changed to within `resolution_s`; a set-point is the same when it is within the tolerance of what
was recorded in that time around it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from server.core.commands import TOGETHER, Write
from server.core.controller import Now, check, parameters
from server.core.decision import Decision
from server.core.document import Document
from server.core.errors import ConfigError
from server.core.image import Image, blank_records
from server.core.layout import CONTROL, CONTROLLER, SITE, Channel, Layout
from server.core.natures import ControllerStatus
from server.core.rehearsal import Nowhere
from server.core.runner import NoAlarm
from server.core.status import BAD, GOOD
from server.core.step import Engine
from server.core.ticks import TICKS, to_datetime
from server.core.units import WATT_HOUR

from .discovery import load_controller
from .journaled import Written
from .plan import SitePlan
from .recorded_documents import REMADE_EACH, Arrived, Timetables
from .recording import Changes, Recording, Times

STEPS_AT_ONCE: Final = 20_000
WARM_UP_S: Final = 300.0
WARM_UP_STEPS: Final = 30
FIRST_DIFFERENCES: Final = 3
"""Differences of each set-point that are told with both explanations."""
MONOTONIC_NS: Final = 10**15
"""Where virtual time begins on the monotonic clock, so that nothing is before it."""
_NOTABLE: Final = ("left_out", "controller_fault", "trip", "write_refused")
NOTES_MAX: Final = 20

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Period:
    """What is played. start, end: ticks, steps with start <= time < end are compared. step_s: from step to step.
    warm_up_s: played before, and not compared. resolution_s: how finely the history tells values. tolerance: [W, var, ...]."""

    start: int
    end: int
    step_s: float
    warm_up_s: float
    resolution_s: float
    tolerance: float

    @property
    def step(self) -> int:
        """Ticks from step to step."""
        return round(self.step_s * TICKS)

    @property
    def begin(self) -> int:
        """The first step, warm-up included."""
        return self.start - round(self.warm_up_s * TICKS) // self.step * self.step

    @property
    def steps(self) -> int:
        """How many, warm-up included."""
        return -((self.begin - self.end) // self.step)


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a set-point begins to differ. recorded: as it was; replayed: NaN where nothing was asserted."""

    time: int
    node: str
    recorded: float
    replayed: float
    decision: Decision | None


@dataclass(frozen=True, slots=True)
class Played:
    """Some steps that were played and are to be compared, a row each. low, high: between what the recorded values were within the
    history's resolution. differences: those that began here."""

    times: Times
    replayed: Matrix
    recorded: Matrix
    low: Matrix
    high: Matrix
    differences: list[Difference]


class Replay:
    """The replay of a period. `run` gives the steps, some thousand at a time, and can be used once."""

    def __init__(
        self,
        plan: SitePlan,
        recording: Recording,
        period: Period,
        *,
        state: tuple[dict[str, Any], float] | None = None,
        writes: Sequence[Written] = (),
        documents: Sequence[Arrived] = (),
        settings: Mapping[str, float] | None = None,
    ) -> None:
        """state: the engine's at the beginning, with its age [s]. settings: parameters that are to be other, by node.

        Raises ConfigError for a parameter that is none.
        """
        self.layout = layout = plan.layout
        self.period = period
        self.notes: list[str] = []
        """What went wrong while it was played, the first of it."""
        self._recording = recording
        self._out = _Listening(layout, self.notes)
        classes = {name: load_controller(target) for name, target in plan.classes.items()}
        self.engine = Engine(layout, plan.settings, classes, NoAlarm())
        if state is not None:
            self.engine.restore(*state)
        self.compared = [c for c in layout.channels if _is_compared(c, layout)]
        self.nodes = [c.node for c in self.compared]
        self._setpoints = {c.node: i for i, c in enumerate(self.compared) if c.output >= 0}
        first = layout.owner(CONTROL).first
        self._columns = np.array([c.slot - first for c in self.compared], np.int64)
        self._writes = [(w.time, Write(layout.by_node[w.node].slot, w.value, w.user)) for w in writes if w.node in layout.by_node]
        self._writes[:0] = [(0, write) for write in _together(plan, settings)] if settings else []
        self._arrivals = list(documents)
        self._documents: dict[str, Document] = {}
        self._timetables = Timetables(plan)
        self._remake_at = 0
        self._image = _Frame(recording.inputs, layout)
        self._told = dict.fromkeys(self._setpoints, 0)
        self._heard = np.zeros(layout.slots, bool)
        self._differs = np.zeros(len(self.nodes), bool)

    @property
    def problems(self) -> list[str]:
        """What of the calendars had to be left out."""
        return self._timetables.problems

    @property
    def silent(self) -> list[str]:
        """Inputs of which nothing usable was known in all that was played."""
        return [c.node for c in self._recording.inputs if not self._heard[c.slot]]

    def run(self) -> Iterator[Played]:
        """Play all; steps of the warm-up are played and not given."""
        period, after = self.period, None
        for start in range(0, period.steps, STEPS_AT_ONCE):
            count = min(STEPS_AT_ONCE, period.steps - start)
            times = period.begin + np.arange(start, start + count, dtype=np.int64) * period.step
            changes = self._recording.changes(times, after)
            self._heard[changes.slot[changes.status < BAD]] = True
            played = self._play(times, start, changes)
            after = int(times[-1])
            if len(played.times):
                yield played

    def _play(self, times: Times, number: int, changes: Changes) -> Played:
        recorded, low, high = self._recorded(times)
        replayed = np.full(recorded.shape, np.nan)
        tolerance = self.period.tolerance
        differences: list[Difference] = []
        begin = int(np.searchsorted(times, self.period.start))
        if number == 0:
            self._image.start(self.nodes, recorded[0], self._setpoints)
        for i, time in enumerate(times.tolist()):
            self._step(number + i, time, changes, i)
            row = replayed[i]
            self._out.read(self._columns, row)
            if i < begin:
                continue
            differs = (row < low[i] - tolerance) | (row > high[i] + tolerance) | (np.isnan(row) & ~np.isnan(recorded[i]))
            if differs.any() or self._differs.any():
                differences += self._began(time, differs, recorded[i], row)
        return Played(times[begin:], replayed[begin:], recorded[begin:], low[begin:], high[begin:], differences)

    def _step(self, number: int, time: int, changes: Changes, i: int) -> None:
        elapsed_ns = number * self.period.step * 100
        now = Now(number + 1, MONOTONIC_NS + elapsed_ns, time, self.period.step_s)
        self._take_documents(time)
        frame = self._image.take(changes, i, now, self._documents)
        writes = []
        while self._writes and self._writes[0][0] <= time:
            writes.append(self._writes.pop(0)[1])
        self.engine.step(frame, now, writes, self._out)
        self._image.feed_back(self._out.records)

    def _take_documents(self, time: int) -> None:
        """What arrived until now, and the timetable where it ends soon."""
        while self._arrivals and self._arrivals[0].time <= time:
            _, name, document = self._arrivals.pop(0)
            others = {n: d for n, d in self._documents.items() if n != name}
            self._documents = others if document is None else {**others, name: document}
        if time >= self._remake_at and not self._timetables.empty and (moment := to_datetime(time)) is not None:
            self._remake_at = time + round(REMADE_EACH.total_seconds() * TICKS)
            self.engine.use(self._timetables.at(moment))

    def _recorded(self, times: Times) -> tuple[Matrix, Matrix, Matrix]:
        """What was recorded at each time, and the lowest and highest within the history's resolution around it."""
        reach = int(self.period.resolution_s / self.period.step_s)
        step = self.period.step
        wide = np.arange(int(times[0]) - reach * step, int(times[-1]) + reach * step + 1, step, dtype=np.int64)
        held = self._recording.held(self.nodes, wide)
        recorded = held[reach : reach + len(times)]
        low, high = recorded.copy(), recorded.copy()
        for shift in range(2 * reach + 1):
            np.fmin(low, held[shift : shift + len(times)], out=low)
            np.fmax(high, held[shift : shift + len(times)], out=high)
        return recorded, low, high

    def _began(self, time: int, differs: NDArray[np.bool_], recorded: Matrix, replayed: Matrix) -> list[Difference]:
        """Set-points that differ and did not in the step before, the first of each with the decision."""
        found = []
        begun = differs & ~self._differs & ~np.isnan(recorded)
        self._differs = differs
        for i in np.flatnonzero(begun).tolist():
            node = self.nodes[i]
            if self._told.get(node, FIRST_DIFFERENCES) < FIRST_DIFFERENCES:
                self._told[node] += 1
                found.append(Difference(time, node, float(recorded[i]), float(replayed[i]), self._decision(node)))
        return found

    def _decision(self, node: str) -> Decision | None:
        try:
            return self.engine.decision(node)
        except KeyError:  # one phase of an asymmetric unit: decided with the unit
            return None


class _Frame:
    """The image that the engine sees: recorded inputs, its own last outputs."""

    def __init__(self, inputs: Sequence[Channel], layout: Layout) -> None:
        self._records = blank_records(layout.slots)
        control = layout.owner(CONTROL)
        self._control = slice(control.first, control.first + control.count)
        self._slots = {c.node: c.slot for c in layout.channels}
        polled = [c for c in inputs if c.period_s > 0]
        self._polled = np.array([c.slot for c in polled], np.int64)
        self._periods = np.array([round(c.period_s * TICKS) for c in polled], np.int64)
        self._seen = np.zeros(layout.slots, np.int64)

    def start(self, nodes: Sequence[str], recorded: Matrix, setpoints: Mapping[str, int]) -> None:
        """Set-points as they were: the engine takes up from there."""
        for node, i in setpoints.items():
            if not np.isnan(recorded[i]):
                self._records["value"][self._slots[node]] = recorded[i]
                self._records["status"][self._slots[node]] = GOOD

    def take(self, changes: Changes, i: int, now: Now, documents: Mapping[str, Document]) -> Image:
        """The image of a step. A polled value that did not change was measured again and again, and has the time of the last."""
        records = self._records
        at = slice(int(changes.starts[i]), int(changes.starts[i + 1]))
        if at.start < at.stop:
            slot = changes.slot[at]
            records["value"][slot] = changes.value[at]
            records["status"][slot] = changes.status[at]
            records["changed"][slot] = now.cycle
            records["source"][slot] = self._seen[slot] = changes.source[at]
        seen = self._seen[self._polled]
        records["source"][self._polled] = np.where(seen > 0, now.time - (now.time - seen) % self._periods, 0)
        image = Image(records.copy(), cycle=now.cycle, frozen_at=now.monotonic_ns, time=now.time, documents=documents)
        image.records.flags.writeable = False
        return image

    def feed_back(self, records: NDArray[Any]) -> None:
        """What the engine left is part of the next image."""
        self._records[self._control] = records


class _Listening(Nowhere):
    """Where the engine leaves its results, and what somebody should know of is noted."""

    def __init__(self, layout: Layout, notes: list[str]) -> None:
        super().__init__(layout)
        self._notes = notes

    def read(self, columns: NDArray[np.int64], row: Matrix) -> None:
        """Put values into a row, NaN where nothing is asserted."""
        good = self.records["status"][columns] < BAD
        row[good] = self.records["value"][columns[good]]

    def event(self, kind: str, text: str, data: dict[str, Any]) -> None:
        """Keep what somebody should know of."""
        if kind in _NOTABLE and text not in self._notes and len(self._notes) < NOTES_MAX:
            self._notes.append(text)


def _is_compared(channel: Channel, layout: Layout) -> bool:
    """Set-points, and what the site is as a whole; counters go on from where they were."""
    if channel.owner != CONTROL or not layout.historized(channel) or channel.spec.unit is WATT_HOUR:
        return False
    return channel.output >= 0 or layout.by_alias[channel.alias].kind == SITE


def _together(plan: SitePlan, settings: Mapping[str, float]) -> list[Write]:
    """Writes of parameters and switches that are right beside each other, or all refused."""
    writes = [Write(_parameter(plan, node, value), value, 0) for node, value in settings.items()]
    return [Write(TOGETHER, len(writes), 0), *writes]


def _parameter(plan: SitePlan, node: str, value: float) -> int:
    """Slot of a controller's parameter or switch. ConfigError where there is none, or the value is out of its range."""
    alias, _, name = node.partition("/")
    obj, channel = plan.layout.by_alias.get(alias), plan.layout.by_node.get(node)
    if obj is None or obj.kind != CONTROLLER:
        raise ConfigError("--set", node, f"the site has no controller {alias}")
    if channel is None:
        known = ", ".join(sorted(parameters(load_controller(plan.classes[obj.type_name]))))
        raise ConfigError("--set", node, f"there is no such parameter; known: Enabled, {known}")
    if name != ControllerStatus.Enabled.name:
        check(load_controller(plan.classes[obj.type_name]), alias, name, value)
    return channel.slot
