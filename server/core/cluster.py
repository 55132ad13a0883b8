"""Clusters: storages that act as one, to be named wherever a storage is named.

    [[cluster]]
    id = "park"
    members = ["ess0", "ess1", "hall"]        # storages, or other clusters

A cluster is a group without a meter in the solver's tree (topology.py). It has no memory and takes no set-points of its own: what
it shows follows from its members, and what is asked of it is shared among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from .channel import Level
from .errors import ConfigError
from .gather import Gather
from .image import Image
from .layout import CONTROL, DEVICE, ChannelUse, Layout, ObjectSpec
from .natures import Device, Ess, GridMode, ManagedEss, MetaEss, OperatingState, StartStoppable
from .status import BAD_NO_DATA, GOOD
from .sums import Value, mean_soc, total

CONNECTED_TO: Final = "ConnectedTo"
MEMBERS: Final = "members"
DISTRIBUTION: Final = "distribution"
_OPERATING: Final = StartStoppable.OperatingState.name
_RUNNING: Final = float(OperatingState.Running)

SUMMED: Final = (
    Ess.Capacity,
    Ess.ActivePower,
    Ess.ReactivePower,
    Ess.MaxApparentPower,
    Ess.ChargeEnergy,
    Ess.DischargeEnergy,
    ManagedEss.AllowedChargePower,
    ManagedEss.AllowedDischargePower,
)
"""Channels of a cluster that are the sum of its members'."""

OWN: Final = (Ess.Soc, Ess.GridMode, MetaEss.MemberCount)
"""Channels of a cluster that are found in other ways. It has no state: a fault is told, and raises an alarm, where it is."""


def common_mode(modes: Sequence[float | None]) -> GridMode | None:
    """What several storages are connected to: a genset when one is, else what all say; None when they differ or do not tell."""
    if GridMode.Genset in modes:
        return GridMode.Genset
    told = set(modes)
    return GridMode(int(mode)) if len(told) == 1 and (mode := next(iter(told))) is not None else None


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """A cluster as configured. distribution: how members share what is asked of it, "" for the site's way."""

    alias: str
    members: tuple[str, ...]
    label: str = ""
    distribution: str = ""


def cluster_objects(
    settings: Sequence[ClusterSettings], objects: Iterable[ObjectSpec], period_s: float
) -> tuple[list[ObjectSpec], list[ConfigError]]:
    """The objects of all clusters that can be, and why others cannot."""
    storages = {o.alias: o for o in objects if o.kind == DEVICE and _takes_setpoints(o)}
    found: dict[str, ObjectSpec] = {}
    problems: list[ConfigError] = []
    taken: dict[str, str] = {}
    waiting = list(settings)
    while ready := [s for s in waiting if not any(m in {w.alias for w in waiting} for m in s.members)]:
        for cluster in ready:
            waiting.remove(cluster)
            try:
                _check(cluster, storages | found, taken)
            except ConfigError as error:
                problems.append(error)
            else:
                found[cluster.alias] = _object(cluster, storages | found, period_s)
                taken |= dict.fromkeys(cluster.members, cluster.alias)
    problems += [ConfigError("site.toml", f"{s.alias}.members", "the cluster contains itself") for s in waiting]
    return list(found.values()), problems


def _takes_setpoints(obj: ObjectSpec) -> bool:
    return any(issubclass(n, ManagedEss) for n in obj.natures) and any(u.spec == ManagedEss.SetActivePower for u in obj.channels)


def _check(cluster: ClusterSettings, known: Mapping[str, ObjectSpec], taken: Mapping[str, str]) -> None:
    """ConfigError when the cluster cannot be."""
    where = f"{cluster.alias}.members"
    for member in cluster.members:
        if member not in known:
            raise ConfigError("site.toml", where, f"{member!r} is no storage or cluster of this site that takes set-points")
        if member in taken:
            raise ConfigError("site.toml", where, f"{member!r} is a member of {taken[member]}")
    if len(set(cluster.members)) < len(cluster.members):
        raise ConfigError("site.toml", where, "names a member twice")
    connections = {known[m].properties.get(CONNECTED_TO, "") for m in cluster.members}
    if len(connections) > 1:
        names = ", ".join(sorted(c or "the grid" for c in connections))
        raise ConfigError("site.toml", where, f"are connected to different meters ({names})")


