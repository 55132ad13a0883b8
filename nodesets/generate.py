"""Write ems.NodeSet2.xml, the OPC UA types of the product, from the natures: `python -m nodesets.generate`.

The result depends on the declarations and on types.csv only. types.csv gives each type node its numeric id; it grows
and never changes, because clients and engineering tools store these ids.
"""

from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from asyncua import ua

from server.core import natures
from server.core.channel import Spec
from server.core.layout import CYCLE
from server.core.nature import Method, Nature
from server.core.roles import SERVICES, Role
from server.core.state_machine import number_of
from server.core.units import Unit
from server.opcua import vocabulary
from server.opcua.state_machines import DEVICE_MACHINE, MACHINES, NAME, SITE_MACHINE, MachineType

HERE: Final = Path(__file__).parent
NODESET: Final = HERE / "ems.NodeSet2.xml"
URI: Final = "urn:unified-ems:types"
VERSION: Final = "0.1.0"
PUBLISHED: Final = "2026-08-01T00:00:00Z"

_FIRST_IDS: Final = {"ObjectType": 1000, "DataType": 3000, "Object": 5000, "Method": 7000, "Variable": 10_000}
_TYPES_URI: Final = "http://opcfoundation.org/UA/2008/02/Types.xsd"
_TYPES: Final = f'xmlns="{_TYPES_URI}"'
_DI_DEVICE_TYPE: Final = "ns=2;i=1002"
_MANDATORY, _OPTIONAL = "i=78", "i=80"
_REFERENCES: Final = (
    "FromState",
    "GeneratesEvent",
    "HasCause",
    "HasComponent",
    "HasEffect",
    "HasEncoding",
    "HasInterface",
    "HasModellingRule",
    "HasProperty",
    "HasSubtype",
    "HasTypeDefinition",
    "ToState",
)


@dataclass
class Row:
    """One node of the file. parent: (reference type, symbol or NodeId) that leads to it; others: further references."""

    node_class: str
    symbol: str
    name: str
    doc: str
    parent: tuple[str, str]
    others: list[tuple[str, str]] = field(default_factory=list)
    attributes: dict[str, str] = field(default_factory=dict)
    body: str = ""


def _id(number: int) -> str:
    return f"i={int(number)}"


def _text(tag: str, text: str, locale: str = "") -> str:
    inner = f"<Locale>{locale}</Locale>" if locale else ""
    return f"<{tag}>{inner}<Text>{escape(text)}</Text></{tag}>"


def _structure(type_id: int, name: str, content: str) -> str:
    return (
        f"<ExtensionObject {_TYPES}><TypeId><Identifier>{_id(type_id)}</Identifier></TypeId>"
        f"<Body><{name}>{content}</{name}></Body></ExtensionObject>"
    )


def _list(kind: str, items: Iterable[str]) -> str:
    return f"<ListOf{kind} {_TYPES}>{''.join(items)}</ListOf{kind}>"


def _scalar(kind: str, text: str) -> str:
    return f"<{kind} {_TYPES}>{escape(text)}</{kind}>"


def _eu_information(unit: Unit) -> str:
    info = vocabulary.eu_information(unit)
    return _structure(
        ua.ObjectIds.EUInformation_Encoding_DefaultXml,
        "EUInformation",
        f"<NamespaceUri>{info.NamespaceUri}</NamespaceUri><UnitId>{info.UnitId}</UnitId>"
        + _text("DisplayName", unit.symbol, "en")
        + _text("Description", unit.name, "en"),
    )


def _range(low: float, high: float) -> str:
    return _structure(ua.ObjectIds.Range_Encoding_DefaultXml, "Range", f"<Low>{low:g}</Low><High>{high:g}</High>")


def _argument(name: str, data_type: str, doc: str, *, is_array: bool = False) -> str:
    rank, dimensions = (
        ("1", "<ArrayDimensions><UInt32>0</UInt32></ArrayDimensions>") if is_array else ("-1", "<ArrayDimensions/>")
    )
    return _structure(
        ua.ObjectIds.Argument_Encoding_DefaultXml,
        "Argument",
        f"<Name>{name}</Name><DataType><Identifier>{data_type}</Identifier></DataType><ValueRank>{rank}</ValueRank>"
        f"{dimensions}{_text('Description', doc)}",
    )


