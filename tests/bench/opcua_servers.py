"""The servers under load, each in a process of its own with as many Doubles, all of which change every interval.

    ours         writer ── block, freeze ──▶ image ──▶ server            what is published is what control froze
    node-opcua   one process: a timer sets every variable                tests/peers/server.cjs
    asyncua      one process: a task writes every variable
    o6           one process: open62541 below, a thread writes every variable; only when it is installed (pip install o6)

The peers change their values themselves, so each says what changing one costs when nobody watches (`update_us`).
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import multiprocessing
import pickle
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import uvloop
from asyncua import Server, ua

from certs import create_authority, issue
from controllers.peak_shaving import PeakShaving
from server.core.channel import Access, DataType
from server.core.controller import controller_object
from server.core.layout import DEVICE, ChannelUse, Layout, ObjectSpec, build_layout
from server.core.natures import Meter
from server.core.status import GOOD
from server.opcua.channel import ServerSecurity
from server.opcua.process import settle
from server.opcua.server import Settings, UaServer
from server.opcua.session import User
from server.runtime.freezer import Freezer
from server.runtime.memory import SharedImage, utc_now
from tests.support.ports import free_port

from .opcua_client import Target

DRIVER = "driver"
CONTROLLERS = 100
PEERS = Path(__file__).resolve().parents[1] / "peers"
PEER_URI = "urn:bench:peer"
CLIENT_URI = "urn:bench:client"
MEASURED_ROUNDS = 20
WRITTEN_MAX = 10_000
START_S = 120.0

T = TypeVar("T")
fork = multiprocessing.get_context("fork")


def start(target: Callable[..., None], *arguments: Any) -> Any:
    """A process that ends with this one."""
    process = fork.Process(target=_run, args=(target, *arguments), daemon=True)
    process.start()
    return process


def _run(target: Callable[..., None], *arguments: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    target(*arguments)


def in_process(work: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """Run a client in a process of its own; RuntimeError when it fails."""
    return in_processes([partial(work, *arguments, **options)])[0]


def in_processes(works: Sequence[Callable[[], T]]) -> list[T]:
    """Run clients at the same time, each in a process of its own; RuntimeError when one fails."""
    pipes = [fork.Pipe() for _ in works]
    processes = [start(lambda end, work: end.send(work()), end, work) for (_, end), work in zip(pipes, works, strict=True)]
    try:
        for _, end in pipes:
            end.close()
        return [result.recv() for result, _ in pipes]
    except EOFError:
        raise RuntimeError("a client of the bench failed; its traceback is above") from None
    finally:
        for process in processes:
            process.kill()
            process.join()


def make_certificates(directory: Path) -> None:
    """An authority with our server, the peers' server and the client."""
    create_authority(directory, "Bench")
    issue(directory, "server", application_uri="urn:bench:unified-ems:bench", hosts=["127.0.0.1"])
    issue(directory, "peer", application_uri=PEER_URI, hosts=["127.0.0.1"])
    issue(directory, "client", application_uri=CLIENT_URI, hosts=["127.0.0.1"])


def target(directory: Path, name: str, server: str, port: int, nodes: list[str], pid: int, **options: Any) -> Target:
    """How the client reaches a server whose certificate is own/<server>.der."""
    own = directory / "certs" / "own"
    url = f"opc.tcp://127.0.0.1:{port}/"
    return Target(name, url, nodes, pid, own / "client.der", own / "client.key.pem", own / f"{server}.der", CLIENT_URI, **options)


# Ours.


class Everybody:
    """Users of the bench: whoever has the site's certificate may operate and look."""

    def __iter__(self) -> Iterator[User]:
        return iter([self.by_certificate(None)])

    def verify(self, name: str, password: str) -> User | None:
        """Nobody by password."""
        return None

    def by_certificate(self, certificate: Any) -> User:
        """An engineer."""
        return User("bench", frozenset({"Engineer"}), 1)


def make_layout(channels: int) -> Layout:
    """`channels` Doubles of one driver, and WRITABLE Doubles that are parameters of controllers."""
    every = [ChannelUse(s) for s in Meter.channels().values()]
    objects = [
        ObjectSpec(f"m{first}", DEVICE, DRIVER, (Meter,), tuple(every[: channels - first]))
        for first in range(0, channels, len(every))
    ]
    settings = {"grid": "grid", "import_max_w": 8000}
    objects += [controller_object(PeakShaving, f"peak{i}", settings) for i in range(CONTROLLERS)]
    return build_layout(objects)


def measured(layout: Layout) -> list[str]:
    """NodeIds of the Doubles that change."""
    return [f"ns=4;s={c.node}" for c in layout.channels if c.owner == DRIVER]


