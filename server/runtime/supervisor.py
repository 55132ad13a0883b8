"""The supervisor: starts the parts of a site, watches them, starts them again, ends them in order.

It decides nothing about energy. It owns the shared memory, the journal on disk, the entries' states and the bus; it is the
parent of every process (`children.py`), has them forked by two zygotes (`nursery.py`), and keeps each alive (`process.py`).
What the processes report arrives in `reception.py`; what is done again and again is in `upkeep.py`; both share `running.py`.
One event loop, one thread; only syncing the journal is handed to a second one, because a disk may take its time.

    start   lock, plan, memory, bus, zygotes │ control, drivers, opcua, services
    run     look, journal, watchdog
    stop    services │ drivers (fail-safe) │ control │ opcua │ zygotes, bus, lock: nothing is left
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from server.core.errors import EmsError

from . import records
from .bus import Bus, Operation
from .children import Children, descendants, kill_all
from .files import SiteLock
from .launch import become_subreaper, failure_text, memory_file, set_process_name
from .nursery import Nursery
from .plan import SitePlan, know_site, make_plan
from .process import Part, Process, ProcessState, World
from .reception import Reception
from .registry import Registry
from .reload import Reload
from .running import RunningSite, SiteState, log
from .secure_start import secure_start
from .service_manager import ServiceManager
from .status import site_status
from .transfer import dumps
from .upkeep import Upkeep

LEFTOVERS_WITHIN_S: Final = 5.0

OnUp = Callable[[Mapping[str, Any]], None]
"""Is told the status once, when every part is ready or known to be in trouble."""


class SupervisorFailed(EmsError):
    """The supervisor itself could not go on."""


class Supervisor:
    """A site that runs. Make it with a plan, then `run`."""

    def __init__(self, plan: SitePlan, registry: Registry) -> None:
        self.site = RunningSite(plan, registry)
        self._layout_file = memory_file("layout", dumps(plan.layout))
        self._no_layout_file = memory_file("no-layout", b"")
        self._reception = Reception(self.site)
        self._manager = ServiceManager()
        self._upkeep = Upkeep(self.site, self._manager)
        self._children = Children()
        self._stop = asyncio.Event()
        self.begins_again = False
        self._failure: BaseException | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.site.nurseries |= {kind: self._nursery(kind) for kind in ("lean", "heavy")}
        self._make_processes()

    async def run(self, on_up: OnUp) -> None:
        """Run the site until SIGTERM or SIGINT. Raises SupervisorFailed when it had to be stopped for a fault of our own."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._ask_to_stop)
        loop.add_signal_handler(signal.SIGUSR1, self._ask_to_begin_again)
        self._children.start()
        loop.add_reader(self._reception.reports.fileno(), self._reception.listen)
        directory = self.site.plan.directory
        bus = Bus(directory / "run", self._operations(directory))
        await bus.start()
        try:
            self._begin(on_up)
            await self._stop.wait()
            await self._end()
        finally:
            await bus.stop()
            await self._clear()
        if self._failure is not None:
            raise SupervisorFailed(f"the supervisor failed: {failure_text(self._failure)}") from self._failure

    def _operations(self, directory: Path) -> dict[str, Operation]:
        """What may be asked for over the bus."""
        loading: dict[str, Operation] = {"reload": self._reload.asked, "layout": self._reload.layout}
        documents = self.site.documents.operations()
        return {"status": lambda _: site_status(self.site), **loading, **documents, **records.operations(directory)}

    def _share(self, plan: SitePlan) -> None:
        """What is started from now on has the plan's layout; a process that is just being started has one of both."""
        fresh = memory_file("layout", dumps(plan.layout))
        os.dup2(fresh, self._layout_file, inheritable=False)
        os.close(fresh)
        for spec in plan.processes:
            self.site.processes[spec.name].spec = spec

    def _nursery(self, kind: str) -> Nursery:
        path = self.site.plan.directory / "data" / "log" / f"zygote-{kind}.log"
        return Nursery(kind, path, self._children, lambda event, text: self.site.note(logging.WARNING, event, text))

    def _make_processes(self) -> None:
        site = self.site
        world = World(
            site.plan.directory,
            site.plan.endpoint,
            self._layout_file,
            self._no_layout_file,
            self._reception.reports.sender,
            site.image.handles,
            site.engine_state,
            self._reception.listen,
            site.documents.orders,
        )
        self._reload = Reload(site, world, self._share)
        for spec in site.plan.processes:
            site.processes[spec.name] = Process(spec, site.nurseries[spec.zygote], world, self._changed)

    def _begin(self, on_up: OnUp) -> None:
        site = self.site
        site.journal.event("started", f"site {site.plan.settings.name} is started", pid=os.getpid())
        left_out = [p.text for p in site.plan.problems] + [e.problem for e in site.plan.entries if e.problem]
        for text in left_out:
            site.note(logging.WARNING, "left-out", text)
        for nursery in site.nurseries.values():
            self._spawn_task(nursery.run())
        for process in site.processes.values():
            self._spawn_task(process.run())
        self._spawn_task(self._upkeep.tick_for_ever())
        self._spawn_task(self._upkeep.keep_records_for_ever())
        self._spawn_task(self._reload.watch_for_ever())
        self._spawn_task(self._tell_when_up(on_up))

    async def _tell_when_up(self, on_up: OnUp) -> None:
        await self._upkeep.up.wait()
        on_up(site_status(self.site))

    def _spawn_task(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something for as long as the site runs. If it fails, that is our own fault: say so and stop the site."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the supervisor itself fails; the site is stopped", exc_info=error)
            self._failure = error
            self._stop.set()

    def _changed(self, process: Process, text: str) -> None:
        level = logging.WARNING if process.state is ProcessState.RESTARTING else logging.INFO
        self.site.note(level, "process", f"{process.name}: {text}", pid=process.pid, restarts=process.restarts)

    def _ask_to_begin_again(self) -> None:
        """A bridge says that the site it controls is another now."""
        self.begins_again = True
        self._stop.set()

    def _ask_to_stop(self) -> None:
        if self._stop.is_set():
            log.warning("asked twice: everything is killed")
            for process in self.site.processes.values():
                process.kill("killed")
        else:
            log.warning("the site is being stopped; asked once more, everything is killed")
        self._stop.set()

    async def _end(self) -> None:
        """End the parts in order; the processes of one part together."""
        self.site.stage = SiteState.STOPPING
        self._manager.stopping()
        self.site.journal.event("stopping", "the site is stopped")
        processes = self.site.processes.values()
        for process in processes:
            process.retire()
        for part in Part:
            await asyncio.gather(*(p.stop() for p in processes if p.spec.part is part))
        if self._failure is None:
            self._upkeep.tick()

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
        asyncio.get_running_loop().remove_reader(self._reception.reports.fileno())
        self._reception.reports.close()
        os.close(self._layout_file)
        os.close(self._no_layout_file)
        self.site.image.close()
        with contextlib.suppress(OSError):
            self.site.journal.close()
            self.site.registry.save()


def run(directory: Path, on_up: OnUp = lambda _: None) -> None:
    """Run the site in DIR until it is asked to stop. Raises InvalidFile, SiteLocked or OSError before anything was started."""
    directory = directory.resolve()
    for folder in ("run", "data/log", "data/journal"):
        (directory / folder).mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = SiteLock(directory / "run" / "supervisor.lock")
    lock.acquire()
    try:
        asyncio.run(_run(directory, on_up))
    finally:
        lock.release()


async def _run(directory: Path, on_up: OnUp) -> None:
    _raise_descriptor_limit()
    become_subreaper()
    set_process_name("supervisor")
    begins = True
    while begins:
        registry = Registry(directory / "data" / "registry.json")
        problems = secure_start(directory)
        await know_site(directory)
        plan = make_plan(directory, registry)
        plan = replace(plan, problems=(*plan.problems, *problems))
        registry.save()
        supervisor = Supervisor(plan, registry)
        await supervisor.run(on_up)
        begins = supervisor.begins_again


def _raise_descriptor_limit() -> None:
    """A large site has several descriptors for each owner of the image."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536) if hard != resource.RLIM_INFINITY else 65_536, hard))
