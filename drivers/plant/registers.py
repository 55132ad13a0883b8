"""The register maps of the simulated devices: rows of address, type, meaning.

A map holds no values. Each row asks the plant when it is read, so a register is never older than the request.
32-bit values take two registers, high word first, unless the map says otherwise. Power signs: docs/reference/glossary.md.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .drive import Operation
from .model import PhaseReading, Plant

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, TARGET_FAILED = 1, 2, 3, 11

_FORMATS = {"u16": "H", "i16": "h", "u32": "I", "i32": "i", "u64": "Q", "i64": "q", "f32": "f"}
_LIMITS = {
    "u16": (0, 0xFFFF), "i16": (-0x8000, 0x7FFF), "u32": (0, 0xFFFFFFFF), "i32": (-0x80000000, 0x7FFFFFFF),
    "u64": (0, 2**64 - 1), "i64": (-(2**63), 2**63 - 1),
}  # fmt: skip


class ModbusError(Exception):
    """The device answers with an exception code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"Modbus exception {code}")
        self.code = code


@dataclass(frozen=True)
class Register:
    """One row. Register value = quantity / scale. `write` gets the quantity; without it the row is read-only."""

    address: int
    kind: str
    read: Callable[[], float]
    doc: str
    scale: float = 1.0
    write: Callable[[float], None] | None = None

    @property
    def words(self) -> int:
        """Registers the row takes."""
        return struct.calcsize(_FORMATS[self.kind]) // 2

    def encode(self, little: bool) -> list[int]:
        """The row's registers now."""
        value = self.read() / self.scale
        if self.kind != "f32":
            low, high = _LIMITS[self.kind]
            value = min(max(round(value), low), high)
        words = list(struct.unpack(f">{self.words}H", struct.pack(">" + _FORMATS[self.kind], value)))
        return words[::-1] if little else words

    def store(self, words: Sequence[int], little: bool) -> None:
        """Take written registers."""
        if self.write is None:
            raise ModbusError(ILLEGAL_ADDRESS)
        ordered = list(words)[::-1] if little else words
        (raw,) = struct.unpack(">" + _FORMATS[self.kind], struct.pack(f">{self.words}H", *ordered))
        self.write(raw * self.scale)


class RegisterMap:
    """The registers of one unit: rows by address; addresses between rows read 0, as reserved registers do."""

    def __init__(self, rows: Sequence[Register], identity: str = "", little: bool = False) -> None:
        self.rows = sorted(rows, key=lambda r: r.address)
        self.little = little
        self.identity = _text_registers(identity)
        self.end = self.rows[-1].address + self.rows[-1].words

    IDENTITY_ADDRESS = 200
    IDENTITY_WORDS = 8

    def read(self, address: int, count: int) -> list[int]:
        """Registers `address .. address + count`, computed now."""
        if address >= self.IDENTITY_ADDRESS and address + count <= self.IDENTITY_ADDRESS + self.IDENTITY_WORDS:
            offset = address - self.IDENTITY_ADDRESS
            return self.identity[offset : offset + count]
        if address + count > self.end:
            raise ModbusError(ILLEGAL_ADDRESS)
        words = [0] * count
        for row in self.rows:
            if row.address < address + count and row.address + row.words > address:
                for n, word in enumerate(row.encode(self.little), row.address - address):
                    if 0 <= n < count:
                        words[n] = word
        return words

    def write(self, address: int, words: Sequence[int]) -> None:
        """Write whole rows; half a 32-bit value or a read-only row is refused and nothing is changed."""
        touched = [r for r in self.rows if r.address < address + len(words) and r.address + r.words > address]
        if sum(r.words for r in touched) != len(words) or any(r.write is None for r in touched):
            raise ModbusError(ILLEGAL_ADDRESS)
        for row in touched:
            row.store(words[row.address - address :][: row.words], self.little)


def _text_registers(text: str) -> list[int]:
    data = text.encode("ascii")[:16].ljust(16, b"\0")
    return list(struct.unpack(">8H", data))


def _alive(plant: Plant) -> Register:
    return Register(0, "u16", lambda: int(plant.real_s * 10.0) % 0x10000, "Counts tenths of a second while the device works.")


