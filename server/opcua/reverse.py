"""Reverse connect (Part 6, 7.1.3): the server dials a client that cannot dial it, because a firewall is between them.

    server ── TCP ─▶ client
    server ── ReverseHello (ServerUri, EndpointUrl) ─▶ client
    server ◀─ Hello ── client           from here on as on any other connection

One connection is kept for each client: when it ends, or nobody says Hello within IDLE_S, it is dialled again; soon after a client
that talked, more and more seldom while there is none. Who is at the other end proves itself by its certificate, as everybody.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from . import packed
from .wire import Connection

if TYPE_CHECKING:
    from .server import UaServer

_log = logging.getLogger("ems.opcua")

CONNECT_WITHIN_S: Final = 10.0
IDLE_S: Final = 120.0
"""A connection on which nothing was said for so long may be dead without our knowing."""
AGAIN_FIRST_S: Final = 0.5
AGAIN_MAX_S: Final = 60.0
PORT: Final = 4840

Tell = Callable[[str], None]


class ReverseConnection(Connection):
    """A connection that we dialled. `gone` is set when it has ended."""

    def __init__(self, server: UaServer) -> None:
        super().__init__(server)
        self.gone = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say who we are, and wait for the client's Hello."""
        self._take(transport)
        self.server.connections.add(self)
        self._transport.write(reverse_hello(self.server.application_uri, endpoint_url(self.server)))
        self.watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """As for any connection; and it may be dialled again."""
        super().connection_lost(exc)
        self.gone.set()

    def _on_hello(self, chunk: bytes) -> None:
        super()._on_hello(chunk)
        self.watch()

    @property
    def patience_s(self) -> float:
        """A client that was called may keep the connection for later."""
        return super().patience_s if self.greeted else IDLE_S


def endpoint_url(server: UaServer) -> str:
    """Our URL as others would dial it if they could."""
    everywhere = server.settings.host in ("0.0.0.0", "::", "")
    return f"opc.tcp://{socket.gethostname()}:{server.port}/" if everywhere else server.url


def reverse_hello(server_uri: str, endpoint_url: str) -> bytes:
    """The ReverseHello message (Part 6, 7.1.2.6)."""
    body = packed.string(server_uri) + packed.string(endpoint_url)
    return struct.pack("<4sI", b"RHEF", 8 + len(body)) + body


class ReverseClient:
    """A client that we dial. url: `opc.tcp://host:port` on which it listens; tell: hears what changes; state: how it stands."""

    def __init__(self, server: UaServer, url: str, tell: Tell) -> None:
        self.url = url
        self.state = "not dialled yet"
        self._server = server
        self._tell = tell
        found = urlsplit(url)
        self._host, self._port = found.hostname or "", found.port or PORT

    async def run(self) -> None:
        """Keep a connection, until cancelled."""
        wait_s = AGAIN_FIRST_S
        while True:
            wait_s = AGAIN_FIRST_S if await self._one() else min(2 * wait_s, AGAIN_MAX_S)
            await asyncio.sleep(wait_s)

    async def _one(self) -> bool:
        """Dial, and wait for the end of the connection. True when the client said Hello."""
        connection = ReverseConnection(self._server)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                await loop.create_connection(lambda: connection, self._host, self._port)
        except (OSError, TimeoutError) as error:
            self._say(f"cannot be reached: {error or 'no answer'}")
            return False
        self._say("connected")
        await connection.gone.wait()
        if not connection.greeted:
            self._say("does not answer")
        return connection.greeted

    def _say(self, state: str) -> None:
        """Tell a state that is another one than before."""
        if state != self.state:
            self.state = state
            _log.info("reverse connection to %s: %s", self.url, state)
            self._tell(f"OPC UA client at {self.url} {'is ' if state == 'connected' else ''}{state}")
