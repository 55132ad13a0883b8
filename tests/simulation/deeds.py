"""What happens to a site from outside: people write, the grid fails, prices jump, clocks are set. Each deed is a row of a table.

A deed returns the writes of clients that come with it. `last` tells what was done lately.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import nan
from typing import Final

from server.core.channel import DataType, Spec
from server.core.document import Document
from server.core.layout import CONTROL, DEVICE
from server.core.natures import SiteMode
from server.core.step import Write
from server.core.ticks import TICKS

from .devices import Relays, Sensor
from .plant import Site as PlantSite
from .site import Case

Deed = Callable[["Deeds"], list[Write]]
USER: Final = 7


class Deeds:
    """Does things to one site. documents: those in force; due: what will be undone at which moment; restart: control shall start
    anew, after so many steps without it."""

    def __init__(self, case: Case) -> None:
        self.case, self.dice = case, case.dice
        self.physical: PlantSite = case.physical
        self.documents: dict[str, Document] = {}
        self.due: list[tuple[float, Callable[[], list[Write]]]] = []
        self.last: deque[str] = deque(maxlen=12)
        self.restart = -1
        self._slots = {c.node: c.slot for c in case.layout.channels}
        self._set = [c for c in case.layout.channels if c.output >= 0]
        kinds = {o.alias: o.kind for o in case.layout.objects}
        control = [c for c in case.layout.channels if c.owner == CONTROL and kinds[c.alias] not in (DEVICE, "site", "cycle")]
        self._params = [c for c in control if c.spec.name[0].islower()]
        self._switches = [c for c in control if c.spec.name == "Enabled"]
        self._read_only = [c for c in case.layout.channels if c.owner == "plant"]

    @property
    def now_s(self) -> float:
        """The world's time."""
        return self.physical.world.seconds

    def do(self) -> list[Write]:
        """Something at random."""
        deed = self.dice.choice(DEEDS)
        self.last.append(f"{self.now_s:.0f} s {deed.__name__.removeprefix('_')}")
        return deed(self)

    def undo(self) -> tuple[bool, list[Write]]:
        """End what is over now: whether anything was, and the writes that end it."""
        over = [undo for when, undo in self.due if when <= self.now_s]
        self.due = [row for row in self.due if row[0] > self.now_s]
        return bool(over), [write for undo in over for write in undo()]

    def later(self, seconds: float, undo: Callable[[], list[Write]]) -> None:
        """Undo it after so long."""
        self.due.append((self.now_s + seconds, undo))

    def write(self, node: str, value: float) -> Write:
        """A client's write."""
        return Write(self._slots[node], value, USER)

    def new_documents(self) -> None:
        """Forecasts, prices and schedules for the next two days, in quarters of an hour; some are missing."""
        first = (self.physical.world.time // (900 * TICKS)) * 900 * TICKS
        spike = self.dice.choice((1.0, 1.0, 10.0, -3.0))
        at = self.dice.randrange(192)
        price = [0.25 + 0.1 * self.dice.gauss(0, 1) for _ in range(192)]
        price[at] *= spike
        scale = 3000.0 * self.physical.world.scale
        self._hand_in("price/buy", first, buy=price)
        self._hand_in("price/tariff0", first, buy=price, sell=[p * 0.4 for p in price])
        self._hand_in("forecast/consumption", first, power_w=[max(self.dice.gauss(1, 0.5), 0) * scale for _ in price])
        self._hand_in("forecast/production", first, power_w=[max(self.dice.gauss(0.5, 0.8), 0) * scale for _ in price])
        self._hand_in("event/meter0", first, level=[float(self.dice.choice((0, 0, 0, 1, 2, 3))) for _ in price])
        self._hand_in("schedule/meter0", first, power_w=[self.dice.gauss(0, 1) * scale for _ in price])
        for storage in self.physical.storages:
            power = [self.dice.gauss(0, 0.4) * storage.rated_w for _ in price]
            mode = [float(self.dice.randrange(4)) for _ in price]
            self._hand_in(f"schedule/{storage.alias}", first, power_w=power, mode=mode)
            self._hand_in(
                f"plan/{storage.alias}", first, power_w=power, import_w=[self.dice.gauss(0, 0.3) * scale for _ in price]
            )

    def _hand_in(self, name: str, first: int, **columns: list[float]) -> None:
        if self.dice.random() < 0.3:
            return
        revision = self.documents[name].revision + 1 if name in self.documents else 1
        now = self.physical.world.time
        self.documents = {**self.documents, name: Document.regular(name, first, 900.0, columns, revision=revision, issued=now)}


def _override(deeds: Deeds) -> list[Write]:
    """Somebody takes the set-points by hand."""
    scale, chosen = 5000 * deeds.physical.world.scale, deeds.dice.sample(deeds._set, min(3, len(deeds._set)))
    wishes = [Write(c.slot + deeds.dice.randrange(c.length), _wish(deeds, c.spec, scale), USER) for c in chosen]
    return [deeds.write("site/OverrideRemaining", deeds.dice.uniform(30, 900)), *wishes]


def _wish(deeds: Deeds, spec: Spec, scale: float) -> float:
    """Mostly what the set-point can be."""
    if deeds.dice.random() < 0.1:
        return deeds.dice.choice((1e9, -7.5, 3921.0))
    if spec.states is not None:
        return float(deeds.dice.choice(list(spec.states)))
    return float(deeds.dice.random() < 0.5) if spec.data_type is DataType.BOOLEAN else deeds.dice.uniform(-1.2, 1.2) * scale


def _release(deeds: Deeds) -> list[Write]:
    return [deeds.write("site/OverrideRemaining", 0.0)]


def _emergency_stop(deeds: Deeds) -> list[Write]:
    deeds.later(deeds.dice.uniform(2, 300), lambda: [deeds.write("site/EmergencyStopActive", 0.0)])
    return [deeds.write("site/EmergencyStopActive", 1.0)]


def _mode(deeds: Deeds) -> list[Write]:
    deeds.later(deeds.dice.uniform(2, 600), lambda: [deeds.write("site/Mode", float(SiteMode.Run))])
    return [deeds.write("site/Mode", float(deeds.dice.choice((SiteMode.Standby, SiteMode.Shutdown))))]


def _parameter(deeds: Deeds) -> list[Write]:
    """A parameter changes; sometimes to what it may not be."""
    if not deeds._params:
        return []
    channel = deeds.dice.choice(deeds._params)
    low = channel.spec.low if channel.spec.low is not None else -100.0
    high = channel.spec.high if channel.spec.high is not None else 100.0
    if channel.spec.name in ("permit", "nominal_v", "nominal_hz", "on_value", "off_value"):
        return []
    span = min(high - low, 20_000.0)
    wrong = deeds.dice.random() < 0.2
    return [Write(channel.slot, deeds.dice.choice((nan, 1e300, -1e300)) if wrong else low + span * deeds.dice.random(), USER)]


def _switch(deeds: Deeds) -> list[Write]:
    """A controller is switched off for a while."""
    if not deeds._switches:
        return []
    slot = deeds.dice.choice(deeds._switches).slot
    deeds.later(deeds.dice.uniform(5, 3600), lambda: [Write(slot, 1.0, USER)])
    return [Write(slot, 0.0, USER)]


def _nonsense(deeds: Deeds) -> list[Write]:
    """Writes that nobody may make."""
    channel = deeds.dice.choice([*deeds._read_only, *deeds._set])
    return [Write(channel.slot, deeds.dice.choice((0.0, nan, 1e12)), USER), Write(10**6, 1.0, USER)]


def _restart(deeds: Deeds) -> list[Write]:
    deeds.restart = deeds.dice.choice((0, 0, 1, 3))
    return []


def _clock(deeds: Deeds) -> list[Write]:
    """Somebody sets the clock."""
    deeds.physical.world.offset_s += deeds.dice.choice((-7200.0, -3600.0, -1.5, 0.2, 2.0, 3600.0, 86_400.0))
    if abs(deeds.physical.world.offset_s) > 4 * 86_400:
        deeds.physical.world.offset_s = 0.0
    return []


def _documents(deeds: Deeds) -> list[Write]:
    deeds.new_documents()
    return []


def _forget(deeds: Deeds) -> list[Write]:
    """A document is withdrawn."""
    if deeds.documents:
        gone = deeds.dice.choice(sorted(deeds.documents))
        deeds.documents = {k: v for k, v in deeds.documents.items() if k != gone}
    return []


def _blackout(deeds: Deeds) -> list[Write]:
    world = deeds.physical.world
    world.grid = False

    def back() -> list[Write]:
        world.grid = True
        return []

    deeds.later(deeds.dice.choice((0.5, 5.0, 60.0, 900.0)), back)
    return []


def _frequency(deeds: Deeds) -> list[Write]:
    world = deeds.physical.world
    dip = deeds.dice.choice((-2.8, -0.8, -0.25, 0.15, 0.6, 2.2))
    world.dip_hz += dip
    world.frequency += dip

    def back() -> list[Write]:
        world.dip_hz -= dip
        world.frequency -= dip
        return []

    deeds.later(deeds.dice.uniform(2, 300), back)
    return []


def _voltage(deeds: Deeds) -> list[Write]:
    world = deeds.physical.world
    world.voltage_pu = deeds.dice.choice((0.4, 0.85, 0.95, 1.05, 1.09, 1.16))

    def back() -> list[Write]:
        world.voltage_pu = 1.0
        return []

    deeds.later(deeds.dice.uniform(0.5, 300), back)
    return []


def _load(deeds: Deeds) -> list[Write]:
    """Something big is switched on in the building, or produces behind it."""
    world, step = deeds.physical.world, deeds.dice.uniform(-0.5, 1.5) * 8000 * deeds.physical.world.scale
    world.added_w += step

    def back() -> list[Write]:
        world.added_w -= step
        return []

    deeds.later(deeds.dice.uniform(5, 1800), back)
    return []


def _relay(deeds: Deeds) -> list[Write]:
    """A digital input changes."""
    for device in deeds.physical.devices:
        if isinstance(device, Relays):
            device.inputs[deeds.dice.randrange(8)] = float(deeds.dice.random() < 0.4)
    return []


def _heat(deeds: Deeds) -> list[Write]:
    """A cabinet gets hot."""
    sensors = [d for d in deeds.physical.devices if isinstance(d, Sensor)]
    for sensor in sensors:
        sensor.excess = deeds.dice.choice((0.0, 0.0, 25.0, 45.0))
    return []


DEEDS: Final[tuple[Deed, ...]] = (
    _override, _override, _release, _emergency_stop, _mode, _parameter, _parameter, _switch, _nonsense, _restart, _restart,
    _clock, _documents, _forget, _blackout, _frequency, _voltage, _load, _load, _relay, _heat,
)  # fmt: skip
