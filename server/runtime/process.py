"""One supervised process: started, watched, started again after a back-off, and ended in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from .backoff import Backoff
from .children import describe_exit, kill_group
from .context import ProcessContext
from .journal import SavedState
from .launch import Order, failure_text, memory_file
from .nursery import Nursery, SpawnError
from .transfer import dumps

LONGEST_REASON: Final = 500


class Part(StrEnum):
    """What a process is to the site; processes end in this order."""

    SERVICE = "service"
    DRIVER = "driver"
    CONTROL = "control"
    OPCUA = "opcua"


class ProcessState(StrEnum):
    """Where a process is in its life."""

    WAITING = "waiting"
    STARTING = "starting"
    """It runs, but has not said yet that it is ready."""
    RUNNING = "running"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"


DELAYS: Final[Mapping[Part, tuple[float, ...]]] = {
    Part.CONTROL: (0.0, 0.05, 0.1, *(0.2,) * 7, 0.5),
    Part.DRIVER: (0.2, 0.5, 1.0, 2.0, 5.0, 10.0),
    Part.OPCUA: (0.2, 0.5, 1.0, 2.0, 5.0, 10.0),
    Part.SERVICE: (0.2, 0.5, 1.0, 2.0, 5.0, 10.0),
}
"""Seconds before each start after a failure; from the first again after WELL_AFTER_S without one."""

WELL_AFTER_S: Final[Mapping[Part, float]] = {Part.CONTROL: 10.0, Part.DRIVER: 60.0, Part.OPCUA: 60.0, Part.SERVICE: 60.0}

GRACE_S: Final[Mapping[Part, float]] = {Part.CONTROL: 2.0, Part.DRIVER: 4.0, Part.OPCUA: 3.0, Part.SERVICE: 5.0}
"""Seconds from SIGTERM to SIGKILL."""

SETTLED_S: Final = 5.0
"""A process that was started again is believed to be well after this time; so one that fails at once does not flicker."""

READY_WITHIN_S: Final = 60.0
"""A process that has not said by then that it is ready is in trouble."""


@dataclass(frozen=True)
class ProcessSpec:
    """What to run: `target` is `module:function`, `zygote` the kind to fork from, `role` the part in the shared image."""

    name: str
    part: Part
    target: str
    zygote: str
    role: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class World:
    """What all processes are given.

    layout: a memory file with the pickled layout; nothing: an empty one for processes that have no part in the image.
    handles: descriptors of the image for a role; state: the engine's last one.
    documents: what control begins with.
    listen: takes in the reports that wait, so that a process's last words are known when its end is.
    """

    directory: Path
    endpoint: str
    layout: int
    nothing: int
    report: int
    handles: Callable[[str], Mapping[str, int]]
    state: Callable[[], SavedState]
    listen: Callable[[], None]
    documents: Callable[[], tuple[bytes, ...]]


@dataclass(frozen=True)
class Newborn:
    """A process that waits at its gate, and does nothing before `begin`. ended: its wait status to come."""

    pid: int
    ended: asyncio.Future[int]
    gate: int

    def begin(self) -> None:
        """Open the gate."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self.gate, b"!")


@contextlib.asynccontextmanager
async def spawned(
    nursery: Nursery, world: World, target: str, context: ProcessContext, handles: Mapping[str, int]
) -> AsyncIterator[Newborn]:
    """A new process that runs `target`; one whose gate was not opened by the end of the block ends. SpawnError, OSError."""
    opened, gate = os.pipe2(os.O_CLOEXEC)
    mine: list[int] = [opened, gate]
    try:
        mine.append(memory_file("context", dumps(context)))
        order = Order(context.name, target, str(world.directory), os.getpid(), tuple(handles))
        layout = world.layout if context.role else world.nothing
        fixed = [mine[-1], layout, opened, world.report]
        pid, ended = await nursery.spawn(order, [*fixed, *handles.values()])
        yield Newborn(pid, ended, gate)
    finally:
        for descriptor in mine:
            os.close(descriptor)


