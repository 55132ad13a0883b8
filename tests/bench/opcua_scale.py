"""How the OPC UA server grows: start, memory and browsing for sites of 1,000, 10,000 and 100,000 nodes; sessions per second.

A node here is a channel; its unit, range and names are more nodes that a client sees. Start is from the fork of the process,
which has its modules already, to the answer to a first read. Memory is what the process has of its own, beside what the empty
server has; it is taken at the start and again after every variable was browsed with its properties.

    ems bench opcua_scale
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop
from asyncua import ua
from asyncua.ua.ua_binary import struct_from_binary

from server.runtime.memory import SharedImage

from .opcua_client import TIMEOUT_S, Target, connected, cpu_s, read_request
from .opcua_servers import in_process, make_certificates, make_layout, measured, serving

SIZES = (1_000, 10_000, 100_000)
BROWSED_MAX = 10_000
NODES_PER_BROWSE = 500


def figures(duration_s: float = 5.0, largest: int = SIZES[-1]) -> dict[str, float]:
    """Figures for each size up to `largest`; sessions are counted for duration_s."""
    result: dict[str, float] = {}
    with TemporaryDirectory(prefix="bench-scale-") as folder:
        directory = Path(folder)
        make_certificates(directory)
        with started(directory, 100) as (target, _):
            in_process(first_read, target)  # compiles the types, once for ever
        with started(directory, 100) as (target, _):
            in_process(first_read, target)
            empty_kb = private_kb(target.pid)
            result |= in_process(count_sessions, target, duration_s)
        for size in (s for s in SIZES if s <= largest):
            result |= {f"opcua.{name}_{size}": value for name, value in _grow(directory, size, empty_kb).items()}
    return result


def _grow(directory: Path, size: int, empty_kb: float) -> dict[str, float]:
    with started(directory, size) as (target, began):
        in_process(first_read, target)
        found = {"start_s": round(time.monotonic() - began, 3)}
        found["bytes_per_node"] = round((private_kb(target.pid) - empty_kb) * 1024 / size)
        found |= in_process(browse, target)
        found["bytes_per_node_browsed"] = round((private_kb(target.pid) - empty_kb) * 1024 / size)
    return found


@contextmanager
def started(directory: Path, channels: int) -> Iterator[tuple[Target, float]]:
    """A server over a still image, and when its start began (monotonic seconds)."""
    layout = make_layout(channels)
    image = SharedImage.create(layout)
    began = time.monotonic()
    try:
        with serving(image, layout, directory, measured(layout)) as target:
            yield target, began
    finally:
        image.close()


def private_kb(pid: int) -> float:
    """Memory that a process shares with nobody."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith("Private_"))


# Clients, each in a process of its own.


def first_read(target: Target) -> dict[str, float]:
    """Connect and read, once."""

    async def run() -> dict[str, float]:
        async with connected(target) as client:
            await client.uaclient.protocol.send_request(read_request(target.nodes), TIMEOUT_S)
        return {}

    return uvloop.run(run())


def browse(target: Target) -> dict[str, float]:
    """Browse variables with all their references; references and server CPU."""

    async def run() -> dict[str, float]:
        nodes = target.nodes[:BROWSED_MAX]
        async with connected(target) as client:
            server_s, start, references = cpu_s(target.pid), time.perf_counter(), 0
            for first in range(0, len(nodes), NODES_PER_BROWSE):
                request = browse_request(nodes[first : first + NODES_PER_BROWSE])
                body = await client.uaclient.protocol.send_request(request, TIMEOUT_S)
                results = struct_from_binary(ua.BrowseResponse, body).Results
                for result in results:
                    result.StatusCode.check()
                    references += len(result.References)
            elapsed, server_s = time.perf_counter() - start, cpu_s(target.pid) - server_s
        return {
            "browsed_nodes": len(nodes),
            "browse_s": round(elapsed, 3),
            "cpu_per_reference_us": round(server_s / max(references, 1) * 1e6, 3),
        }

    return uvloop.run(run())


def browse_request(nodes: Sequence[str]) -> ua.BrowseRequest:
    """All references of the nodes, with all fields."""
    request = ua.BrowseRequest()
    request.Parameters.NodesToBrowse = [
        ua.BrowseDescription(ua.NodeId.from_string(n), ua.BrowseDirection.Both, ua.NodeId(), True, 0, 63) for n in nodes
    ]
    return request


def count_sessions(target: Target, duration_s: float) -> dict[str, float]:
    """Connect, open an encrypted channel, log in with a certificate, leave; over and over, one after the other."""

    async def run() -> dict[str, float]:
        count, server_s, start = 0, cpu_s(target.pid), time.perf_counter()
        while time.perf_counter() - start < duration_s:
            async with connected(target):
                await asyncio.sleep(0)
            count += 1
        elapsed, server_s = time.perf_counter() - start, cpu_s(target.pid) - server_s
        return {"opcua.sessions_per_s": round(count / elapsed, 1), "opcua.cpu_per_session_ms": round(server_s / count * 1e3, 2)}

    return uvloop.run(run())