def _property(parent: str, name: str, data_type: str, value: str, rule: str = _MANDATORY, **attributes: str) -> Row:
    """A property with a standard name (namespace 0), or ours when the name starts with `1:`."""
    symbol = f"{parent}/{name.removeprefix('1:')}"
    others = [("HasTypeDefinition", _id(ua.ObjectIds.PropertyType))] + ([("HasModellingRule", rule)] if rule else [])
    return Row("Variable", symbol, name, "", ("HasProperty", parent), others, {"DataType": data_type} | attributes, value)


_ARRAY: Final = {"ValueRank": "1", "ArrayDimensions": "0"}


class Model:
    """The rows of the file in order, and the ids of their symbols."""

    def __init__(self, ids: Mapping[str, int]) -> None:
        self.rows: list[Row] = []
        self.ids = dict(ids)

    def add(self, *rows: Row) -> None:
        """Append rows, giving new symbols the next id of their class."""
        for row in rows:
            first = _FIRST_IDS[row.node_class]
            taken = [i for s, i in self.ids.items() if first <= i < _after(first)]
            self.ids.setdefault(row.symbol, max(taken, default=first) + 1)
            self.rows.append(row)

    def ref(self, target: str) -> str:
        """The NodeId of a symbol; NodeIds stay as they are."""
        return f"ns=1;i={self.ids[target]}" if target in self.ids else target


def _after(first: int) -> int:
    return min((f for f in _FIRST_IDS.values() if f > first), default=1 << 24)


def enumeration(states: type[IntEnum]) -> Iterator[Row]:
    """An enumeration DataType with its EnumStrings."""
    name = vocabulary.enumeration_name(states)
    fields = "".join(f'    <Field Name={quoteattr(s.name)} Value="{s.value}"/>\n' for s in states)
    body = f'  <Definition Name="1:{name}">\n{fields}  </Definition>'
    doc = vocabulary.summary(states)
    yield Row("DataType", name, f"1:{name}", doc, ("HasSubtype", _id(ua.ObjectIds.Enumeration)), body=body)
    yield _enum_strings(name, states)


def _enum_strings(parent: str, states: type[IntEnum]) -> Row:
    texts = _list("LocalizedText", (_text("LocalizedText", s.name) for s in states))
    return _property(parent, "EnumStrings", _id(ua.ObjectIds.LocalizedText), texts, **_ARRAY)


def variable(parent: str, spec: Spec, rule: str) -> Iterator[Row]:
    """The instance declaration of a channel, with its unit and range."""
    data_type = _id(vocabulary.DATA_TYPE_IDS[spec.data_type])
    if spec.states is not None:
        data_type = vocabulary.enumeration_name(spec.states)
    attributes = {"DataType": data_type, "AccessLevel": str(vocabulary.access_level(spec))} | (_ARRAY if spec.array else {})
    symbol = f"{parent}/{spec.name}"
    others = [("HasTypeDefinition", _id(vocabulary.variable_type(spec))), ("HasModellingRule", rule)]
    yield Row("Variable", symbol, f"1:{spec.name}", spec.doc, ("HasComponent", parent), others, attributes)
    span = vocabulary.eu_range(spec)
    if span is not None:
        yield _property(symbol, "EURange", _id(ua.ObjectIds.Range), _range(*span))
    if spec.unit is not None:
        yield _property(symbol, "EngineeringUnits", _id(ua.ObjectIds.EUInformation), _eu_information(spec.unit))
    if spec.states is not None:
        yield _enum_strings(symbol, spec.states)


def method(parent: str, declared: Method, rule: str, ref: Callable[[str], str]) -> Iterator[Row]:
    """A method and its arguments."""
    symbol = f"{parent}/{declared.name}"
    yield Row("Method", symbol, f"1:{declared.name}", declared.doc, ("HasComponent", parent), [("HasModellingRule", rule)])
    for name, given in (("InputArguments", declared.arguments), ("OutputArguments", declared.results)):
        if given:
            value = _list("ExtensionObject", (_declared_argument(*argument, ref) for argument in given))
            row = _property(symbol, name, _id(ua.ObjectIds.Argument), value, ValueRank="1")
            row.attributes["ArrayDimensions"] = str(len(given))
            yield row


def _declared_argument(name: str, kind: Unit | type | None, doc: str, ref: Callable[[str], str]) -> str:
    data_type, is_array = vocabulary.argument_form(kind)
    states = vocabulary.argument_states(name)
    named = _id(data_type) if states is None else ref(vocabulary.enumeration_name(states))
    return _argument(name, named, doc, is_array=is_array)


