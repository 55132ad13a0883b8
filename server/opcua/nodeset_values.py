"""Values and data type definitions as UANodeSet files write them (Part 6, annex F and 5.3), to OPC UA objects.

Only what information models put into type nodes is known: scalars, lists, and structures of METADATA_TYPES. Anything
else raises ValueError with the element's name; a nodeset that needs more is caught when it is vendored.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final
from xml.etree.ElementTree import Element

from asyncua import ua

NodeIdReader = Callable[[str], ua.NodeId]

_TYPES: Final = "{http://opcfoundation.org/UA/2008/02/Types.xsd}"
_NODESET: Final = "{http://opcfoundation.org/UA/2011/03/UANodeSet.xsd}"
_INTEGERS: Final = {"SByte", "Byte", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64"}
METADATA_TYPES: Final = ("Argument", "EnumValueType", "EUInformation", "Range")


def _text(element: Element, name: str) -> str:
    return (element.findtext(_TYPES + name) or "").strip()


def _localized(element: Element | None) -> ua.LocalizedText:
    if element is None:
        return ua.LocalizedText()
    return ua.LocalizedText(_text(element, "Text") or None, _text(element, "Locale") or None)


def _argument(body: Element, node_id: NodeIdReader) -> ua.Argument:
    dimensions = [int(d.text or 0) for d in body.iterfind(f"{_TYPES}ArrayDimensions/*")]
    return ua.Argument(
        Name=_text(body, "Name"),
        DataType=node_id((body.findtext(f"{_TYPES}DataType/{_TYPES}Identifier") or "i=24").strip()),
        ValueRank=int(_text(body, "ValueRank") or -1),
        ArrayDimensions=dimensions,
        Description=_localized(body.find(f"{_TYPES}Description")),
    )


def _enum_value(body: Element, node_id: NodeIdReader) -> ua.EnumValueType:
    return ua.EnumValueType(
        Value=int(_text(body, "Value")),
        DisplayName=_localized(body.find(f"{_TYPES}DisplayName")),
        Description=_localized(body.find(f"{_TYPES}Description")),
    )


def _eu_information(body: Element, node_id: NodeIdReader) -> ua.EUInformation:
    return ua.EUInformation(
        NamespaceUri=_text(body, "NamespaceUri"),
        UnitId=int(_text(body, "UnitId") or 0),
        DisplayName=_localized(body.find(f"{_TYPES}DisplayName")),
        Description=_localized(body.find(f"{_TYPES}Description")),
    )


def _range(body: Element, node_id: NodeIdReader) -> ua.Range:
    return ua.Range(Low=float(_text(body, "Low")), High=float(_text(body, "High")))


_STRUCTURES: Final[dict[str, Callable[[Element, NodeIdReader], Any]]] = {
    "Argument": _argument,
    "EnumValueType": _enum_value,
    "EUInformation": _eu_information,
    "Range": _range,
}


def read_value(element: Element, node_id: NodeIdReader) -> ua.Variant:
    """The Variant of the one element inside a `Value`; `node_id` reads NodeIds with the file's namespaces."""
    name = element.tag.removeprefix(_TYPES)
    if name.startswith("ListOf"):
        kind = name.removeprefix("ListOf")
        return ua.Variant([_scalar(kind, item, node_id) for item in element], ua.VariantType[kind], is_array=True)
    return ua.Variant(_scalar(name, element, node_id), ua.VariantType[name])


def _scalar(kind: str, element: Element, node_id: NodeIdReader) -> Any:
    text = (element.text or "").strip()
    if kind in _INTEGERS:
        return int(text)
    match kind:
        case "String":
            return element.text or ""
        case "Boolean":
            return text == "true"
        case "Float" | "Double":
            return float(text)
        case "DateTime":
            return datetime.fromisoformat(text.replace("Z", "+00:00"))
        case "ByteString":
            return base64.b64decode(text)
        case "LocalizedText":
            return _localized(element)
        case "QualifiedName":
            return ua.QualifiedName(_text(element, "Name"), int(_text(element, "NamespaceIndex") or 0))
        case "ExtensionObject":
            body = element.find(f"{_TYPES}Body/*")
            if body is not None and body.tag.removeprefix(_TYPES) in _STRUCTURES:
                return _STRUCTURES[body.tag.removeprefix(_TYPES)](body, node_id)
    raise ValueError(f"{element.tag}: no value that type nodes are known to have")


def read_definition(
    definitions: Sequence[Element], base: ua.NodeId, encoding: ua.NodeId, node_id: Callable[[int], ua.NodeId]
) -> ua.EnumDefinition | ua.StructureDefinition:
    """The DataTypeDefinition from the `Definition` elements of a type and its bases, the most basic first.

    The DataType of each field is a key of the compiled table, resolved with `node_id`.
    """
    own = definitions[-1]
    fields = [f for definition in definitions for f in definition]
    if any(f.get("Value") is not None for f in own):
        return ua.EnumDefinition(Fields=[_enum_field(f) for f in own])
    kind = ua.StructureType.Structure
    if own.get("IsUnion") == "true":
        kind = ua.StructureType.Union
    elif any(f.get("IsOptional") == "true" for f in fields):
        kind = ua.StructureType.StructureWithOptionalFields
    return ua.StructureDefinition(
        DefaultEncodingId=encoding,
        BaseDataType=base,
        StructureType=kind,
        Fields=[_structure_field(f, node_id) for f in fields],
    )


def _description(field: Element) -> ua.LocalizedText:
    return ua.LocalizedText((field.findtext(f"{_NODESET}Description") or "").strip() or None)


def _enum_field(field: Element) -> ua.EnumField:
    name = field.get("Name", "")
    shown = (field.findtext(f"{_NODESET}DisplayName") or name).strip()
    return ua.EnumField(
        Value=int(field.get("Value", "0")), DisplayName=ua.LocalizedText(shown), Description=_description(field), Name=name
    )


def _structure_field(field: Element, node_id: Callable[[int], ua.NodeId]) -> ua.StructureField:
    dimensions = field.get("ArrayDimensions")
    return ua.StructureField(
        Name=field.get("Name", ""),
        Description=_description(field),
        DataType=node_id(int(field.get("DataType", "24"))),
        ValueRank=int(field.get("ValueRank", "-1")),
        ArrayDimensions=[int(d) for d in dimensions.split(",")] if dimensions else [],
        MaxStringLength=int(field.get("MaxStringLength", "0")),
        IsOptional=field.get("IsOptional") == "true",
    )
