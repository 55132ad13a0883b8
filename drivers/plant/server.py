"""The plant on the network: five devices, and a bench to disturb them.

| unit | port | device |
|---|---|---|
| 1 | base + 1 | battery inverter |
| 2 | base + 2 | grid meter |
| 3 | base + 3 | PV inverter |
| 4 | base + 4 | charging station |
| 5 | base + 5 | meter of the building |
| 100 | base | bench: time factor, load, clouds, frequency, faults |

Each device has a port of its own, as separate devices have separate addresses; the base port answers for all unit ids, as a
gateway does.
"""

from __future__ import annotations

import asyncio
import errno
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from enum import IntEnum
from math import inf
from typing import Any

from server.core.errors import EmsError

from . import sky
from .drive import Operation
from .modbus_server import ModbusServer
from .model import Plant
from .registers import (
    ILLEGAL_VALUE,
    ModbusError,
    Register,
    RegisterMap,
    ess_map,
    evcs_map,
    load_map,
    meter_map,
    pv_map,
)

BENCH_UNIT = 100
SLOW_S = 1.0
NO_OVERRIDE_W = -0x80000000
MAX_SPEED = 3600.0
MIN_HZ = 40.0
_TICK_S = 0.1


class Fault(IntEnum):
    """What is wrong with a device; written to its register of the bench."""

    NONE = 0
    SILENT = 1
    NONSENSE = 2
    FROZEN = 3
    SLOW = 4


class PlantError(EmsError):
    """The plant cannot be served."""


class DeviceStation:
    """A device of the plant behind its unit id, with the fault the bench gave it."""

    def __init__(self, registers: RegisterMap, clock: PlantClock, seed: int) -> None:
        self.registers = registers
        self.fault = Fault.NONE
        self._clock = clock
        self._frozen: list[int] = []
        self._random = random.Random(seed)

    @property
    def silent(self) -> bool:
        """No answer at all."""
        return self.fault is Fault.SILENT

    @property
    def delay_s(self) -> float:
        """How late the answers are."""
        return SLOW_S if self.fault is Fault.SLOW else 0.0

    def set_fault(self, fault: Fault) -> None:
        """Begin or end a fault; freezing keeps the registers of this moment."""
        self._clock.advance()
        self._frozen = self.registers.read(0, self.registers.end) if fault is Fault.FROZEN else []
        self.fault = fault

    def read(self, address: int, count: int) -> list[int]:
        """Registers as the device shows them now."""
        self._clock.advance()
        words = self.registers.read(address, count)
        if self.fault is Fault.NONSENSE:
            return [0x7F00 | self._random.randrange(0x100) for _ in words]
        if self.fault is Fault.FROZEN and address < self.registers.end:
            return self._frozen[address : address + count]
        return words

    def write(self, address: int, words: Sequence[int]) -> None:
        """Take set-points; a frozen device acknowledges and does nothing."""
        self._clock.advance()
        if self.fault is not Fault.FROZEN:
            self.registers.write(address, words)


class BenchStation:
    """Unit 100: the registers that disturb the plant."""

    silent = False
    delay_s = 0.0

    def __init__(self, registers: RegisterMap, clock: PlantClock) -> None:
        self._registers = registers
        self._clock = clock

    def read(self, address: int, count: int) -> list[int]:
        """Registers now."""
        self._clock.advance()
        return self._registers.read(address, count)

    def write(self, address: int, words: Sequence[int]) -> None:
        """Disturb the plant from now on."""
        self._clock.advance()
        self._registers.write(address, words)


class PlantClock:
    """Brings the plant to the present whenever somebody looks at it."""

    def __init__(self, plant: Plant) -> None:
        self.plant = plant
        self._start_ns = time.monotonic_ns()

    def advance(self) -> None:
        """Advance the plant to now."""
        self.plant.advance((time.monotonic_ns() - self._start_ns) * 1e-9)