def object_type(
    name: str, nature: type[Nature], parent: str, rule: str, ref: Callable[[str], str], **attributes: str
) -> Iterator[Row]:
    """An object type with the channels and methods that `nature` itself declares."""
    inherited = nature.__bases__[0].channels() if issubclass(nature.__bases__[0], Nature) else {}
    doc = vocabulary.summary(nature)
    yield Row("ObjectType", name, f"1:{name}", doc, ("HasSubtype", parent), events_of(name), attributes=attributes)
    for spec in nature.channels().values():
        if spec.name not in inherited:
            yield from variable(name, spec, rule)
    for declared in nature.methods:
        if declared not in getattr(nature.__bases__[0], "methods", ()):
            yield from method(name, declared, rule, ref)


def events_of(name: str) -> list[tuple[str, str]]:
    """References from an object type to the types of the alarms that its objects raise."""
    return [("GeneratesEvent", _id(number)) for number in vocabulary.GENERATED_EVENTS.get(name, ())]


def component(parent: str, name: str, doc: str, type_id: str) -> Row:
    """A mandatory object below a type."""
    others = [("HasTypeDefinition", type_id), ("HasModellingRule", _MANDATORY)]
    return Row("Object", f"{parent}/{name}", f"1:{name}", doc, ("HasComponent", parent), others)


def declared_natures() -> list[type[Nature]]:
    """All natures, bases before what derives from them."""
    return [n for n in vars(natures).values() if isinstance(n, type) and issubclass(n, Nature) and n is not Nature]


def enumerations(found: Iterable[type[Nature]]) -> list[type[IntEnum]]:
    """The states of all channels, in order of first use, and the roles of meters."""
    states = [s.states for n in found for s in n.channels().values() if s.states is not None]
    return list(dict.fromkeys([*states, natures.MeterRole]))


def build(ids: Mapping[str, int]) -> Model:
    """All rows of the file."""
    model = Model(ids)
    found = declared_natures()
    for states in enumerations(found):
        model.add(*enumeration(states))
    base_interface, base_object = _id(ua.ObjectIds.BaseInterfaceType), _id(ua.ObjectIds.BaseObjectType)
    for nature in found:
        if nature not in vocabulary.OBJECT_TYPES:
            base = nature.__bases__[0]
            parent = base_interface if base is Nature else vocabulary.interface_name(base)
            model.add(*object_type(vocabulary.interface_name(nature), nature, parent, _OPTIONAL, model.ref, IsAbstract="true"))
    string = _id(ua.ObjectIds.String)
    role = vocabulary.enumeration_name(natures.MeterRole)
    model.add(_property(vocabulary.interface_name(natures.Meter), "1:MeterRole", role, "", _OPTIONAL))
    for nature, name in vocabulary.OBJECT_TYPES.items():
        if name != "EnergyManagerType":
            parent = vocabulary.OBJECT_TYPES.get(nature.__bases__[0], base_object)
            model.add(*object_type(name, nature, parent, _MANDATORY, model.ref))
    model.add(*device_type())
    for machine in MACHINES:
        model.add(*state_machine_type(machine))
    operating = component(vocabulary.interface_name(natures.StartStoppable), NAME, DEVICE_MACHINE.doc, DEVICE_MACHINE.name)
    operating.others = [(kind, _OPTIONAL if kind == "HasModellingRule" else target) for kind, target in operating.others]
    model.add(operating)
    controller = vocabulary.OBJECT_TYPES[natures.ControllerStatus]
    folder = _id(ua.ObjectIds.FolderType)
    model.add(component(controller, "Parameters", "The settings of the controller.", folder))
    model.add(_property(controller, "1:ControllerClass", string, ""))
    model.add(*site_type(model.ref))
    model.add(*namespace_metadata())
    for service in SERVICES:
        model.add(*role_of_services(service))
    return model


def role_of_services(service: Role) -> Iterator[Row]:
    """A role that the standard does not know (Part 18, 4.4): who has it, and the methods that change it."""
    symbol, others = vocabulary.role_symbol(service), [("HasTypeDefinition", _id(ua.ObjectIds.RoleType))]
    role_set = ("HasComponent", _id(ua.ObjectIds.Server_ServerCapabilities_RoleSet))
    yield Row("Object", symbol, f"1:{service}", "A role of programs.", role_set, others)
    yield _property(symbol, "Identities", _id(ua.ObjectIds.IdentityMappingRuleType), "", "", **_ARRAY)
    for name, doc in (("AddIdentity", "Gives somebody the role."), ("RemoveIdentity", "Takes the role from somebody.")):
        yield Row("Method", f"{symbol}/{name}", name, doc, ("HasComponent", symbol))
        rule = _argument("Rule", _id(ua.ObjectIds.IdentityMappingRuleType), "Who is meant.")
        value = _list("ExtensionObject", [rule])
        yield _property(f"{symbol}/{name}", "InputArguments", _id(ua.ObjectIds.Argument), value, "", ValueRank="1")


