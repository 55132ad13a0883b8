"""The site's objects as the server describes them: read in a few batched calls, for pages and services that follow the model.

Nothing here knows a nature or a channel beforehand. Objects are found by walking hierarchical references from the Objects
folder through the instance namespace; what a channel is comes from its own attributes and properties.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from asyncua import ua

from .nodes import INSTANCES, node_id, node_name

if TYPE_CHECKING:
    from .client import Client, Reference

_HAS_PROPERTY: Final = "i=46"
_HAS_SUBTYPE: Final = "i=45"
_HAS_INTERFACE: Final = "i=17603"
_OBJECTS: Final = "i=85"
_DEPTH_MAX: Final = 8
_DEVICE: Final = "device"
_CONDITION: Final = "ConditionType"
_KINDS: Final = {
    "EnergyManagerType": "site",
    "ControllerType": "controller",
    "CycleType": "cycle",
    "ConfigEntryType": "entry",
    "ProcessType": "process",
    "EmsDeviceType": _DEVICE,
    "FolderType": "folder",
}
"""Kind of an object by its type or the nearest base type."""


@dataclass(frozen=True, slots=True)
class ChannelInfo:
    """A variable of an object.

    unit: symbol, empty where there is none. low, high: EURange. states: texts of the values 0, 1, ...
    data_type: `Double`, `Int32`, `Boolean`, `String`, ...; length: of an array, else 0.
    writable, historized: whether this user may write it, or read its history.
    configured: what the configuration gives a parameter, None for what is not configured.
    """

    node: str
    name: str
    description: str
    data_type: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    states: tuple[str, ...] = ()
    writable: bool = False
    length: int = 0
    historized: bool = False
    configured: float | None = None


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object of the site. alias: its node's name. kind: site, device, controller, cycle, entry, process, folder or object.
    natures: names of its interfaces. properties: what does not change, by name. methods: node by name."""

    alias: str
    name: str
    kind: str
    type_name: str
    description: str
    parent: str
    natures: tuple[str, ...] = ()
    properties: dict[str, Any] = field(default_factory=dict)
    channels: dict[str, ChannelInfo] = field(default_factory=dict)
    methods: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Model:
    """All objects of the site by alias, parents before children."""

    objects: dict[str, ObjectInfo]

    def channel(self, node: str) -> ChannelInfo | None:
        """The channel of a node name such as `ess0/ActivePower`."""
        owner = self.objects.get(node.partition("/")[0])
        return next((c for c in owner.channels.values() if c.node == node), None) if owner else None


@dataclass(slots=True)
class _Draft:
    reference: Reference
    parent: str
    alias: str
    variables: list[Reference] = field(default_factory=list)
    properties: list[Reference] = field(default_factory=list)
    methods: dict[str, str] = field(default_factory=dict)


async def read_model(client: Client) -> Model:
    """Walk and read everything. ClientError when the connection fails."""
    drafts = await _walk(client)
    names = await _type_names(client, {d.reference.type_definition for d in drafts.values()})
    natures = await _natures(client, list(drafts))
    descriptions = await _texts(client, list(drafts), ua.AttributeIds.Description)
    channels = await _channels(client, [v for d in drafts.values() for v in d.variables])
    properties = await _values(client, [p.node for d in drafts.values() for p in d.properties])
    objects: dict[str, ObjectInfo] = {}
    for alias, draft in drafts.items():
        lineage = names.get(draft.reference.type_definition, ())
        objects[alias] = ObjectInfo(
            alias=alias,
            name=draft.reference.display_name or draft.reference.name,
            kind=next((_KINDS[name] for name in lineage if name in _KINDS), "object"),
            type_name=lineage[0] if lineage else "",
            description=descriptions[alias],
            parent=draft.parent,
            natures=natures.get(alias, ()),
            properties={p.name: _plain(properties[p.node]) for p in draft.properties},
            channels={v.name: channels[v.node] for v in draft.variables},
            methods=draft.methods,
        )
    return Model(objects)


async def _walk(client: Client) -> dict[str, _Draft]:
    """All objects of the instance namespace; a folder inside an object (`ess0/Faults`) belongs to the object.

    Conditions are left out: they are no part of what a thing is, and `alarms` follows them.
    """
    found: dict[str, _Draft] = {}
    lineages: dict[str, tuple[str, ...]] = {}
    seen: set[str] = set()
    level: list[tuple[str, str]] = [(_OBJECTS, "")]
    for _ in range(_DEPTH_MAX):
        children = await client.browse_many([node for node, _ in level])
        below: list[tuple[str, str]] = []
        types = {c.type_definition for some in children.values() for c in some if c.node_class == "Object"}
        lineages |= await _type_names(client, types - lineages.keys())
        for node, owner in level:
            for child in children[node]:
                if not _is_instance(child.node) or _CONDITION in lineages.get(child.type_definition, ()):
                    continue
                alias = _place(child, owner, found)
                if child.node_class == "Object" and child.node not in seen:
                    seen.add(child.node)
                    below.append((child.node, alias))
        if not below:
            break
        level = below
    return found


def _place(child: Reference, owner: str, found: dict[str, _Draft]) -> str:
    """Enter a node into its object; returns the alias of the object that owns what is below it."""
    if child.node_class == "Object":
        if "/" in child.node and owner:
            return owner
        found.setdefault(child.node, _Draft(child, owner, child.node))
        return child.node
    draft = found.get(owner)
    if draft is None:
        return owner
    if child.node_class == "Method":
        draft.methods[child.name] = child.node
    elif child.node_class == "Variable":
        kind = draft.properties if child.reference_type == _HAS_PROPERTY else draft.variables
        if all(known.node != child.node for known in kind):
            kind.append(child)
    return owner


