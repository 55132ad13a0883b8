"""What is wrong with a site now, in words: the alarms it declares, as the newest picture of it shows them, and what was left out.

The OPC UA server evaluates the same declarations, with acknowledgement and all that; this list is for when it is away.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from server.core.alarm_step import AlarmStep, Change
from server.core.alarms import NORMAL, AlarmSpec, level_of, told
from server.core.channel import Level
from server.core.image import Image
from server.core.layout import Channel, Layout
from server.core.site import ENTRY_PREFIX, PROCESS_PREFIX

from .plan import Problem


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something wrong. source: alias, process or file; since: UTC seconds."""

    source: str
    level: Level
    text: str
    since: float = 0.0

    @property
    def words(self) -> str:
        """Source and text in one line; a text that begins with its source says so once."""
        return self.text if self.text.lower().startswith(self.source.lower()) else f"{self.source}: {self.text}"


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


class DeclaredAlarms:
    """The alarms that the site declares, found in a picture of it. text: reads the text of a String channel."""

    def __init__(self, specs: Sequence[AlarmSpec], layout: Layout, text: Callable[[Channel], str]) -> None:
        self._specs = [spec for spec in specs if spec.channel]
        self._layout = layout
        self._text = text
        self._step = AlarmStep(self._specs, layout)
        self._active: dict[int, Change] = {}

    def follow(self, before: DeclaredAlarms) -> None:
        """Go on from other declarations: what is active and declared alike stays so."""
        known = {before._specs[i].node: (before._specs[i], change) for i, change in before._active.items()}
        for index, spec in enumerate(self._specs):
            declared, change = known.get(spec.node, (None, None))
            if change is not None and declared == spec:
                self._active[index] = change._replace(alarm=index)
        self._step.resume([self._active[i].zone if i in self._active else NORMAL for i in range(len(self._specs))])

    def find(self, picture: Image) -> Iterator[Alarm]:
        """Alarms that are active now; those that a silent device would raise besides are left out."""
        for change in self._step.step(picture):
            self._active[change.alarm] = change
            if change.zone == NORMAL:
                del self._active[change.alarm]
        silent = {self._specs[index].node for index in self._active}
        for index, change in self._active.items():
            if self._specs[index].silencer not in silent:
                yield self._alarm(self._specs[index], change)

    def _alarm(self, spec: AlarmSpec, change: Change) -> Alarm:
        text = spec.message(change.zone, change.value, told(spec, self._layout, self._text))
        return Alarm(shown_source(spec.source), level_of(spec.zones[change.zone].severity), text)


def shown_source(alias: str) -> str:
    """How an object is called among alarms: entries and processes by the names they have in files."""
    return alias.removeprefix(ENTRY_PREFIX).removeprefix(PROCESS_PREFIX)


def problem_alarms(problems: Iterable[Problem]) -> Iterator[Alarm]:
    """Parts of the configuration that were left out, and what keeps the supervisor from its work."""
    for problem in problems:
        yield Alarm(problem.source, Level.Warning, problem.text.removeprefix(f"{problem.source}: "))
