"""How each node's history is to be read: its HistoricalDataConfiguration (Part 11, 5.2.2; Part 13, 4.2.1).

ess0/Soc
    HA Configuration            Stepped, ServerTimestampSupported
        AggregateConfiguration  TreatUncertainAsBad, PercentDataBad, PercentDataGood, UseSlopedExtrapolation
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from asyncua import ua

from server.core.layout import Channel
from server.history import DEFAULTS

from .. import packed
from ..access import Kind
from ..nodes import HAS_COMPONENT, HAS_PROPERTY, NS_UA, Glance, Node, Reference
from ..properties import Property, property_node, site_id

NAME: Final = "HA Configuration"
_AGGREGATES: Final = "AggregateConfiguration"
_IDS: Final = ua.ObjectIds
_TYPE: Final = ua.VariantType
_HAS_CONFIGURATION: Final = ua.NodeId(_IDS.HasHistoricalConfiguration, NS_UA)
_NO_EVENTS: Final = {ua.AttributeIds.EventNotifier: ua.Variant(0, _TYPE.Byte)}
_SETTINGS: Final[Mapping[str, ua.Variant]] = {
    "Stepped": ua.Variant(True, _TYPE.Boolean),
    "ServerTimestampSupported": ua.Variant(False, _TYPE.Boolean),
}
_AGGREGATE_SETTINGS: Final[Mapping[str, ua.Variant]] = {
    "TreatUncertainAsBad": ua.Variant(DEFAULTS.uncertain_is_bad, _TYPE.Boolean),
    "PercentDataBad": ua.Variant(DEFAULTS.percent_bad, _TYPE.Byte),
    "PercentDataGood": ua.Variant(DEFAULTS.percent_good, _TYPE.Byte),
    "UseSlopedExtrapolation": ua.Variant(False, _TYPE.Boolean),
}
_CONFIGURATION_TYPE: Final = ua.NodeId(_IDS.HistoricalDataConfigurationType, NS_UA)
_AGGREGATE_TYPE: Final = ua.NodeId(_IDS.AggregateConfigurationType, NS_UA)
_OBJECT_CLASS: Final = int(ua.NodeClass.Object)
_NAMES: Final = (ua.QualifiedName(NAME, NS_UA), ua.LocalizedText(NAME))
_GLANCE: Final = Glance(_OBJECT_CLASS, Kind.MEASURE, packed.described(*_NAMES, _OBJECT_CLASS, _CONFIGURATION_TYPE))
_TYPES: Final = {_TYPE.Boolean: _IDS.Boolean, _TYPE.Byte: _IDS.Byte}


def history_reference(channel: Channel) -> Reference:
    """From a historized channel to its configuration."""
    return Reference(_HAS_CONFIGURATION, True, site_id(f"{channel.node}/{NAME}"), _GLANCE)


def make_history_node(channel: Channel, path: str) -> Node | None:
    """The node at a path below a historized channel, or None."""
    configuration = f"{channel.node}/{NAME}"
    place, _, name = path.rpartition("/")
    if path == NAME:
        members = [*_properties(_SETTINGS), (HAS_COMPONENT, _AGGREGATES)]
        return _object(channel.node, NAME, _CONFIGURATION_TYPE, _HAS_CONFIGURATION, members)
    if path == f"{NAME}/{_AGGREGATES}":
        members = _properties(_AGGREGATE_SETTINGS)
        return _object(configuration, _AGGREGATES, _AGGREGATE_TYPE, HAS_COMPONENT, members)
    if place == NAME:
        return _setting(configuration, name, _SETTINGS)
    if place == f"{NAME}/{_AGGREGATES}":
        return _setting(f"{configuration}/{_AGGREGATES}", name, _AGGREGATE_SETTINGS)
    return None


def _properties(settings: Mapping[str, ua.Variant]) -> list[tuple[ua.NodeId, str]]:
    return [(HAS_PROPERTY, name) for name in settings]


def _object(parent: str, name: str, kind: ua.NodeId, reference: ua.NodeId, members: list[tuple[ua.NodeId, str]]) -> Node:
    identifier = f"{parent}/{name}"
    return Node(
        site_id(identifier),
        ua.NodeClass.Object,
        ua.QualifiedName(name, NS_UA),
        ua.LocalizedText(name),
        references=lambda: (
            Reference(reference, False, site_id(parent)),
            *(Reference(below, True, site_id(f"{identifier}/{member}")) for below, member in members),
        ),
        type_definition=kind,
        permissions=Kind.MEASURE,
        attributes=_NO_EVENTS,
    )


def _setting(parent: str, name: str, settings: Mapping[str, ua.Variant]) -> Node | None:
    value = settings.get(name)
    if value is None:
        return None
    data_type = ua.NodeId(_TYPES[value.VariantType], NS_UA)
    return property_node(parent, Property(ua.QualifiedName(name, NS_UA), data_type, value))
