"""Properties of the site's nodes: what does not change while the site runs, as (browse name, DataType, value)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from asyncua import ua

from server.core import natures
from server.core.channel import Access, Spec
from server.core.layout import CONTROLLER, DEVICE, SITE, Channel, ObjectSpec
from server.core.nature import Method
from server.core.units import Unit

from . import packed, vocabulary
from .access import Kind
from .nodes import HAS_PROPERTY, NS_DI, NS_SITE, NS_TYPES, NS_UA, Glance, Node, Reference

_IDS: Final = ua.ObjectIds
_TYPE: Final = ua.VariantType
_PROPERTY_TYPE: Final = ua.NodeId(_IDS.PropertyType, NS_UA)

_DI_MANDATORY: Final = {
    "Manufacturer": "",
    "Model": "",
    "HardwareRevision": "",
    "SoftwareRevision": "",
    "DeviceRevision": "",
    "DeviceManual": "",
    "SerialNumber": "",
    "RevisionCounter": "-1",
}
"""What every DI device tells; empty, or -1, where the device does not say (OPC 10000-100, 4.7)."""
_DI_OPTIONAL: Final = ("ManufacturerUri", "ProductCode", "ProductInstanceUri", "DeviceClass")
_DI_NAMES: Final = {"Firmware": "SoftwareRevision"}
_LOCALIZED: Final = ("Manufacturer", "Model")
CONFIGURED: Final = "ConfiguredValue"
"""Property of what can be written and outlives a restart: what site.toml says."""
_NO_PROPERTY: Final = ("id", "type")
"""Settings of a controller that are shown otherwise: as its NodeId and its ControllerClass."""


class Property(NamedTuple):
    """A property before it is a node."""

    name: ua.QualifiedName
    data_type: ua.NodeId
    value: ua.Variant


@lru_cache(maxsize=16_384)
def site_id(identifier: str) -> ua.NodeId:
    """A NodeId of the site's namespace. It may be shared: nobody changes one."""
    return ua.NodeId(identifier, NS_SITE)


@lru_cache(maxsize=256)
def type_id(symbol: str) -> ua.NodeId | None:
    """The NodeId of one of the product's types, None for a nature that was added after the nodeset was generated."""
    number = vocabulary.type_ids().get(symbol)
    return None if number is None else ua.NodeId(number, NS_TYPES)


@lru_cache(maxsize=256)
def _shown(name: str) -> ua.LocalizedText:
    return ua.LocalizedText(name)


def glance(found: Property) -> Glance:
    """What Browse tells of the node of a property."""
    told = packed.described(found.name, _shown(found.name.Name), int(ua.NodeClass.Variable), _PROPERTY_TYPE)
    return Glance(int(ua.NodeClass.Variable), Kind.MEASURE, told)


def property_node(parent: str, found: Property, folder: str = "") -> Node:
    """The node of a property. folder: identifier of the folder that lists it too."""
    listed = (Reference(ua.NodeId(_IDS.Organizes, NS_UA), False, site_id(folder)),) if folder else ()
    length = len(found.value.Value) if found.value.is_array else None
    return Node(
        site_id(f"{parent}/{found.name.Name}"),
        ua.NodeClass.Variable,
        found.name,
        _shown(found.name.Name),
        references=lambda: (Reference(HAS_PROPERTY, False, site_id(parent)), *listed),
        type_definition=_PROPERTY_TYPE,
        data_type=found.data_type,
        value_rank=-1 if length is None else 1,
        array_dimensions=None if length is None else (length,),
        access_level=ua.AccessLevel.CurrentRead.mask,
        value=ua.DataValue(found.value),
        permissions=Kind.MEASURE,
    )


# Properties of objects.


def texts_of(obj: ObjectSpec, version: str) -> dict[str, str]:
    """All properties of an object by name, as texts. version: of the product, shown by the site."""
    if obj.kind == DEVICE:
        given = {_DI_NAMES.get(name, name): text for name, text in obj.properties.items()}
        return _DI_MANDATORY | {"Model": obj.type_name} | given
    if obj.kind == CONTROLLER:
        settings = {k: v for k, v in obj.settings.items() if isinstance(v, str) and k not in _NO_PROPERTY}
        return {"ControllerClass": obj.type_name} | settings | dict(obj.properties)
    return dict(obj.properties) | ({"Version": version} if obj.kind == SITE else {})


