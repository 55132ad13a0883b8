"""A site that runs, as the rooms of the supervisor share it: what was planned, what is there now, and where to note things."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

from server.core.image import Image, blank_records
from server.core.layout import SUPERVISOR
from server.core.site import PROCESS_PREFIX

from .adoption import Answer
from .alarms import Alarm, AlarmList, DeclaredAlarms, problem_alarms
from .certificate_watch import SOURCE as CERTIFICATES
from .certificate_watch import CertificateWatch
from .documents import Documents
from .entries import EntryBoard
from .journal import Journal, SavedState
from .memory import SharedImage
from .nursery import Nursery
from .plan import Problem, SitePlan
from .process import Process
from .process_board import ProcessBoard
from .registry import Registry

log = logging.getLogger("ems.supervisor")


class SiteState(StrEnum):
    """How the site is as a whole."""

    STARTING = "starting"
    """Parts are on their way: not every server listens yet."""
    RUNNING = "running"
    """Every part works and every server listens."""
    DEGRADED = "degraded"
    """Something is being started again, is not ready in time, or is not set up."""
    STOPPING = "stopping"


class RunningSite:
    """What the supervisor knows. Processes and nurseries are filled in by it; `stage` is where the site is in its life."""

    def __init__(self, plan: SitePlan, registry: Registry) -> None:
        self.plan = plan
        self.registry = registry
        self.since = time.time()
        self.stage = SiteState.STARTING
        self.processes: dict[str, Process] = {}
        self.nurseries: dict[str, Nursery] = {}
        self.image = SharedImage.create(plan.layout, plan.directory / "run")
        self.frames = self.image.frames()
        self.journal = Journal(plan.directory / "data" / "journal")
        self.documents = Documents(
            plan.directory / "data" / "documents",
            plan.calendar,
            plan.settings.timezone,
            lambda: self.plan.layout,
            self.image.documents.put,
            self.journal.event,
        )
        self._block = self.image.block()
        self.board = EntryBoard(plan.entries, plan.layout, self._block)
        self._process_board = ProcessBoard(plan.layout, self._block)
        self.alarms = AlarmList()
        self.disk_problem = ""
        self._certificates = CertificateWatch(plan.directory)
        self._answers: dict[int, asyncio.Future[Answer]] = {}
        self._declared_alarms = self._declared()

    def _declared(self) -> DeclaredAlarms:
        itself = f"{PROCESS_PREFIX}{SUPERVISOR}"
        declared = [alarm for alarm in self.plan.alarms if alarm.source != itself]
        return DeclaredAlarms(declared, self.plan.layout, self.image.text)

    @property
    def state(self) -> SiteState:
        """The state that is shown."""
        if self.stage is not SiteState.RUNNING:
            return self.stage
        trouble = any(p.trouble for p in self.processes.values())
        return SiteState.DEGRADED if trouble or self.board.broken else SiteState.RUNNING

    @property
    def up(self) -> bool:
        """True when control has frozen an image and every process is ready, or known to be in trouble."""
        return bool(self.frames.cycle()) and all(p.ready or p.trouble for p in self.processes.values())

    def look(self) -> None:
        """Judge entries and alarms on the newest image, and journal what began and what is over."""
        image = self.frames.latest()
        own = [problem.text for problem in self._problems() if problem.source != CERTIFICATES]
        changed = self._process_board.update(self.processes.values(), own)
        if self.board.update(self.processes, image) or changed:
            self._block.publish()
        else:
            self._block.beat()
        began, over = self.alarms.update(self._active_alarms())
        for alarm in began:
            self.journal.event("alarm", alarm.words, source=alarm.source, level=alarm.level.name)
        for alarm in over:
            lasted = round(time.time() - alarm.since)
            self.journal.event("alarm_over", alarm.words, source=alarm.source, lasted_s=lasted)

    def take_records(self) -> None:
        """Take what control has journaled."""
        for record in self.image.journal.take():
            self.journal.take(record)

    def engine_state(self) -> SavedState:
        """The last state control left, for its successor."""
        self.take_records()
        return self.journal.saved

    def adopt(self, plan: SitePlan) -> None:
        """Go on with another plan: other controllers in a later generation of the layout."""
        self.plan = plan
        self.image.adopt(plan.layout)
        self.documents.adopt(plan.calendar)
        for spec in plan.processes:
            self.processes[spec.name].spec = spec
        before, self._declared_alarms = self._declared_alarms, self._declared()
        self._declared_alarms.follow(before)

    def await_answer(self, number: int) -> asyncio.Future[Answer]:
        """What control will answer to an order."""
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        return answer

    def answered(self, answer: Answer) -> None:
        """Control answers to an order."""
        waiting = self._answers.pop(answer.number, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def note(self, level: int, kind: str, text: str, **data: Any) -> None:
        """Log something and journal it."""
        log.log(level, "%s", text)
        self.journal.event(kind, text, **data)

    def _active_alarms(self) -> Iterator[Alarm]:
        yield from self._declared_alarms.find(self._picture())
        yield from problem_alarms(self._problems())

    def _problems(self) -> Iterator[Problem]:
        """What was left out, and what keeps us from our own work."""
        yield from self.plan.problems
        yield from self._certificates.problems()
        if self.disk_problem:
            yield Problem("journal", self.disk_problem)

    def _picture(self) -> Image:
        """The newest frame, with what we know ourselves as it is now: control may be away. It belongs to no cycle."""
        frame, own = self.frames.latest(), self._block.owner
        records = blank_records(self.plan.layout.slots) if frame is None else frame.records.copy()
        records[own.first : own.first + own.count] = self._block.records
        return Image(records, cycle=-1, frozen_at=time.monotonic_ns())
