"""The tree the solver works on: controllable units at its leaves, metered connections above them, the grid at its root.

Made once from the layout. A device is a unit when it carries one of the set-points below; a unit hangs below the grid connection
unless its property `ConnectedTo` names another meter of the site (a feeder, a cluster), which hangs below the grid in turn.
A unit is three-phase and symmetric unless its property `Phase` says L1, L2 or L3, or it has a set-point for each phase.
Clusters are groups without a meter, between their members and what these are connected to.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Final, NamedTuple

from .channel import PHASES, Spec
from .cluster import CONNECTED_TO, DISTRIBUTION, MEMBERS, clusters_of
from .constraint import ACTIVE, REACTIVE, Node
from .errors import ConfigError
from .layout import DEVICE, Layout, ObjectSpec
from .nature import Nature
from .natures import Device, Ess, Evcs, HybridEss, Load, ManagedEss, Meter, Pv, Wind
from .site import GRID_ALIAS, SiteSettings

RATED_POWER: Final = "RatedPower"
PHASE: Final = "Phase"


class Kind(IntEnum):
    """What a unit is. The value is its rank: who is asked first when a connection must be relieved."""

    Storage = 0
    Charger = 1
    Load = 2
    Production = 3


SIGN: Final = {Kind.Storage: 1, Kind.Charger: -1, Kind.Load: -1, Kind.Production: 1}
"""Sign that turns a unit's own power into supply to the site."""

_MARKS: Final[tuple[tuple[type[Nature], Kind, Spec, Spec | None], ...]] = (
    (ManagedEss, Kind.Storage, ManagedEss.SetActivePower, None),
    (Evcs, Kind.Charger, Evcs.SetChargePowerLimit, Evcs.MaxHardwarePower),
    (Pv, Kind.Production, Pv.ActivePowerLimit, Pv.MaxActivePower),
    (Wind, Kind.Production, Wind.ActivePowerLimit, Wind.MaxActivePower),
    (Load, Kind.Load, Load.SetPower, None),
)
"""Which nature makes a device a unit, by which set-point, and which channel tells its rating."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A controllable unit with the slots of its channels, -1 where the device has none.

    index: its leaf in the tree. rating_w: from the property RatedPower, 0 where unknown; a rating channel outranks it.
    power_period_s: expected time between two measurements of its power. phase: 1 to 3 for a single-phase unit, 0 for all three.
    phase_setpoints: slots of L1, L2, L3 of an asymmetric storage, else empty.
    """

    alias: str
    kind: Kind
    index: int
    parent: int
    setpoint: int
    power: int
    setpoint_q: int = -1
    power_q: int = -1
    lowest: int = -1
    highest: int = -1
    apparent: int = -1
    precision: int = -1
    soc: int = -1
    state: int = -1
    grid_mode: int = -1
    dc: int = -1
    rating: int = -1
    minimum: int = -1
    status: int = -1
    rating_w: float = 0.0
    power_period_s: float = 0.0
    phase: int = 0
    phase_setpoints: tuple[int, ...] = ()

    @property
    def sign(self) -> int:
        """+1 when the unit's own power is supply to the site, -1 when it is consumption."""
        return SIGN[self.kind]

    @property
    def is_storage(self) -> bool:
        """Storage follows its set-point; all other units take it as a ceiling."""
        return self.kind is Kind.Storage


@dataclass(frozen=True, slots=True)
class Group:
    """A metered connection with units below, or a cluster. parent: the group above, -1 at the grid. power, power_q: the meter's
    slots. distribution: how a cluster's members share, "" for the site's way."""

    alias: str
    label: str
    index: int
    parent: int
    power: int = -1
    power_q: int = -1
    distribution: str = ""


