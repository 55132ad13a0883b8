"""The nodes of conditions, computed from the declarations of their types when they are asked for.

A condition is a component of the object it is about, `ess0/CommLostAlarm`, and its members lie below it by browse path,
`ess0/CommLostAlarm/AckedState/Id`. Its methods are those of the type itself: they keep no state of their own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

from asyncua import ua

from server.core.alarms import AlarmSpec
from server.core.condition import Condition, Shelving
from server.core.site import SITE_ALIAS

from ..access import Kind
from ..events.event import Path
from ..nodes import (
    HAS_COMPONENT,
    HAS_PROPERTY,
    HAS_TYPE_DEFINITION,
    NO_EVENTS,
    NS_SITE,
    NS_TYPES,
    NS_UA,
    ORGANIZES,
    Node,
    Reference,
)
from ..properties import site_id
from .live import Live
from .methods import IMPLEMENTED

if TYPE_CHECKING:
    from ..server import UaServer

HAS_CONDITION: Final = ua.NodeId(ua.ObjectIds.HasCondition, NS_UA)
_PROPERTY_TYPE: Final = ua.NodeId(ua.ObjectIds.PropertyType, NS_UA)
_STATE_NOT_ACTIVE: Final = ua.StatusCode(ua.StatusCodes.BadStateNotActive)


ALARMS: Final = "Alarms"
"""Folder of the site that lists all conditions."""
_COUNTS: Final[Mapping[str, tuple[str, Callable[[Condition], bool]]]] = {
    "Active": ("Alarms that are active.", lambda c: c.enabled and c.active),
    "Unacknowledged": ("Alarms that nobody took note of.", lambda c: c.enabled and not c.acked),
    "Suppressed": (
        "Alarms of devices that cannot be heard, and those an engineer suppressed.",
        lambda c: c.suppressed or c.withheld,
    ),
    "Shelved": ("Alarms that somebody put aside.", lambda c: c.shelving is not Shelving.Unshelved),
}
"""Variables of the folder: how many conditions are so."""


class ConditionNodes:
    """Makes the nodes of the conditions of a server."""

    def __init__(self, server: UaServer, specs: Iterable[AlarmSpec]) -> None:
        self._server = server
        self._specs = {spec.node: spec for spec in specs}
        self._of_source: dict[str, list[AlarmSpec]] = defaultdict(list)
        for spec in self._specs.values():
            self._of_source[spec.source].append(spec)

    def references(self, alias: str) -> Iterator[Reference]:
        """From an object to its conditions."""
        for spec in self._of_source.get(alias, ()):
            yield Reference(HAS_COMPONENT, True, site_id(spec.node))
            yield Reference(HAS_CONDITION, True, site_id(spec.node))

    def overview(self) -> Iterator[Reference]:
        """What the folder of all alarms holds."""
        folder = f"{SITE_ALIAS}/{ALARMS}"
        yield from (Reference(HAS_COMPONENT, True, site_id(f"{folder}/{name}")) for name in _COUNTS)
        yield from (Reference(ORGANIZES, True, site_id(node)) for node in self._specs)

    def make(self, identifier: str) -> Node | None:
        """The node of a condition, of one of its members, or of a count; None for all others."""
        alias, _, rest = identifier.partition("/")
        name, *path = rest.split("/")
        if (alias, name) == (SITE_ALIAS, ALARMS):
            return _count_node(identifier, path[0]) if len(path) == 1 and path[0] in _COUNTS else None
        spec = self._specs.get(f"{alias}/{name}")
        if spec is None:
            return None
        live = self._server.conditions.live(spec.node)
        return self._member(live, tuple(path)) if path else self._condition(live)

    def _condition(self, live: Live) -> Node:
        spec = live.spec
        return Node(
            live.node_id,
            ua.NodeClass.Object,
            ua.QualifiedName(spec.node.rpartition("/")[2], NS_SITE),
            ua.LocalizedText(spec.name),
            references=lambda: (
                Reference(HAS_TYPE_DEFINITION, True, live.type),
                Reference(HAS_COMPONENT, False, live.source),
                Reference(HAS_CONDITION, False, live.source),
                Reference(ORGANIZES, False, site_id(f"{SITE_ALIAS}/{ALARMS}")),
                *self._children(live, ()),
            ),
            permissions=Kind.MEASURE,
            attributes={ua.AttributeIds.EventNotifier: NO_EVENTS},
        )

    def _members(self, live: Live) -> dict[Path, Node]:
        """Declarations of what this condition has."""
        declared = self._server.events.types.members(live.type)
        return {path: node for path, node in declared.items() if self._is_had(live, path, node)}

    def _is_had(self, live: Live, path: Path, node: Node) -> bool:
        match node.node_class:
            case ua.NodeClass.Variable:
                return live.has(path)
            case ua.NodeClass.Method:
                return len(path) <= 2 and node.node_id in IMPLEMENTED and IMPLEMENTED[node.node_id].offered(live.spec)
        return any(live.has((*path, name)) for name in ("CurrentState",))

    def _children(self, live: Live, parent: Path) -> Iterator[Reference]:
        for path, node in self._members(live).items():
            if path[:-1] == parent:
                kind = HAS_PROPERTY if node.type_definition == _PROPERTY_TYPE else HAS_COMPONENT
                is_method = node.node_class is ua.NodeClass.Method
                yield Reference(kind, True, node.node_id if is_method else _below(live, path))

    def _member(self, live: Live, path: Path) -> Node | None:
        declared = self._members(live).get(path)
        if declared is None or declared.node_class is ua.NodeClass.Method:
            return None
        is_variable = declared.node_class is ua.NodeClass.Variable
        kind = HAS_PROPERTY if declared.type_definition == _PROPERTY_TYPE else HAS_COMPONENT
        return Node(
            _below(live, path),
            declared.node_class,
            declared.browse_name,
            declared.display_name,
            declared.description,
            references=lambda: (
                Reference(HAS_TYPE_DEFINITION, True, declared.type_definition),
                Reference(kind, False, _below(live, path[:-1])),
                *self._children(live, path),
            ),
            data_type=declared.data_type,
            value_rank=declared.value_rank,
            access_level=ua.AccessLevel.CurrentRead.mask if is_variable else 0,
            value=partial(_value, live, path) if is_variable else None,
            permissions=Kind.MEASURE,
            attributes={} if is_variable else {ua.AttributeIds.EventNotifier: NO_EVENTS},
        )


def _count_node(identifier: str, name: str) -> Node:
    doc, wanted = _COUNTS[name]

    def count(server: UaServer) -> ua.DataValue:
        found = sum(wanted(live.condition) for live in server.conditions)
        return ua.DataValue(ua.Variant(found, ua.VariantType.UInt32))

    return Node(
        site_id(identifier),
        ua.NodeClass.Variable,
        ua.QualifiedName(name, NS_TYPES),
        ua.LocalizedText(name),
        ua.LocalizedText(doc, "en"),
        references=(
            Reference(HAS_TYPE_DEFINITION, True, ua.NodeId(ua.ObjectIds.BaseDataVariableType, NS_UA)),
            Reference(HAS_COMPONENT, False, site_id(f"{SITE_ALIAS}/{ALARMS}")),
        ),
        data_type=ua.NodeId(ua.ObjectIds.UInt32, NS_UA),
        access_level=ua.AccessLevel.CurrentRead.mask,
        value=count,
        permissions=Kind.MEASURE,
    )


def _below(live: Live, path: Path) -> ua.NodeId:
    return site_id("/".join((live.spec.node, *path)))


def _value(live: Live, path: Path, server: UaServer) -> ua.DataValue:
    """A field now; a state machine that does not run has no state."""
    value = live.field(path)
    if value is None and path[0] == "LimitState":
        return ua.DataValue(ua.Variant(), _STATE_NOT_ACTIVE)
    if value is None or value.Value is None:
        value = _NOTHING.get(path[-1], ua.Variant())
    return ua.DataValue(value)


_NEVER: Final = ua.Variant(datetime(1601, 1, 1, tzinfo=UTC), ua.VariantType.DateTime)
_NOTHING: Final = {
    **dict.fromkeys(("Time", "ReceiveTime", "TransitionTime", "SourceTimestamp"), _NEVER),
    "EventId": ua.Variant(b"", ua.VariantType.ByteString),
    "LocalTime": ua.Variant(ua.TimeZoneDataType(), ua.VariantType.ExtensionObject),
}
"""Fields of a condition that nothing has happened to yet; a client that knows their types expects them."""
