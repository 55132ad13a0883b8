"""What devices do wrong, and what happens to them: each fault is a row of a table.

A fault is *honest* when what the engine is told stays true: a derated battery says so. While one that is not honest lasts nobody
can keep a limit, so what is physically true is judged again a while after it is over; what the engine decides on what it was
told is judged always.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf, nan
from typing import Any, Final, NamedTuple

from server.core.channel import Level
from server.core.status import BAD_DEVICE_FAILURE, BAD_NO_DATA, GOOD
from server.core.ticks import TICKS

from .devices import Simulated, Storage

HEARD_S: Final = 12.0
"""A silent device is known to be silent after so long: ten periods of a second and a bit."""


class Told(NamedTuple):
    """What a device says at one moment: values, one status for all or one for each, source time [ticks]."""

    values: list[float]
    status: int | list[int]
    source: int


@dataclass
class Fault:
    """A fault of one device. until_s: world's time at which it is over."""

    kind: Kind
    device: Simulated
    until_s: float
    dice: random.Random
    begun_s: float
    memory: deque[Told] = field(default_factory=deque)
    number: float = 0.0

    def __str__(self) -> str:
        return f"{self.begun_s:.0f}-{self.until_s:.0f} s {self.device.alias} {self.kind.name}"


class Kind(NamedTuple):
    """A kind of fault. change: what becomes of what is told, None for silence; begin, end: what happens to the device itself."""

    name: str
    honest: bool = False
    deaf: bool = False
    change: Callable[[Fault, Told], Told | None] | None = None
    begin: Callable[[Fault], None] | None = None
    end: Callable[[Fault], None] | None = None
    storages: bool = False
    """Only storages have it."""


def _slow(fault: Fault, told: Told) -> Told | None:
    """Values arrive late, with the time they are from."""
    fault.memory.append(told)
    delay = TICKS * int(2 + fault.number * 8)
    while len(fault.memory) > 1 and told.source - fault.memory[1].source >= delay:
        fault.memory.popleft()
    return fault.memory[0]


def _late(fault: Fault, told: Told) -> Told | None:
    """Values arrive late and claim to be new."""
    old = _slow(fault, told)
    return None if old is None else old._replace(source=told.source)


def _frozen(fault: Fault, told: Told) -> Told:
    """The same values for ever, as if they were new."""
    if not fault.memory:
        fault.memory.append(told)
    return fault.memory[0]._replace(source=told.source)


def _scaled(fault: Fault, told: Told) -> Told:
    return told._replace(values=[v * (fault.number * 2.5 - 1) for v in told.values])


def _shifted(fault: Fault, told: Told) -> Told:
    return told._replace(values=[v + (fault.number - 0.5) * 2000 for v in told.values])


def _wild(fault: Fault, told: Told) -> Told:
    """Numbers that cannot be."""
    return told._replace(values=[_odd(v, fault.dice, (1e9, -1e9, 65535.0, -32768.0)) for v in told.values])


def _no_numbers(fault: Fault, told: Told) -> Told:
    return told._replace(values=[_odd(v, fault.dice, (nan, inf, -inf)) for v in told.values])


def _odd(value: float, dice: random.Random, odd: Sequence[float]) -> float:
    return dice.choice(odd) if dice.random() < 0.3 else value


def _holes(fault: Fault, told: Told) -> Told:
    """Some values are Bad."""
    return told._replace(status=[BAD_DEVICE_FAILURE if fault.dice.random() < 0.3 else GOOD for _ in told.values])


def _silent(fault: Fault, told: Told) -> None:
    return None


def _fails(fault: Fault) -> None:
    fault.device.state = Level.Fault


def _works(fault: Fault) -> None:
    fault.device.state = Level.Ok


def _derate(fault: Fault) -> None:
    _storage(fault).derated = fault.number * 0.8


def _force(fault: Fault) -> None:
    storage = _storage(fault)
    storage.forced_w = storage.rated_w * (fault.number - 0.5) * 0.4


def _recover(fault: Fault) -> None:
    storage = _storage(fault)
    storage.derated, storage.forced_w = 1.0, 0.0


def _storage(fault: Fault) -> Storage:
    assert isinstance(fault.device, Storage)
    return fault.device


KINDS: Final = (
    Kind("silent", deaf=True, change=_silent),
    Kind("deaf", deaf=True),
    Kind("slow", change=_slow),
    Kind("late", change=_late),
    Kind("frozen", change=_frozen),
    Kind("scaled", change=_scaled),
    Kind("shifted", change=_shifted),
    Kind("wild", change=_wild),
    Kind("no numbers", change=_no_numbers),
    Kind("holes", change=_holes),
    Kind("faulty", honest=True, begin=_fails, end=_works, storages=True),
    Kind("derated", honest=True, begin=_derate, end=_recover, storages=True),
    Kind("forced", honest=True, begin=_force, end=_recover, storages=True),
)


class Faults:
    """Those of a site, now. last: what happened lately, for whoever has to understand a failure."""

    def __init__(self, dice: random.Random, devices: Sequence[Simulated]) -> None:
        self._dice = dice
        self._devices = [d for d in devices if d.measures]
        self.active: dict[str, Fault] = {}
        self.last: deque[str] = deque(maxlen=12)

    def begin(self, now_s: float) -> Fault | None:
        """Something goes wrong with a device that was well."""
        well = [d for d in self._devices if d.alias not in self.active]
        if not well or len(self.active) >= 3:
            return None
        device = self._dice.choice(well)
        kind = self._dice.choice([k for k in KINDS if isinstance(device, Storage) or not k.storages])
        lasts_s = self._dice.choice((3.0, 20.0, 120.0, 900.0, 3600.0)) * self._dice.uniform(0.5, 1.5)
        fault = Fault(kind, device, now_s + lasts_s, self._dice, now_s, number=self._dice.random())
        self.active[device.alias] = fault
        self.last.append(str(fault))
        if kind.begin is not None:
            kind.begin(fault)
        return fault

    def end(self, now_s: float) -> bool:
        """End those whose time is over; True when there were any."""
        over = [alias for alias, fault in self.active.items() if fault.until_s <= now_s]
        for alias in over:
            fault = self.active.pop(alias)
            if fault.kind.end is not None:
                fault.kind.end(fault)
        return bool(over)

    def honest(self, now_s: float) -> bool:
        """What the engine was told is true, or missing for so long that it knows."""
        return all(
            f.kind.honest or (f.kind.name == "silent" and now_s - f.begun_s > HEARD_S * max(f.device.sample_s, 1.0))
            for f in self.active.values()
        )

    def silent(self, device: Simulated) -> bool:
        """Nobody can tell this device anything."""
        return device.alias in self.active and self.active[device.alias].kind.deaf


def told_by(device: Simulated, fault: Fault | None, now: int) -> Told | None:
    """What arrives of a device's measurements; None while it is silent."""
    values: list[Any] = [float(device.state), *device.tell()]
    status = [GOOD if v == v else BAD_NO_DATA for v in values]
    told = Told(values, status, now)
    return told if fault is None or fault.kind.change is None else fault.kind.change(fault, told)