class Topology:
    """Units and groups of a layout. Leaves come first in index order, then the grid connection, then feeders, then clusters,
    parents first."""

    def __init__(self, layout: Layout, site: SiteSettings) -> None:
        self.layout = layout
        self.site = site
        self.problems: list[ConfigError] = []
        """Properties that could not be used; the unit hangs below the grid connection, has no rating, or all phases, instead."""
        self.phased: set[int] = set()
        """Groups of which constraints on single phases may come."""
        marked = [(o, mark) for o in layout.objects if o.kind == DEVICE and (mark := _mark(layout, o)) is not None]
        self.root: Final = len(marked)
        self.groups = _groups(layout, site, self.root, [o for o, _ in marked], self.problems)
        places = {g.alias: g.index for g in self.groups}
        self.clusters = _clusters(layout, self.root + len(self.groups), self.root, places)
        inside = {m: g.index for g in self.clusters for m in layout.by_alias[g.alias].settings[MEMBERS]}

        def parent(obj: ObjectSpec) -> int:
            return inside.get(obj.alias, places.get(obj.properties.get(CONNECTED_TO, ""), self.root))

        self.units = tuple(
            _unit(layout, obj, mark, index, parent(obj), self.problems) for index, (obj, mark) in enumerate(marked)
        )

    def grown(self, layout: Layout) -> Topology:
        """The same units and groups in a later generation of the layout, for controllers that are bound to it."""
        other = copy(self)
        other.layout, other.problems, other.phased = layout, list(self.problems), set(self.phased)
        return other

    @cached_property
    def by_alias(self) -> dict[str, Unit]:
        """Unit of an alias."""
        return {u.alias: u for u in self.units}

    @cached_property
    def parents(self) -> list[int]:
        """Index of each tree node's parent, -1 at the root."""
        return [u.parent for u in self.units] + [g.parent for g in (*self.groups, *self.clusters)]

    @cached_property
    def uneven(self) -> bool:
        """Some unit does not load all three phases alike."""
        return any(u.phase or u.phase_setpoints for u in self.units)

    @cached_property
    def labels(self) -> list[str]:
        """Name of each tree node."""
        return [u.alias for u in self.units] + [g.label for g in (*self.groups, *self.clusters)]

    def slot(self, alias: str, spec: Spec) -> int:
        """Slot of a channel, -1 when the device does not have it."""
        return _slot(self.layout, alias, spec)

    def unit_node(self, alias: str, plane: int = ACTIVE) -> Node:
        """The node of the power of a unit or a cluster. ConfigError when the object takes no set-points."""
        label = alias if plane == ACTIVE else f"{alias} reactive"
        unit = self.by_alias.get(alias)
        if unit is not None:
            return Node(label, plane, unit.index, unit.sign)
        for cluster in self.clusters:
            if cluster.alias == alias:
                return Node(label, plane, cluster.index, SIGN[Kind.Storage])
        raise ConfigError("site.toml", alias, "takes no set-points")

    def dc_node(self, alias: str) -> Node:
        """The node of what the battery of a storage gives; that of a hybrid is behind its PV. ConfigError as `unit_node`."""
        node = self.unit_node(alias)
        return node._replace(label=f"{alias} DC", dc=True) if alias in self.by_alias and self.by_alias[alias].dc >= 0 else node

    def connection(self, alias: str) -> Group:
        """The connection behind a meter, or behind `grid`. ConfigError when nothing controllable can be below it."""
        name = self.site.grid_meter if alias == GRID_ALIAS else alias
        for group in self.groups:
            if name and group.alias == name:
                return group
        problem = "the site has no grid meter" if alias == GRID_ALIAS else "is no meter with units connected to it"
        raise ConfigError("site.toml", alias, problem)

    def import_node(self, alias: str, plane: int = ACTIVE) -> Node:
        """The node of what a metered connection imports."""
        group = self.connection(alias)
        label = "import" if group.index == self.root else f"{alias} import"
        return Node(label if plane == ACTIVE else f"reactive {label}", plane, group.index, -1, metered=True)

    def phase_import_nodes(self, alias: str) -> tuple[Node, ...]:
        """The nodes of what a metered connection imports on L1, L2 and L3. ConfigError when its meter does not measure phases."""
        whole = self.import_node(alias)
        meter = self.connection(alias).alias
        if any(self.layout.by_node.get(f"{meter}/{Meter.ActivePower.name}.{phase}") is None for phase in PHASES):
            raise ConfigError("site.toml", meter, "does not measure the power of each phase")
        self.phased.add(whole.place)
        return tuple(whole._replace(label=f"{whole.label} on {name}", phase=i) for i, name in enumerate(PHASES, 1))

    @cached_property
    def setpoint_nodes(self) -> Mapping[int, Node]:
        """Node that each arbitrated set-point slot belongs to."""
        found = {u.setpoint: self.unit_node(u.alias) for u in self.units}
        return found | {u.setpoint_q: self.unit_node(u.alias, REACTIVE) for u in self.units if u.setpoint_q >= 0}


class Leg(NamedTuple):
    """A power that is chosen on its own. shares: how much of it is on each phase. step: +1 where raising it raises supply."""

    unit: Unit
    shares: tuple[float, ...]
    step: int


def legs_of(unit: Unit) -> list[Leg]:
    """One leg, or one for each phase of an asymmetric unit."""
    step = 1 if unit.is_storage else -unit.sign
    if unit.phase_setpoints:
        return [Leg(unit, _on(phase), step) for phase in range(1, len(PHASES) + 1)]
    return [Leg(unit, _on(unit.phase), step)]


def _on(phase: int) -> tuple[float, ...]:
    return tuple(float(phase == p) if phase else 1 / len(PHASES) for p in range(1, len(PHASES) + 1))


def _slot(layout: Layout, alias: str, spec: Spec | None) -> int:
    channel = layout.find(alias, spec) if spec is not None else None
    return -1 if channel is None else channel.slot


Mark = tuple[Kind, Spec, Spec | None]
"""What makes a device a unit: its kind, its set-point, the channel of its rating."""


def _mark(layout: Layout, obj: ObjectSpec) -> Mark | None:
    for nature, kind, setpoint, rating in _MARKS:
        if any(issubclass(n, nature) for n in obj.natures) and layout.find(obj.alias, setpoint) is not None:
            return kind, setpoint, rating
    return None


