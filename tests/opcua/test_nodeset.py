"""The generated nodeset: up to date, loadable by others, and compiled without loss; the compiled table and its cache."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from asyncua import Server, ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import variant_from_binary
from test_clients import PEERS, needs_node

from nodesets import generate
from server.core import natures
from server.core.channel import channel
from server.core.nature import Nature
from server.opcua import nodeset, nodeset_values, vocabulary
from server.opcua.nodes import NS_DI, NS_TYPES, NS_UA

STANDARD = nodeset.DIRECTORY / "Opc.Ua.NodeSet2.xml"
DI = nodeset.DIRECTORY / "Opc.Ua.Di.NodeSet2.xml"
ANY_TYPE = ua.NodeId(24, 0)
EMS = nodeset.DIRECTORY / "ems.NodeSet2.xml"
SCHEMA = Path(__file__).with_name("UANodeSet.xsd")
"""Of the OPC Foundation, MIT licence; newer nodesets of theirs have attributes that it does not know yet."""


def test_the_committed_files_are_what_the_declarations_give() -> None:
    """When this fails: python -m nodesets.generate."""
    xml, ids = generate.generate()
    assert generate.NODESET.read_text(encoding="utf-8") == xml
    assert vocabulary.TYPES_CSV.read_text(encoding="utf-8") == ids


def test_an_id_once_given_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    class Siren(Nature):
        """A siren."""

        Loud = channel(bool, "It is loud.")

    before = dict(vocabulary.type_ids())
    monkeypatch.setattr(natures, "Siren", Siren, raising=False)
    grown = generate.build(before)
    monkeypatch.undo()
    assert before.items() <= grown.ids.items()
    assert set(grown.ids) - set(before) == {"ISirenType", "ISirenType/Loud"}
    shrunk = generate.build(grown.ids)
    assert shrunk.ids == grown.ids, "an id of a type that is gone is never given to another"


def test_no_id_is_given_twice() -> None:
    ids = list(vocabulary.type_ids().values())
    assert len(set(ids)) == len(ids)


def test_every_type_is_described() -> None:
    tag = "{http://opcfoundation.org/UA/2011/03/UANodeSet.xsd}"
    root = ElementTree.parse(EMS).getroot()
    for element in root:
        if element.tag.removeprefix(tag) in ("UAObjectType", "UADataType", "UAMethod"):
            assert element.findtext(tag + "Description"), element.get("BrowseName")


def test_the_nodeset_is_valid_against_the_foundations_schema() -> None:
    etree = pytest.importorskip("lxml.etree")
    schema = etree.XMLSchema(etree.parse(SCHEMA))
    assert schema.validate(etree.parse(EMS)), schema.error_log


@needs_node
def test_node_opcua_loads_the_nodeset_and_makes_the_same_of_it() -> None:
    command = ["node", "nodeset.cjs", *map(str, (STANDARD, DI, EMS))]
    ran = subprocess.run(command, cwd=PEERS, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr
    made = next(json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{"))
    ids = vocabulary.type_ids()
    assert made["nodes"] == len(ids)
    assert set(made["objectTypes"]) <= set(ids)
    assert set(made["enumerations"]) == {name for name in ids if name.endswith("Enumeration")}
    assert made["soc"] == {"dataType": "ns=0;i=11", "unit": "%", "typeDefinition": "AnalogUnitRangeType"}
    assert made["supertype"] == "BaseInterfaceType"


def test_open62541s_compiler_takes_the_nodeset(tmp_path: Path) -> None:
    package = Path(pytest.importorskip("o6_nodeset_compiler").__file__).parent
    compiler = package / "tools" / "nodeset_compiler" / "nodeset_compiler.py"
    known = [argument for path in (STANDARD, DI) for argument in ("--existing", str(path))]
    command = [sys.executable, str(compiler), "--types-array=UA_TYPES", *known, "--xml", str(EMS), str(tmp_path / "ems")]
    ran = subprocess.run(command, cwd=compiler.parent, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    assert not {"WARNING", "ERROR"} & set(re.findall("[A-Z]+", ran.stdout + ran.stderr))
    assert (tmp_path / "ems.c").read_text().count("_begin(UA_Server") == len(vocabulary.type_ids())


async def test_asyncua_imports_the_nodeset() -> None:
    server = Server()
    await server.init()
    await server.import_xml(DI, strict_mode=False)  # its standard lacks what DI 1.05 builds on here and there
    nodes = await server.import_xml(EMS)
    assert len(nodes) == len(vocabulary.type_ids())
    index = await server.get_namespace_index(generate.URI)
    soc = server.get_node(ua.NodeId(vocabulary.type_ids()["IEssType/Soc"], index))
    unit = await (await soc.get_child("0:EngineeringUnits")).read_value()
    assert (unit.UnitId, unit.DisplayName.Text) == (20529, "%")
    mode = server.get_node(ua.NodeId(vocabulary.type_ids()["GridModeEnumeration"], index))
    assert [f.Name for f in (await mode.read_data_type_definition()).Fields] == ["OnGrid", "OffGrid", "Genset"]


@pytest.fixture(scope="module")
def drafts() -> dict[int, nodeset.Draft]:
    return nodeset.read_files([nodeset.DIRECTORY / name for name in nodeset.FILES])


def test_our_types_keep_their_ids_in_the_table(drafts: dict[int, nodeset.Draft]) -> None:
    for symbol, number in vocabulary.type_ids().items():
        if symbol != "Namespace":
            name = symbol.rpartition("/")[2]
            assert drafts[nodeset.code(NS_TYPES, number)].browse_name[1] == name


def test_what_has_no_function_is_absent(drafts: dict[int, nodeset.Draft]) -> None:
    names = {d.browse_name[1] for d in drafts.values() if d.node_class is ua.NodeClass.Object}
    assert not {"UserManagement", "PublishSubscribe", "Aliases"} & names
    assert nodeset.code(NS_UA, ua.ObjectIds.Server_SetSubscriptionDurable) not in drafts
    assert nodeset.code(NS_UA, ua.ObjectIds.Server_GetMonitoredItems) in drafts
    assert nodeset.code(NS_DI, 1002) in drafts


def test_the_standard_agrees_with_asyncuas_own_copy(drafts: dict[int, nodeset.Draft]) -> None:
    """Two independent readings of the standard. Where it names no DataType, asyncua has String and we BaseDataType."""
    from asyncua.server.address_space import AddressSpace, NodeManagementService
    from asyncua.server.standard_address_space.standard_address_space import fill_address_space

    space = AddressSpace()
    fill_address_space(NodeManagementService(space))
    compared = 0
    for node_id, data in space._nodes.items():
        draft = drafts.get(nodeset.code(NS_UA, node_id.Identifier))
        if draft is None:
            continue
        compared += 1
        attributes = data.attributes
        assert attributes[ua.AttributeIds.NodeClass].value.Value.Value == draft.node_class
        assert attributes[ua.AttributeIds.BrowseName].value.Value.Value.Name == draft.browse_name[1]
        if ua.AttributeIds.DataType in attributes and draft.node_class is ua.NodeClass.Variable:
            ours = nodeset.node_id(draft.attributes[ua.AttributeIds.DataType])
            assert ours == ANY_TYPE or attributes[ua.AttributeIds.DataType].value.Value.Value == ours, draft
    assert compared > 4000


def test_methods_keep_their_arguments(drafts: dict[int, nodeset.Draft]) -> None:
    packed = drafts[nodeset.code(NS_UA, ua.ObjectIds.Server_GetMonitoredItems_OutputArguments)].attributes
    value = variant_from_binary(Buffer(packed[ua.AttributeIds.Value])).Value
    assert [(a.Name, a.DataType.Identifier, a.ValueRank) for a in value] == [("ServerHandles", 7, 1), ("ClientHandles", 7, 1)]


def test_the_table_is_cached_and_made_again_when_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    table = nodeset.load(cache)
    (file,) = cache.iterdir()
    assert (cache.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)
    with monkeypatch.context() as patch:
        patch.setattr(nodeset, "compile_files", lambda _: pytest.fail("compiled again"))
        assert nodeset.load(cache) == table
    for content in (b"", b"damaged", file.read_bytes()[:-100]):
        file.write_bytes(content)
        assert nodeset.load(cache) == table


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert len(nodeset.load(blocked)) > 5000


def test_other_sources_make_another_table_and_the_old_one_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodeset.load(tmp_path)
    monkeypatch.setattr(nodeset, "FILES", nodeset.FILES[:1])
    assert len(nodeset.load(tmp_path)) < 5500
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("xml", "expected"),
    [
        ("<Int32>-5</Int32>", ua.Variant(-5, ua.VariantType.Int32)),
        ("<Boolean>true</Boolean>", ua.Variant(True, ua.VariantType.Boolean)),
        ("<Double>1.5</Double>", ua.Variant(1.5, ua.VariantType.Double)),
        ("<String> a </String>", ua.Variant(" a ", ua.VariantType.String)),
        ("<ByteString>AQI=</ByteString>", ua.Variant(b"\x01\x02", ua.VariantType.ByteString)),
        ("<ListOfInt32><Int32>1</Int32><Int32>2</Int32></ListOfInt32>", ua.Variant([1, 2], ua.VariantType.Int32)),
        ("<ListOfString/>", ua.Variant([], ua.VariantType.String, is_array=True)),
        ("<LocalizedText><Locale>en</Locale><Text>a</Text></LocalizedText>", ua.Variant(ua.LocalizedText("a", "en"))),
    ],
)
def test_a_value_is_read(xml: str, expected: ua.Variant) -> None:
    kind, rest = xml[1:].replace("/>", ">", 1).split(">", 1) if xml.endswith("/>") else xml[1:].split(">", 1)
    space = 'xmlns="http://opcfoundation.org/UA/2008/02/Types.xsd"'
    text = f"<{kind} {space}/>" if xml.endswith("/>") else f"<{kind} {space}>{rest}"
    assert nodeset_values.read_value(ElementTree.fromstring(text), ua.NodeId.from_string) == expected


@pytest.mark.parametrize("xml", ["<Guid/>", "<ExtensionObject/>", "<ExtensionObject><Body><Secret/></Body></ExtensionObject>"])
def test_a_value_of_an_unknown_kind_is_refused(xml: str) -> None:
    element = ElementTree.fromstring(f'<Value xmlns="http://opcfoundation.org/UA/2008/02/Types.xsd">{xml}</Value>')[0]
    with pytest.raises(ValueError, match="no value that type nodes are known to have"):
        nodeset_values.read_value(element, ua.NodeId.from_string)
