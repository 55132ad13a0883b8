"""What is wrong with a site now, in words, from the newest frame, the entries and the processes.

An alarm is raised by a boolean state channel with a level, a device's State, a device that cannot be heard, a controller
in Fault, an entry that is not set up, a process that has to be started again, or a part of the configuration that was left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from server.core.channel import DataType, Level
from server.core.image import Image
from server.core.layout import CONTROLLER, DEVICE, Channel, Layout
from server.core.natures import CommState, ControllerStatus, Device, EntryState, RunState

from .entries import EntryBoard
from .plan import Problem
from .process import Part, Process


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something wrong. source: alias, process or file; since: UTC seconds."""

    source: str
    level: Level
    text: str
    since: float = 0.0


class AlarmList:
    """Alarms that are active, worst first, each with the time it began."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.active: list[Alarm] = []
        self._since: dict[tuple[str, Level], float] = {}
        self._clock = clock

    def update(self, now_active: Iterable[Alarm]) -> tuple[list[Alarm], list[Alarm]]:
        """Take over what is active now; returns what began and what is over. An alarm whose words change keeps its time."""
        now, before = self._clock(), self.active
        alarms = list(now_active)
        known, self._since = self._since, {(a.source, a.level): self._since.get((a.source, a.level), now) for a in alarms}
        dated = [Alarm(a.source, a.level, a.text, self._since[a.source, a.level]) for a in alarms]
        self.active = sorted(dated, key=lambda a: (-a.level, a.since, a.source))
        began = [a for a in self.active if (a.source, a.level) not in known]
        return began, [a for a in before if (a.source, a.level) not in self._since]


class ChannelAlarms:
    """Alarms out of the image. text: reads the text of a String channel."""

    def __init__(self, layout: Layout, text: Callable[[Channel], str]) -> None:
        self._text = text
        self._flags = [c for c in layout.channels if c.spec.level is not None and c.spec.data_type is DataType.BOOLEAN]
        self._states = _of(layout, DEVICE, Device.State.name)
        self._comms = _of(layout, DEVICE, Device.CommState.name)
        self._runs = _of(layout, CONTROLLER, ControllerStatus.RunState.name)
        self._explanations = {c.alias: c for c in _of(layout, CONTROLLER, ControllerStatus.Explanation.name)}

    def find(self, image: Image, words: Mapping[str, str]) -> Iterator[Alarm]:
        """Alarms of this frame. words: what drivers said about devices that are down, by alias."""
        told: dict[str, Level] = {}
        for alarm in self._find_told(image, words):
            told[alarm.source] = max(alarm.level, told.get(alarm.source, Level.Ok))
            yield alarm
        for c in self._states:
            value = image.get(c.slot)
            if value is not None and value >= Level.Warning and value > told.get(c.alias, Level.Ok):
                yield Alarm(c.alias, Level(int(value)), f"state of the device is {Level(int(value)).name}")

    def _find_told(self, image: Image, words: Mapping[str, str]) -> Iterator[Alarm]:
        for c in self._flags:
            if image.get(c.slot) and c.spec.level is not None:
                yield Alarm(c.alias, c.spec.level, c.spec.doc.rstrip("."))
        for c in self._comms:
            if image.get(c.slot) == CommState.Down:
                yield Alarm(c.alias, Level.Fault, words.get(c.alias, "the device does not answer"))
        for c in self._runs:
            if image.get(c.slot) == RunState.Fault:
                yield Alarm(c.alias, Level.Fault, self._text(self._explanations[c.alias]) or "the controller fails")


def entry_alarms(board: EntryBoard) -> Iterator[Alarm]:
    """Entries whose file or driver is wrong; a device that cannot be heard raises an alarm of its own."""
    for alias, report in board.reports.items():
        if report.state is EntryState.SetupError:
            yield Alarm(alias, Level.Fault, report.reason)


def process_alarms(processes: Iterable[Process]) -> Iterator[Alarm]:
    """Processes that had to be started again and have not run for long since, and those that say that something is wrong."""
    for process in processes:
        if process.ready and process.complaint:
            yield Alarm(process.name, Level.Warning, process.complaint)
        if process.trouble:
            level = Level.Warning if process.spec.part is Part.SERVICE else Level.Fault
            yield Alarm(process.name, level, f"process is started again: {process.trouble}")


def problem_alarms(problems: Iterable[Problem]) -> Iterator[Alarm]:
    """Parts of the configuration that were left out."""
    for problem in problems:
        yield Alarm(problem.source, Level.Warning, problem.text)


def _of(layout: Layout, kind: str, name: str) -> list[Channel]:
    return [c for c in layout.channels if c.spec.name == name and layout.by_alias[c.alias].kind == kind]