def _is_instance(node: str) -> bool:
    return bool(node_id(node).NamespaceIndex == INSTANCES)


async def _type_names(client: Client, types: set[str]) -> dict[str, tuple[str, ...]]:
    """BrowseNames of each type and its bases, nearest first."""
    bases: dict[str, str] = {}
    level = sorted(types - {""})
    while level:
        request = ua.BrowseRequest()
        request.Parameters.NodesToBrowse = [_inverse(node) for node in level]
        results = (await client.ask(request, ua.BrowseResponse)).Results
        for node, result in zip(level, results, strict=True):
            bases[node] = node_name(result.References[0].NodeId) if result.References else ""
        level = sorted({b for b in bases.values() if b and b not in bases})
    nodes = list(bases)
    read = await client.read(nodes, ua.AttributeIds.BrowseName)
    names = {n: v.Value.Value.Name if v.Value and v.Value.Value else n for n, v in zip(nodes, read, strict=True)}
    return {t: tuple(names[n] for n in _lineage(t, bases)) for t in types - {""}}


def _lineage(node: str, bases: dict[str, str]) -> Iterable[str]:
    seen: set[str] = set()
    while node and node not in seen:
        seen.add(node)
        yield node
        node = bases.get(node, "")


def _inverse(node: str) -> ua.BrowseDescription:
    return ua.BrowseDescription(
        node_id(node), ua.BrowseDirection.Inverse, node_id(_HAS_SUBTYPE), True, 0, ua.BrowseResultMask.All
    )


async def _natures(client: Client, aliases: Sequence[str]) -> dict[str, tuple[str, ...]]:
    found = await client.browse_many(aliases, _HAS_INTERFACE)
    return {alias: tuple(_nature(r.name) for r in references) for alias, references in found.items()}


def _nature(interface: str) -> str:
    """`IEssType` is the interface of the nature Ess."""
    return interface[1:-4] if interface.startswith("I") and interface.endswith("Type") else interface


async def _channels(client: Client, variables: Sequence[Reference]) -> dict[str, ChannelInfo]:
    nodes = [v.node for v in variables]
    owned = await client.browse_many(nodes, _HAS_PROPERTY)
    values = await _values(client, [p.node for properties in owned.values() for p in properties])
    descriptions = await _texts(client, nodes, ua.AttributeIds.Description)
    types = await _values(client, nodes, ua.AttributeIds.DataType)
    access = await _values(client, nodes, ua.AttributeIds.UserAccessLevel)
    ranks = await _values(client, nodes, ua.AttributeIds.ValueRank)
    sizes = await _values(client, [n for n in nodes if (ranks[n] or 0) >= 0], ua.AttributeIds.ArrayDimensions)
    type_names = await _data_types(client, {t for t in types.values() if t is not None})
    channels: dict[str, ChannelInfo] = {}
    for variable in variables:
        node = variable.node
        properties = {p.name: values[p.node] for p in owned[node]}
        span, unit = properties.get("EURange"), properties.get("EngineeringUnits")
        channels[node] = ChannelInfo(
            node=node,
            name=variable.name,
            description=descriptions[node],
            data_type=type_names.get(types[node], ""),
            unit=(unit.DisplayName.Text or "") if unit else "",
            low=span.Low if span else None,
            high=span.High if span else None,
            states=_states(properties),
            writable=bool((access[node] or 0) & 0x02),
            length=int((sizes.get(node) or [0])[0]),
            historized=bool((access[node] or 0) & 0x04),
            configured=properties.get("ConfiguredValue"),
        )
    return channels


def _plain(value: Any) -> Any:
    """A text without its locale, anything else as it is."""
    return value.Text or "" if isinstance(value, ua.LocalizedText) else value


def _states(properties: dict[str, Any]) -> tuple[str, ...]:
    """EnumStrings, or the texts of a two-state variable."""
    if properties.get("EnumStrings"):
        return tuple(text.Text or "" for text in properties["EnumStrings"])
    if properties.get("EnumValues"):
        by_value = {v.Value: v.DisplayName.Text or "" for v in properties["EnumValues"] if 0 <= v.Value < 256}
        return tuple(by_value.get(i, str(i)) for i in range(max(by_value, default=-1) + 1))
    if "FalseState" in properties and "TrueState" in properties:
        pair = properties["FalseState"], properties["TrueState"]
        return tuple((text.Text or "") if text else "" for text in pair)
    return ()


async def _data_types(client: Client, types: set[ua.NodeId]) -> dict[ua.NodeId, str]:
    """Names of data types, those built in without asking."""
    found = {t: ua.VariantType(t.Identifier).name for t in types if t.NamespaceIndex == 0 and 0 < t.Identifier <= 25}
    others = [t for t in types if t not in found]
    names = await _values(client, [node_name(t) for t in others], ua.AttributeIds.BrowseName)
    return found | {t: names[node_name(t)].Name if names[node_name(t)] else "" for t in others}


async def _values(client: Client, nodes: Sequence[str], attribute: ua.AttributeIds = ua.AttributeIds.Value) -> dict[str, Any]:
    """One attribute of each node, None where it cannot be read."""
    read = await client.read(nodes, attribute)
    return {n: v.Value.Value if v.Value is not None else None for n, v in zip(nodes, read, strict=True)}


async def _texts(client: Client, nodes: Sequence[str], attribute: ua.AttributeIds) -> dict[str, str]:
    return {n: (t.Text or "") if t else "" for n, t in (await _values(client, nodes, attribute)).items()}
