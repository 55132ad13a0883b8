"""The supervisor's side of a zygote: keeps it alive, and asks it for processes.

A zygote that dies takes nobody along; it is executed again, and starts that were asked for meanwhile wait until it is ready.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from server.core.errors import EmsError

from .backoff import Backoff
from .children import Children, describe_exit, kill_group
from .launch import Order, failure_text
from .zygote import FDS_PER_PACKET, PACKET_BYTES

READY_WITHIN_S: Final = 60.0
FORK_WITHIN_S: Final = 5.0
_PROGRAM: Final = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from server.runtime.zygote import main; "
_DELAYS: Final = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)

Event = Callable[[str, str], None]


class SpawnError(EmsError):
    """A process could not be started."""


class Nursery:
    """One zygote of a kind, `lean` or `heavy`. on_event: told (kind, text) of what a person should know."""

    def __init__(self, kind: str, log: Path, children: Children, on_event: Event) -> None:
        self.kind = kind
        self.pid = 0
        self.restarts = 0
        self.since = 0.0
        self._log = log
        self._children = children
        self._on_event = on_event
        self._channel: socket.socket | None = None
        self._ready = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()

    async def run(self) -> None:
        """Keep a zygote running until cancelled; then it ends with its socket."""
        backoff = Backoff(_DELAYS)
        try:
            while True:
                try:
                    ended = describe_exit(await self._live())
                except OSError as error:
                    ended = f"cannot be executed: {failure_text(error)}"
                self._on_event("process", f"zygote {self.kind} {ended}; it is started again")
                self.restarts += 1
                await asyncio.sleep(backoff.next())
        finally:
            self._disconnect()

    async def spawn(self, order: Order, descriptors: Sequence[int]) -> tuple[int, asyncio.Future[int]]:
        """Start a process: its pid, and its wait status to come. SpawnError when the zygote dies or does not answer meanwhile."""
        async with self._one_at_a_time:
            await self._ready.wait()
            with self._children.birth():
                answer = await self._ask(order, descriptors)
                if "pid" not in answer:
                    raise SpawnError(f"{order.name}: {answer.get('error', 'the zygote made no sense')}")
                return answer["pid"], self._children.watch(answer["pid"])

    async def _live(self) -> int:
        """One life of a zygote: execute, wait for its imports, wait for its end; the wait status."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with theirs, contextlib.ExitStack() as undo:
            undo.callback(ours.close)
            process = self._execute(theirs)
            undo.pop_all()
        self._channel = ours
        self.pid, self.since = process.pid, time.time()
        ended = self._children.watch(process.pid)
        try:
            await self._await_ready()
            status = await ended
        except SpawnError as error:
            self._on_event("process", str(error))
            kill_group(self.pid, signal.SIGKILL)
            status = await ended
        finally:
            self._disconnect()
            process.returncode = 0
        return status

    def _execute(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        program = f"{_PROGRAM}main({self.kind!r}, {theirs.fileno()})"
        threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", program, json.dumps(sys.path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **threads},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    async def _await_ready(self) -> None:
        answer = await self._receive(READY_WITHIN_S)
        for name in answer.get("missing", ()):
            self._on_event("process", f"zygote {self.kind}: {name}")
        if answer.get("threads", 1) != 1:
            self._on_event("process", f"zygote {self.kind} runs {answer['threads']} threads; forks may hang")
        self._ready.set()

    async def _ask(self, order: Order, descriptors: Sequence[int]) -> dict[str, Any]:
        header = {**asdict(order), "count": len(descriptors)}
        packets = [json.dumps(header).encode()]
        try:
            for i in range(0, len(descriptors), FDS_PER_PACKET):
                self._send(packets.pop() if packets else b".", descriptors[i : i + FDS_PER_PACKET])
            return await self._receive(FORK_WITHIN_S)
        except (OSError, SpawnError) as error:
            self._ready.clear()
            kill_group(self.pid, signal.SIGKILL)
            raise SpawnError(f"{order.name}: {error}") from error

    def _send(self, packet: bytes, descriptors: Iterable[int]) -> None:
        if self._channel is None:
            raise SpawnError(f"zygote {self.kind} is gone")
        socket.send_fds(self._channel, [packet], list(descriptors))

    async def _receive(self, within_s: float) -> dict[str, Any]:
        channel = self._channel
        if channel is None:
            raise SpawnError(f"zygote {self.kind} is gone")
        try:
            packet = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(channel, PACKET_BYTES), within_s)
        except TimeoutError:
            raise SpawnError(f"zygote {self.kind} did not answer within {within_s:g} s") from None
        except OSError as error:
            raise SpawnError(f"zygote {self.kind}: {error.strerror}") from None
        if not packet:
            raise SpawnError(f"zygote {self.kind} is gone")
        answer: dict[str, Any] = json.loads(packet)
        return answer

    def _disconnect(self) -> None:
        self._ready.clear()
        if self._channel is not None:
            with contextlib.suppress(OSError):
                self._channel.close()
        self._channel = None
