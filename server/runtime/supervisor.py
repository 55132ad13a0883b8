"""The supervisor: starts the parts of a site, watches them, starts them again, ends them in order.

It decides nothing about energy. It owns the shared memory, the journal on disk, the entries' states and the bus; it is the
parent of every process (`children.py`), has them forked by two zygotes (`nursery.py`), and keeps each alive (`process.py`).
One event loop, one thread; only syncing the journal is handed to a second one, because a disk may take its time.

    start   lock, plan, memory, bus, zygotes │ control, drivers, opcua, services
    run     every TICK_S: journal, entries, alarms, heartbeats
    stop    services │ drivers (fail-safe) │ control │ opcua │ zygotes, bus, lock: nothing is left
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pickle
import resource
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Final

from server.core.layout import SUPERVISOR

from . import records
from .alarms import Alarm, AlarmList, ChannelAlarms, entry_alarms, problem_alarms, process_alarms
from .bus import Bus
from .children import Children, descendants, kill_all
from .entries import EntryBoard
from .files import SiteLock
from .journal import Journal
from .launch import become_subreaper, memory_file, set_process_name
from .logs import cut_logs
from .memory import SharedImage
from .nursery import Nursery
from .plan import Problem, SitePlan, make_plan
from .process import Part, Process, ProcessState, World
from .registry import AliasTaken, Registry
from .reports import Report, Reports
from .status import alarm_status, cycle_status, entry_status, process_row, process_status
from .watch import HangWatch

TICK_S: Final = 0.2
SYNC_EVERY_S: Final = 1.0
CUT_EVERY_S: Final = 30.0
LEFTOVERS_WITHIN_S: Final = 5.0

log = logging.getLogger("ems.supervisor")


class Supervisor:
    """A site that runs. Make it with a plan, then `run`."""

    def __init__(self, plan: SitePlan, registry: Registry) -> None:
        self.plan = plan
        self.state = "starting"
        self.processes: dict[str, Process] = {}
        self.alarms = AlarmList()
        self._registry = registry
        self._since = time.time()
        self._image = SharedImage.create(plan.layout, plan.directory / "run")
        self._layout_file = memory_file("layout", pickle.dumps(plan.layout))
        self._no_layout_file = memory_file("no-layout", b"")
        self._frames = self._image.frames()
        self._board = EntryBoard(plan.entries, plan.layout, self._image.block())
        self._channel_alarms = ChannelAlarms(plan.layout, self._image.text)
        self._journal = Journal(plan.directory / "data" / "journal")
        self._reports = Reports()
        self._children = Children()
        self._disk_problem = ""
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._nurseries = {kind: self._nursery(kind) for kind in ("lean", "heavy")}
        self._make_processes()

    async def run(self, companion: Callable[[], Coroutine[Any, Any, None]] | None = None) -> None:
        """Run the site until SIGTERM or SIGINT. companion: runs beside the site and is cancelled with it."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._ask_to_stop)
        self._children.start()
        loop.add_reader(self._reports.fileno(), self._listen)
        bus = Bus(self.plan.directory / "run", {"status": lambda _: self.status(), **records.operations(self.plan.directory)})
        await bus.start()
        try:
            self._begin()
            beside = [self._spawn_task(companion())] if companion is not None else []
            await self._stop.wait()
            for task in beside:
                task.cancel()
            await self._end()
        finally:
            await bus.stop()
            await self._clear()

    def status(self) -> dict[str, Any]:
        """The site now, as described in `status.py`."""
        image = self._frames.latest()
        return {
            "state": self._overall(),
            "site": {"id": self.plan.settings.id, "name": self.plan.settings.name, "directory": str(self.plan.directory)},
            "cycle": cycle_status(self.plan.layout, image, self.plan.settings.cycle_s),
            "processes": [*self._own_rows(), *map(process_status, self.processes.values())],
            "entries": entry_status(self._board),
            "alarms": alarm_status(self.alarms.active),
            "endpoints": {"opcua": self.plan.endpoint, "panel": self.plan.panel},
        }

    def _own_rows(self) -> Iterator[dict[str, Any]]:
        yield process_row(SUPERVISOR, SUPERVISOR, os.getpid(), 0, self._since)
        for nursery in self._nurseries.values():
            yield process_row(f"zygote-{nursery.kind}", "zygote", nursery.pid, nursery.restarts, nursery.since)

    def _overall(self) -> str:
        if self.state != "running":
            return self.state
        trouble = any(p.trouble for p in self.processes.values())
        return "degraded" if trouble or any(entry_alarms(self._board)) else "running"

    def _nursery(self, kind: str) -> Nursery:
        path = self.plan.directory / "data" / "log" / f"zygote-{kind}.log"
        return Nursery(kind, path, self._children, lambda event, text: self._note(logging.WARNING, event, text))

    def _make_processes(self) -> None:
        world = World(
            self.plan.directory,
            self.plan.endpoint,
            self._layout_file,
            self._no_layout_file,
            self._reports.sender,
            self._image.handles,
            lambda: self._journal.state,
            self._listen,
        )
        for spec in self.plan.processes:
            self.processes[spec.name] = Process(spec, self._nurseries[spec.zygote], world, self._changed)

    def _begin(self) -> None:
        self._journal.event("started", f"site {self.plan.settings.name} is started", pid=os.getpid())
        for problem in self.plan.problems:
            self._note(logging.WARNING, "left-out", problem.text)
        for entry in self.plan.entries:
            if entry.problem:
                self._note(logging.WARNING, "left-out", entry.problem)
        for nursery in self._nurseries.values():
            self._spawn_task(nursery.run())
        for process in self.processes.values():
            self._spawn_task(process.run())
        self._spawn_task(self._tick_for_ever())
        self._spawn_task(self._sync_for_ever())

    def _spawn_task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something for as long as the site runs. If it fails, that is our own fault: say so and stop the site."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the supervisor itself fails; the site is stopped", exc_info=error)
            self._stop.set()

    async def _tick_for_ever(self) -> None:
        watch = HangWatch(self._image, self.plan.settings.cycle_s)
        cut_at = 0.0
        while True:
            self._tick()
            watch.look(self.processes.values())
            if time.monotonic() >= cut_at:
                cut_at = time.monotonic() + CUT_EVERY_S
                cut_logs(self.plan.directory / "data" / "log")
            await asyncio.sleep(TICK_S)

    def _tick(self) -> None:
        image = self._frames.latest()
        self._board.update(self.processes, image)
        self.alarms.update(self._active_alarms())
        for record in self._image.journal.take():
            self._journal.take(record)
        if self.state == "starting" and image is not None and all(p.started_at for p in self.processes.values()):
            self.state = "running"
            self._journal.event("running", "all parts of the site were started")

    def _active_alarms(self) -> Iterator[Alarm]:
        image = self._frames.latest()
        if image is not None:
            yield from self._channel_alarms.find(image, self._board.words)
        yield from entry_alarms(self._board)
        yield from process_alarms(self.processes.values())
        yield from problem_alarms(self.plan.problems)
        if self._disk_problem:
            yield from problem_alarms([Problem("journal", self._disk_problem)])

    async def _sync_for_ever(self) -> None:
        while True:
            await asyncio.sleep(SYNC_EVERY_S)
            try:
                if self._journal.write():
                    await asyncio.to_thread(self._journal.sync)
                self._registry.save()
                self._disk_problem = ""
            except OSError as error:
                self._disk_problem = f"cannot be written: {error.strerror}"

    def _listen(self) -> None:
        """Take in what the processes report."""
        for report in self._reports.take():
            if report.kind == "log":
                level = logging.getLevelName(str(report.data.get("level")))
                log.log(level if isinstance(level, int) else logging.WARNING, "%s: %s", report.process, report.text)
            else:
                self._take_report(report)

    def _take_report(self, report: Report) -> None:
        process = self.processes.get(report.process)
        if process is None:
            return
        alias = str(report.data.get("alias", ""))
        if report.kind == "failed" and report.pid == process.pid:
            process.last_words = report.text
        elif report.kind == "identity":
            self._learn(alias, process, str(report.data.get("serial", "")))
        elif report.kind in ("up", "down"):
            self._board.heard(alias, report.kind, report.text)
        reported = {"process": report.process, **{k: v for k, v in report.data.items() if k not in ("kind", "text", "time")}}
        self._journal.event(report.kind, report.text, **reported)

    def _learn(self, alias: str, process: Process, serial: str) -> None:
        """A driver found out which device answers under an alias."""
        entry = next((e for e in self.plan.entries if e.alias == alias and e.group == process.name), None)
        if entry is None:
            return
        try:
            self._registry.bind(alias, entry.driver, serial)
        except AliasTaken as error:
            self._note(logging.ERROR, "identity", str(error))

    def _changed(self, process: Process, text: str) -> None:
        level = logging.WARNING if process.state is ProcessState.RESTARTING else logging.INFO
        self._note(level, "process", f"{process.name}: {text}", pid=process.pid, restarts=process.restarts)

    def _note(self, level: int, kind: str, text: str, **data: Any) -> None:
        log.log(level, "%s", text)
        self._journal.event(kind, text, **data)

    def _ask_to_stop(self) -> None:
        if self._stop.is_set():
            log.warning("asked twice: everything is killed")
            for process in self.processes.values():
                process.kill("killed")
        self._stop.set()

    async def _end(self) -> None:
        """End the parts in order; the processes of one part together."""
        self.state = "stopping"
        self._journal.event("stopping", "the site is stopped")
        for process in self.processes.values():
            process.retire()
        for part in Part:
            await asyncio.gather(*(p.stop() for p in self.processes.values() if p.spec.part is part))
        self._tick()

    async def _clear(self) -> None:
        """Let go of everything: tasks, zygotes, strays, memory."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        deadline = time.monotonic() + LEFTOVERS_WITHIN_S
        while strays := descendants():
            if time.monotonic() > deadline:
                kill_all(strays)
            await asyncio.sleep(0.01)
            self._children.reap()
        self._children.stop()
        asyncio.get_running_loop().remove_reader(self._reports.fileno())
        self._reports.close()
        os.close(self._layout_file)
        os.close(self._no_layout_file)
        self._image.close()
        with contextlib.suppress(OSError):
            self._journal.close()
            self._registry.save()


def run(directory: Path, companion: Callable[[], Coroutine[Any, Any, None]] | None = None) -> None:
    """Run the site in DIR until it is asked to stop. Raises InvalidFile, SiteLocked or OSError before anything was started."""
    directory = directory.resolve()
    for folder in ("run", "data/log", "data/journal"):
        (directory / folder).mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = SiteLock(directory / "run" / "supervisor.lock")
    lock.acquire()
    try:
        asyncio.run(_run(directory, companion))
    finally:
        lock.release()


async def _run(directory: Path, companion: Callable[[], Coroutine[Any, Any, None]] | None) -> None:
    registry = Registry(directory / "data" / "registry.json")
    plan = make_plan(directory, registry)
    registry.save()
    _raise_descriptor_limit()
    become_subreaper()
    set_process_name("supervisor")
    await Supervisor(plan, registry).run(companion)


def _raise_descriptor_limit() -> None:
    """A large site has several descriptors for each owner of the image."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536) if hard != resource.RLIM_INFINITY else 65_536, hard))
