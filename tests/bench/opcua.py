"""What values cost over OPC UA: a server over the real shared image, and encrypted clients in processes of their own.

    writer ── block of `channels` Doubles, all different each cycle, frozen ──▶ image ──▶ server ══ SignAndEncrypt ══▶ client
                                                                                 CPU from /proc        decodes and counts

`changes` subscribes to every channel at the cycle's interval and takes the tables of `server.client`. `reads` keeps a few Read
requests of a thousand nodes under way and does not decode them. CPU is the whole server process, its idle work included.
Run `ems bench opcua duration_s=30`. Other servers are measured by the same clients: see
`count_changes` and `count_reads`, which need an Identity, the names of the nodes and a process id.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import uvloop
from asyncua import ua

from certs import create_authority, issue
from server.client import Client, Identity, node_id
from server.client.identity import Credentials
from server.client.link import Link
from server.core.layout import DEVICE, ChannelUse, Layout, ObjectSpec, build_layout
from server.core.natures import Meter
from server.core.status import GOOD
from server.opcua.channel import ServerSecurity
from server.opcua.server import Settings, UaServer
from server.opcua.session import User
from server.runtime.freezer import Freezer
from server.runtime.memory import SharedImage, utc_now

DRIVER = "driver"
SETTLE_S = 2.0
"""Connections are made and caches fill; not measured."""
NODES_PER_READ = 1000
READS_UNDER_WAY = 4

fork = multiprocessing.get_context("fork")


class Everybody:
    """Users of the bench: whoever has the site's certificate may look."""

    def verify(self, name: str, password: str) -> User | None:
        """Nobody by password."""
        return None

    def by_certificate(self, certificate: Any) -> User | None:
        """An observer."""
        return User("bench", frozenset({"Observer"}), 1)


def make_layout(channels: int) -> Layout:
    """`channels` Doubles of one driver."""
    every = [ChannelUse(s) for s in Meter.channels().values()]
    objects = [
        ObjectSpec(f"m{first}", DEVICE, DRIVER, (Meter,), tuple(every[: channels - first]))
        for first in range(0, channels, len(every))
    ]
    return build_layout(objects)


def write(image: SharedImage, layout: Layout, cycle_ms: float) -> None:
    """Driver and control in one: another value in every channel, then the freeze, on absolute deadlines, for ever."""
    block = SharedImage.attach(layout, image.handles(DRIVER), DRIVER).block()
    control = SharedImage.attach(layout, image.handles("control"), "control")
    freezer = Freezer(control)
    cycle_ns = round(cycle_ms * 1e6)
    due = time.monotonic_ns() + cycle_ns
    cycle = 0
    while True:
        time.sleep(max(0, due - time.monotonic_ns()) / 1e9)
        cycle += 1
        now = time.monotonic_ns()
        block.records["value"] = cycle
        block.records["status"], block.records["source"], block.records["arrival"] = GOOD, utc_now(), now
        block.publish()
        freezer.freeze(cycle, time.monotonic_ns(), utc_now())
        due += cycle_ns
        control.clock.announce(cycle_ns, due, time.monotonic_ns())


def serve(image: SharedImage, layout: Layout, directory: Path, pipe: Connection) -> None:
    """The server process; sends its port."""

    async def run() -> None:
        settings = Settings(directory, "127.0.0.1", 0, "bench", "Bench", f"sqlite:///{directory}/history.sqlite")
        mine = SharedImage.attach(layout, image.handles("opcua"), "opcua")
        server = UaServer(settings, layout, mine, ServerSecurity.load(directory), Everybody())  # type: ignore[arg-type]
        await server.start()
        pipe.send(server.port)
        await asyncio.Event().wait()

    uvloop.run(run())


@contextmanager
def our_server(directory: Path, channels: int, cycle_ms: float) -> Iterator[tuple[Identity, list[str], int]]:
    """The product's server and its writer: how to connect, the nodes, the server's process id."""
    layout = make_layout(channels)
    image = SharedImage.create(layout)
    writer = _start(write, image, layout, cycle_ms)
    try:
        with serving(image, layout, directory) as (identity, pid):
            yield identity, [c.node for c in layout.channels], pid
    finally:
        writer.kill()
        writer.join()
        image.close()


@contextmanager
def serving(image: SharedImage, layout: Layout, directory: Path) -> Iterator[tuple[Identity, int]]:
    """The product's server over an image that others write: how to connect, and its process id."""
    create_authority(directory, "Bench")
    issue(directory, "server", application_uri="urn:bench:unified-ems:bench", hosts=["127.0.0.1"])
    client = issue(directory, "client", application_uri="urn:bench:client", hosts=["127.0.0.1"])
    port, port_end = fork.Pipe()
    process = _start(serve, image, layout, directory, port_end)
    try:
        if not port.poll(30):
            raise RuntimeError("the server did not start")
        endpoint = f"opc.tcp://127.0.0.1:{port.recv()}/"
        ca = directory / "certs" / "ca" / "ca.pem"
        yield Identity(endpoint, client.certificate, client.key, ca=ca), int(process.pid or 0)
    finally:
        process.kill()
        process.join()


