"""What polling Modbus devices costs: many devices, each with a connection of its own, read every cycle in step with it.

    servers (1 process, a port per device) ── TCP on loopback ──▶ the driver (this process) ── arrival of every value ──▶ figures

The spread is the time from the first to the last device's values within one cycle; the age is how old a device's values are when
the engine would freeze them. CPU is all of the driver's: requests, decoding, staging, publishing. Reaction is from a rung
set-point to its arrival in the device's register. Run `ems bench modbus`.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from drivers.modbus.config import Config
from drivers.plant.modbus_server import ModbusServer
from tests.drivers.driver_rig import Rig

SETTLE_S = 2.0
fork = multiprocessing.get_context("fork")

PROFILE = """
title = "Bench"
natures = ["ManagedEss", "Battery"]
source = "tests/bench/modbus.py"
verified = true
[[block]]
name = "all"
address = 0
count = {registers}
channels = [
  {{ channel = "ActivePower", address = 0, type = "int32" }},
  {{ channel = "ReactivePower", address = 2, type = "int32" }},
  {{ channel = "AllowedChargePower", address = 4, type = "int32" }},
  {{ channel = "Soc", address = 6, type = "uint16", scale = 0.001 }},
  {{ channel = "Voltage", address = 7, type = "uint16", scale = 0.1 }},
  {{ channel = "Current", address = 8, type = "int16", scale = 0.1 }},
  {{ channel = "CellVoltages", address = 9, type = "uint16", scale = 0.001, length = {cells} }},
]
[[setpoint]]
channel = "SetActivePower"
address = 90
type = "int32"
fail_safe = 0
"""


class Station:
    """A device of 100 registers that counts what it is asked, and notes when its set-point changes."""

    silent = False
    delay_s = 0.0

    def __init__(self) -> None:
        self.registers = [1000] * 100
        self.requests = 0
        self.written: list[tuple[int, int]] = []

    def read(self, address: int, count: int) -> Sequence[int]:
        self.requests += 1
        return self.registers[address : address + count]

    def write(self, address: int, words: Sequence[int]) -> None:
        self.requests += 1
        self.registers[address : address + len(words)] = words
        self.written.append((words[-1], time.monotonic_ns()))


def serve(devices: int, pipe: Connection) -> None:
    """The devices' process: send ports, wait, send what was counted."""

    async def run() -> None:
        stations = [Station() for _ in range(devices)]
        servers = [ModbusServer({1: station}) for station in stations]
        pipe.send([await server.start("127.0.0.1", 0) for server in servers])
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, pipe.recv):
            pipe.send((sum(s.requests for s in stations), stations[0].written))

    asyncio.run(run())


async def measure(rig: Rig, aliases: Sequence[str], duration_s: float, pipe: Connection) -> dict[str, float]:
    """Look at every freeze of the cycle how old each device's values are."""
    slots = [f"{alias}/ActivePower" for alias in aliases]
    async with rig.running():
        await asyncio.sleep(SETTLE_S)
        pipe.send(True)
        requests, cpu, begin = pipe.recv()[0], _cpu_s(), time.monotonic_ns()
        arrivals, rung = [], []
        while (freeze := rig.clock.next_freeze_ns()) - begin < duration_s * 1e9:
            await asyncio.sleep((freeze - time.monotonic_ns()) * 1e-9)
            arrivals.append([freeze - int(rig.record(node)["arrival"]) for node in slots])
            if len(arrivals) % 4 == 0:
                rung.append((len(arrivals), time.monotonic_ns()))
                rig.assert_setpoint(f"{aliases[0]}/SetActivePower", float(len(arrivals)), 60.0)
        elapsed_s = (time.monotonic_ns() - begin) * 1e-9
        used = _cpu_s() - cpu
        pipe.send(True)
        total, written = pipe.recv()
    return _figures(np.array(arrivals) / 1e6, used, elapsed_s, total - requests, _reactions(rung, dict(written)), rig)


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _reactions(rung: list[tuple[int, int]], written: dict[int, int]) -> list[float]:
    return [(written[value] - at) / 1e6 for value, at in rung if value in written] or [float("nan")]


def _figures(
    age_ms: np.ndarray, cpu_s: float, elapsed_s: float, requests: int, reaction_ms: list[float], rig: Rig
) -> dict[str, float]:
    cycle_ms = rig.clock.cycle_ns / 1e6
    spread = age_ms.max(axis=1) - age_ms.min(axis=1)
    fresh = age_ms < cycle_ms
    return {
        "devices": age_ms.shape[1],
        "cycles": len(age_ms),
        "requests_per_s": requests / elapsed_s,
        "spread_ms_p50": float(np.median(spread[fresh.all(axis=1)])),
        "spread_ms_p99": float(np.percentile(spread[fresh.all(axis=1)], 99)),
        "age_ms_p50": float(np.median(age_ms)),
        "age_ms_p99": float(np.percentile(age_ms, 99)),
        "stale_share": float(1.0 - fresh.mean()),
        "cpu_us_per_request": cpu_s / max(requests, 1) * 1e6,
        "cpu_share": cpu_s / elapsed_s,
        "reaction_ms_p50": float(np.median(reaction_ms)),
        "reaction_ms_p99": float(np.percentile(reaction_ms, 99)),
    }


def figures(devices: int = 50, registers: int = 20, cycle_ms: float = 50.0, duration_s: float = 8.0) -> dict[str, float]:
    """Serve, poll, measure."""
    ours, theirs = fork.Pipe()
    server = fork.Process(target=serve, args=(devices, theirs), daemon=True)
    server.start()
    try:
        ports = ours.recv()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "bench.toml"
            path.write_text(PROFILE.format(registers=registers, cells=registers - 9))
            configs = {
                f"ess{n}": Config(profile=str(path), host="127.0.0.1", port=port, poll_ms=cycle_ms)
                for n, port in enumerate(ports)
            }
            rig = Rig(configs, cycle_ms)
            found = asyncio.run(measure(rig, list(configs), duration_s, ours))
            rig.close()
        ours.send(False)
        return found
    finally:
        server.join(5.0)
        server.kill()