def bench_map(plant: Plant, devices: Sequence[DeviceStation]) -> RegisterMap:
    """The registers of the bench."""
    battery, drive = plant.battery, plant.battery.drive

    def trip(value: float) -> None:
        if value:
            drive.trip()

    rows = [
        _setting(0, "u16", plant, "speed", f"Time factor, 0 to {MAX_SPEED:.0f}.", low=0.0, high=MAX_SPEED),
        _setting(2, "i32", plant, "load_added_w", "Load added to the building W."),
        _override(4, "i32", plant, "load_override_w", NO_OVERRIDE_W, f"Load instead of the building's W, {NO_OVERRIDE_W} none."),
        _override(6, "u16", plant, "cloud_override", 0xFFFF, "Cloud cover %, 65535 none.", 0.01, high=1.0),
        _override(8, "u16", plant, "frequency_override", 0, "Grid frequency Hz, 0 natural.", 0.001, low=MIN_HZ),
        *(_fault_row(10 + n, device) for n, device in enumerate(devices)),
        Register(20, "u32", lambda: plant.time_s, "Simulated time, unix s."),
        Register(22, "i16", lambda: float(sky.elevation(plant.time_s, plant.place)), "Elevation of the sun °.", 0.1),
        _setting(24, "u16", drive, "start_s", "Time the battery inverter takes to start, 0.1 s.", 0.1),
        _setting(25, "u16", drive, "failing", "Starts of the battery inverter that will fail."),
        Register(26, "u16", lambda: drive.state is Operation.Error, "1 trips the battery inverter.", write=trip),
        _setting(27, "u16", battery, "lag_s", "Lag of the battery inverter, ms.", 0.001, low=0.001),
    ]
    return RegisterMap(rows, "EMS-BENCH")


def _setting(
    address: int,
    kind: str,
    target: Any,
    name: str,
    doc: str,
    scale: float = 1.0,
    *,
    low: float = -inf,
    high: float = inf,
) -> Register:
    """A row for an attribute of something in the plant, in low..high."""

    def write(value: float) -> None:
        if not low <= value <= high:
            raise ModbusError(ILLEGAL_VALUE)
        setattr(target, name, value)

    return Register(address, kind, lambda: getattr(target, name), doc, scale, write)


def _override(
    address: int,
    kind: str,
    plant: Plant,
    name: str,
    none: int,
    doc: str,
    scale: float = 1.0,
    *,
    low: float = -inf,
    high: float = inf,
) -> Register:
    """A row for what is instead of what the plant does by itself; the register value `none` ends that."""
    row = _setting(address, kind, plant, name, doc, scale, low=low, high=high)

    def read() -> float:
        value = getattr(plant, name)
        return none * scale if value is None else float(value)

    def write(value: float) -> None:
        if value == none * scale:
            setattr(plant, name, None)
        elif row.write is not None:
            row.write(value)

    return replace(row, read=read, write=write)


def _fault_row(address: int, device: DeviceStation) -> Register:
    def set_fault(value: float) -> None:
        if value not in set(Fault):
            raise ModbusError(ILLEGAL_VALUE)
        device.set_fault(Fault(int(value)))

    doc = f"Fault of unit {address - 9}: 0 none, 1 silent, 2 nonsense, 3 frozen, 4 slow (1 s)."
    return Register(address, "u16", lambda: device.fault, doc, write=set_fault)


class PlantServer:
    """All ports of the plant. `ports[0]` is the base port, `ports[n]` that of unit n."""

    def __init__(self, plant: Plant) -> None:
        self.plant = plant
        self.clock = PlantClock(plant)
        maps = [build(plant) for build in (ess_map, meter_map, pv_map, evcs_map, load_map)]
        self.devices = [DeviceStation(m, self.clock, plant.seed + n) for n, m in enumerate(maps)]
        self.bench = BenchStation(bench_map(plant, self.devices), self.clock)
        self.ports: list[int] = []
        units = dict(enumerate(self.devices, 1))
        self._servers = [ModbusServer({**units, BENCH_UNIT: self.bench})]
        self._servers += [ModbusServer({unit: device}) for unit, device in units.items()]

    async def start(self, host: str, port: int) -> None:
        """Listen on `port .. port + 5`, or on free ports when `port` is 0; PlantError when one of them is taken."""
        for offset, server in enumerate(self._servers):
            wanted = port + offset if port else 0
            try:
                self.ports.append(await server.start(host, wanted))
            except OSError as error:
                await self.stop()
                reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be opened: {error.strerror}"
                raise PlantError(f"port: {host}:{wanted} {reason}; the plant needs {port} to {port + 5}") from error

    async def run(self) -> None:
        """Keep the plant's clock going while nobody looks, until cancelled."""
        while True:
            self.clock.advance()
            await asyncio.sleep(_TICK_S)

    async def stop(self) -> None:
        """Close all ports."""
        for server in self._servers[: len(self.ports)]:
            await server.stop()
        self.ports = []