def device_type() -> Iterator[Row]:
    """The type of every device."""
    name = vocabulary.DEVICE_TYPE
    interface = ("HasInterface", vocabulary.interface_name(natures.Device))
    doc = "A device of the site; its natures are the interfaces it carries."
    yield Row("ObjectType", name, f"1:{name}", doc, ("HasSubtype", _DI_DEVICE_TYPE), [interface, *events_of(name)])
    yield _property(name, "1:Label", _id(ua.ObjectIds.String), "", _OPTIONAL)


def state_machine_type(machine: MachineType) -> Iterator[Row]:
    """A FiniteStateMachineType with its states and transitions, which are nodes of the type (Part 16, 4.4)."""
    name = machine.name
    told = [("GeneratesEvent", _id(ua.ObjectIds.TransitionEventType))]
    yield Row("ObjectType", name, f"1:{name}", machine.doc, ("HasSubtype", _id(ua.ObjectIds.FiniteStateMachineType)), told)
    for declared in machine.methods:
        doc, rule = declared.doc, [("HasModellingRule", _MANDATORY)]
        yield Row("Method", f"{name}/{declared.name}", f"1:{declared.name}", doc, ("HasComponent", name), rule)
    for state in machine.states:
        kind = ua.ObjectIds.StateType if state else ua.ObjectIds.InitialStateType
        yield from _numbered(name, state.name, kind, "StateNumber", int(state), [])
    for source, target in machine.edges:
        edge = f"{source.name}To{target.name}"
        references = [("FromState", f"{name}/{source.name}"), ("ToState", f"{name}/{target.name}")]
        references += [("HasCause", f"{name}/{method}") for method, edges in machine.causes.items() if (source, target) in edges]
        references.append(("HasEffect", _id(ua.ObjectIds.TransitionEventType)))
        number = number_of(int(source), int(target))
        yield from _numbered(name, edge, ua.ObjectIds.TransitionType, "TransitionNumber", number, references)


def _numbered(
    parent: str, name: str, type_id: int, property_name: str, number: int, references: list[tuple[str, str]]
) -> Iterator[Row]:
    """A state or a transition with its number."""
    symbol = f"{parent}/{name}"
    others = [("HasTypeDefinition", _id(type_id)), *references]
    yield Row("Object", symbol, f"1:{name}", "", ("HasComponent", parent), others)
    yield _property(symbol, property_name, _id(ua.ObjectIds.UInt32), _scalar("UInt32", str(number)), rule="")


def site_type(ref: Callable[[str], str]) -> Iterator[Row]:
    """The type of the one entry object, Objects/EMS."""
    name = vocabulary.OBJECT_TYPES[natures.Site]
    yield from object_type(name, natures.Site, _id(ua.ObjectIds.BaseObjectType), _MANDATORY, ref)
    for folder, doc in vocabulary.FOLDERS.items():
        yield component(name, folder, doc, _id(ua.ObjectIds.FolderType))
    yield component(name, CYCLE.capitalize(), "The control cycle, as it measures itself.", vocabulary.OBJECT_TYPES[natures.Cycle])
    yield component(name, NAME, SITE_MACHINE.doc, SITE_MACHINE.name)
    for text in ("Name", "Id", "TimeZone", "Version"):
        yield _property(name, f"1:{text}", _id(ua.ObjectIds.String), "")


