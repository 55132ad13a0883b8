"""The site as a whole: sums over its devices, the power-flow split, energies that survive restarts.

A sum of which some parts are missing is Uncertain and holds the parts that are known; without any part it is Bad. Energy is
integrated over time while the power it belongs to is not Bad, so a counter never steps back and never guesses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from . import flow
from .channel import Level, Spec
from .gather import Gather
from .image import Image
from .layout import DEVICE, Layout, ObjectSpec
from .nature import Nature
from .natures import Device, Ess, Evcs, Generator, Load, MetaEss, Meter, MeterRole, Pv, Site, Wind
from .site import SITE_ALIAS, SiteSettings
from .status import BAD, BAD_CONFIGURATION_ERROR, BAD_NO_COMMUNICATION, BAD_NO_DATA, GOOD, UNCERTAIN_SUB_NORMAL

HOUR_S: Final = 3600.0
DT_MAX_S: Final = 10.0
"""Longest gap between two cycles that is integrated over; what lies in a longer one is not known."""


class Value(NamedTuple):
    """A number with its OPC UA status."""

    number: float
    status: int = GOOD

    @property
    def usable(self) -> bool:
        """Not Bad."""
        return self.status < BAD


def total(parts: Sequence[float | None]) -> Value:
    """Sum of parts; Uncertain when some are missing, Bad when all are; 0 of nothing."""
    known = [p for p in parts if p is not None]
    if parts and not known:
        return Value(float("nan"), BAD_NO_COMMUNICATION)
    return Value(sum(known), GOOD if len(known) == len(parts) else UNCERTAIN_SUB_NORMAL)


def combine(number: float, *parts: Value) -> Value:
    """A result of other values: as bad as the worst of them."""
    worst = max(p.status for p in parts)
    return Value(float("nan") if worst >= BAD else number, worst)


def _finite(value: float | None) -> float | None:
    return None if value is None or value != value or value in (float("inf"), float("-inf")) else value


ENERGIES: Final[Mapping[str, str]] = {
    "GridImportEnergy": "GridPower",
    "GridExportEnergy": "GridPower",
    "ProductionEnergy": "ProductionPower",
    "ConsumptionEnergy": "ConsumptionPower",
}
"""Each counter of the site, and the power it integrates."""

FLOWS: Final = (
    "ProductionToConsumption",
    "ProductionToGrid",
    "ProductionToEss",
    "GridToConsumption",
    "GridToEss",
    "EssToConsumption",
    "EssToGrid",
)
"""Channels of the power-flow split, in the order of flow.Flow."""


class Sums:
    """Computes the site's channels for one layout."""

    def __init__(self, layout: Layout, site: SiteSettings) -> None:
        devices = [o for o in layout.objects if o.kind == DEVICE]

        slots: list[int] = []

        def part(objects: Iterable[ObjectSpec], *specs: Spec) -> slice:
            first = len(slots)
            slots.extend(_slot(layout, o.alias, *specs) for o in objects)
            return slice(first, len(slots))

        storages = [o for o in devices if _is(o, Ess) and not _is(o, MetaEss)]
        self._grid = _slot(layout, site.grid_meter, Meter.ActivePower)
        self._frequency = _slot(layout, site.grid_meter, Meter.Frequency)
        self._production = part((o for o in devices if _produces(o)), Meter.ActivePower)
        self._ess = part(storages, Ess.ActivePower)
        self._soc = part(storages, Ess.Soc)
        self._capacity = part(storages, Ess.Capacity)
        self._ev = part((o for o in devices if _is(o, Evcs)), Evcs.ChargePower, Evcs.ActivePower)
        self._loads = part((o for o in devices if _manages(o)), Load.ActivePower)
        self._parts = Gather(slots)
        states = [s for o in devices if (s := _slot(layout, o.alias, Device.State)) >= 0]
        self._states = np.array(states, np.int64)
        self.energies = dict.fromkeys(ENERGIES, 0.0)
        self._slots = {name: _slot(layout, SITE_ALIAS, spec) for name, spec in Site.channels().items()}

    def compute(self, image: Image, dt_s: float) -> dict[str, Value]:
        """All sums of this moment by channel name; energies are integrated over dt_s."""
        grid = self._connection(image)
        parts = self._parts.read(image)
        production, ess = total(parts[self._production]), total(parts[self._ess])
        production = Value(max(production.number, 0.0), production.status)
        used = combine(flow.consumption(grid.number, production.number, ess.number), grid, production, ess)
        ev = total(parts[self._ev])
        managed = total([ev.number if ev.usable else None, *parts[self._loads]])
        values = {
            "GridPower": grid,
            "ProductionPower": production,
            "EssPower": ess,
            "ConsumptionPower": used,
            "EvPower": ev,
            "UnmanagedConsumptionPower": combine(used.number - managed.number, used, managed),
            "Frequency": self._read(image, self._frequency),
        }
        values |= _storage(parts[self._soc], parts[self._capacity])
        values |= _split(grid, production, ess, used)
        self._integrate(values, dt_s)
        return values

    def worst_device(self, image: Image) -> float:
        """Worst State of all devices; devices that do not tell count as Ok, what is worse than Fault as Fault."""
        told = image.value[self._states]
        told = told[(image.status[self._states] < BAD) & np.isfinite(told)]
        return min(float(told.max()), float(Level.Fault)) if len(told) else 0.0

    def state(self) -> dict[str, float]:
        """Energies, as JSON."""
        return {name: round(energy, 3) for name, energy in self.energies.items()}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Take up what `state` gave; a counter never falls behind what it shows."""
        for name in self.energies:
            self.energies[name] = max(self.energies[name], float(saved.get(name, 0.0)))

    def resume(self, image: Image) -> None:
        """Go on from the counters of an image, where they are ahead: what was shown before a restart is not taken back."""
        shown = {name: self._read(image, self._slots[name]) for name in self.energies}
        self.restore({name: value.number for name, value in shown.items() if value.usable})

    def _connection(self, image: Image) -> Value:
        return Value(float("nan"), BAD_CONFIGURATION_ERROR) if self._grid < 0 else self._read(image, self._grid)

    def _read(self, image: Image, slot: int) -> Value:
        if slot < 0:
            return Value(float("nan"), BAD_NO_DATA)
        number, status = image.value.item(slot), image.status.item(slot)
        return Value(number, status) if _finite(number) is not None else Value(float("nan"), max(status, BAD_NO_DATA))

    def _integrate(self, values: dict[str, Value], dt_s: float) -> None:
        hours = dt_s / HOUR_S if 0 < dt_s <= DT_MAX_S else 0.0
        for name, source in ENERGIES.items():
            power = values[source]
            if power.usable:
                part = -power.number if name == "GridExportEnergy" else power.number
                self.energies[name] += max(part, 0.0) * hours
            values[name] = Value(self.energies[name])


def mean_soc(charges: Sequence[float | None], capacities: Sequence[float | None]) -> float | None:
    """State of charge of several storages [%], weighted by capacity; the plain mean where a capacity is not known."""
    pairs = [(s, c) for s, c in zip(charges, capacities, strict=True) if s is not None]
    if not pairs:
        return None
    weights = [c for _, c in pairs if c is not None]
    if len(weights) < len(pairs) or sum(weights) <= 0:
        weights = [1.0] * len(pairs)
    return sum(s * w for (s, _), w in zip(pairs, weights, strict=True)) / sum(weights)


def _storage(soc: list[float | None], capacity: list[float | None]) -> dict[str, Value]:
    """Capacity, and the state of charge weighted by it."""
    mean = mean_soc(soc, capacity)
    status = GOOD if None not in soc else UNCERTAIN_SUB_NORMAL
    return {"EssSoc": Value(float("nan"), BAD_NO_DATA) if mean is None else Value(mean, status), "EssCapacity": total(capacity)}


def _split(grid: Value, production: Value, ess: Value, used: Value) -> dict[str, Value]:
    if not used.usable:
        bad = Value(float("nan"), used.status)
        return dict.fromkeys((*FLOWS, "SelfConsumption", "Autarky"), bad)
    parts = flow.split(grid.number, production.number, ess.number)
    found = {name: Value(part, used.status) for name, part in zip(FLOWS, parts, strict=True)}
    share = flow.self_consumption(parts)
    found["SelfConsumption"] = Value(float("nan"), BAD_NO_DATA) if share is None else Value(share, used.status)
    found["Autarky"] = Value(flow.autarky(parts), used.status)
    return found


def _slot(layout: Layout, alias: str, *specs: Spec) -> int:
    """Slot of the first of these channels that the object has, else -1."""
    found = (layout.find(alias, spec) for spec in specs)
    return next((c.slot for c in found if c is not None), -1)


def _is(obj: ObjectSpec, *natures: type[Nature]) -> bool:
    return any(issubclass(n, natures) for n in obj.natures)


def _produces(obj: ObjectSpec) -> bool:
    role = obj.properties.get("MeterRole", "")
    return _is(obj, Pv, Wind, Generator) or (_is(obj, Meter) and not _is(obj, Evcs) and role == MeterRole.Production.name)


def _manages(obj: ObjectSpec) -> bool:
    """A consumer the engine knows as managed, apart from chargers, which have their own sum."""
    role = obj.properties.get("MeterRole", "")
    return not _is(obj, Evcs) and (_is(obj, Load) or (_is(obj, Meter) and role == MeterRole.ManagedConsumption.name))