class Process:
    """A process and its history. `since` and `next_retry` are UTC seconds, 0 for never; `reason` is that of the last end.

    complaint: what the process itself says is wrong while it works; empty when all is well.
    """

    def __init__(self, spec: ProcessSpec, nursery: Nursery, world: World, on_change: Callable[[Process, str], None]) -> None:
        self.spec = spec
        self.state = ProcessState.WAITING
        self.pid = 0
        self.restarts = 0
        self.since = time.time()
        self.next_retry = 0.0
        self.reason = ""
        self.started_at = 0.0
        self.last_words = ""
        self.complaint = ""
        self._nursery = nursery
        self._world = world
        self._on_change = on_change
        self._ended: asyncio.Future[int] | None = None
        self._stopping = False
        self._renewing = False
        self._readied = asyncio.Event()

    @property
    def name(self) -> str:
        """The name of the process, unique in the site."""
        return self.spec.name

    @property
    def alive(self) -> bool:
        """True while there is a process that is not being ended."""
        return self.state in (ProcessState.STARTING, ProcessState.RUNNING)

    @property
    def ready(self) -> bool:
        """True when the process works, and listens where it is to listen."""
        return self.state is ProcessState.RUNNING

    @property
    def trouble(self) -> str:
        """Why the process had to be started again, until it has run for SETTLED_S; empty when all is well."""
        age_s = time.monotonic() - self.started_at
        if self.state is ProcessState.STARTING and age_s > READY_WITHIN_S:
            return f"it has not been ready for {READY_WITHIN_S:.0f} s"
        return "" if self.ready and age_s > SETTLED_S else self.reason

    async def run(self) -> None:
        """Keep the process running until `stop`."""
        backoff = Backoff(DELAYS[self.spec.part], WELL_AFTER_S[self.spec.part])
        while not self._stopping:
            try:
                await self._start()
                reason = await self._watch()
                if self._renewing:
                    continue
            except (SpawnError, OSError) as error:
                reason = failure_text(error)
            if not self._stopping:
                await self._pause(reason, backoff.next())
        self._enter(ProcessState.STOPPED)

    def take_ready(self, pid: int) -> None:
        """The process says that it is ready; what a predecessor said does not count."""
        if pid == self.pid and self.state is ProcessState.STARTING:
            self._enter(ProcessState.RUNNING)
            self._readied.set()

    def retire(self) -> None:
        """Do not start the process again."""
        self._stopping = True

    async def stop(self) -> None:
        """SIGTERM, a time of grace, SIGKILL. Returns when the process has ended; it is not started again."""
        self.retire()
        if self._ended is None:
            return
        self._enter(ProcessState.STOPPING)
        kill_group(self.pid, signal.SIGTERM)
        try:
            await asyncio.wait_for(asyncio.shield(self._ended), GRACE_S[self.spec.part])
        except TimeoutError:
            self._on_change(self, f"did not end within {GRACE_S[self.spec.part]:g} s and is killed")
            kill_group(self.pid, signal.SIGKILL)
            await self._ended

    async def renew(self, within_s: float) -> None:
        """Start the process anew, as it is specified now; returns when the new one is ready. The old one was asked to end by
        itself, and is killed when it has not done so `within_s`."""
        self._renewing = True
        before, self._readied = self._ended, asyncio.Event()
        if before is not None:
            try:
                await asyncio.wait_for(asyncio.shield(before), within_s)
            except TimeoutError:
                kill_group(self.pid, signal.SIGKILL)
        await self._readied.wait()

    def kill(self, reason: str) -> None:
        """End a process that hangs; it is started again."""
        self.last_words = reason
        kill_group(self.pid, signal.SIGKILL)

    async def _start(self) -> None:
        handles = self._world.handles(self.spec.role) if self.spec.role else {}
        async with spawned(self._nursery, self._world, self.spec.target, self._context(), handles) as newborn:
            self.pid, self._ended = newborn.pid, newborn.ended
            self.started_at, self.last_words, self.complaint = time.monotonic(), "", ""
            if not self._stopping:
                newborn.begin()
        self.next_retry, self._renewing = 0.0, False
        self._enter(ProcessState.STARTING)

    def _context(self) -> ProcessContext:
        context = ProcessContext(self.name, self._world.directory, role=self.spec.role, endpoint=self._world.endpoint)
        context = replace(context, settings=dict(self.spec.settings), restarts=self.restarts)
        if self.spec.part is not Part.CONTROL:
            return context
        saved = self._world.state()
        return replace(context, state=saved.state, state_age_s=saved.age_s, documents=self._world.documents())

    async def _watch(self) -> str:
        """Wait for the end; why it came."""
        assert self._ended is not None
        status = await self._ended
        kill_group(self.pid, signal.SIGKILL)
        self.pid, self._ended = 0, None
        return describe_exit(status)

    async def _pause(self, reason: str, delay_s: float) -> None:
        self.restarts += 1
        self.next_retry = time.time() + delay_s
        self._world.listen()
        self.reason = (self.last_words or reason)[:LONGEST_REASON]
        self._enter(ProcessState.RESTARTING, self.reason)
        await asyncio.sleep(delay_s)

    def _enter(self, state: ProcessState, text: str = "") -> None:
        self.state = state
        self.since = time.time()
        self._on_change(self, text or str(state))