def writable(layout: Layout) -> list[str]:
    """NodeIds of the Doubles that a client may write, and whose range has room."""
    found = (c for c in layout.channels if c.spec.access is Access.PROPOSE and c.spec.data_type is DataType.DOUBLE)
    return [f"ns=4;s={c.node}" for c in found if c.spec.high is None or c.spec.high > WRITTEN_MAX]


def write(image: SharedImage, layout: Layout, cycle_ms: float, changing: float) -> None:
    """Driver and control in one: `changing` of the channels (0..1) get another value, then the freeze; for ever."""
    block = SharedImage.attach(layout, image.handles(DRIVER), DRIVER).block()
    control = SharedImage.attach(layout, image.handles("control"), "control")
    freezer = Freezer(control)
    cycle_ns, step = round(cycle_ms * 1e6), max(1, round(1 / changing))
    due, cycle = time.monotonic_ns() + cycle_ns, 0
    block.records["status"] = GOOD
    while True:
        time.sleep(max(0, due - time.monotonic_ns()) / 1e9)
        cycle += 1
        part = block.records[cycle % step :: step] if cycle > 1 else block.records
        part["value"], part["source"], part["arrival"] = cycle, utc_now(), time.monotonic_ns()
        block.publish()
        freezer.freeze(cycle, time.monotonic_ns(), utc_now())
        due += cycle_ns
        control.inbox.take()
        control.clock.announce(cycle_ns, due, time.monotonic_ns())


def serve(image: SharedImage, layout: Layout, directory: Path, pipe: Connection) -> None:
    """The server process; sends its port. The layout becomes its own, as in a site."""
    layout = pickle.loads(pickle.dumps(layout))

    async def run() -> None:
        settings = Settings(directory, "127.0.0.1", 0, "bench", "Bench", f"sqlite:///{directory}/history.sqlite")
        mine = SharedImage.attach(layout, image.handles("opcua"), "opcua")
        server = UaServer(settings, layout, mine, ServerSecurity.load(directory), Everybody())  # type: ignore[arg-type]
        await server.start()
        settle()
        pipe.send(server.port)
        await asyncio.Event().wait()

    uvloop.run(run())


@contextmanager
def our_server(directory: Path, channels: int, cycle_ms: float, changing: float = 1.0) -> Iterator[Target]:
    """The product's server and its writer."""
    layout = make_layout(channels)
    image = SharedImage.create(layout)
    writer = start(write, image, layout, cycle_ms, changing)
    try:
        with serving(image, layout, directory, measured(layout)) as found:
            yield found
    finally:
        writer.kill()
        writer.join()
        image.close()


@contextmanager
def serving(image: SharedImage, layout: Layout, directory: Path, nodes: list[str]) -> Iterator[Target]:
    """The product's server over an image that others write."""
    port, port_end = fork.Pipe()
    process = start(serve, image, layout, directory, port_end)
    try:
        if not port.poll(START_S):
            raise RuntimeError("the server did not start")
        yield target(directory, "ours", "server", port.recv(), nodes, int(process.pid or 0), as_user=True)
    finally:
        process.kill()
        process.join()


# node-opcua.


@contextmanager
def node_opcua(directory: Path, channels: int, cycle_ms: float) -> Iterator[Target]:
    """node-opcua's server."""
    own = directory / "certs" / "own"
    options = {
        "certificate": str(own / "peer.pem"),
        "key": str(own / "peer.key.pem"),
        "authority": str(directory / "certs" / "ca" / "ca.der"),
        "uri": PEER_URI,
        "nodes": channels,
        "interval_ms": cycle_ms,
    }
    command = ["node", str(PEERS / "server.cjs"), json.dumps(options)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            said = _first_object(process)
            nodes = [f"ns={said['namespace']};s=v{i}" for i in range(channels)]
            yield target(directory, "node_opcua", "peer", said["port"], nodes, process.pid, update_us=said["update_us"])
        finally:
            process.kill()


def _first_object(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The first line of a process that is a JSON object. RuntimeError when it ends or says nothing in time."""
    assert process.stdout is not None
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and select.select([process.stdout], [], [], START_S)[0]:
        line = process.stdout.readline()
        if not line:
            break
        with suppress(json.JSONDecodeError):
            found: dict[str, Any] = json.loads(line)
            return found
    raise RuntimeError(f"{process.args!r} did not start")


# asyncua.


@contextmanager
def stock_asyncua(directory: Path, channels: int, cycle_ms: float) -> Iterator[Target]:
    """asyncua's server."""
    with _python_peer(_serve_asyncua, "asyncua", directory, channels, cycle_ms) as found:
        yield found


def _serve_asyncua(directory: Path, channels: int, cycle_ms: float, pipe: Connection) -> None:
    async def run() -> None:
        server = Server()
        await server.init()
        server.set_endpoint("opc.tcp://127.0.0.1:0/")
        await server.set_application_uri(PEER_URI)
        own = directory / "certs" / "own"
        await server.load_certificate(str(own / "peer.der"))
        await server.load_private_key(str(own / "peer.key.pem"))
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity, ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt])
        nodes = await _asyncua_variables(server, channels)
        begin = time.process_time()
        for round_ in range(MEASURED_ROUNDS):
            await _asyncua_update(server, nodes, round_)
        update_us = (time.process_time() - begin) / MEASURED_ROUNDS / channels * 1e6
        await server.start()
        port = server.bserver._server.sockets[0].getsockname()[1]
        pipe.send((port, [n.to_string() for n in nodes], update_us))
        await _every(cycle_ms, lambda round_: _asyncua_update(server, nodes, round_ + MEASURED_ROUNDS))

    uvloop.run(run())


