"""A DriverIo in plain memory, and a plant on free ports: what the drivers' tests stand on."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from drivers.modbus import driver as modbus
from drivers.modbus.config import Config
from drivers.plant.model import Plant
from drivers.plant.server import PlantServer
from server.core.driver import Entry
from server.core.image import SETPOINT, blank_records
from server.core.layout import build_layout


class FakeClock:
    """A cycle that control would announce; cycle_ms 0 announces nothing."""

    def __init__(self, cycle_ms: float) -> None:
        self.cycle_ns = int(cycle_ms * 1e6)
        self._start = time.monotonic_ns()

    def next_freeze_ns(self) -> int:
        if not self.cycle_ns:
            return 0
        return self._start + ((time.monotonic_ns() - self._start) // self.cycle_ns + 1) * self.cycle_ns


class Rig:
    """Entries of the Modbus driver with memory around them."""

    def __init__(self, configs: dict[str, Config], cycle_ms: float = 50.0) -> None:
        self.entries = []
        for alias, config in configs.items():
            objects = tuple(replace(o, owner="modbus") for o in modbus.describe(alias, config))
            self.entries.append(Entry(alias, config, objects))
        self.name = "modbus"
        self.layout = build_layout([o for e in self.entries for o in e.objects])
        owner = self.layout.owner("modbus")
        self.records = blank_records(owner.count)
        self.published = self.records.copy()
        self.publications = 0
        self.block = SimpleNamespace(records=self.records, publish=self._publish, set_text=lambda slot, text: None)
        self.wake_fd = os.eventfd(0, os.EFD_NONBLOCK)
        self.outputs = np.zeros(owner.outputs, SETPOINT)
        self.setpoints = SimpleNamespace(wake_fd=self.wake_fd, read=self.outputs.copy)
        self.clock = FakeClock(cycle_ms)
        self.events: list[tuple[str, str]] = []
        self._first = owner.first

    def _publish(self) -> None:
        self.publications += 1
        self.published[:] = self.records

    def event(self, kind: str, text: str, **data: Any) -> None:
        self.events.append((kind, text))

    def kinds(self, kind: str) -> list[str]:
        """Texts of the events of a kind."""
        return [text for k, text in self.events if k == kind]

    def record(self, node: str) -> Any:
        """What was published for a channel."""
        return self.published[self.layout.by_node[node].slot - self._first]

    def value(self, node: str) -> float:
        return float(self.record(node)["value"])

    def status(self, node: str) -> int:
        return int(self.record(node)["status"])

    def measured(self, alias: str) -> list[str]:
        """Nodes of the channels that come from registers."""
        own = {"State", "CommState", "LastCommunication", "NoFailSafe", "PowerPrecision"}
        return [c.node for c in self.layout.channels_of(alias) if c.output < 0 and not c.spec.needs and c.spec.name not in own]

    def assert_setpoint(self, node: str, value: float, lease_s: float = 10.0) -> None:
        """Do what control does: value and lease into the bank, then ring."""
        output = self.layout.by_node[node].output
        self.outputs[output]["value"] = value
        self.outputs[output]["lease"] = time.monotonic_ns() + int(lease_s * 1e9)
        os.eventfd_write(self.wake_fd, 1)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        """The driver, until the end of the block; then cancelled."""
        task = asyncio.create_task(modbus.run(self, self.entries))
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def close(self) -> None:
        os.close(self.wake_fd)


class Site:
    """A served plant."""

    UNITS = {"ess": 1, "meter": 2, "pv": 3, "evcs": 4, "load": 5}

    def __init__(self, server: PlantServer) -> None:
        self.server = server
        self.plant: Plant = server.plant

    def config(self, kind: str, **options: Any) -> Config:
        """Configuration of one of its devices."""
        unit = self.UNITS[kind]
        return Config(
            profile=f"plant_{kind}", host="127.0.0.1", port=self.server.ports[unit], unit_id=unit, **{"timeout_s": 0.2, **options}
        )

    def fault(self, kind: str, fault: int) -> None:
        self.server.bench.write(9 + self.UNITS[kind], [fault])


@asynccontextmanager
async def served_plant(**options: Any) -> AsyncIterator[Site]:
    """A plant on free ports of loopback."""
    server = PlantServer(Plant(**options))
    await server.start("127.0.0.1", 0)
    task = asyncio.create_task(server.run())
    try:
        yield Site(server)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await server.stop()


async def until(condition: Callable[[], bool], what: str, timeout_s: float = 8.0) -> None:
    """Wait until something is so; AssertionError that names it when it never is."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"never happened: {what}")
        await asyncio.sleep(0.005)
