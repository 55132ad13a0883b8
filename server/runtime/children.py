"""Every process below the supervisor, and how each one ended.

The supervisor is a subreaper: whatever is forked below it becomes its child sooner or later. So one place waits for all of
them; nothing stays a zombie, and an ended process is known within a loop turn by its signal.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterable, Iterator


class Children:
    """Exit statuses of children, by pid, as futures of the running loop."""

    def __init__(self) -> None:
        self._exits: dict[int, asyncio.Future[int]] = {}
        self._births = 0

    def start(self) -> None:
        """Wait for children from now on. Needs a running loop in the main thread."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self.reap)

    def stop(self) -> None:
        """Leave SIGCHLD alone again."""
        asyncio.get_running_loop().remove_signal_handler(signal.SIGCHLD)

    @contextlib.contextmanager
    def birth(self) -> Iterator[None]:
        """While a process is being forked, a child that is still unknown is left alone: its status will be asked for."""
        self._births += 1
        try:
            yield
        finally:
            self._births -= 1
            self.reap()

    def watch(self, pid: int) -> asyncio.Future[int]:
        """A future of the wait status of a child, also of one that has ended but was not reaped yet."""
        return self._exits.setdefault(pid, asyncio.get_running_loop().create_future())

    def reap(self) -> None:
        """Take the status of every child that has ended; of unknown ones only while none is being born."""
        for pid in list(self._exits):
            self._collect(pid)
        while not self._births and self._collect(-1):
            pass

    def _collect(self, which: int) -> bool:
        try:
            pid, status = os.waitpid(which, os.WNOHANG)
        except ChildProcessError:
            self._settle(which, 0)
            return False
        self._settle(pid, status)
        return pid > 0

    def _settle(self, pid: int, status: int) -> None:
        future = self._exits.pop(pid, None)
        if future is not None and not future.done():
            future.set_result(status)


def describe_exit(status: int) -> str:
    """A wait status in words."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            return f"killed by {signal.Signals(number).name}"
        except ValueError:
            return f"killed by signal {number}"
    code = os.WEXITSTATUS(status)
    return f"ended with status {code}" if code else "ended by itself"


def kill_group(pid: int, number: int) -> None:
    """Signal a process and everything in its process group; one that is gone already, or 0 for none, is no error."""
    if pid > 0:  # 0 would be our own group
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, number)


def kill_all(pids: Iterable[int]) -> None:
    """SIGKILL for processes and the groups they lead."""
    for pid in pids:
        kill_group(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def descendants() -> list[int]:
    """Pids of all living children of this process, as the kernel lists them."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []
