"""The bus: one line asks, one line answers, and nobody can hurt the supervisor with it."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from server.core.errors import EmsError
from server.runtime import bus as bus_module
from server.runtime.bus import MESSAGE_BYTES_MAX, Bus, BusError, NotRunning, request, short_path


def refuse(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    raise EmsError(f"not with {arguments['what']}")


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Path]:
    """A site directory, deep down, with a bus."""
    directory = tmp_path / ("deep" * 30) / ("down" * 30)
    (directory / "run").mkdir(parents=True)
    bus = Bus(directory / "run", {"status": lambda _: {"state": "running"}, "echo": lambda a: dict(a), "refuse": refuse})
    await bus.start()
    yield directory
    await bus.stop()
    assert list((directory / "run").iterdir()) == []


async def ask(directory: Path, op: str, **arguments: Any) -> dict[str, Any]:
    return await asyncio.to_thread(request, directory, op, **arguments)


async def raw(directory: Path, packet: bytes) -> list[Any]:
    """Replies to bytes sent as they are; [] when cut off without one."""
    reader, writer = await asyncio.open_unix_connection(sock=connected(directory))
    writer.write(packet)
    writer.write_eof()
    replies = (await reader.read()).splitlines()
    writer.close()
    return [json.loads(line) for line in replies]


def connected(directory: Path) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX)
    with short_path(directory / "run", "bus.sock") as path:
        peer.connect(path)
    peer.setblocking(False)
    return peer


async def test_a_question_is_answered(site: Path) -> None:
    assert await ask(site, "status") == {"ok": True, "state": "running"}
    assert (await ask(site, "echo", a=[1, "ü"]))["a"] == [1, "ü"]


async def test_only_the_owner_may_ask(site: Path) -> None:
    assert stat.S_IMODE((site / "run" / "bus.sock").stat().st_mode) == 0o600


async def test_a_refusal_carries_its_reason(site: Path) -> None:
    with pytest.raises(BusError, match="not with tea"):
        await ask(site, "refuse", what="tea")
    with pytest.raises(BusError, match="there is no op 'dance'; known: echo, refuse, status"):
        await ask(site, "dance")


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"{\n",
        b"[]\n",
        b"7\n",
        b"null\n",
        b'{"op": 7}\n',
        b'{"op": ["status"]}\n',
        b"\xff\xfe\n",
        b"{}\n",
        b"[" * 50_000 + b"\n",
    ],
)
async def test_a_strange_line_is_refused_and_the_next_one_is_answered(site: Path, line: bytes) -> None:
    strange, good = await raw(site, line + b'{"op": "status"}\n')
    assert not strange["ok"]
    assert good == {"ok": True, "state": "running"}


async def test_a_line_without_end_is_cut_off(site: Path) -> None:
    (reply,) = await raw(site, b"x" * (2 * MESSAGE_BYTES_MAX))
    assert f"more than {MESSAGE_BYTES_MAX} bytes" in reply["error"]
    assert (await ask(site, "status"))["ok"]


async def test_a_peer_that_leaves_in_the_middle_harms_nobody(site: Path) -> None:
    for _ in range(20):
        peer = connected(site)
        peer.send(b'{"op": "sta')
        peer.close()
    assert (await ask(site, "status"))["ok"]


async def test_too_many_peers_are_turned_away(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus_module, "PEERS_MAX", 3)
    peers = [connected(site) for _ in range(3)]
    await asyncio.sleep(0.1)
    with pytest.raises(BusError):
        await ask(site, "status")
    for peer in peers:
        peer.close()
    await asyncio.sleep(0.1)
    assert (await ask(site, "status"))["ok"]


async def test_a_silent_peer_is_cut_off(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus_module, "IDLE_S_MAX", 0.05)
    reader, writer = await asyncio.open_unix_connection(sock=connected(site))
    assert await reader.read() == b""
    writer.close()


async def test_a_socket_left_by_a_killed_supervisor_is_replaced(site: Path) -> None:
    second = Bus(site / "run", {"status": lambda _: {"state": "second"}})
    await second.start()
    assert (await ask(site, "status"))["state"] == "second"
    await second.stop()


@pytest.mark.parametrize("make", [lambda d: None, lambda d: (d / "run").mkdir(), lambda d: _abandoned(d)])
def test_a_site_that_is_not_run_says_so(tmp_path: Path, make: Any) -> None:
    make(tmp_path)
    with pytest.raises(NotRunning, match="is not being run"):
        request(tmp_path, "status")


def _abandoned(directory: Path) -> None:
    (directory / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as listener, short_path(directory / "run", "bus.sock") as path:
        listener.bind(path)


def test_a_supervisor_that_does_not_answer_is_told_from_one_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as listener, short_path(tmp_path / "run", "bus.sock") as path:
        listener.bind(path)
        listener.listen()
        with pytest.raises(BusError, match="does not answer"):
            request(tmp_path, "status", timeout_s=0.05)
