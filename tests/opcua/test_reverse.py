"""Reverse connect: the server dials clients that cannot dial it, again and again, and being dialled gives nobody more rights."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from opcua_peer import Peer
from opcua_site import CLIENT_URI, PASSWORD, Site, running
from ports import free_port
from test_clients import PEERS, needs_node

from server.core.errors import ConfigError
from server.opcua import reverse
from server.opcua.reverse import ReverseClient
from server.opcua.server import UaServer
from server.runtime.config import OpcUaTable


@asynccontextmanager
async def dialling(directory: Path, port: int, told: list[str]) -> AsyncIterator[Site]:
    def change(server: UaServer) -> None:
        server.reverse = (ReverseClient(server, f"opc.tcp://127.0.0.1:{port}", told.append),)

    async with running(directory, change=change) as site:
        yield site


class Listening(Peer):
    """A client at the address that the server dials."""

    def __init__(self) -> None:
        super().__init__(0)
        self.calls: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()

    async def __aenter__(self) -> Listening:
        self.listener = await asyncio.start_server(lambda *both: self.calls.put_nowait(both), "127.0.0.1", 0)
        self.port = self.listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.listener.close()

    async def called(self) -> tuple[str, str]:
        """Wait for the next call: ServerUri and EndpointUrl of its ReverseHello."""
        self.reader, self.writer = await asyncio.wait_for(self.calls.get(), 10)
        message = await self.chunk()
        assert message[:4] == b"RHEF"
        texts, at = [], 8
        for _ in range(2):
            (length,) = struct.unpack_from("<i", message, at)
            texts.append(message[at + 4 : at + 4 + length].decode())
            at += 4 + length
        assert at == len(message)
        return texts[0], texts[1]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reverse, "AGAIN_FIRST_S", 0.05)
    monkeypatch.setattr(reverse, "AGAIN_MAX_S", 0.2)


@needs_node
async def test_node_opcua_is_dialled_logs_in_and_is_dialled_again(directory: Path) -> None:
    port, told = free_port(), []
    own, url = directory / "certs" / "own", f"opc.tcp://127.0.0.1:{port}"
    arguments = [
        url,
        str(own / "client.pem"),
        str(own / "client.key.pem"),
        CLIENT_URI,
        "anna",
        PASSWORD,
    ]
    async with dialling(directory, port, told) as site:
        process = await asyncio.create_subprocess_exec(
            "node", "reverse.cjs", *arguments, cwd=PEERS, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0, err.decode()
        result = json.loads(out.decode().splitlines()[-1])
        assert result["endpoints"] == [site.url] * 2
        assert result["namespaces"] == [site.server.namespaces] * 2
    assert "cannot be reached" in told[0]
    assert told[1] == f"OPC UA client at {url} is connected"


async def test_a_client_is_told_who_calls_and_proves_itself_like_any_other(directory: Path) -> None:
    async with Listening() as client, dialling(directory, client.port, []) as site:
        assert await client.called() == (site.server.application_uri, site.url)
        await client.ready(directory)
        (connection,) = site.server.connections
        assert connection.secured
        assert not connection.proven


async def test_a_client_that_never_answers_is_dialled_anew_and_that_is_told_once(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reverse, "IDLE_S", 0.1)
    told: list[str] = []
    async with Listening() as client, dialling(directory, client.port, told):
        for _ in range(3):
            await client.called()
    kinds = [text.rpartition(" ")[2] for text in told]
    assert kinds[:3] == ["connected", "answer", "connected"]


async def test_who_says_hello_has_as_long_as_anybody_to_log_in(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.opcua.limits.PROVE_WITHIN_S", 0.2)
    async with Listening() as client, dialling(directory, client.port, []):
        await client.called()
        await asyncio.sleep(0.4)
        await client.hello()
        with pytest.raises(Exception, match=r"BadTimeout|closed"):
            await client.chunk()


async def test_nothing_is_dialled_any_more_when_the_server_has_stopped(directory: Path) -> None:
    async with Listening() as client:
        async with dialling(directory, client.port, []):
            await client.called()
        client.writer.close()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.calls.get(), 0.5)


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("opc.tcp://scada.example:4843", True),
        ("opc.tcp://[fd00::1]:4843/", True),
        ("opc.tcp://10.0.0.5", True),
        ("scada.example:4843", False),
        ("http://scada.example:4843", False),
        ("opc.tcp://:4843", False),
        ("opc.tcp://scada.example:port", False),
        ("opc.tcp://scada.example:65536", False),
    ],
)
def test_where_to_dial_is_checked_when_the_site_is_read(url: str, fine: bool) -> None:
    try:
        accepted = OpcUaTable.model_validate({"reverse": [url]}).reverse == (url,)
    except (ValueError, ConfigError):
        accepted = False
    assert accepted is fine
