"""Type nodes: UANodeSet XML files compiled to a compact table, loaded in milliseconds.

Problem: the standard, DI and our own types are 6,500 nodes of which a client reads a few hundred, and parsing their
XML at every start of the server costs more time than everything else it does then.

Idea: parse once, keep every node as one small marshalled record keyed by an integer made of namespace and identifier,
and unpack a record when its node is first asked for. The table is cached in a file named by a hash of its sources, so
a changed nodeset or Python makes a new one; the directory must belong to the server alone (marshal trusts its input).

    record = (class, browse namespace, name, display name, description, references, attributes)
    references = (type, target, type, target, ...)   a target below zero is ~target of an inverse reference
    attributes = {AttributeId: plain value, or bytes of an encoded Variant}
"""

from __future__ import annotations

import hashlib
import logging
import marshal
import os
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from asyncua import ua
from asyncua.ua.ua_binary import variant_to_binary

from .nodes import NS_DI, NS_TYPES, NS_UA
from .nodeset_values import read_definition, read_value

Record = tuple[int, int, str, str, str, tuple[int, ...], dict[int, Any]]
Table = dict[int, bytes]

DIRECTORY: Final = Path(__file__).resolve().parents[2] / "nodesets"
FILES: Final = ("Opc.Ua.NodeSet2.xml", "Opc.Ua.Di.NodeSet2.xml", "ems.NodeSet2.xml")
NAMESPACES: Final[Mapping[str, int]] = {
    "http://opcfoundation.org/UA/": NS_UA,
    "http://opcfoundation.org/UA/DI/": NS_DI,
    "urn:unified-ems:types": NS_TYPES,
}


def code(namespace: int, identifier: int) -> int:
    """The key of a numeric NodeId in the table."""
    return namespace << 24 | identifier


def node_id(number: int) -> ua.NodeId:
    """The NodeId of a key."""
    return ua.NodeId(number & 0xFFFFFF, number >> 24)


FORMAT: Final = 2
_DIGEST_BYTES: Final = 32
_log = logging.getLogger("ems.opcua")

ABSENT: Final = (
    code(NS_UA, 92),  # XML type dictionaries, superseded by the DataTypeDefinition attribute
    code(NS_UA, 93),  # binary type dictionaries, likewise
    code(NS_UA, 14088),  # ServerConfiguration: groups of certificates that this server has not
    code(NS_UA, 14122),
    code(NS_UA, 15892),  # its ConfigurationFile
    code(NS_UA, 17732),  # AuthorizationServices
    code(NS_UA, 18155),  # KeyCredentialConfiguration
    code(NS_UA, 24290),  # UserManagement: the object `security` of the site does that
    code(NS_UA, 25709),  # ResetToServerDefaults
    code(NS_UA, 32336),  # TransactionDiagnostics
    code(NS_UA, 14443),  # PublishSubscribe
    code(NS_UA, 19372),  # ServerLog
    code(NS_UA, 23470),  # Aliases
    code(NS_UA, 24226),  # Resources
    code(NS_UA, 31915),  # Locations
    code(NS_UA, 32530),  # Quantities
    code(NS_UA, 17594),  # Server.Dictionaries
    code(NS_UA, 12749),  # Server.SetSubscriptionDurable
    code(NS_UA, 12886),  # Server.RequestServerStateChange
    code(NS_UA, 12885),  # Server.EstimatedReturnTime
    code(NS_UA, 17634),  # Server.LocalTime
    code(NS_UA, 15004),  # Server.UrisVersion
    code(NS_UA, 2289),  # SamplingIntervalDiagnosticsArray
    code(NS_UA, 24101),  # ServerCapabilities.ConformanceUnits
    code(NS_UA, 11312),  # members of ServerRedundancy that only redundant servers have
    code(NS_UA, 11313),
    code(NS_UA, 11314),
    code(NS_UA, 14415),
    code(NS_UA, 16301),  # RoleSet.AddRole
    code(NS_UA, 16304),  # RoleSet.RemoveRole
    code(NS_UA, 18625),  # roles this server does not know
    code(NS_UA, 25565),
    code(NS_UA, 25603),
    code(NS_UA, 25584),
    code(NS_UA, 15656),
    code(NS_UA, 32637),  # defaults of the historian's configuration
    code(NS_UA, 32754),
    code(NS_UA, 12168),  # limits of services that are not offered: update of the history of events, node management
    code(NS_UA, 11713),
    code(NS_UA, 16134),  # defaults of the namespaces' permissions; every node tells its own
    code(NS_UA, 16135),
    code(NS_UA, 16136),
    code(NS_DI, 15031),
    code(NS_DI, 15032),
    code(NS_DI, 15033),
    code(NS_DI, 6387),  # MaxInactiveLockTime
    code(NS_DI, 15034),  # DeviceFeatures
    code(NS_DI, 6078),  # NetworkSet
    code(NS_DI, 6094),  # DeviceTopology
)
"""Roots of the standard's instances that have no function behind them in this server; absent beats empty."""
KEPT_OF_ROLES: Final = ("Identities", "AddIdentity", "RemoveIdentity")
_NS: Final = "{http://opcfoundation.org/UA/2011/03/UANodeSet.xsd}"
_CLASSES: Final = {
    f"{_NS}UA{name}": ua.NodeClass[name]
    for name in ("Object", "Variable", "Method", "ObjectType", "VariableType", "ReferenceType", "DataType", "View")
}
_ID: Final = ua.AttributeIds
_HAS_SUBTYPE: Final = int(ua.ObjectIds.HasSubtype)
_HAS_ENCODING: Final = int(ua.ObjectIds.HasEncoding)
_OWNS: Final = {
    int(getattr(ua.ObjectIds, name))
    for name in ("HasComponent", "HasProperty", "HasOrderedComponent", "HasAddIn", "HasHistoricalConfiguration")
}
_ONE_WAY: Final = {int(ua.ObjectIds.HasTypeDefinition), int(ua.ObjectIds.HasModellingRule)}
"""References whose other end would be a list of half the address space; Part 3 lets servers leave it out."""


