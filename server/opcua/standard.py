"""The nodes of the standard: types from the compiled table, and a Server object that tells the truth about itself.

What changes is computed when it is read. Its capabilities and its diagnostics are modules of their own.
"""

from __future__ import annotations

import marshal
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import variant_from_binary

from . import capabilities, diagnostics, push, roles
from .access import METHODS, SECRET, Kind
from .nodes import (
    EVENTS,
    HAS_COMPONENT,
    HAS_PROPERTY,
    HAS_TYPE_DEFINITION,
    NO_EVENTS,
    NS_SERVER,
    NS_SITE,
    NS_UA,
    Node,
    Reference,
    Source,
    Value,
)
from .nodeset import Table, code, node_id
from .values import computed, fixed
from .vocabulary import PRODUCT_URI

if TYPE_CHECKING:
    from .server import UaServer

_IDS: Final = ua.ObjectIds
_TYPE: Final = ua.VariantType
_ATTRIBUTE: Final = ua.AttributeIds
_STRING_ID: Final = ua.NodeIdType.String

STALE_S: Final = 1.0
"""A frame older than this means that control stands still."""

_PUBLIC_ATTRIBUTES: Final[Mapping[int, ua.VariantType]] = {
    _ATTRIBUTE.IsAbstract: _TYPE.Boolean,
    _ATTRIBUTE.Symmetric: _TYPE.Boolean,
}


@cache
def product_version() -> str:
    """The version of the installed product."""
    try:
        return version("unified-ems")
    except PackageNotFoundError:
        return "0.0.0"


