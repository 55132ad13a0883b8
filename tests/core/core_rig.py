"""A small plant in virtual time, and a rig that runs an engine on it: for scenario tests and the bench."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from server.core.channel import Spec
from server.core.controller import Controller, Now, controller_object
from server.core.document import Document
from server.core.image import Image, blank_records
from server.core.layout import CONTROL, DEVICE, ChannelUse, Layout, ObjectSpec, build_layout
from server.core.natures import Device, Ess, Evcs, Load, ManagedEss, Meter, Pv
from server.core.site import SiteSettings, cycle_object, site_object
from server.core.status import BAD_NO_COMMUNICATION, GOOD
from server.core.step import Engine, Write
from server.core.ticks import from_datetime

TICKS = 10_000_000
EPOCH = 133_000_000_000 * TICKS // 1000

ESS = (
    Ess.Soc,
    Ess.Capacity,
    Ess.GridMode,
    Ess.ActivePower,
    Ess.ReactivePower,
    Ess.MaxApparentPower,
    ManagedEss.AllowedChargePower,
    ManagedEss.AllowedDischargePower,
    ManagedEss.PowerPrecision,
    ManagedEss.SetActivePower,
    ManagedEss.SetReactivePower,
)
METER = (Meter.ActivePower, Meter.ReactivePower, Meter.Frequency)
PV = (Pv.ActivePower, Pv.MaxActivePower, Pv.ActivePowerLimit)
EVCS = (Evcs.ChargePower, Evcs.Status, Evcs.MinHardwarePower, Evcs.MaxHardwarePower, Evcs.SetChargePowerLimit)
LOAD = (Load.ActivePower, Load.SetPower)


def device(alias: str, nature: type, specs: Sequence[Spec], period_s: float = 0.05, **properties: str) -> ObjectSpec:
    """A device with exactly these channels."""
    uses = tuple(ChannelUse(s, period_s=period_s) for s in (Device.State, *specs))
    return ObjectSpec(alias, DEVICE, "plant", (Device, nature), uses, properties=properties)


def ess(alias: str = "ess0", **properties: str) -> ObjectSpec:
    return device(alias, ManagedEss, ESS, **properties)


def meter(alias: str = "meter0", **properties: str) -> ObjectSpec:
    return device(alias, Meter, METER, **properties)


def pv(alias: str = "pv0", **properties: str) -> ObjectSpec:
    return device(alias, Pv, PV, **properties)


def evcs(alias: str = "evcs0", **properties: str) -> ObjectSpec:
    return device(alias, Evcs, EVCS, **properties)


def load(alias: str = "load0", **properties: str) -> ObjectSpec:
    return device(alias, Load, LOAD, **properties)


ESS_DEFAULTS = {
    "Soc": 50.0,
    "Capacity": 10_000.0,
    "GridMode": 0.0,
    "ActivePower": 0.0,
    "ReactivePower": 0.0,
    "MaxApparentPower": 10_000.0,
    "AllowedChargePower": -5000.0,
    "AllowedDischargePower": 5000.0,
    "PowerPrecision": 0.0,
}
PV_DEFAULTS = {"ActivePower": 0.0, "MaxActivePower": 10_000.0}
EVCS_DEFAULTS = {"ChargePower": 0.0, "Status": 2.0, "MinHardwarePower": 4140.0, "MaxHardwarePower": 11_000.0}


class VirtualGuard:
    """A guard without an alarm, whose clock the test moves."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.armed = False

    def clock_ns(self) -> int:
        return self.now_ns

    def arm(self, seconds: float) -> None:
        self.armed = True

    def disarm(self) -> None:
        self.armed = False


class Out:
    """Collects what an engine leaves."""

    def __init__(self, layout: Layout) -> None:
        self.records = blank_records(layout.owner(CONTROL).count)
        self.texts: dict[int, str] = {}
        self.events: list[tuple[str, str, dict[str, Any]]] = []

    def set_text(self, slot: int, text: str) -> None:
        self.texts[slot] = text

    def event(self, kind: str, text: str, data: dict[str, Any]) -> None:
        self.events.append((kind, text, data))


