"""The Unix-socket bus DIR/run/bus.sock: one JSON object a line as request, one as reply.

    {"op": "status"}  ->  {"ok": true, "state": "running", ...}
    {"op": "dance"}   ->  {"ok": false, "error": "there is no op 'dance'; known: status"}

Readable by the user who runs the site only. A peer that sends too much, nothing, or no JSON is told so where it can be,
and cut off; it costs the supervisor one buffer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from server.core.errors import EmsError

MESSAGE_BYTES_MAX: Final = 2 << 20
"""Longest request. A reply may be longer."""
REPLY_BYTES_MAX: Final = 64 << 20
_CHUNK_BYTES: Final = 65_536
PEERS_MAX: Final = 32
IDLE_S_MAX: Final = 30.0

Operation = Callable[[Mapping[str, Any]], Mapping[str, Any] | Awaitable[Mapping[str, Any]]]
"""What an op does with the request's arguments; one that takes time is awaited, and others are answered meanwhile."""


class BusError(EmsError):
    """No answer from the supervisor of a site."""


class NotRunning(BusError):
    """Nobody listens: the site is not running."""


@contextlib.contextmanager
def short_path(folder: Path, name: str) -> Iterator[str]:
    """A path to `folder/name` that fits into a socket address (108 bytes) however deep the folder lies."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)


def request(directory: Path, op: str, *, timeout_s: float = 5.0, **arguments: Any) -> dict[str, Any]:
    """Ask the supervisor that runs DIR. Raises NotRunning when there is none, BusError when it refuses or does not answer."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer, short_path(directory / "run", "bus.sock") as path:
            peer.settimeout(timeout_s)
            peer.connect(path)
            peer.sendall(json.dumps({"op": op, **arguments}).encode() + b"\n")
            reply = _read_reply(peer)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        raise NotRunning(f"{directory} is not being run") from None
    except OSError as error:
        raise BusError(f"the supervisor of {directory} does not answer: {error.strerror or error}") from error
    except ValueError as error:
        raise BusError(f"the supervisor of {directory} makes no sense: {error}") from error
    if not reply.get("ok"):
        raise BusError(str(reply.get("error", "refused")))
    return reply


def _read_reply(peer: socket.socket) -> dict[str, Any]:
    with peer.makefile("rb") as file:
        reply = json.loads(file.readline(REPLY_BYTES_MAX))
    if not isinstance(reply, dict):
        raise ValueError("an object is expected")
    return reply


class Bus:
    """The listening side. operations: what may be asked for, each a function of the request's arguments."""

    def __init__(self, folder: Path, operations: Mapping[str, Operation]) -> None:
        self._path = folder / "bus.sock"
        self._operations = operations
        self._server: asyncio.Server | None = None
        self._peers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Listen, in place of whatever a killed predecessor left. Mode 0600 from the first moment."""
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with short_path(self._path.parent, self._path.name) as path:
            before = os.umask(0o177)
            try:
                listener.bind(path)
            finally:
                os.umask(before)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=MESSAGE_BYTES_MAX)

    async def stop(self) -> None:
        """Cut off all peers and remove the socket."""
        if self._server is not None:
            self._server.close()
            for writer in list(self._peers):
                writer.close()
            await self._server.wait_closed()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._peers) >= PEERS_MAX:
            writer.close()
            return
        self._peers.add(writer)
        try:
            while await self._answer(reader, writer):
                pass
        except (OSError, TimeoutError):
            return
        finally:
            self._peers.discard(writer)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; False when the peer is done or not worth listening to."""
        try:
            line = await asyncio.wait_for(reader.readline(), IDLE_S_MAX)
        except ValueError:
            await _discard(reader)
            return await self._reply(writer, _refuse(f"a request of more than {MESSAGE_BYTES_MAX} bytes")) and False
        if not line:
            return False
        return await self._reply(writer, await self._perform(line))

    async def _reply(self, writer: asyncio.StreamWriter, reply: Mapping[str, Any]) -> bool:
        writer.write(json.dumps(reply, default=str).encode() + b"\n")
        await asyncio.wait_for(writer.drain(), IDLE_S_MAX)
        return True

    async def _perform(self, line: bytes) -> Mapping[str, Any]:
        try:
            asked = json.loads(line)
        except (ValueError, RecursionError):
            return _refuse("a request is one JSON object in one line")
        if not isinstance(asked, dict):
            return _refuse("a request is one JSON object in one line")
        op = asked.pop("op", None)
        operation = self._operations.get(op) if isinstance(op, str) else None
        if operation is None:
            return _refuse(f"there is no op {op!r}; known: {', '.join(sorted(self._operations))}")
        try:
            answer = operation(asked)
            return {"ok": True, **(await answer if isinstance(answer, Awaitable) else answer)}
        except EmsError as error:
            return _refuse(str(error))


async def _discard(reader: asyncio.StreamReader) -> None:
    """Read on to the end of a line that is too long, as far as it is worth it, so that the peer can read the refusal."""
    for _ in range(2 * MESSAGE_BYTES_MAX // _CHUNK_BYTES):
        chunk = await asyncio.wait_for(reader.read(_CHUNK_BYTES), IDLE_S_MAX)
        if not chunk or b"\n" in chunk:
            return


def _refuse(error: str) -> dict[str, Any]:
    return {"ok": False, "error": error}
