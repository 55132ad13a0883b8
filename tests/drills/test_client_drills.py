"""Nonsense on every port the site listens on, and clients that vanish: served are those who make sense."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from asyncua import ua
from drill import Drill
from footprint import footprint

from server.client import Client, node_id
from server.runtime.bus import request, short_path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ATTACKS = 300
HANGING = 40
GROWTH_MB = 30
NODE = "peak0/import_max_w"
BATCH = 500
HELLO = struct.pack("<4sIIIIIIi", b"HELF", 32, 0, 65536, 65536, 0, 0, 0)


def noise(dice: random.Random) -> bytes:
    return dice.randbytes(dice.randint(1, 2000))


def half_hello(dice: random.Random) -> bytes:
    return HELLO[: dice.randint(1, len(HELLO) - 1)]


def hello_then_noise(dice: random.Random) -> bytes:
    return HELLO + noise(dice)


def huge_header(dice: random.Random) -> bytes:
    return HELLO + struct.pack("<4sI", dice.choice((b"OPNF", b"MSGF", b"CLOF", b"MSGC")), 0xFFFF_FFF0) + noise(dice)


def false_channel(dice: random.Random) -> bytes:
    body = struct.pack("<I", dice.getrandbits(32)) + struct.pack("<i", dice.choice((-1, 0, 5, 2**31 - 1))) + noise(dice)
    return HELLO + struct.pack("<4sI", b"OPNF", 8 + len(body)) + body


def web(dice: random.Random) -> bytes:
    return b"GET / HTTP/1.1\r\nHost: here\r\n\r\n" * dice.randint(1, 20)


KINDS: tuple[Callable[[random.Random], bytes], ...] = (noise, half_hello, hello_then_noise, huge_header, false_channel, web)


def attack(port: int, content: bytes, keep: list[socket.socket]) -> None:
    """Send something; keep the connection open when it belongs to the hanging ones."""
    peer = socket.create_connection(("127.0.0.1", port), 5)
    try:
        peer.sendall(content)
    except OSError:
        peer.close()
        return
    if len(keep) < HANGING:
        keep.append(peer)
    else:
        peer.close()


@pytest.mark.parametrize("service", ["opcua", "ui"])
async def test_nonsense_from_strangers_harms_nobody(drill: Drill, service: str) -> None:
    ends = drill.site.status()["endpoints"]
    port = int({"opcua": ends["opcua"], "ui": ends["panel"]}[service].rsplit(":", 1)[1])
    dice, hanging = random.Random(11), list[socket.socket]()
    before = footprint(drill.pid(service))
    with drill.unnoticed():
        for number in range(ATTACKS):
            attack(port, KINDS[number % len(KINDS)](dice), hanging)
        async with Client(drill.identity) as client:
            (value,) = await client.read(["cycle/Counter"])
            assert value.Value.Value > 0
        for peer in hanging:
            peer.close()
        after = footprint(drill.pid(service))
    assert before is not None
    assert after is not None
    assert after.pss_mb < before.pss_mb + GROWTH_MB
    deadline = time.monotonic() + 20
    while footprint(drill.pid(service)).descriptors > before.descriptors + 5:
        assert time.monotonic() < deadline, "connections of strangers stay open"
        time.sleep(0.2)


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\n", b"{}\n", b"[" * 60_000 + b"\n", b"x" * 200_000, b'{"op": ["status"]}\n'], ids=len
)
def test_nonsense_on_the_bus_is_refused(drill: Drill, content: bytes) -> None:
    with drill.unnoticed():
        with socket.socket(socket.AF_UNIX) as peer, short_path(drill.site.directory / "run", "bus.sock") as path:
            peer.connect(path)
            peer.settimeout(10)
            try:
                peer.sendall(content)
                assert b'"ok": false' in peer.recv(65536)
            except OSError:
                pass  # cut off before it had said all
        assert request(drill.site.directory, "status")["ok"]


CLIENT = """
import asyncio, sys, pickle
from server.client import Client
async def main():
    client = Client(pickle.loads(bytes.fromhex(sys.argv[1])))
    await client.connect()
    subscription = await client.subscribe(["meter0/ActivePower", "cycle/Counter", "site/GridPower"], 50)
    await anext(subscription)
    print("subscribed", flush=True)
    async for table in subscription:
        pass
asyncio.run(main())
"""


def test_clients_that_vanish_leave_nothing(drill: Drill) -> None:
    import pickle

    told = pickle.dumps(drill.identity).hex()
    root = Path(__file__).parents[2]
    with drill.unnoticed():
        clients = [
            subprocess.Popen([sys.executable, "-c", CLIENT, told], stdout=subprocess.PIPE, text=True, cwd=root) for _ in range(5)
        ]
        for client in clients:
            assert client.stdout is not None
            with client.stdout:
                assert client.stdout.readline() == "subscribed\n"
            client.kill()
            client.wait()


async def test_an_inbox_that_is_full_refuses_and_serves_again(drill: Drill) -> None:
    """Control stands still for a moment. What is written meanwhile is refused when there is no room, and not lost silently."""
    control = drill.pid("control")
    async with Client(drill.identity) as client:
        with drill.unnoticed("control"):
            os.kill(control, signal.SIGSTOP)
            try:
                refused = await until_refused(client)
            finally:
                os.kill(control, signal.SIGCONT)
            assert refused == "BadResourceUnavailable"
            seen = drill.site.status()["cycle"]["counter"]
            drill.wait(lambda: drill.site.status()["cycle"]["counter"] > seen + 5, "control goes on", 10)
        assert drill.pid("control") == control
        await client.write(NODE, 7_500.0)
        await client.write(NODE, 8_000.0)


async def test_a_client_that_floods_the_inbox_costs_no_cycle(drill: Drill) -> None:
    """Each cycle takes a part of what waits, so that thousands of parameters do not make it late."""
    async with Client(drill.identity) as client:
        request = await flood(client)
        with drill.unnoticed():
            answers = [await client.ask(request, ua.WriteResponse) for _ in range(100)]
        assert {status.name for answer in answers for status in answer.Results} == {"Good", "BadResourceUnavailable"}


async def test_an_emergency_stop_is_heard_through_a_flood(drill: Drill) -> None:
    """REQ-SAFE-035: in a few cycles, and every time."""
    async with Client(drill.identity) as hasty, Client(drill.identity) as operator:
        request = await flood(hasty)

        async def write_on() -> None:
            while True:
                await hasty.ask(request, ua.WriteResponse)

        writing = asyncio.create_task(write_on())
        try:
            for method, expected in (("EmergencyStop", True), ("ResetEmergencyStop", False)) * 5:
                await operator.call("site", method)
                (stopped,) = await operator.read(["site/EmergencyStopActive"])
                assert stopped.Value.Value is expected
        finally:
            writing.cancel()


async def flood(client: Client) -> ua.WriteRequest:
    """A request that writes the same parameter many times."""
    request = ua.WriteRequest()
    value = ua.DataValue(ua.Variant(8_000.0, await client.variant_type(NODE)))
    request.Parameters.NodesToWrite = [ua.WriteValue(node_id(NODE), ua.AttributeIds.Value, None, value)] * BATCH
    return request


async def until_refused(client: Client) -> str:
    """Write until a write is refused; the StatusCode."""
    request = await flood(client)
    started = time.monotonic()
    while time.monotonic() - started < 2.0:
        for status in (await client.ask(request, ua.WriteResponse)).Results:
            if not status.is_good():
                return str(status.name)
    return "never"