def _object(cluster: ClusterSettings, known: Mapping[str, ObjectSpec], period_s: float) -> ObjectSpec:
    members = [known[m] for m in cluster.members]
    names = {u.spec.name for o in members for u in o.channels}
    every = MetaEss.channels() | Device.channels()
    specs = [*OWN, *(s for s in SUMMED if s.name in names)]
    specs += [every[n] for n in (f"{Ess.ActivePower.name}.{p}" for p in ("L1", "L2", "L3")) if n in names]
    properties = {"Label": cluster.label or cluster.alias, CONNECTED_TO: members[0].properties.get(CONNECTED_TO, "")}
    return ObjectSpec(
        cluster.alias,
        DEVICE,
        CONTROL,
        (Device, MetaEss),
        tuple(ChannelUse(s, period_s=period_s) for s in specs),
        "Cluster",
        f"Storages that act as one: {', '.join(cluster.members)}.",
        {k: v for k, v in properties.items() if v},
        {MEMBERS: list(cluster.members), DISTRIBUTION: cluster.distribution},
    )


def clusters_of(layout: Layout) -> list[ObjectSpec]:
    """The clusters of a layout, outer ones before those inside them."""
    found = [o for o in layout.objects if o.kind == DEVICE and o.owner == CONTROL and MetaEss in o.natures]
    inside = {m: o.alias for o in found for m in o.settings[MEMBERS]}

    def depth(alias: str) -> int:
        return 1 + depth(inside[alias]) if alias in inside else 0

    return sorted(found, key=lambda o: depth(o.alias))


def storages_of(layout: Layout, alias: str) -> list[str]:
    """The storages of a cluster, those of the clusters inside it included."""
    obj = layout.by_alias[alias]
    if MEMBERS not in obj.settings:
        return [alias]
    return [leaf for member in obj.settings[MEMBERS] for leaf in storages_of(layout, member)]


class ClusterSums:
    """Computes the channels of one cluster from those of its storages."""

    def __init__(self, layout: Layout, alias: str) -> None:
        self._storages = storages_of(layout, alias)
        self._slots = {c.spec.name: c.slot for c in layout.channels_of(alias)}
        wanted = [Device.State.name, _OPERATING, Ess.Soc.name, Ess.Capacity.name, Ess.GridMode.name, Ess.ActivePower.name]
        self._names = [*wanted, *(n for n in self._slots if n not in wanted and n != MetaEss.MemberCount.name)]
        found = [layout.by_node.get(f"{s}/{name}") for name in self._names for s in self._storages]
        self._gather = Gather([-1 if c is None else c.slot for c in found])
        self._splits = {f"{Ess.ActivePower.name}.{p}" for p in ("L1", "L2", "L3")}

    def compute(self, image: Image) -> dict[int, Value]:
        """The values of this moment by slot."""
        numbers, count = self._gather.read(image), len(self._storages)
        columns = {name: numbers[i * count : (i + 1) * count] for i, name in enumerate(self._names)}
        power = columns[Ess.ActivePower.name]
        found = {name: total(column) for name, column in columns.items()}
        for name in self._splits & columns.keys():
            found[name] = total([_phase(p, whole) for p, whole in zip(columns[name], power, strict=True)])
        found[Ess.Soc.name] = _value(mean_soc(columns[Ess.Soc.name], columns[Ess.Capacity.name]))
        found[Ess.GridMode.name] = _value(common_mode(columns[Ess.GridMode.name]))
        rows = zip(power, columns[Device.State.name], columns[_OPERATING], strict=True)
        taking_part = [p is not None and state != Level.Fault and runs in (None, _RUNNING) for p, state, runs in rows]
        found[MetaEss.MemberCount.name] = Value(float(sum(taking_part)))
        return {slot: found[name] for name, slot in self._slots.items()}


def _phase(power: float | None, whole: float | None) -> float | None:
    """Power on a phase; a storage that does not tell loads all three alike."""
    return power if power is not None or whole is None else whole / 3


def _value(number: float | None) -> Value:
    return Value(float("nan"), BAD_NO_DATA) if number is None else Value(float(number), GOOD)