def namespace_metadata() -> Iterator[Row]:
    """What Server.Namespaces says of this namespace (Part 5, 6.3.14)."""
    parent = ("HasComponent", _id(ua.ObjectIds.Server_Namespaces))
    others = [("HasTypeDefinition", _id(ua.ObjectIds.NamespaceMetadataType))]
    yield Row("Object", "Namespace", f"1:{URI}", "", parent, others)
    for name, kind, value in (
        ("NamespaceUri", ua.ObjectIds.String, _scalar("String", URI)),
        ("NamespaceVersion", ua.ObjectIds.String, _scalar("String", VERSION)),
        ("NamespacePublicationDate", ua.ObjectIds.DateTime, _scalar("DateTime", PUBLISHED)),
        ("IsNamespaceSubset", ua.ObjectIds.Boolean, _scalar("Boolean", "false")),
    ):
        yield _property("Namespace", name, _id(kind), value, "")
    numeric = _list("Int32", ["<Int32>0</Int32>"])
    everything = _list("String", ["<String>1:16777215</String>"])
    yield _property("Namespace", "StaticNodeIdTypes", _id(ua.ObjectIds.IdType), numeric, "", **_ARRAY)
    yield _property("Namespace", "StaticNumericNodeIdRange", _id(ua.ObjectIds.NumericRange), everything, "", **_ARRAY)
    yield _property("Namespace", "StaticStringNodeIdPattern", _id(ua.ObjectIds.String), _scalar("String", ""), "")


def to_xml(model: Model) -> str:
    """The file."""
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        "<!-- Generated by `python -m nodesets.generate`; a change belongs into server/core/natures.py. -->",
        f'<UANodeSet xmlns="http://opcfoundation.org/UA/2011/03/UANodeSet.xsd" LastModified="{PUBLISHED}">',
        "<NamespaceUris>",  # on a line of its own: open62541's compiler reads it line by line
        f"<Uri>{URI}</Uri>",
        "<Uri>http://opcfoundation.org/UA/DI/</Uri>",
        "</NamespaceUris>",
        f'<Models><Model ModelUri="{URI}" Version="{VERSION}" PublicationDate="{PUBLISHED}" ModelVersion="{VERSION}">',
        '<RequiredModel ModelUri="http://opcfoundation.org/UA/" Version="1.05.04" PublicationDate="2025-01-08T00:00:00Z"/>',
        '<RequiredModel ModelUri="http://opcfoundation.org/UA/DI/" Version="1.05.0" PublicationDate="2025-11-15T00:00:00Z"/>',
        "</Model></Models>",
        "<Aliases>",
        *(f'<Alias Alias="{name}">{_id(getattr(ua.ObjectIds, name))}</Alias>' for name in _REFERENCES),
        "</Aliases>",
    ]
    for row in model.rows:
        lines += _element(model, row)
    return "\n".join([*lines, "</UANodeSet>", ""])


def _element(model: Model, row: Row) -> Iterator[str]:
    tag = f"UA{row.node_class}"
    kind, parent = row.parent
    attributes = {"NodeId": model.ref(row.symbol), "BrowseName": row.name}
    if row.node_class in ("Variable", "Object", "Method"):
        attributes["ParentNodeId"] = model.ref(parent)
    attributes |= {k: model.ref(v) for k, v in row.attributes.items()}
    yield f"<{tag} " + " ".join(f"{k}={quoteattr(v)}" for k, v in attributes.items()) + ">"
    yield f"  <DisplayName>{escape(row.name.removeprefix('1:'))}</DisplayName>"
    if row.doc:
        yield f"  <Description>{escape(row.doc)}</Description>"
    references = [f'<Reference ReferenceType="{k}">{model.ref(t)}</Reference>' for k, t in row.others]
    references.append(f'<Reference ReferenceType="{kind}" IsForward="false">{model.ref(parent)}</Reference>')
    yield from ("  <References>", *(f"    {reference}" for reference in references), "  </References>")
    if row.body:
        yield row.body if row.node_class == "DataType" else f"  <Value>\n{_indented(row.body)}\n  </Value>"
    yield f"</{tag}>"


def _indented(value: str) -> str:
    """A value on many lines; there are readers that take one without line breaks for none."""
    element = ElementTree.fromstring(value)
    ElementTree.indent(element, level=2)
    return "    " + ElementTree.tostring(element, encoding="unicode", default_namespace=_TYPES_URI)


def to_csv(ids: Mapping[str, int]) -> str:
    """types.csv, by id."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["id", "symbol"])
    writer.writerows(sorted((number, symbol) for symbol, number in ids.items()))
    return stream.getvalue()


def generate() -> tuple[str, str]:
    """Contents of the nodeset and of types.csv, from the declarations and the ids given so far."""
    model = build(vocabulary.type_ids() if vocabulary.TYPES_CSV.exists() else {})
    return to_xml(model), to_csv(model.ids)


def main() -> None:
    """Write both files."""
    xml, ids = generate()
    NODESET.write_text(xml, encoding="utf-8")
    vocabulary.TYPES_CSV.write_text(ids, encoding="utf-8")


if __name__ == "__main__":
    main()