def count_changes(
    identity: Identity,
    nodes: Sequence[str],
    pid: int,
    interval_ms: float,
    duration_s: float,
    begin: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Subscribe to all nodes, in this process; changes per second, CPU of both sides per change, age of the values.

    begin: called when the counting begins.
    """

    async def run() -> dict[str, float]:
        async with Client(identity) as client:
            subscription = await client.subscribe(nodes, interval_ms)
            if subscription.refused:
                raise RuntimeError(f"refused: {subscription.refused}")
            await _count(subscription, SETTLE_S)
            begin()
            server_s, own_s, start = cpu_s(pid), time.process_time(), time.perf_counter()
            changes, ages = await _count(subscription, duration_s)
            elapsed = time.perf_counter() - start
            server_s, own_s = cpu_s(pid) - server_s, time.process_time() - own_s
        return {
            "opcua.changes_per_s": round(changes / elapsed),
            "opcua.cpu_per_change_us": round(server_s / changes * 1e6, 4),
            "opcua.server_load": round(server_s / elapsed, 4),
            "opcua.client_cpu_per_change_us": round(own_s / changes * 1e6, 4),
            "opcua.age_p50_ms": round(float(np.percentile(ages, 50)), 2),
            "opcua.age_p99_ms": round(float(np.percentile(ages, 99)), 2),
        }

    return uvloop.run(run())


async def _count(subscription: Any, duration_s: float) -> tuple[int, list[float]]:
    """Rows that arrive in a time, and the age in ms of each table's newest."""
    changes, ages = 0, []
    try:
        async with asyncio.timeout(duration_s):
            async for table in subscription:
                changes += len(table)
                ages.append((utc_now() - int(table.source.max())) / 1e4)
    except TimeoutError:
        pass
    return changes, ages


def count_reads(identity: Identity, nodes: Sequence[str], pid: int, duration_s: float) -> dict[str, float]:
    """Read values as fast as they come, in this process, without decoding them."""

    async def run() -> dict[str, float]:
        link = await Link.open(Credentials.load(identity), "bench")
        asked = [nodes[i % len(nodes)] for i in range(NODES_PER_READ)]
        count = 0

        async def ask() -> None:
            nonlocal count
            request = ua.ReadRequest()
            request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
            request.Parameters.NodesToRead = [ua.ReadValueId(NodeId=node_id(n), AttributeId=ua.AttributeIds.Value) for n in asked]
            while True:
                await link.raw(request)
                count += NODES_PER_READ

        tasks = [asyncio.create_task(ask()) for _ in range(READS_UNDER_WAY)]
        await asyncio.sleep(SETTLE_S / 2)
        server_s, start, before = cpu_s(pid), time.perf_counter(), count
        await asyncio.sleep(duration_s)
        server_s, elapsed, values = cpu_s(pid) - server_s, time.perf_counter() - start, count - before
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await link.close()
        return {
            "opcua.read_values_per_s": round(values / elapsed),
            "opcua.cpu_per_read_us": round(server_s / values * 1e6, 4),
        }

    return uvloop.run(run())


def cpu_s(pid: int) -> float:
    """CPU time of a process and all its threads so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def in_process(count: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
    """Run a client in a process of its own; RuntimeError when it fails."""
    result, result_end = fork.Pipe()
    process = _start(lambda: result_end.send(count(*arguments)))
    result_end.close()
    try:
        found: dict[str, float] = result.recv()
    except EOFError:
        raise RuntimeError("a client of the bench failed; its traceback is above") from None
    finally:
        process.kill()
        process.join()
    return found


def _start(target: Callable[..., None], *arguments: Any) -> Any:
    process = fork.Process(target=_run, args=(target, *arguments), daemon=True)
    process.start()
    return process


def _run(target: Callable[..., None], *arguments: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    target(*arguments)


def figures(duration_s: float = 10.0, channels: int = 10_000, cycle_ms: float = 50.0, clients: int = 1) -> dict[str, float]:
    """Figures of the product's server; with more clients each takes all changes, and the first one's figures count."""
    directory = Path(tempfile.mkdtemp(prefix="bench-opcua-"))
    try:
        with our_server(directory, channels, cycle_ms) as (identity, nodes, pid):
            others = [
                _start(count_changes, identity, nodes, pid, cycle_ms, duration_s + 2 * SETTLE_S) for _ in range(clients - 1)
            ]
            found = in_process(count_changes, identity, nodes, pid, cycle_ms, duration_s)
            for other in others:
                other.kill()
                other.join()
            found |= in_process(count_reads, identity, nodes, pid, duration_s / 2)
    finally:
        shutil.rmtree(directory)
    return found
