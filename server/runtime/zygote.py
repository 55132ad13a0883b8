"""A zygote: a process that has imported once what many processes need, and forks them in milliseconds.

It is executed (never forked from a busy parent), stays single-threaded, and freezes its heap so that the garbage collector
of a child does not copy the shared pages. An order arrives as one packet on a Unix socket, with descriptors. The zygote
forks twice and the middle process ends at once: the new process becomes the child of the supervisor, which is its
subreaper. So a zygote may be killed at any time without taking anything with it.

When the supervisor is gone the socket closes. Its children get SIGTERM from the kernel at that moment; the zygote waits
GRACE_S for their fail-safe, kills what is left, and ends.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import logging
import os
import select
import signal
import socket
import time
import traceback
from typing import Any, Final, NoReturn

from .launch import Order, launch, set_process_name

GRACE_S: Final = 2.0
PACKET_BYTES: Final = 1 << 16
FDS_PER_PACKET: Final = 200
"""The kernel takes at most 253 descriptors with one packet."""

_LEAN: Final = ("numpy", "server.core.controller", "server.core.driver", "server.core.natures", "server.runtime.memory")
PRELOAD: Final[dict[str, tuple[str, ...]]] = {
    "lean": (*_LEAN, "server.runtime.control"),
    "heavy": (*_LEAN, "asyncio", "asyncua", "asyncua.crypto.security_policies", "cryptography.x509", "sqlalchemy"),
}
"""What each kind imports: lean for control and drivers, heavy for everything that speaks OPC UA."""


class Zygote:
    """The loop of one zygote. `channel`: SOCK_SEQPACKET to the supervisor."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._watched: dict[int, int] = {}

    def serve(self) -> None:
        """Carry out orders until the supervisor is gone, then see its children off."""
        while (received := self._receive()) is not None:
            order, descriptors = received
            try:
                answer: dict[str, Any] = {"pid": self._spawn(order, descriptors)}
            except OSError as error:
                answer = {"error": f"fork: {error.strerror}"}
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)
            self._forget_ended()
            self._channel.send(json.dumps(answer).encode())
        self._see_off()

    def _receive(self) -> tuple[Order, list[int]] | None:
        try:
            packet, descriptors, _, _ = socket.recv_fds(self._channel, PACKET_BYTES, FDS_PER_PACKET)
        except ConnectionError:
            return None
        if not packet:
            return None
        header = json.loads(packet)
        count = header.pop("count")
        while len(descriptors) < count:
            descriptors += socket.recv_fds(self._channel, 1, FDS_PER_PACKET)[1]
        header["handles"] = tuple(header["handles"])
        return Order(**header), descriptors

    def _spawn(self, order: Order, descriptors: list[int]) -> int:
        """Fork a process that is nobody's but the supervisor's; its pid."""
        reading, writing = os.pipe()
        middle = os.fork()
        if middle == 0:
            self._begin(order, descriptors, writing)
        os.close(writing)
        answer = os.read(reading, 8)
        os.close(reading)
        os.waitpid(middle, 0)
        if not answer:
            raise OSError(0, "the middle process could not fork")
        pid = int.from_bytes(answer, "little")
        self._watch(pid)
        return pid

    def _begin(self, order: Order, descriptors: list[int], writing: int) -> NoReturn:
        """In the middle process: fork the real one, say its pid, and end."""
        status = 1
        try:
            middle = os.getpid()
            pid = os.fork()
            if pid:
                os.write(writing, pid.to_bytes(8, "little"))
                status = 0
            else:
                os.close(writing)
                self._drop()
                status = launch(order, descriptors, middle)
                logging.shutdown()
        except BaseException:  # noqa: BLE001 - the child must never return into the zygote's loop
            traceback.print_exc()
        finally:
            os._exit(status)

    def _drop(self) -> None:
        """In a child: let go of what is the zygote's."""
        self._channel.close()
        for pidfd in self._watched.values():
            os.close(pidfd)

    def _watch(self, pid: int) -> None:
        try:
            self._watched[pid] = os.pidfd_open(pid)
        except ProcessLookupError:
            return

    def _forget_ended(self) -> None:
        for pid, pidfd in list(self._watched.items()):
            if select.select([pidfd], [], [], 0)[0]:
                os.close(self._watched.pop(pid))

    def _see_off(self) -> None:
        """The supervisor is gone: give its children GRACE_S to end by themselves, then kill them and what they started."""
        groups = list(self._watched)
        deadline = time.monotonic() + GRACE_S
        while self._watched and (left := deadline - time.monotonic()) > 0:
            select.select(list(self._watched.values()), [], [], left)
            self._forget_ended()
        for pid in groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)


def preload(kind: str) -> list[str]:
    """Import what children share, and keep the collector off it. Names what is missing; children say so where it matters."""
    missing = []
    for name in PRELOAD[kind]:
        try:
            importlib.import_module(name)
        except ImportError as error:
            missing.append(f"{name}: {error}")
    gc.collect()
    gc.freeze()
    return missing


def main(kind: str, descriptor: int) -> None:
    """Entry of the executed process: `descriptor` is its socket to the supervisor."""
    set_process_name(f"zyg-{kind}")
    channel = socket.socket(fileno=descriptor)
    channel.set_inheritable(False)
    missing = preload(kind)
    threads = len(os.listdir("/proc/self/task"))
    try:
        channel.send(json.dumps({"ready": kind, "missing": missing, "threads": threads}).encode())
    except BrokenPipeError:
        return
    Zygote(channel).serve()