class TypeNodes:
    """Makes the nodes of the compiled table. `link` adds references from its nodes to those of other namespaces."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._links: dict[int, list[Reference]] = defaultdict(list)
        self._values = standard_values()
        self.version = product_version()

    def link(self, source: int, kind: ua.NodeId, target: ua.NodeId, forward: bool = True) -> None:
        """Add a reference to the node of this key."""
        self._links[source].append(Reference(kind, forward, target))

    def source(self, namespace: int) -> Source:
        """The maker of the nodes of a namespace."""
        return lambda identifier: self._make(code(namespace, identifier)) if isinstance(identifier, int) else None

    def _make(self, number: int) -> Node | None:
        packed = self._table.get(number)
        if packed is None:
            return None
        node_class, namespace, name, display_name, description, references, attributes = marshal.loads(packed)
        return Node(
            node_id(number),
            ua.NodeClass(node_class),
            ua.QualifiedName(name, namespace),
            ua.LocalizedText(display_name),
            ua.LocalizedText(description) if description else None,
            references=lambda: [*_references(references), *self._links.get(number, ())],
            data_type=node_id(attributes.get(_ATTRIBUTE.DataType, 0)),
            value_rank=attributes.get(_ATTRIBUTE.ValueRank, -1),
            array_dimensions=attributes.get(_ATTRIBUTE.ArrayDimensions),
            access_level=attributes.get(_ATTRIBUTE.AccessLevel, 0) & ua.AccessLevel.CurrentRead.mask,
            value=self._values.get(number) or _value(attributes.get(_ATTRIBUTE.Value)),
            permissions=_kind(number),
            attributes=dict(_attributes(ua.NodeClass(node_class), attributes)),
        )


def _kind(number: int) -> Kind:
    """The permission class of a node of the table."""
    if number in SECRET or number in diagnostics.SECRET or number in roles.SECRET:
        return Kind.SECURITY
    return METHODS.get(number, Kind.STANDARD)


def _references(packed: Sequence[int]) -> Iterator[Reference]:
    for kind, target in zip(packed[::2], packed[1::2], strict=True):
        yield Reference(node_id(kind), target >= 0, node_id(target if target >= 0 else ~target))


def _value(packed: bytes | None) -> ua.DataValue:
    return ua.DataValue(variant_from_binary(Buffer(packed)) if packed else ua.Variant())


def _attributes(node_class: ua.NodeClass, packed: Mapping[int, Any]) -> Iterator[tuple[int, ua.Variant]]:
    for attribute, kind in _PUBLIC_ATTRIBUTES.items():
        if attribute in packed:
            yield attribute, ua.Variant(packed[attribute], kind)
    if _ATTRIBUTE.InverseName in packed:
        yield _ATTRIBUTE.InverseName, ua.Variant(ua.LocalizedText(packed[_ATTRIBUTE.InverseName]), _TYPE.LocalizedText)
    if _ATTRIBUTE.DataTypeDefinition in packed:
        yield _ATTRIBUTE.DataTypeDefinition, variant_from_binary(Buffer(packed[_ATTRIBUTE.DataTypeDefinition]))
    if node_class is ua.NodeClass.Object:
        yield _ATTRIBUTE.EventNotifier, EVENTS if packed.get(_ATTRIBUTE.EventNotifier) else NO_EVENTS
    if node_class is ua.NodeClass.Method:
        yield _ATTRIBUTE.Executable, ua.Variant(True, _TYPE.Boolean)


# Values of the Server object.


def _now() -> datetime:
    return datetime.now(UTC)


@cache
def build_info() -> ua.BuildInfo:
    """What the product is."""
    return ua.BuildInfo(
        ProductUri=PRODUCT_URI,
        ManufacturerName="unified-ems",
        ProductName="unified-ems",
        SoftwareVersion=product_version(),
        BuildNumber=product_version(),
        BuildDate=datetime(2026, 8, 1, tzinfo=UTC),
    )


def _started(server: UaServer) -> datetime:
    return datetime.fromtimestamp(server.started, UTC)


def _status(server: UaServer) -> ua.ServerStatusDataType:
    return ua.ServerStatusDataType(
        StartTime=_started(server),
        CurrentTime=_now(),
        State=ua.ServerState.Running,
        BuildInfo=build_info(),
        SecondsTillShutdown=0,
        ShutdownReason=ua.LocalizedText(""),
    )


def service_level(server: UaServer) -> int:
    """255 while control runs, 100 (degraded) while its frames are old or it is elsewhere and away, 1 (no data) before the first
    frame (Part 4, 6.6.2.4.2).
    """
    if server.frame.cycle == 0:
        return 1
    age_s = (time.monotonic_ns() - server.frame.frozen_at) / 1e9
    away = server.settings.remote and not server.remote.held
    return 255 if age_s < STALE_S and not away else 100


def standard_values() -> dict[int, Value]:
    """Value of each variable of the Server object, by key of the compiled table."""
    own = (_identity_values(), capabilities.values(), _status_values(), diagnostics.values(), push.values(), roles.values())
    return {number: value for values in own for number, value in values.items()}


def _identity_values() -> dict[int, Value]:
    return {
        _IDS.Server_NamespaceArray: computed(_TYPE.String, lambda server: list(server.namespaces)),
        _IDS.Server_ServerArray: computed(_TYPE.String, lambda server: [server.namespaces[NS_SERVER]]),
        _IDS.Server_ServiceLevel: computed(_TYPE.Byte, service_level),
        _IDS.Server_Auditing: fixed(True, _TYPE.Boolean),
        _IDS.Server_ServerRedundancy_RedundancySupport: fixed(0, _TYPE.Int32),
    }


def _status_values() -> dict[int, Value]:
    info = build_info()
    prefix = "Server_ServerStatus_BuildInfo_"
    values: dict[int, Value] = {
        getattr(_IDS, prefix + name): fixed(getattr(info, name), _TYPE.String)
        for name in ("ProductUri", "ManufacturerName", "ProductName", "SoftwareVersion", "BuildNumber")
    }
    return values | {
        _IDS.Server_ServerStatus: computed(_TYPE.ExtensionObject, _status),
        _IDS.Server_ServerStatus_StartTime: computed(_TYPE.DateTime, _started),
        _IDS.Server_ServerStatus_CurrentTime: computed(_TYPE.DateTime, lambda server: _now()),
        _IDS.Server_ServerStatus_State: computed(_TYPE.Int32, lambda server: int(ua.ServerState.Running)),
        _IDS.Server_ServerStatus_BuildInfo: fixed(info, _TYPE.ExtensionObject),
        _IDS.Server_ServerStatus_BuildInfo_BuildDate: fixed(info.BuildDate, _TYPE.DateTime),
        _IDS.Server_ServerStatus_SecondsTillShutdown: fixed(0, _TYPE.UInt32),
        _IDS.Server_ServerStatus_ShutdownReason: fixed(ua.LocalizedText(""), _TYPE.LocalizedText),
    }


# Metadata of the two namespaces that exist only in a running server.


class LocalNodes:
    """Nodes of the server's own namespace: what Server.Namespaces says of it and of the site's (Part 5, 6.3.14)."""

    def __init__(self, namespaces: Sequence[str]) -> None:
        self._nodes: dict[Any, Node] = {}
        self.entries: list[ua.NodeId] = []
        for namespace in (NS_SERVER, NS_SITE):
            self._describe(namespaces[namespace])

    def make(self, identifier: Any) -> Node | None:
        """The node of an identifier, or None."""
        return self._nodes.get(identifier)

    def _describe(self, uri: str) -> None:
        entry = ua.NodeId(uri, NS_SERVER, _STRING_ID)
        self.entries.append(entry)
        properties = [self._property(entry, *facts) for facts in _metadata(uri)]
        self._nodes[uri] = Node(
            entry,
            ua.NodeClass.Object,
            ua.QualifiedName(uri, NS_SERVER),
            ua.LocalizedText(uri),
            references=(
                Reference(HAS_TYPE_DEFINITION, True, ua.NodeId(_IDS.NamespaceMetadataType, NS_UA)),
                Reference(HAS_COMPONENT, False, ua.NodeId(_IDS.Server_Namespaces, NS_UA)),
                *(Reference(HAS_PROPERTY, True, p) for p in properties),
            ),
            attributes={_ATTRIBUTE.EventNotifier: NO_EVENTS},
        )

    def _property(self, parent: ua.NodeId, name: str, data_type: int, value: ua.Variant) -> ua.NodeId:
        number = ua.NodeId(f"{parent.Identifier}/{name}", NS_SERVER, _STRING_ID)
        self._nodes[number.Identifier] = Node(
            number,
            ua.NodeClass.Variable,
            ua.QualifiedName(name, NS_UA),
            ua.LocalizedText(name),
            references=(
                Reference(HAS_TYPE_DEFINITION, True, ua.NodeId(_IDS.PropertyType, NS_UA)),
                Reference(HAS_PROPERTY, False, parent),
            ),
            data_type=ua.NodeId(data_type, NS_UA),
            value_rank=1 if value.is_array else -1,
            array_dimensions=(0,) if value.is_array else None,
            access_level=ua.AccessLevel.CurrentRead.mask,
            value=ua.DataValue(value),
        )
        return number


def _metadata(uri: str) -> Iterator[tuple[str, int, ua.Variant]]:
    yield "NamespaceUri", _IDS.String, ua.Variant(uri, _TYPE.String)
    yield "NamespaceVersion", _IDS.String, ua.Variant(product_version(), _TYPE.String)
    yield "NamespacePublicationDate", _IDS.DateTime, ua.Variant(build_info().BuildDate, _TYPE.DateTime)
    yield "IsNamespaceSubset", _IDS.Boolean, ua.Variant(False, _TYPE.Boolean)
    yield "StaticNodeIdTypes", _IDS.IdType, ua.Variant([int(ua.IdType.String)], _TYPE.Int32)
    yield "StaticNumericNodeIdRange", _IDS.NumericRange, ua.Variant([], _TYPE.String, is_array=True)
    yield "StaticStringNodeIdPattern", _IDS.String, ua.Variant("", _TYPE.String)
