"""The site as data: its objects, their channels, and the slot of each channel in the process image.

Made once by the supervisor from the configuration (`build_layout`), then handed to every process. Immutable; a new
layout has a new generation. Devices' measured channels belong to their driver's owner block; set-points, controllers,
site sums and cycle metrics belong to `control`; entry states to `supervisor`. One slot has one writer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from .channel import Access, DataType, Spec
from .nature import Nature

CONTROL = "control"
SUPERVISOR = "supervisor"

DEVICE, CONTROLLER, SITE, CYCLE, ENTRY, PROCESS = "device", "controller", "site", "cycle", "entry", "process"


@dataclass(frozen=True, slots=True)
class ChannelUse:
    """A channel an object really has. period_s: expected time between news, 0 for channels that are pushed on change."""

    spec: Spec
    length: int = 1
    period_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ObjectSpec:
    """An object of the information model, before slots are given.

    alias: first part of every NodeId below it (`ess0`), chosen once, never reused.
    kind: DEVICE, CONTROLLER, SITE, CYCLE, ENTRY or PROCESS.
    owner: the process that writes its measured channels (`modbus`, `control`, `supervisor`).
    type_name: for a device its product line, for a controller its class name.
    properties: texts that do not change while running (Manufacturer, Model, SerialNumber, MeterRole, Label, ...).
    settings: what the configuration gives it; for controllers every parameter, defaults included.
    """

    alias: str
    kind: str
    owner: str
    natures: tuple[type[Nature], ...]
    channels: tuple[ChannelUse, ...]
    type_name: str = ""
    doc: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel with its place. `node` is the NodeId string; an array takes `length` slots from `slot` on.

    output: index in the set-point block of `driver`, or -1 when the channel is no set-point.
    """

    node: str
    alias: str
    spec: Spec
    slot: int
    length: int
    owner: str
    period_s: float
    driver: str = ""
    output: int = -1


@dataclass(frozen=True, slots=True)
class Owner:
    """A writer of the image: its slots are `first .. first + count`; its set-point block has `outputs` records."""

    name: str
    first: int
    count: int
    outputs: int = 0


@dataclass(frozen=True)
class Layout:
    """Which slot is what. `channels` are in slot order."""

    generation: int
    objects: tuple[ObjectSpec, ...]
    owners: tuple[Owner, ...]
    channels: tuple[Channel, ...]

    @cached_property
    def slots(self) -> int:
        """Slots in use."""
        return sum(o.count for o in self.owners)

    @cached_property
    def by_node(self) -> dict[str, Channel]:
        """Channel of a NodeId string such as `ess0/ActivePower`."""
        return {c.node: c for c in self.channels}

    @cached_property
    def by_alias(self) -> dict[str, ObjectSpec]:
        """Object of an alias."""
        return {o.alias: o for o in self.objects}

    def owner(self, name: str) -> Owner:
        """The owner called `name`; KeyError when there is none."""
        return next(o for o in self.owners if o.name == name)

    def find(self, alias: str, spec: Spec) -> Channel | None:
        """The channel of an object, or None when the device does not have it."""
        return self.by_node.get(f"{alias}/{spec.name}")

    def historized(self, channel: Channel) -> bool:
        """True for channels worth a time series: the numbers of devices and of the site."""
        numeric = channel.spec.data_type not in (DataType.STRING, DataType.DATETIME)
        return numeric and channel.length == 1 and self.by_alias[channel.alias].kind in (DEVICE, SITE)

    def channels_of(self, alias: str) -> list[Channel]:
        """All channels of an object, in slot order."""
        return [c for c in self.channels if c.alias == alias]


def build_layout(objects: Iterable[ObjectSpec], generation: int = 1, spare: Sequence[str] = ()) -> Layout:
    """Give every channel a slot, owner by owner. `spare` names owners that may have no object yet."""
    objects = tuple(objects)
    drivers = [o.owner for o in objects if o.kind == DEVICE]
    names = list(dict.fromkeys([CONTROL, SUPERVISOR, *spare, *drivers]))
    outputs = dict.fromkeys(names, 0)
    rows: dict[str, list[tuple[ObjectSpec, ChannelUse, int]]] = {name: [] for name in names}
    for obj in objects:
        for use in obj.channels:
            is_output = obj.kind == DEVICE and use.spec.access is not Access.READ
            output = -1
            if is_output:
                output = outputs[obj.owner]
                outputs[obj.owner] += use.length
            rows[CONTROL if is_output else obj.owner].append((obj, use, output))
    owners: list[Owner] = []
    channels: list[Channel] = []
    slot = 0
    for name in names:
        first = slot
        for obj, use, output in rows[name]:
            node = f"{obj.alias}/{use.spec.name}"
            driver = obj.owner if output >= 0 else ""
            channels.append(Channel(node, obj.alias, use.spec, slot, use.length, name, use.period_s, driver, output))
            slot += use.length
        owners.append(Owner(name, first, slot - first, outputs[name]))
    return Layout(generation, objects, tuple(owners), tuple(channels))