def of_object(obj: ObjectSpec, name: str, text: str) -> Property:
    """A property of an object, typed as its type declares it."""
    from_di = obj.kind == DEVICE and (name in _DI_MANDATORY or name in _DI_OPTIONAL)
    browse_name = ua.QualifiedName(name, NS_DI if from_di else NS_TYPES)
    role_type = type_id(vocabulary.enumeration_name(natures.MeterRole))
    if name == "MeterRole" and text in natures.MeterRole.__members__ and role_type is not None:
        return Property(browse_name, role_type, ua.Variant(int(natures.MeterRole[text]), _TYPE.Int32))
    if from_di and name in _LOCALIZED:
        return Property(
            browse_name, ua.NodeId(_IDS.LocalizedText, NS_UA), ua.Variant(ua.LocalizedText(text), _TYPE.LocalizedText)
        )
    if from_di and name == "RevisionCounter":
        number = int(text) if text.isdecimal() else -1
        return Property(browse_name, ua.NodeId(_IDS.Int32, NS_UA), ua.Variant(number, _TYPE.Int32))
    return Property(browse_name, ua.NodeId(_IDS.String, NS_UA), ua.Variant(text, _TYPE.String))


# Properties of channels and methods.


def of_channel(spec: Spec) -> Mapping[str, Property]:
    """EURange, EngineeringUnits and EnumStrings of a channel, as far as it has them, by name."""
    return {found.name.Name: found for found in _of_channel(spec)}


def _of_channel(spec: Spec) -> Iterator[Property]:
    span = vocabulary.eu_range(spec)
    if span is not None:
        yield _described("EURange", _IDS.Range, ua.Variant(ua.Range(*span), _TYPE.ExtensionObject))
    if spec.unit is not None:
        unit = vocabulary.eu_information(spec.unit)
        yield _described("EngineeringUnits", _IDS.EUInformation, ua.Variant(unit, _TYPE.ExtensionObject))
    if spec.states is not None:
        texts = [ua.LocalizedText(state.name) for state in sorted(spec.states)]
        yield _described("EnumStrings", _IDS.LocalizedText, ua.Variant(texts, _TYPE.LocalizedText))


def _described(name: str, data_type: int, value: ua.Variant) -> Property:
    return Property(ua.QualifiedName(name, NS_UA), ua.NodeId(data_type, NS_UA), value)


def configured(channel: Channel, obj: ObjectSpec) -> Property | None:
    """What the configuration gives a switch or parameter of a controller, so that a client sees what was changed since."""
    spec = channel.spec
    if obj.kind != CONTROLLER or spec.access is not Access.PROPOSE:
        return None
    is_switch = spec.name == natures.ControllerStatus.Enabled.name
    value = obj.settings.get("enabled", True) if is_switch else obj.settings.get(spec.name)
    if value is None:
        return None
    kind = vocabulary.BUILT_IN[spec.data_type]
    number = {_TYPE.Boolean: bool, _TYPE.Double: float}.get(kind, int)(value)
    data_type = ua.NodeId(vocabulary.DATA_TYPE_IDS[spec.data_type], NS_UA)
    return Property(ua.QualifiedName(CONFIGURED, NS_TYPES), data_type, ua.Variant(number, kind))


ARGUMENTS: Final = ("InputArguments", "OutputArguments")


def arguments(declared: Method, name: str) -> Property | None:
    """The property of this name of a method of the site: its InputArguments or OutputArguments; None where it has none."""
    rows = {"InputArguments": declared.arguments, "OutputArguments": declared.results}.get(name)
    if not rows:
        return None
    value = ua.Variant([_argument(*row) for row in rows], _TYPE.ExtensionObject)
    return Property(ua.QualifiedName(name, NS_UA), ua.NodeId(_IDS.Argument, NS_UA), value)


def _argument(name: str, kind: Unit | type | None, doc: str) -> ua.Argument:
    states = vocabulary.argument_states(name)
    enumeration = type_id(vocabulary.enumeration_name(states)) if states is not None else None
    data_type, is_array = vocabulary.argument_form(kind)
    return ua.Argument(
        Name=name,
        DataType=enumeration or ua.NodeId(data_type, NS_UA),
        ValueRank=1 if is_array else -1,
        ArrayDimensions=[0] if is_array else [],
        Description=ua.LocalizedText(doc, "en"),
    )