def ess_map(plant: Plant) -> RegisterMap:
    """Unit 1: battery inverter."""
    b, drive = plant.battery, plant.battery.drive

    def status() -> int:
        return int(b.watchdog_expired) | (drive.state is Operation.Error) << 4

    def clear(value: float) -> None:
        if value:
            drive.clear()

    rows = [
        _alive(plant),
        Register(1, "u16", lambda: 1, "Grid mode: 1 on grid, 2 off grid."),
        Register(2, "i32", lambda: b.power, "Active power W, + discharge."),
        Register(4, "i32", lambda: b.reactive, "Reactive power var."),
        Register(6, "u16", lambda: b.soc * 100.0, "State of charge %.", 0.01),
        Register(7, "u16", lambda: 98.6, "State of health %.", 0.01),
        Register(8, "i32", lambda: b.allowed_charge_w, "Most negative power allowed W."),
        Register(10, "i32", lambda: b.allowed_discharge_w, "Highest power allowed W."),
        Register(12, "u16", status, "Status bits: 0 watchdog expired, 4 fault."),
        Register(13, "u16", lambda: b.voltage, "Battery voltage V.", 0.1),
        Register(14, "i16", lambda: b.current, "Battery current A, + discharge.", 0.1),
        Register(15, "i16", lambda: b.temperature, "Cell temperature, lowest °C.", 0.1),
        Register(16, "i16", lambda: b.temperature + 1.5, "Cell temperature, highest °C.", 0.1),
        Register(17, "u16", lambda: b.voltage / 120.0 - 0.004, "Cell voltage, lowest V.", 0.001),
        Register(18, "u16", lambda: b.voltage / 120.0 + 0.004, "Cell voltage, highest V.", 0.001),
        Register(19, "u16", lambda: drive.state, "Operation: 0 off, 1 starting, 2 running, 3 stopping, 4 error."),
        Register(20, "u32", lambda: b.capacity_wh, "Usable capacity Wh."),
        Register(22, "u32", lambda: b.rated_w, "Rated apparent power VA."),
        Register(24, "u64", lambda: b.charge_wh, "Energy charged Wh."),
        Register(28, "u64", lambda: b.discharge_wh, "Energy discharged Wh."),
        Register(40, "i32", lambda: b.set_power, "Set-point of active power W, + discharge.", write=lambda v: b.command(v)),
        Register(42, "i32", lambda: b.set_reactive, "Set-point of reactive power var.", write=lambda v: b.command(None, v)),
        Register(44, "u16", lambda: b.watchdog_s, "Set-point time-out s, 0 off.", write=lambda v: setattr(b, "watchdog_s", v)),
        Register(46, "u16", lambda: 0, "Command: 1 start, 2 stop, 0 none.", write=drive.command),
        Register(47, "u16", lambda: 0, "1 clears an error.", write=clear),
    ]
    return RegisterMap(rows, "EMS-ESS-10")


def _meter_rows(phases: Callable[[], tuple[PhaseReading, ...]], plant: Plant) -> list[Register]:
    """Float rows of a three-phase meter from address 2: P, Q, S as sum and phases, power factor, V, I, frequency."""

    def total(name: str) -> Callable[[], float]:
        return lambda: sum(getattr(p, name) for p in phases())

    def one(name: str, n: int) -> Callable[[], float]:
        return lambda: float(getattr(phases()[n], name))

    def factor() -> float:
        apparent = sum(p.apparent for p in phases())
        return sum(p.power for p in phases()) / apparent if apparent > 1.0 else 1.0

    columns: list[tuple[str, Callable[[], float]]] = []
    for label, name in (("Active power W", "power"), ("Reactive power var", "reactive"), ("Apparent power VA", "apparent")):
        columns += [(f"{label}, sum.", total(name))] + [(f"{label}, L{n + 1}.", one(name, n)) for n in range(3)]
    columns += [(f"Voltage V, L{n + 1}.", one("voltage", n)) for n in range(3)]
    columns += [(f"Current A, L{n + 1}.", one("current", n)) for n in range(3)]
    columns += [("Frequency Hz.", lambda: plant.frequency), ("Power factor.", factor)]
    return [Register(2 + 2 * n, "f32", read, doc) for n, (doc, read) in enumerate(columns)]


