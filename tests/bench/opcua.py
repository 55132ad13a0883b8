"""What values cost over OPC UA: the product's server and, in the same run, others under the same load of the same client.

    server process ══ SignAndEncrypt (and plain) ══▶ client process: decodes, counts, reads the server's CPU from /proc

Every server has `channels` Doubles that all change every `cycle_ms`; the client subscribes to all of them every `cycles` cycles,
queues of one, both timestamps. A server that cannot keep up delivers fewer changes; its CPU is divided by what it delivered.
That is hard on servers that change their values themselves, so the peers are measured again at their ease: all values change
once a second. The product has no sessions without security, so only the peers have figures for plain connections,
and it has one for messages that are only signed.

    ems bench opcua                                          beside the peers
    ems bench opcua peers=0 clients=50 channels=100000 cycles=2     subscribed every 100 ms
    ems bench opcua peers=0 channels=100000 changing=0.01    one in a hundred values changes
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from server.runtime.ring import Inbox

from .opcua_client import (
    NODES_PER_REQUEST,
    Mode,
    Target,
    are_good,
    count,
    count_changes,
    count_requests,
    rates,
    read_request,
    write_requests,
)
from .opcua_servers import fork, in_process, in_processes, make_certificates, make_layout, our_server, writable
from .opcua_servers import peers as startable

EASE_MS = 1000.0
CLIENTS_PER_PROCESS = 25


def figures(
    duration_s: float = 10.0,
    channels: int = 10_000,
    cycle_ms: float = 50.0,
    clients: int = 1,
    cycles: int = 1,
    changing: float = 1.0,
    peers: int = 1,
) -> dict[str, float]:
    """Changes per second and CPU per change. clients: they share the channels out; cycles: in a publishing interval, the peers
    publish every cycle; changing: part of the values, 0..1."""
    with _directory() as directory:
        with our_server(directory, channels, cycle_ms, changing) as target:
            found = _changes(target, cycle_ms * cycles, duration_s, clients, writes=cycles)
            if changing < 1:
                del found["missed_values"]  # of values that stay, nothing can be missed
            result = {f"opcua.{name}": value for name, value in found.items()}
            signed = _changes(target, cycle_ms * cycles, duration_s / 2, clients, mode=Mode.Sign)
            result["opcua.cpu_per_change_signed_us"] = signed["cpu_per_change_us"]
            result |= _reads(target, duration_s / 2, "")
            result |= _writes(target, writable(make_layout(0)), duration_s / 2, cycle_ms)
        if peers:
            result |= _peers(directory, channels, cycle_ms, duration_s)
    return result


@contextmanager
def _directory() -> Iterator[Path]:
    with TemporaryDirectory(prefix="bench-opcua-") as folder:
        make_certificates(Path(folder))
        yield Path(folder)


def _changes(target: Target, interval_ms: float, duration_s: float, clients: int, **options: Any) -> dict[str, float]:
    """Subscriptions of many clients, in as many processes as are needed for them to be in time themselves."""
    processes = -(-clients // CLIENTS_PER_PROCESS)
    together = fork.Barrier(processes)
    return rates(
        in_processes(
            [
                partial(
                    count,
                    replace(target, nodes=target.nodes[i::processes]),
                    interval_ms,
                    duration_s,
                    clients=len(range(i, clients, processes)),
                    settled=together.wait,
                    **options,
                )
                for i in range(processes)
            ]
        )
    )


def _reads(target: Target, duration_s: float, suffix: str) -> dict[str, float]:
    found = in_process(count_requests, target, [read_request(target.nodes)], duration_s)
    return {f"opcua.read_values_per_s{suffix}": found["per_s"], f"opcua.cpu_per_read{suffix}_us": found["cpu_us"]}


def _writes(target: Target, nodes: list[str], duration_s: float, cycle_ms: float) -> dict[str, float]:
    """Writes of other values each time, half of what control takes in a cycle, so that none need be refused."""
    per_s = Inbox.PER_CYCLE / 2 / NODES_PER_REQUEST / cycle_ms * 1e3
    found = in_process(count_requests, target, write_requests(nodes), duration_s, per_s=per_s, check=are_good)
    names = {"write_values_per_s": "per_s", "cpu_per_write_us": "cpu_us", "writes_refused": "refused"}
    return {f"opcua.{name}": found[each] for name, each in names.items()}


def _peers(directory: Path, channels: int, cycle_ms: float, duration_s: float) -> dict[str, float]:
    """The figures of the peers: encrypted, plain, reads, and what changing a value costs them by itself."""
    result: dict[str, float] = {}
    for name, serve in startable().items():
        with serve(directory, channels, cycle_ms) as target:
            for plain in ("", "_plain"):
                found = in_process(count_changes, target, cycle_ms, duration_s, mode=Mode.None_ if plain else Mode.SignAndEncrypt)
                result[f"opcua.changes_per_s_{name}{plain}"] = found["changes_per_s"]
                result[f"opcua.cpu_per_change_{name}{plain}_us"] = found["cpu_per_change_us"]
            result[f"opcua.cpu_per_update_{name}_us"] = round(target.update_us, 4)
        with serve(directory, channels, EASE_MS) as target:
            found = in_process(count_changes, target, EASE_MS, duration_s)
            result[f"opcua.cpu_per_change_{name}_at_ease_us"] = found["cpu_per_change_us"]
            result |= _reads(target, duration_s / 2, f"_{name}")
    return result
