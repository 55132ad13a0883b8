"""What a seed makes: the devices of a site, how they are connected, what protects it, and who controls it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from server.core.cluster import ClusterSettings, cluster_objects
from server.core.controller import Controller, controller_object
from server.core.errors import ConfigError
from server.core.layout import Layout, ObjectSpec, build_layout
from server.core.site import SiteSettings, cycle_object, site_object
from server.runtime.discovery import find_controllers, load_controller

from .devices import Consumer, Heat, Plant, PowerMeter, Prices, Relays, Sensor, Simulated, Station, Steered, Storage
from .plant import Site
from .settings import SKIPPED, NoSuchDevice, Stock, choose
from .world import BEGIN_S, World

ZONES: Final = ("UTC", "Europe/Vienna", "America/New_York", "Asia/Kolkata")
RULES: Final = ("proportional", "soc", "equal", "fewest")
PERIOD_S: Final = 0.05


@dataclass(frozen=True)
class Configured:
    """A controller as site.toml would have it."""

    cls: type[Controller]
    alias: str
    settings: Mapping[str, Any]


@dataclass
class Case:
    """A whole site. physical: its plant. events of its making are those of `dice`."""

    seed: int
    settings: SiteSettings
    physical: Site
    layout: Layout
    controllers: Sequence[Configured]
    clusters: Sequence[ClusterSettings]
    dice: random.Random = field(repr=False)

    @property
    def classes(self) -> dict[str, type[Controller]]:
        """Controllers' classes by name."""
        return {c.cls.__name__: c.cls for c in self.controllers}

    def describe(self) -> str:
        """The site as a reader of a failure wants it."""
        s = self.settings
        head = f"import <= {s.import_max_w}, export <= {s.export_max_w}, {s.distribution}, {s.timezone}"
        lines = [f"  site: {head}"]
        lines += [f"  {d.alias}: {_device(d)}" for d in self.physical.devices]
        lines += [f"  {c.alias} = {', '.join(c.members)} {c.distribution}" for c in self.clusters]
        lines += [f"  {c.alias}: {c.cls.__name__} {dict(c.settings)}" for c in self.controllers]
        return "\n".join(lines)


def _device(device: Simulated) -> str:
    more = " ".join(f"{k}={v}" for k, v in device.properties.items() if v)
    return f"{type(device).__name__} {device.rated_w:.0f} W {device.connected} {more}".strip()


@cache
def catalogue() -> Mapping[str, type[Controller]]:
    """Every controller there is."""
    return {name: load_controller(target) for name, target in sorted(find_controllers().classes.items()) if name not in SKIPPED}


def make_case(seed: int) -> Case:
    """The site of a seed."""
    dice = random.Random(f"site {seed}")
    scale = dice.choice((0.5, 1.0, 1.0, 2.0, 5.0))
    world = World(seed, scale, random.Random(f"world {seed}"))
    feeder = dice.random() < 0.35
    storages = _storages(dice, scale, feeder=feeder)
    units = [*storages, *_plants(dice, scale, feeder=feeder), *_stations(dice, seed, feeder=feeder), *_loads(dice, seed, scale)]
    meters = [PowerMeter("meter0", 0.3 / scale)] + ([PowerMeter("meter1", 0.2 / scale)] if feeder else [])
    extras = [
        Relays("io0", dice.choice((0.0, 500.0 * scale))),
        Heat("heat0"),
        Steered("dac0"),
        Sensor("temp0"),
        Prices("tariff0"),
    ]
    devices: list[Simulated] = [*meters, *units, *extras]
    former = storages[0].alias if storages[0].phase == "" and not storages[0].connected and dice.random() < 0.4 else ""
    settings = _settings(seed, dice, scale)
    clusters = _clusters(dice, storages)
    objects = [d.object() for d in devices]
    groups, problems = cluster_objects(clusters, objects, PERIOD_S)
    assert not problems, problems
    stock = _stock(units, clusters, 6000 * scale, feeder=feeder)
    chosen = _controllers(dice, stock)
    layout = _layout(settings, [*objects, *groups], chosen)
    return Case(seed, settings, Site(devices, world, former), layout, chosen, clusters, random.Random(f"events {seed}"))


def _layout(settings: SiteSettings, objects: Sequence[ObjectSpec], chosen: Sequence[Configured]) -> Layout:
    controllers = [controller_object(c.cls, c.alias, c.settings) for c in chosen]
    return build_layout([site_object(settings), cycle_object(), *controllers, *objects])


