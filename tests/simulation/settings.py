"""Random controllers with random valid parameters, for whatever classes the catalogue has: chosen by what a parameter is, not by
whose it is. A reference gets a device of the right kind, a number mostly its default and else something near it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from enum import IntEnum
from typing import Any, Final, get_args, get_origin, get_type_hints

from server.core.blocks import Polyline
from server.core.controller import (
    ActuatorRef,
    ChannelRef,
    Controller,
    EssRef,
    EvcsRef,
    GridRef,
    LoadRef,
    MeterRef,
    PhasedGridRef,
    PvRef,
    Reference,
    TariffRef,
    UnitRef,
    reference_type,
)
from server.core.units import HOUR, PERCENT, SECOND, WATT

KEPT: Final = 0.6
"""So often a parameter keeps its default."""

OUTPUTS: Final = {("AnalogSurplus", "output"): "dac0/Output", ("HeatPumpSgReady", "state"): "heat0/SgReady"}
"""Set-points that are no relay."""

SKIPPED: Final = frozenset({"ForeignController"})
"""Controllers that need a program beside the site."""

UNTOUCHED: Final = frozenset({"permit", "nominal_v", "nominal_hz", "capacity_wh", "random_s", "on_value", "off_value"})
"""Parameters that say how the world is, or that would keep a site off for good."""


NEEDED: Final = frozenset({("IslandMode", "island")})
"""References that only a special site can do without."""


class NoSuchDevice(Exception):
    """A site lacks what a controller needs."""


@dataclass
class Stock:
    """What there is to be referred to. scale_w: the size of the site. relays: those nobody steers yet."""

    scale_w: float
    storages: Sequence[str] = ()
    plants: Sequence[str] = ()
    stations: Sequence[str] = ()
    loads: Sequence[str] = ()
    clusters: Sequence[str] = ()
    meters: Sequence[str] = ()
    grids: Sequence[str] = ()
    relays: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def names(self, kind: type[Reference]) -> Sequence[str]:
        """Aliases that a reference of this kind may name."""
        table: Mapping[type[Reference], Sequence[str]] = {
            EssRef: (*self.storages, *self.clusters),
            PvRef: self.plants,
            EvcsRef: self.stations,
            LoadRef: self.loads,
            UnitRef: (*self.storages, *self.plants, *self.stations),
            PhasedGridRef: ("grid",),
            GridRef: self.grids,
            MeterRef: self.meters,
            TariffRef: ("tariff0",),
        }
        return table[kind]


def choose(cls: type[Controller], stock: Stock, dice: random.Random) -> dict[str, Any]:
    """Valid settings of a controller. NoSuchDevice when the site lacks what it needs."""
    hints = get_type_hints(cls.Params, include_extras=True)
    found: dict[str, Any] = {}
    declared: tuple[Field[Any], ...] = fields(cls.Params) if is_dataclass(cls.Params) else ()
    for f in declared:
        hint, required = hints[f.name], f.default is MISSING
        kind = reference_type(hint)
        if kind is not None:
            required |= (cls.__name__, f.name) in NEEDED
            if required or dice.random() < 0.6:
                found |= _reference(cls, f.name, hint, kind, stock, dice, required=required)
        elif hint is not Polyline and f.name not in UNTOUCHED and (required or dice.random() > KEPT):
            found[f.name] = _value(f.name, hint, f.metadata, None if required else f.default, stock.scale_w, dice)
    for f in declared:
        if (lower := f.metadata.get("above")) and {lower, f.name} & found.keys():
            defaults = {each.name: each.default for each in declared}
            found[lower], found[f.name] = sorted({**defaults, **found}[name] for name in (lower, f.name))
    return found


def _reference(
    cls: type[Controller], name: str, hint: Any, kind: type[Reference], stock: Stock, dice: random.Random, *, required: bool
) -> dict[str, Any]:
    several = get_origin(hint) is tuple
    if kind in (ActuatorRef, ChannelRef):
        alias = _output(cls, name, stock) if kind is ActuatorRef else _channel(name, stock, dice)
        names = [alias] if alias else []
    else:
        names = list(stock.names(kind))
    if not names:
        if required:
            raise NoSuchDevice(name)
        return {}
    if not several:
        return {name: dice.choice(names)}
    if kind is ActuatorRef:
        more = [stock.relays.pop() for _ in range(min(len(stock.relays), dice.randrange(3)))]
        return {name: [*names, *more]}
    return {name: dice.sample(names, dice.randint(1, len(names)))}


def _output(cls: type[Controller], name: str, stock: Stock) -> str:
    """A set-point that nobody else steers."""
    other = OUTPUTS.get((cls.__name__, name))
    if other is not None:
        if other not in stock.others:
            return ""
        stock.others.remove(other)
        return other
    return stock.relays.pop() if stock.relays else ""


def _channel(name: str, stock: Stock, dice: random.Random) -> str:
    """Something to look at."""
    if name == "value":
        return dice.choice([f"{s}/Soc" for s in stock.storages] + [f"{stock.meters[0]}/ActivePower"])
    return "temp0/Temperature" if name in ("score", "temperature") else f"io0/Input[{dice.randrange(8)}]"


def _value(name: str, hint: Any, declared: Mapping[str, Any], default: Any, scale_w: float, dice: random.Random) -> Any:
    """A number near its default, else one that suits the site, inside its range."""
    kind, unit = (get_args(hint) or (hint, None))[:2] if get_args(hint) else (hint, None)
    low, high = declared["low"], declared["high"]
    if kind is bool:
        return dice.random() < 0.5
    if isinstance(kind, type) and issubclass(kind, IntEnum):
        return int(dice.choice(list(kind)))
    value = _number(name, kind, unit, default, low, high, scale_w, dice)
    value = min(max(value, low if low is not None else value), high if high is not None else value)
    return round(value) if kind is int else value


def _number(
    name: str, kind: type, unit: Any, default: Any, low: Any, high: Any, scale_w: float, dice: random.Random
) -> float:  # fmt: skip
    if kind is int:
        return dice.randint(int(low), int(high)) if high is not None and high <= 200 else float(default or 1)
    if unit is HOUR:
        return dice.uniform(low, high)
    if unit is PERCENT:
        return (dice.uniform(5, 95) if default is None else default) + dice.uniform(-15, 15)
    if unit is WATT and (default is None or default == 0 or default >= 1e8):
        return scale_w * dice.uniform(0.2, 1.5) / (3 if "phase" in name else 1)
    if default:
        return float(default) * 2 ** dice.uniform(-1.5, 1.5) if unit in (WATT, SECOND) or "per_s" in name else float(default)
    return dice.uniform(0, 100) if default is None else float(default)
