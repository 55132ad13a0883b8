"""The site as data: its objects, their channels, and the slot of each channel in the process image.

Made once by the supervisor from the configuration (`build_layout`), then handed to every process. Immutable; a new
layout has a new generation. Devices' measured channels belong to their driver's owner block; set-points, controllers,
site sums and cycle metrics belong to `control`; entry states to `supervisor`. One slot has one writer.

A running site may get other controllers (`with_controllers`): their new channels take slots from the room that was left at the
end of control's block, and a slot that was given is never given again. So every slot of a generation means the same in all
later ones or nothing any more, and who holds an older layout is never wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from .channel import Access, DataType, Spec
from .errors import EmsError
from .nature import Nature

CONTROL = "control"
SUPERVISOR = "supervisor"

SLOTS_PER_TEXT = 3
"""Of so many slots at most one holds a text, among those of controllers."""

DEVICE, CONTROLLER, SITE, CYCLE, ENTRY, PROCESS = "device", "controller", "site", "cycle", "entry", "process"


class NoRoom(EmsError):
    """A running site has no slots left for more channels."""


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
    """A writer of the image: its slots are `first .. first + count`; its set-point block has `outputs` records.

    room: how many slots at the end of its block the site began with unused. given: how many of them were given since.
    texts: its slots that hold texts, in the order of their cells; a cell stays with its slot for ever. cells: how many there are.
    """

    name: str
    first: int
    count: int
    outputs: int = 0
    room: int = 0
    given: int = 0
    texts: tuple[int, ...] = ()
    cells: int = 0


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


def build_layout(objects: Iterable[ObjectSpec], generation: int = 1, spare: Sequence[str] = (), room: int = 0) -> Layout:
    """Give every channel a slot, owner by owner. `spare` names owners that may have no object yet; `room` is how many slots
    controllers may take later."""
    objects = tuple(_with_decided(o) for o in objects)
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
            rows[CONTROL if is_output or use.spec.needs else obj.owner].append((obj, use, output))
    owners: list[Owner] = []
    channels: list[Channel] = []
    slot = 0
    for name in names:
        first, before = slot, len(channels)
        for obj, use, output in rows[name]:
            driver = obj.owner if output >= 0 else ""
            channels.append(_channel(obj.alias, use, slot, name, driver, output))
            slot += use.length
        left, texts = room if name == CONTROL else 0, _texts(channels[before:])
        slot += left
        cells = len(texts) + left // SLOTS_PER_TEXT
        owners.append(Owner(name, first, slot - first, outputs[name], left, texts=texts, cells=cells))
    return Layout(generation, objects, tuple(owners), tuple(channels))


def _with_decided(obj: ObjectSpec) -> ObjectSpec:
    """A device with the channels that the engine decides for it."""
    if obj.kind != DEVICE:
        return obj
    names = {use.spec.name for use in obj.channels}
    specs = dict.fromkeys(s for n in obj.natures for s in n.channels().values() if s.needs and names.issuperset(s.needs))
    missing = tuple(ChannelUse(s) for s in specs if s.name not in names)
    return replace(obj, channels=(*obj.channels, *missing)) if missing else obj


def with_controllers(layout: Layout, controllers: Sequence[ObjectSpec]) -> Layout:
    """The next generation of a layout, with these controllers in this order instead of those it has.

    A channel that stays what it was keeps its slot. NoRoom when control's block has no slots left for the new ones.
    """
    owner = layout.owner(CONTROL)
    had = {a.alias: a for a in layout.objects if a.kind == CONTROLLER}
    kept = [c for c in layout.channels if c.alias not in had]
    slot = owner.first + owner.count - owner.room + owner.given
    found: list[Channel] = []
    fresh: list[Channel] = []
    for obj in controllers:
        for use in obj.channels:
            old = layout.by_node.get(f"{obj.alias}/{use.spec.name}") if obj.alias in had else None
            if old is not None and (old.length, old.spec.data_type) == (use.length, use.spec.data_type):
                found.append(_channel(obj.alias, use, old.slot, CONTROL))
            else:
                fresh.append(_channel(obj.alias, use, slot, CONTROL))
                slot += use.length
    given = slot - (owner.first + owner.count - owner.room)
    texts = (*owner.texts, *_texts(fresh))
    if given > owner.room or len(texts) > owner.cells:
        raise NoRoom(f"there are {owner.room - owner.given} slots left for controllers; the site must be started again for more")
    grown = replace(owner, given=given, texts=texts)
    objects = _in_place(layout.objects, controllers)
    channels = sorted([*kept, *found, *fresh], key=lambda c: c.slot)
    owners = tuple(grown if o.name == CONTROL else o for o in layout.owners)
    return Layout(layout.generation + 1, objects, owners, tuple(channels))


def _in_place(objects: Sequence[ObjectSpec], controllers: Sequence[ObjectSpec]) -> tuple[ObjectSpec, ...]:
    """All objects, with other controllers where the first was, or behind the rest."""
    first = next((i for i, o in enumerate(objects) if o.kind == CONTROLLER), len(objects))
    return (*objects[:first], *controllers, *(o for o in objects[first:] if o.kind != CONTROLLER))


def _channel(alias: str, use: ChannelUse, slot: int, owner: str, driver: str = "", output: int = -1) -> Channel:
    return Channel(f"{alias}/{use.spec.name}", alias, use.spec, slot, use.length, owner, use.period_s, driver, output)


def _texts(channels: Iterable[Channel]) -> tuple[int, ...]:
    strings = (c for c in channels if c.spec.data_type is DataType.STRING)
    return tuple(slot for c in strings for slot in range(c.slot, c.slot + c.length))