def _storages(dice: random.Random, scale: float, *, feeder: bool) -> list[Storage]:
    found = []
    for i in range(dice.choice((1, 1, 2, 2, 3, 4, 5))):
        rated_w = round(dice.uniform(2000, 12_000) * scale, -2)
        phase = dice.choice(("", "", "", "", "L1", "L2", "L3", "each"))
        connected = "meter1" if feeder and dice.random() < 0.4 else ""
        precision = dice.choice((0.0, 0.0, 1.0, 10.0, 100.0))
        sample_s = dice.choice((0.0, 0.0, 0.0, 2.0, 5.0))
        found.append(
            Storage(f"ess{i}", rated_w, dice.uniform(1, 4), dice.uniform(0.1, 0.9), phase, precision, connected, sample_s)
        )
    return found


def _plants(dice: random.Random, scale: float, *, feeder: bool) -> list[Plant]:
    found = []
    for i in range(dice.choice((0, 1, 1, 2, 3))):
        phase = dice.choice(("", "", "", "L2"))
        found.append(Plant(f"pv{i}", round(dice.uniform(3000, 15_000) * scale, -2), phase, _place(dice, feeder=feeder)))
    return found


def _stations(dice: random.Random, seed: int, *, feeder: bool) -> list[Station]:
    found = []
    for i in range(dice.choice((0, 0, 1, 2, 4))):
        phase = dice.choice(("", "", "L1", "L3"))
        found.append(Station(f"evcs{i}", seed * 10 + i, BEGIN_S, phase, _place(dice, feeder=feeder)))
    return found


def _loads(dice: random.Random, seed: int, scale: float) -> list[Consumer]:
    kinds = [dice.choice((["power"], ["state"], ["power", "state"])) for _ in range(dice.choice((0, 1, 2)))]
    return [Consumer(f"load{i}", seed * 10 + i, round(2000 * scale), kind) for i, kind in enumerate(kinds)]


def _place(dice: random.Random, *, feeder: bool) -> str:
    return "meter1" if feeder and dice.random() < 0.4 else ""


def _settings(seed: int, dice: random.Random, scale: float) -> SiteSettings:
    limits = [None if dice.random() < 0.3 else round(dice.uniform(low, 20_000) * scale, -2) for low in (5000, 2000)]
    return SiteSettings(
        f"seed{seed}", f"Seed {seed}", dice.choice(ZONES), grid_meter="meter0", import_max_w=limits[0], export_max_w=limits[1],
        distribution=dice.choice(RULES),
    )  # fmt: skip


def _clusters(dice: random.Random, storages: Sequence[Storage]) -> list[ClusterSettings]:
    """None, one of two storages, or one inside another."""
    together = [s.alias for s in storages if not s.connected]
    if len(together) < 2 or dice.random() < 0.4:
        return []
    members = together[: dice.randint(2, len(together))]
    found = [ClusterSettings("park0", tuple(members), distribution=dice.choice(("", *RULES)))]
    if len(together) > len(members):
        found.append(ClusterSettings("park1", ("park0", together[-1]), distribution=dice.choice(("", *RULES))))
    return found


def _stock(units: Sequence[Simulated], clusters: Sequence[ClusterSettings], scale_w: float, *, feeder: bool) -> Stock:
    def names(kind: type[Simulated]) -> list[str]:
        return [d.alias for d in units if isinstance(d, kind)]

    used = feeder and any(d.connected for d in units)
    return Stock(
        scale_w, names(Storage), names(Plant), names(Station), names(Consumer), [c.alias for c in clusters],
        meters=["meter0", "meter1"] if feeder else ["meter0"], grids=["grid", "grid", "meter1"] if used else ["grid"],
        relays=[f"io0/Output[{i}]" for i in range(Relays.count)], others=["dac0/Output", "heat0/SgReady"],
    )  # fmt: skip


ALWAYS: Final = ("LimitTotalDischarge", "LimitTotalCharge")
"""Protection that most storages have."""


def _controllers(dice: random.Random, stock: Stock) -> list[Configured]:
    """Protection of storages, the operator's hand, and some of everything else."""
    classes = catalogue()
    found: list[Configured] = []
    for storage in stock.storages:
        found += [
            Configured(classes[name], f"{name.lower()}_{storage}", {**choose(classes[name], stock, dice), "ess": storage})
            for name in ALWAYS
            if dice.random() < 0.6
        ]
    names = ["ManualOverride", *dice.sample([n for n in classes if n != "ManualOverride"], dice.randint(2, 12))]
    for i, name in enumerate(names):
        try:
            settings = choose(classes[name], stock, dice)
            if dice.random() < 0.15 and not classes[name].protects:
                settings["priority"] = dice.randint(3, 1000)
            controller_object(classes[name], "probe", settings)
        except NoSuchDevice:
            continue
        except ConfigError as error:
            raise AssertionError(f"{name} {settings}: {error}") from error
        found.append(Configured(classes[name], f"c{i}_{name.lower()}", settings))
    return found