class Rig:
    """An engine on an image that tests write: `rig["ess0/Soc"] = 20`, `rig.step()`, `rig["ess0/SetActivePower"]`."""

    def __init__(
        self,
        devices: Sequence[ObjectSpec],
        controllers: Sequence[tuple[type[Controller], str, Mapping[str, Any]]] = (),
        guard: Any = None,
        **site: Any,
    ) -> None:
        self.site = SiteSettings("id", "Test", **({"grid_meter": "meter0"} | site))
        objects = [site_object(self.site), cycle_object(), *(controller_object(c, a, s) for c, a, s in controllers), *devices]
        self.layout = build_layout(objects, room=200)
        self.classes = {c.__name__: c for c, _, _ in controllers}
        self.guard = guard or VirtualGuard()
        self.engine = Engine(self.layout, self.site, self.classes, self.guard)
        self.records = blank_records(self.layout.slots)
        self.out = Out(self.layout)
        self.cycle = 0
        self.ns = 1_000_000_000
        self.epoch = EPOCH
        self.documents: dict[str, Document] = {}
        self.resamples = True
        """Every device measures anew each cycle; a scenario with its own sampling turns it off."""
        for o in devices:
            self._defaults(o)

    def _defaults(self, obj: ObjectSpec) -> None:
        defaults = {ManagedEss: ESS_DEFAULTS, Pv: PV_DEFAULTS, Evcs: EVCS_DEFAULTS}.get(obj.natures[-1], {"ActivePower": 0.0})
        for name, value in ({"State": 0.0} | defaults).items():
            if f"{obj.alias}/{name}" in self.layout.by_node:
                self[f"{obj.alias}/{name}"] = value

    def __setitem__(self, node: str, value: float | None) -> None:
        """Measure a value now; None makes it Bad."""
        record = self.records[self.layout.by_node[node].slot : self.layout.by_node[node].slot + 1]
        record["status"] = GOOD if value is not None else BAD_NO_COMMUNICATION
        record["source"] = self.time
        record["arrival"] = self.ns
        if value is not None:
            record["value"] = value

    def __getitem__(self, node: str) -> float | None:
        """What the engine left: the value, or None while its status is Bad."""
        record = self.out.records[self.slot(node) - self.layout.owner(CONTROL).first]
        return None if record["status"] >= 0x80000000 else float(record["value"])

    def slot(self, node: str) -> int:
        """The slot of a node, or of one element `io0/Output[1]` of an array."""
        name, _, index = node.rstrip("]").partition("[")
        return self.layout.by_node[name].slot + int(index or 0)

    @property
    def time(self) -> int:
        return self.epoch + self.ns // 100

    def at(self, moment: datetime) -> None:
        """Let it be this moment, local time where it has no zone; the image follows with the next step."""
        local = moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(self.site.timezone))
        self.epoch += from_datetime(local) - self.time

    def text(self, node: str) -> str:
        return self.out.texts.get(self.layout.by_node[node].slot, "")

    def kinds(self) -> list[str]:
        return [kind for kind, _, _ in self.out.events]

    def step(self, *writes: tuple[str, float], dt_s: float = 0.05, user: int = 7) -> Rig:
        """One cycle later, with what clients wrote."""
        self.cycle += 1
        self.ns += round(dt_s * 1e9)
        if self.resamples:
            self.records["source"] = self.time
        image = Image(self.records.copy(), cycle=self.cycle, frozen_at=self.ns, time=self.time, documents=self.documents)
        image.records.flags.writeable = False
        now = Now(self.cycle, self.ns, self.time, dt_s)
        self.engine.step(image, now, [Write(self.slot(n), v, user) for n, v in writes], self.out)
        self.engine.explain(self.out)
        return self


@dataclass
class Storage:
    """A battery inverter: dead time, first-order lag, samples of its power at its own moments."""

    alias: str = "ess0"
    delay_s: float = 0.1
    lag_s: float = 0.1
    sample_s: float = 0.05
    phase_s: float = 0.0
    power: float = 0.0
    queue: deque[float] = field(default_factory=deque)

    def advance(self, setpoint: float, dt_s: float) -> None:
        self.queue.append(setpoint)
        late = self.queue.popleft() if len(self.queue) * dt_s > self.delay_s + 1e-9 else 0.0
        self.power += (late - self.power) * min(1.0, dt_s / max(self.lag_s, dt_s))


class Scenario:
    """Runs a rig against storages and a load over time; records the grid power each cycle."""

    def __init__(self, rig: Rig, storages: Sequence[Storage], meter_s: float = 0.05) -> None:
        self.rig, self.storages, self.meter_s = rig, storages, meter_s
        rig.resamples = False
        self.seconds = 0.0
        self.grid: list[float] = []
        self.setpoints: list[float] = []

    def run(self, seconds: float, demand: Callable[[float], float], dt_s: float = 0.05) -> Scenario:
        for _ in range(round(seconds / dt_s)):
            grid = demand(self.seconds) - sum(s.power for s in self.storages)
            self._sample(grid, dt_s)
            self.rig.step(dt_s=dt_s)
            for s in self.storages:
                s.advance(self.rig[f"{s.alias}/SetActivePower"] or 0.0, dt_s)
            self.grid.append(grid)
            self.setpoints.append(sum(self.rig[f"{s.alias}/SetActivePower"] or 0.0 for s in self.storages))
            self.seconds += dt_s
        return self

    def _sample(self, grid: float, dt_s: float) -> None:
        if _due(self.seconds, self.meter_s, 0.0, dt_s):
            self.rig["meter0/ActivePower"] = grid
        for s in self.storages:
            if _due(self.seconds, s.sample_s, s.phase_s, dt_s):
                self.rig[f"{s.alias}/ActivePower"] = s.power


def _due(seconds: float, period_s: float, phase_s: float, dt_s: float) -> bool:
    ticks = round((seconds - phase_s) / dt_s)
    return ticks % max(1, round(period_s / dt_s)) == 0


def swing(values: Sequence[float]) -> float:
    """Peak to peak."""
    return float(np.ptp(values))