def _unit(layout: Layout, obj: ObjectSpec, mark: Mark, index: int, parent: int, problems: list[ConfigError]) -> Unit:
    kind, setpoint, rating = mark

    def slot(spec: Spec | None) -> int:
        return _slot(layout, obj.alias, spec)

    power = layout.find(obj.alias, Ess.ActivePower)
    if kind is Kind.Charger:
        power = layout.find(obj.alias, Evcs.ChargePower) or power
    storage = kind is Kind.Storage
    return Unit(
        obj.alias,
        kind,
        index,
        parent,
        setpoint=slot(setpoint),
        power=-1 if power is None else power.slot,
        setpoint_q=slot(ManagedEss.SetReactivePower) if storage else -1,
        power_q=slot(Ess.ReactivePower) if storage else -1,
        lowest=slot(ManagedEss.AllowedChargePower) if storage else -1,
        highest=slot(ManagedEss.AllowedDischargePower) if storage else -1,
        apparent=slot(Ess.MaxApparentPower) if storage else -1,
        precision=slot(ManagedEss.PowerPrecision) if storage else -1,
        soc=slot(Ess.Soc) if storage else -1,
        state=slot(Device.State) if storage else -1,
        grid_mode=slot(Ess.GridMode) if storage else -1,
        dc=slot(HybridEss.DcDischargePower) if storage else -1,
        rating=slot(rating),
        minimum=slot(Evcs.MinHardwarePower) if kind is Kind.Charger else -1,
        status=slot(Evcs.Status) if kind is Kind.Charger else -1,
        rating_w=_rated(obj, problems),
        power_period_s=0.0 if power is None else power.period_s,
        phase=_phase(obj, problems),
        phase_setpoints=_phase_slots(layout, obj.alias, ManagedEss.SetActivePower) if storage else (),
    )


def _phase(obj: ObjectSpec, problems: list[ConfigError]) -> int:
    text = obj.properties.get(PHASE, "")
    if text in PHASES:
        return PHASES.index(text) + 1
    if text:
        problem = f"{text!r} is none of {', '.join(PHASES)}"
        problems.append(ConfigError(f"entries/{obj.alias}.toml", f"properties.{PHASE}", problem))
    return 0


def _phase_slots(layout: Layout, alias: str, spec: Spec) -> tuple[int, ...]:
    """Slots of a channel's three phase variants; empty unless the device has all of them."""
    found = [layout.by_node.get(f"{alias}/{spec.name}.{phase}") for phase in PHASES]
    return tuple(c.slot for c in found if c is not None) if all(found) else ()


def _rated(obj: ObjectSpec, problems: list[ConfigError]) -> float:
    text = obj.properties.get(RATED_POWER, "0")
    try:
        return float(text)
    except ValueError:
        problem = f"{text!r} is not a power in W"
        problems.append(ConfigError(f"entries/{obj.alias}.toml", f"properties.{RATED_POWER}", problem))
        return 0.0


def _groups(
    layout: Layout, site: SiteSettings, root: int, units: list[ObjectSpec], problems: list[ConfigError]
) -> tuple[Group, ...]:
    """The grid connection, then every meter that units or other such meters are connected to, parents before children."""
    groups = [_group(layout, site.grid_meter, "grid", root, -1)]
    places = {site.grid_meter: root, GRID_ALIAS: root, "": root}

    def place(alias: str, path: tuple[str, ...]) -> int:
        """Index of the group behind a meter. path: what is connected to it, from the unit upwards."""
        if alias in places:
            return places[alias]
        meter = layout.by_alias.get(alias)
        known = meter is not None and any(issubclass(n, Meter) for n in meter.natures)
        if meter is None or not known or alias in path:
            problem = f"{alias!r} is connected to itself" if alias in path else f"{alias!r} is no meter of this site"
            problems.append(ConfigError(f"entries/{path[-1]}.toml", f"properties.{CONNECTED_TO}", problem))
            return root
        parent = place(meter.properties.get(CONNECTED_TO, ""), (*path, alias))
        places[alias] = root + len(groups)
        groups.append(_group(layout, alias, alias, places[alias], parent))
        return places[alias]

    for unit in units:
        place(unit.properties.get(CONNECTED_TO, ""), (unit.alias,))
    return tuple(groups)


def _clusters(layout: Layout, first: int, root: int, places: Mapping[str, int]) -> tuple[Group, ...]:
    """The clusters, outer ones before those inside them."""
    found: list[Group] = []
    inside: dict[str, int] = {}
    for obj in clusters_of(layout):
        parent = inside.get(obj.alias, places.get(obj.properties.get(CONNECTED_TO, ""), root))
        group = Group(obj.alias, obj.alias, first + len(found), parent, distribution=obj.settings[DISTRIBUTION])
        inside |= dict.fromkeys(obj.settings[MEMBERS], group.index)
        found.append(group)
    return tuple(found)


def _group(layout: Layout, alias: str, label: str, index: int, parent: int) -> Group:
    return Group(alias, label, index, parent, _slot(layout, alias, Meter.ActivePower), _slot(layout, alias, Meter.ReactivePower))