@dataclass
class Draft:
    """A node while the files are being read."""

    node_class: ua.NodeClass
    browse_name: tuple[int, str]
    display_name: str
    description: str
    attributes: dict[int, Any]
    definition: ElementTree.Element | None = None
    references: dict[tuple[int, int], None] = field(default_factory=dict)


class _File:
    """One UANodeSet file: its aliases and its namespace indexes."""

    def __init__(self, root: ElementTree.Element) -> None:
        self.aliases = {a.get("Alias", ""): a.text or "" for a in root.iterfind(f"{_NS}Aliases/{_NS}Alias")}
        uris = [u.text or "" for u in root.iterfind(f"{_NS}NamespaceUris/{_NS}Uri")]
        self.namespaces = [NS_UA, *(NAMESPACES[u] for u in uris)]

    def code(self, text: str) -> int:
        """The key of a NodeId or alias as written in the file."""
        text = self.aliases.get(text, text).strip()
        namespace, _, identifier = text.rpartition(";")
        return code(self.namespaces[int(namespace[3:]) if namespace else 0], int(identifier[2:]))

    def node_id(self, text: str) -> ua.NodeId:
        """The NodeId of the server for a NodeId or alias as written in the file."""
        return node_id(self.code(text))

    def name(self, text: str) -> tuple[int, str]:
        """Namespace index and name of a BrowseName as written in the file."""
        index, colon, name = text.partition(":")
        return (self.namespaces[int(index)], name) if colon and index.isdigit() else (NS_UA, text)


def read_files(paths: Iterable[Path]) -> dict[int, Draft]:
    """All nodes of the files, in order, with references in both directions."""
    drafts: dict[int, Draft] = {}
    references: list[tuple[int, int, int]] = []
    for path in paths:
        root = ElementTree.parse(path).getroot()
        file = _File(root)
        for element in root:
            if element.tag in _CLASSES:
                number = file.code(element.get("NodeId", ""))
                drafts[number] = _draft(file, element)
                references += _references(file, number, element)
    _prune(drafts, references)
    for source, kind, target in references:
        if source in drafts and target in drafts:
            drafts[source].references[kind, target] = None
            if kind not in _ONE_WAY:
                drafts[target].references[kind, ~source] = None
    _define(drafts)
    return drafts


def _references(file: _File, number: int, element: ElementTree.Element) -> Iterable[tuple[int, int, int]]:
    for reference in element.iterfind(f"{_NS}References/{_NS}Reference"):
        kind, other = file.code(reference.get("ReferenceType", "")), file.code(reference.text or "")
        forward = reference.get("IsForward", "true") == "true"
        yield (number, kind, other) if forward else (other, kind, number)


def _draft(file: _File, element: ElementTree.Element) -> Draft:
    def text(tag: str) -> str:
        return (element.findtext(_NS + tag) or "").strip()

    node_class = _CLASSES[element.tag]
    name = file.name(element.get("BrowseName", ""))
    attributes = _attributes(file, element, node_class)
    if node_class is ua.NodeClass.ReferenceType and text("InverseName"):
        attributes[_ID.InverseName] = text("InverseName")
    definition = element.find(f"{_NS}Definition")
    draft = Draft(node_class, name, text("DisplayName") or name[1], text("Description"), attributes, definition)
    for field_ in definition if definition is not None else ():
        field_.set("DataType", str(file.code(field_.get("DataType", "i=24"))))
    return draft