async def _asyncua_variables(server: Server, channels: int) -> list[ua.NodeId]:
    """Doubles in folders of a hundred; a larger folder takes asyncua minutes."""
    index = await server.register_namespace("urn:bench")
    nodes: list[ua.NodeId] = []
    folder = server.nodes.objects
    for i in range(channels):
        if i % 100 == 0:
            folder = await server.nodes.objects.add_folder(index, f"f{i}")
        nodes.append((await folder.add_variable(ua.NodeId(f"v{i}", index), f"v{i}", 0.0)).nodeid)
    return nodes


async def _asyncua_update(server: Server, nodes: list[ua.NodeId], round_: int) -> None:
    for node in nodes:
        await server.write_attribute_value(node, ua.DataValue(ua.Variant(float(round_), ua.VariantType.Double)))
    await asyncio.sleep(0)


async def _every(cycle_ms: float, work: Callable[[int], Any]) -> None:
    """Do the work each cycle, or as often as it can be done."""
    loop, round_ = asyncio.get_running_loop(), 0
    due = loop.time()
    while True:
        await work(round_)
        round_ += 1
        due = max(due + cycle_ms / 1e3, loop.time())
        await asyncio.sleep(max(0.0, due - loop.time()))


@contextmanager
def _python_peer(serve_: Callable[..., None], name: str, directory: Path, channels: int, cycle_ms: float) -> Iterator[Target]:
    said, said_end = fork.Pipe()
    process = start(serve_, directory, channels, cycle_ms, said_end)
    try:
        if not said.poll(START_S):
            raise RuntimeError(f"{name} did not start")
        port, nodes, update_us = said.recv()
        yield target(directory, name, "peer", port, nodes, int(process.pid or 0), update_us=update_us)
    finally:
        process.kill()
        process.join()


# o6.


@contextmanager
def o6(directory: Path, channels: int, cycle_ms: float) -> Iterator[Target]:
    """o6's server, which is open62541; without a licence it ends after ten minutes."""
    with _python_peer(_serve_o6, "o6", directory, channels, cycle_ms) as found:
        yield found


def _serve_o6(directory: Path, channels: int, cycle_ms: float, pipe: Connection) -> None:
    o6_ = importlib.import_module("o6")
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    own = directory / "certs" / "own"
    credentials = {"certificate": str(own / "peer.der"), "privateKey": str(own / "peer.key.pem")}
    port = free_port()
    server = o6_.Server(port=port, loop=loop, **credentials, acceptAllCertificates=True, applicationUri=PEER_URI)
    nodes = [f"ns=1;s=v{i}" for i in range(channels)]
    for i, node in enumerate(nodes):
        server.addVariable(f"v{i}", server.objectsNode, 0.0, nodeId=node)
    ids = [o6_.NodeId(node) for node in nodes]

    async def update(round_: int) -> None:
        for number in ids:
            server._write_value(number, float(round_))

    begin = time.process_time()
    for round_ in range(MEASURED_ROUNDS):
        loop.run_until_complete(update(round_))
    update_us = (time.process_time() - begin) / MEASURED_ROUNDS / channels * 1e6
    loop.call_soon(server.start)
    loop.call_later(1.0, pipe.send, (port, nodes, update_us))
    loop.run_until_complete(_every(cycle_ms, lambda round_: update(round_ + MEASURED_ROUNDS)))


PEER_SERVERS: dict[str, Callable[..., Any]] = {"node_opcua": node_opcua, "asyncua": stock_asyncua, "o6": o6}


def peers() -> dict[str, Callable[..., Any]]:
    """The peers that this machine can start."""
    able = {"node_opcua": shutil.which("node") is not None and (PEERS / "node_modules").is_dir()}
    return {name: serve_ for name, serve_ in PEER_SERVERS.items() if able.get(name, importlib.util.find_spec(name) is not None)}