def meter_map(plant: Plant) -> RegisterMap:
    """Unit 2: grid meter, + import."""
    rows = [_alive(plant), *_meter_rows(plant.grid_phases, plant)]
    rows += [
        Register(60, "u64", lambda: plant.grid_energy.imported_wh, "Energy imported Wh."),
        Register(64, "u64", lambda: plant.grid_energy.exported_wh, "Energy exported Wh."),
    ]
    return RegisterMap(rows, "EMS-METER-3P")


def pv_map(plant: Plant) -> RegisterMap:
    """Unit 3: PV inverter, + production."""
    pv = plant.pv
    rows = [
        _alive(plant),
        Register(2, "i32", lambda: pv.power, "Active power W, + production."),
        Register(4, "u16", lambda: pv.irradiance, "Irradiance of the module plane W/m²."),
        Register(5, "i16", lambda: pv.module_temperature, "Module temperature °C.", 0.1),
        Register(6, "u16", lambda: 320.0 if pv.irradiance > 1.0 else 0.0, "Voltage of string 1 V.", 0.1),
        Register(7, "u16", lambda: 318.0 if pv.irradiance > 1.0 else 0.0, "Voltage of string 2 V.", 0.1),
        Register(8, "i16", lambda: pv.power / 0.97 / 638.0, "Current of string 1 A.", 0.01),
        Register(9, "i16", lambda: pv.power / 0.97 / 638.0, "Current of string 2 A.", 0.01),
        Register(10, "u16", lambda: plant.frequency, "Grid frequency Hz.", 0.001),
        Register(11, "u16", lambda: int(pv.watchdog_expired), "Status bits: 0 watchdog expired, 4 fault."),
        Register(20, "u32", lambda: pv.peak_w, "Rated power W."),
        Register(22, "u64", lambda: pv.energy_wh, "Energy produced Wh."),
        Register(40, "u32", lambda: pv.limit_w, "Limit of active power W.", write=pv.command),
        Register(44, "u16", lambda: pv.watchdog_s, "Limit time-out s, 0 off.", write=lambda v: setattr(pv, "watchdog_s", v)),
    ]
    return RegisterMap(rows, "EMS-PV-12")


def evcs_map(plant: Plant) -> RegisterMap:
    """Unit 4: charging station, + consumption."""
    c = plant.charger
    rows = [
        _alive(plant),
        Register(1, "u16", lambda: c.state, "1 available, 2 charging, 3 paused by the limit, 4 paused by the car."),
        Register(2, "u32", lambda: c.power, "Charge power W."),
        Register(4, "u32", lambda: c.session_wh, "Energy of the session Wh."),
        Register(6, "u16", lambda: 3 if c.power > 0.0 else 0, "Phases in use."),
        Register(7, "u16", lambda: c.power / 3.0 / 230.0, "Current of each phase A.", 0.01),
        Register(8, "u16", lambda: c.car.soc * 100.0 if c.car else 0xFFFF * 0.01, "Car's state of charge %, 65535 none.", 0.01),
        Register(11, "u16", lambda: int(c.watchdog_expired), "Status bits: 0 watchdog expired, 4 fault."),
        Register(20, "u32", lambda: 3 * 230.0 * 6.0, "Lowest charge power W."),
        Register(22, "u32", lambda: 3 * 230.0 * 16.0, "Highest charge power W."),
        Register(24, "u64", lambda: c.energy_wh, "Energy charged Wh."),
        Register(40, "u32", lambda: c.limit_w, "Limit of charge power W.", write=c.command),
        Register(44, "u16", lambda: c.watchdog_s, "Limit time-out s, 0 off.", write=lambda v: setattr(c, "watchdog_s", v)),
    ]
    return RegisterMap(rows, "EMS-EVCS-11")


def load_map(plant: Plant) -> RegisterMap:
    """Unit 5: meter of the building; low word first, as some meters have it."""
    rows = [_alive(plant), *_meter_rows(plant.load_phases, plant)]
    rows.append(Register(60, "u64", lambda: plant.load_energy.imported_wh, "Energy consumed Wh."))
    return RegisterMap(rows, "EMS-LOAD-3P", little=True)
