"""Nodes of the address space, and the store that finds them.

A site of 100,000 channels has half a million nodes (each variable has its unit, its range, its names), of which a
client looks at few. So a node is made when somebody asks for it: the store has one *source* per namespace that turns
an identifier into a `Node`, or None. Type nodes come from the compiled table (`standard`), instances from the layout
(`model`). What was made is kept up to a bound and may be made again: nodes are equal by NodeId, not by identity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from asyncua import ua

from server.core.layout import Channel

from .access import EVERYBODYS, Kind

if TYPE_CHECKING:
    from .server import UaServer

NODES_KEPT: Final = 65_536

NS_UA, NS_SERVER, NS_DI, NS_TYPES, NS_SITE = range(5)
"""Namespace indexes, in this order for ever."""

HAS_SUBTYPE: Final = ua.NodeId(ua.ObjectIds.HasSubtype, 0)
HAS_TYPE_DEFINITION: Final = ua.NodeId(ua.ObjectIds.HasTypeDefinition, 0)
HAS_PROPERTY: Final = ua.NodeId(ua.ObjectIds.HasProperty, 0)
HAS_COMPONENT: Final = ua.NodeId(ua.ObjectIds.HasComponent, 0)
ORGANIZES: Final = ua.NodeId(ua.ObjectIds.Organizes, 0)
NULL_ID: Final = ua.NodeId(0, 0)
NO_EVENTS: Final = ua.Variant(0, ua.VariantType.Byte)
"""EventNotifier of objects that tell no events."""
EVENTS: Final = ua.Variant(ua.EventNotifier.SubscribeToEvents.mask | ua.EventNotifier.HistoryRead.mask, ua.VariantType.Byte)
"""EventNotifier of the Server, the site and what has alarms: events are told, and remembered."""
NO_ATTRIBUTES: Final[Mapping[int, ua.Variant]] = {}

_TYPE_CLASSES: Final = {ua.NodeClass.ObjectType, ua.NodeClass.VariableType, ua.NodeClass.ReferenceType, ua.NodeClass.DataType}

Value: TypeAlias = ua.DataValue | Callable[["UaServer"], ua.DataValue]
"""The value of a variable that is not in the image: fixed, or computed when read."""


class Glance(NamedTuple):
    """What Browse tells of a node and needs for it, known without making the node.

    told: names, class and type as they are encoded in a ReferenceDescription. Its tenant is that of the node it is seen from.
    """

    node_class: int
    permissions: str
    told: bytes


class Reference(NamedTuple):
    """A reference as seen from the node that holds it. glance: of the target, where that is cheaper than making it."""

    type: ua.NodeId
    forward: bool
    target: ua.NodeId
    glance: Glance | None = None


class Node:
    """One node. `references` is made on first use.

    type_definition: of an object or variable; it is the first of its references and need not be among `references`.
    channel: set when the value lives in the process image; otherwise `value` is fixed or computed.
    eu_range: (low, high) in the unit of the variable, for range checks and percent deadbands.
    permissions: the class in access.GRANTS. tenant: whom it belongs to, WHOLE_SITE or EVERYBODYS.
    attributes: what only some node classes have (IsAbstract, InverseName, EventNotifier, ...) by AttributeId.
    """

    __slots__ = (
        "_references",
        "_type_definition",
        "access_level",
        "array_dimensions",
        "attributes",
        "browse_name",
        "channel",
        "data_type",
        "described",
        "description",
        "display_name",
        "eu_range",
        "node_class",
        "node_id",
        "permissions",
        "tenant",
        "value",
        "value_rank",
    )

    def __init__(
        self,
        node_id: ua.NodeId,
        node_class: ua.NodeClass,
        browse_name: ua.QualifiedName,
        display_name: ua.LocalizedText,
        description: ua.LocalizedText | None = None,
        *,
        references: Callable[[], Iterable[Reference]] | Sequence[Reference] = (),
        type_definition: ua.NodeId | None = None,
        data_type: ua.NodeId | None = None,
        value_rank: int = -1,
        array_dimensions: Sequence[int] | None = None,
        access_level: int = 0,
        channel: Channel | None = None,
        value: Value | None = None,
        eu_range: tuple[float, float] | None = None,
        permissions: str = Kind.STANDARD,
        attributes: Mapping[int, ua.Variant] = NO_ATTRIBUTES,
    ) -> None:
        self.node_id = node_id
        self.node_class = node_class
        self.browse_name = browse_name
        self.display_name = display_name
        self.description = description
        self.data_type = data_type
        self.value_rank = value_rank
        self.array_dimensions = array_dimensions
        self.access_level = access_level
        self.channel = channel
        self.value = value
        self.eu_range = eu_range
        self.permissions = permissions
        self.tenant = EVERYBODYS
        self.attributes = attributes
        self.described = b""
        """How Browse tells of the node, encoded, once it did."""
        self._references = references
        self._type_definition = type_definition

    @property
    def references(self) -> Sequence[Reference]:
        """All references of the node, forward ones and known inverse ones."""
        if callable(self._references):
            own = () if self._type_definition is None else (Reference(HAS_TYPE_DEFINITION, True, self._type_definition),)
            self._references = (*own, *self._references())
        return self._references

    def targets(self, reference_type: ua.NodeId, forward: bool = True) -> list[ua.NodeId]:
        """Targets of the references of exactly this type."""
        return [r.target for r in self.references if r.forward == forward and r.type == reference_type]

    @property
    def type_definition(self) -> ua.NodeId:
        """NodeId of the node's type, null for nodes that have none."""
        if self._type_definition is not None:
            return self._type_definition
        return next((r.target for r in self.references if r.forward and r.type == HAS_TYPE_DEFINITION), NULL_ID)

    def __repr__(self) -> str:
        return f"Node({self.node_id.to_string()}, {self.browse_name.Name})"


Source: TypeAlias = Callable[[Any], Node | None]
"""Makes the node of an identifier, or None."""


class NodeStore:
    """Finds nodes by NodeId. `sources` has one maker per namespace index."""

    def __init__(self, sources: Mapping[int, Source]) -> None:
        self._sources = sources
        self._made: dict[tuple[int, Any], Node] = {}
        self._subtypes: dict[ua.NodeId, frozenset[ua.NodeId]] = {}

    def get(self, node_id: ua.NodeId) -> Node | None:
        """The node, or None when there is none."""
        key = (node_id.NamespaceIndex, node_id.Identifier)
        node = self._made.get(key)
        return node if node is not None else self._make(key)

    def forget(self, namespace: int) -> None:
        """What a namespace had may be gone: its nodes are made again."""
        self._made = {key: node for key, node in self._made.items() if key[0] != namespace}

    def _make(self, key: tuple[int, Any]) -> Node | None:
        source = self._sources.get(key[0])
        node = source(key[1]) if source is not None else None
        if node is not None:
            if len(self._made) >= NODES_KEPT:
                self._made.clear()
            self._made[key] = node
        return node

    def subtypes(self, type_id: ua.NodeId) -> frozenset[ua.NodeId]:
        """The type and all its subtypes."""
        found = self._subtypes.get(type_id)
        if found is not None:
            return found
        node = self.get(type_id)
        if node is None or node.node_class not in _TYPE_CLASSES:
            return frozenset([type_id])
        below = (self.subtypes(t) for t in node.targets(HAS_SUBTYPE))
        found = self._subtypes[type_id] = frozenset([type_id]).union(*below)
        return found