def _attributes(file: _File, element: ElementTree.Element, node_class: ua.NodeClass) -> dict[int, Any]:
    """The attributes that this node class has, with the defaults of the UANodeSet schema."""
    found: dict[int, Any] = {}
    if node_class in (ua.NodeClass.Variable, ua.NodeClass.VariableType):
        dimensions = element.get("ArrayDimensions")
        found[_ID.DataType] = file.code(element.get("DataType", "i=24"))
        found[_ID.ValueRank] = int(element.get("ValueRank", "-1"))
        if dimensions:
            found[_ID.ArrayDimensions] = tuple(int(n) for n in dimensions.split(","))
        value = element.find(f"{_NS}Value")
        if value is not None:
            found[_ID.Value] = variant_to_binary(read_value(value[0], file.node_id))
    if node_class is ua.NodeClass.Variable:
        found[_ID.AccessLevel] = int(element.get("AccessLevel", "1")) & 0xFF
    if node_class is ua.NodeClass.Object:
        found[_ID.EventNotifier] = int(element.get("EventNotifier", "0"))
    if node_class is ua.NodeClass.ReferenceType:
        found[_ID.Symmetric] = element.get("Symmetric") == "true"
    if node_class in (ua.NodeClass.ObjectType, ua.NodeClass.VariableType, ua.NodeClass.ReferenceType, ua.NodeClass.DataType):
        found[_ID.IsAbstract] = element.get("IsAbstract") == "true"
    return found


def _prune(drafts: dict[int, Draft], references: Iterable[tuple[int, int, int]]) -> None:
    """Remove ABSENT and everything below it, and what the roles of this server have not: conditions other than the user."""
    below = defaultdict(list)
    for source, kind, target in references:
        if kind in _OWNS:
            below[source].append(target)
    roles = [r for r in below[code(NS_UA, ua.ObjectIds.Server_ServerCapabilities_RoleSet)] if r in drafts]
    members = [member for role in roles for member in below[role] if member in drafts]
    doomed = [*ABSENT, *(m for m in members if drafts[m].browse_name[1] not in KEPT_OF_ROLES)]
    while doomed:
        number = doomed.pop()
        if drafts.pop(number, None) is not None:
            doomed += below[number]


def _define(drafts: dict[int, Draft]) -> None:
    """Give data types their DataTypeDefinition; a structure lists the fields of its base first (Part 3, 8.48)."""
    for draft in drafts.values():
        if draft.definition is None:
            continue
        lineage = [draft]
        while (base := _target(lineage[0], _HAS_SUBTYPE, forward=False)) is not None and drafts[base].definition is not None:
            lineage.insert(0, drafts[base])
        encodings = [t for k, t in draft.references if k == _HAS_ENCODING and t >= 0]
        binary = next((t for t in encodings if drafts[t].browse_name[1] == "Default Binary"), 0)
        definition = read_definition(
            [d.definition for d in lineage if d.definition is not None],
            node_id(_target(draft, _HAS_SUBTYPE, forward=False) or 0),
            node_id(binary),
            node_id,
        )
        draft.attributes[_ID.DataTypeDefinition] = variant_to_binary(ua.Variant(definition, ua.VariantType.ExtensionObject))


def _target(draft: Draft, kind: int, forward: bool) -> int | None:
    return next((t if forward else ~t for k, t in draft.references if k == kind and (t >= 0) == forward), None)


def compile_files(paths: Iterable[Path]) -> Table:
    """The table of all nodes of the files."""
    return {number: marshal.dumps(_record(draft)) for number, draft in read_files(paths).items()}


def _record(draft: Draft) -> Record:
    namespace, name = draft.browse_name
    references = tuple(number for pair in draft.references for number in pair)
    attributes = {int(key): bytes(v) if isinstance(v, bytearray) else v for key, v in draft.attributes.items()}
    return int(draft.node_class), namespace, name, draft.display_name, draft.description, references, attributes


def load(cache: Path | None = None) -> Table:
    """The table of the product's nodesets, from `cache` (a directory of the server's own) when it is there and whole."""
    paths = [DIRECTORY / name for name in FILES]
    if cache is None:
        return compile_files(paths)
    file = cache / f"types-{_fingerprint(paths)}.bin"
    table = _stored(file)
    if table is None:
        table = compile_files(paths)
        try:
            _store(file, marshal.dumps(table))
        except OSError as error:
            _log.warning("types are compiled at every start, they cannot be kept: %s", error)
    return table


def _fingerprint(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256(f"{FORMAT} {marshal.version} {sys.version} {sorted(ABSENT)}".encode())
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _stored(file: Path) -> Table | None:
    """The table in the file; None when there is none, or another than was written."""
    try:
        content = file.read_bytes()
    except OSError:
        return None
    digest, packed = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    return marshal.loads(packed) if hashlib.sha256(packed).digest() == digest else None


def _store(file: Path, packed: bytes) -> None:
    """Write the file whole or not at all, and drop the tables of earlier versions."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent)
    with os.fdopen(handle, "wb") as stream:
        stream.write(hashlib.sha256(packed).digest() + packed)
    for old in file.parent.glob("types-*.bin"):
        old.unlink(missing_ok=True)
    os.replace(name, file)
