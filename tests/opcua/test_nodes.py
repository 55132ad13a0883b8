"""The address space: what an engineer finds who walks through it, and that instances are what their types say."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from asyncua import ua
from opcua_model import Server, at, device, session, site_layout, site_objects, with_range

from controllers.peak_shaving import PeakShaving
from server.core.controller import parameters
from server.core.layout import build_layout
from server.core.natures import ManagedEss, Meter
from server.opcua import attribute, packed
from server.opcua.access import GRANTS, Kind, Permission, Role, permits
from server.opcua.call import built_in_type
from server.opcua.dispatch import TABLE
from server.opcua.nodes import HAS_COMPONENT, HAS_PROPERTY, HAS_SUBTYPE, HAS_TYPE_DEFINITION, NS_SITE, ORGANIZES, Node

HIERARCHICAL = ua.NodeId(33, 0)
HAS_INTERFACE = ua.NodeId(17603, 0)
HAS_MODELLING_RULE = ua.NodeId(37, 0)
PARAMETERS = tuple(parameters(PeakShaving))
MANDATORY = ua.NodeId(78, 0)
OBJECTS = ua.NodeId(85, 0)
SERVER = ua.NodeId(2253, 0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Server:
    return Server(tmp_path_factory.mktemp("site"), site_layout())


def node(server: Server, identifier: str) -> Node:
    found = server.nodes.get(at(identifier))
    assert found is not None, identifier
    return found


def walk(server: Server, start: ua.NodeId) -> Iterator[Node]:
    """Every node that hierarchical references lead to."""
    wanted = server.nodes.subtypes(HIERARCHICAL)
    seen, waiting = {start}, [start]
    while waiting:
        found = server.nodes.get(waiting.pop())
        assert found is not None
        yield found
        for reference in found.references:
            if reference.forward and reference.type in wanted and reference.target not in seen:
                seen.add(reference.target)
                waiting.append(reference.target)


def test_what_is_told_at_a_glance_is_what_the_node_says(server: Server) -> None:
    glanced = 0
    for holder in list(walk(server, OBJECTS)):
        for reference in (r for r in holder.references if r.glance is not None):
            target, glance = server.nodes.get(reference.target), reference.glance
            assert target is not None, reference
            told = packed.described(target.browse_name, target.display_name, int(target.node_class), target.type_definition)
            assert (glance.node_class, glance.permissions, glance.told) == (target.node_class, target.permissions, told)
            assert target.tenant == holder.tenant, reference
            glanced += 1
    assert glanced > 500


def child(server: Server, parent: Node, name: ua.QualifiedName) -> Node | None:
    kinds = (HAS_COMPONENT, HAS_PROPERTY)
    found = (server.nodes.get(r.target) for r in parent.references if r.forward and r.type in kinds)
    return next((n for n in found if n is not None and n.browse_name == name), None)


def names(server: Server, identifier: str, kind: ua.NodeId) -> list[str]:
    return [server.nodes.get(t).browse_name.to_string() for t in node(server, identifier).targets(kind)]  # type: ignore[union-attr]


def test_the_entry_point_is_the_object_ems_in_the_objects_folder(server: Server) -> None:
    entry = node(server, "site")
    assert OBJECTS in entry.targets(ORGANIZES, forward=False)
    assert entry.node_id in node(server, "i=85").targets(ORGANIZES)
    assert (entry.browse_name.to_string(), entry.display_name.Text) == ("3:EMS", "EMS")
    assert node(server, entry.type_definition.to_string()).browse_name.to_string() == "3:EnergyManagerType"


@pytest.mark.parametrize(
    ("folder", "kind", "expected"),
    [
        ("site/Devices", ORGANIZES, ["4:ess0", "4:bat0", "4:meter0", "4:pv0", "4:io0", "4:tariff0"]),
        ("site/Controllers", ORGANIZES, ["4:peak0"]),
        ("site/Integrations", ORGANIZES, ["4:entry.ess0"]),
        ("ns=2;i=5001", ORGANIZES, ["4:ess0", "4:bat0", "4:meter0", "4:pv0", "4:io0", "4:tariff0"]),
        (
            "peak0/Parameters",
            HAS_COMPONENT,
            [f"3:{name}" for name in PARAMETERS],
        ),
        ("ess0/ActivePower", HAS_PROPERTY, ["0:EngineeringUnits"]),
        ("ess0/Soc", HAS_PROPERTY, ["0:EURange", "0:EngineeringUnits"]),
        ("ess0/GridMode", HAS_PROPERTY, ["0:EnumStrings"]),
        ("site/SetMode", HAS_PROPERTY, ["0:InputArguments"]),
        ("site/EmergencyStop", HAS_PROPERTY, []),
    ],
)
def test_a_node_leads_to_exactly_these(server: Server, folder: str, kind: ua.NodeId, expected: list[str]) -> None:
    assert names(server, folder, kind) == expected


def test_a_device_carries_its_natures_as_interfaces(server: Server) -> None:
    assert names(server, "ess0", HAS_INTERFACE) == ["3:IDeviceType", "3:IManagedEssType"]
    assert names(server, "ess0", HAS_TYPE_DEFINITION) == ["3:EmsDeviceType"]
    assert names(server, "ns=3;i=1003", HAS_SUBTYPE) == ["3:IHybridEssType", "3:IMetaEssType"]


@pytest.mark.parametrize(
    ("variable", "data_type", "type_definition", "rank", "dimensions", "access"),
    [
        ("ess0/Soc", "i=11", "AnalogUnitRangeType", -1, None, 0x0D),
        ("ess0/ActivePower.L1", "i=11", "AnalogUnitType", -1, None, 0x0D),
        ("ess0/SetActivePower", "i=11", "AnalogUnitType", -1, None, 0x0F),
        ("ess0/NoFailSafe", "i=1", "BaseDataVariableType", -1, None, 0x0D),
        ("ess0/LastCommunication", "i=294", "BaseDataVariableType", -1, None, 0x01),
        ("ess0/State", "LevelEnumeration", "BaseDataVariableType", -1, None, 0x0D),
        ("meter0/PowerFactor", "i=11", "AnalogItemType", -1, None, 0x0D),
        ("bat0/CellVoltages", "i=11", "AnalogUnitRangeType", 1, (4,), 0x01),
        ("io0/Output", "i=1", "BaseDataVariableType", 1, (4,), 0x03),
        ("tariff0/Currency", "i=12", "BaseDataVariableType", -1, None, 0x01),
        ("tariff0/CarbonIntensity", "i=11", "AnalogUnitType", -1, None, 0x0D),
        ("cycle/Counter", "i=8", "BaseDataVariableType", -1, None, 0x01),
        ("peak0/import_max_w", "i=11", "AnalogUnitRangeType", -1, None, 0x03),
        ("site/Mode", "SiteModeEnumeration", "BaseDataVariableType", -1, None, 0x0F),
    ],
)
def test_a_channel_is_the_variable_its_declaration_says(
    server: Server,
    variable: str,
    data_type: str,
    type_definition: str,
    rank: int,
    dimensions: tuple[int, ...] | None,
    access: int,
) -> None:
    found = node(server, variable)
    data = found.data_type
    assert data is not None
    shown = data.to_string() if data.NamespaceIndex == 0 else node(server, data.to_string()).browse_name.Name
    assert (shown, found.value_rank, found.array_dimensions, found.access_level) == (data_type, rank, dimensions, access)
    assert node(server, found.type_definition.to_string()).browse_name.Name == type_definition


@pytest.mark.parametrize(
    ("identifier", "expected"),
    [
        ("ess0/Manufacturer", ua.LocalizedText("ACME")),
        ("ess0/Model", ua.LocalizedText("Store 10")),
        ("ess0/SerialNumber", "S1"),
        ("ess0/SoftwareRevision", "1.2"),
        ("ess0/RevisionCounter", -1),
        ("ess0/HardwareRevision", ""),
        ("meter0/Model", ua.LocalizedText("Plant")),
        ("meter0/MeterRole", 0),
        ("site/Id", "3f2a"),
        ("site/TimeZone", "Europe/Vienna"),
        ("peak0/ControllerClass", "PeakShaving"),
        ("peak0/grid", "grid"),
        ("entry.ess0/Driver", "modbus"),
        ("ess0/Soc/EURange", ua.Range(0.0, 100.0)),
        ("peak0/import_max_w/EURange", ua.Range(0.0, 1e9)),
    ],
)
def test_a_property_has_the_value_that_was_configured(server: Server, identifier: str, expected: object) -> None:
    found = node(server, identifier)
    assert attribute.value_of(server, found).Value.Value == expected  # type: ignore[arg-type]


def test_a_unit_is_its_unece_code(server: Server) -> None:
    unit = attribute.value_of(server, node(server, "ess0/ActivePower/EngineeringUnits")).Value.Value  # type: ignore[arg-type]
    assert (unit.UnitId, unit.DisplayName.Text, unit.NamespaceUri) == (
        5723220,
        "W",
        "http://www.opcfoundation.org/UA/units/un/cefact",
    )


def test_a_driver_that_knows_the_rating_gives_a_set_point_its_range(tmp_path: Path) -> None:
    ess = with_range(device("ess0", (ManagedEss,)), "SetActivePower", -5000, 5000)
    server = Server(tmp_path, build_layout([ess]))
    assert node(server, "ess0/SetActivePower").eu_range == (-5000.0, 5000.0)
    assert names(server, "ess0/SetActivePower", HAS_PROPERTY) == ["0:EURange", "0:EngineeringUnits"]


@pytest.mark.parametrize(
    "identifier",
    [
        "ess9",
        "ess0/Nothing",
        "ess0/Soc/Nothing",
        "ess0/GridMode/EURange",
        "/",
        "ess0/",
        "site/SetMode/x",
        "ess0/Parameters",
        "ns=4;i=1",
        "ns=0;i=99999",
        "ns=0;s=site",
        "ns=5;s=site",
        "ns=1;s=x",
        "ns=3;i=99999",
        "ns=0;i=4294967295",
        "ns=3;g=00000000-0000-0000-0000-000000000001",
    ],
)
def test_what_does_not_exist_is_not_found(server: Server, identifier: str) -> None:
    assert server.nodes.get(at(identifier)) is None


def test_every_reference_leads_to_a_node_and_back(server: Server) -> None:
    one_way = {HAS_TYPE_DEFINITION, HAS_MODELLING_RULE, HAS_INTERFACE}
    count = 0
    for found in walk(server, ua.NodeId(84, 0)):
        for reference in found.references:
            count += 1
            other = server.nodes.get(reference.target)
            assert other is not None, (found, reference)
            if reference.type not in one_way:
                back = (reference.type, not reference.forward, found.node_id)
                assert back in [r[:3] for r in other.references], (found, reference)
    assert count > 10_000


def test_siblings_have_different_browse_names(server: Server) -> None:
    for found in walk(server, OBJECTS):
        targets = [r.target for r in found.references if r.forward and r.type in (HAS_COMPONENT, HAS_PROPERTY)]
        below = [server.nodes.get(t).browse_name.to_string() for t in targets]  # type: ignore[union-attr]
        assert len(set(below)) == len(below), found


def lineage(server: Server, type_id: ua.NodeId) -> Iterator[Node]:
    """A type and its bases."""
    found = server.nodes.get(type_id)
    while found is not None:
        yield found
        base = found.targets(HAS_SUBTYPE, forward=False)
        found = server.nodes.get(base[0]) if base else None


def test_every_object_has_what_its_type_and_interfaces_demand(server: Server) -> None:
    checked = 0
    for found in walk(server, at("site")):
        kinds = [found.type_definition, *found.targets(HAS_INTERFACE)]
        if found.node_class is not ua.NodeClass.Object:
            kinds = kinds[:1]
        for kind in (k for type_id in kinds for k in lineage(server, type_id)):
            for reference in kind.references:
                if not reference.forward or reference.type not in (HAS_COMPONENT, HAS_PROPERTY):
                    continue
                declared = server.nodes.get(reference.target)
                assert declared is not None
                actual = child(server, found, declared.browse_name)
                if actual is None:
                    assert MANDATORY not in declared.targets(HAS_MODELLING_RULE), (found, declared)
                    continue
                checked += 1
                assert_is(server, actual, declared)
    assert checked > 400


def assert_is(server: Server, actual: Node, declared: Node) -> None:
    """An instance has the class, the type, the DataType and the rank of its declaration, or more special ones."""
    assert actual.node_class is declared.node_class, (actual, declared)
    if declared.node_class is ua.NodeClass.Method:
        return
    assert actual.type_definition in server.nodes.subtypes(declared.type_definition), (actual, declared)
    if declared.node_class is ua.NodeClass.Variable:
        assert declared.data_type is not None
        assert actual.data_type is not None
        assert actual.data_type in server.nodes.subtypes(declared.data_type), (actual, declared)
        assert actual.value_rank == declared.value_rank, (actual, declared)


def test_every_value_is_of_the_data_type_and_rank_that_is_announced(server: Server) -> None:
    for channel in server.layout.channels:
        for index in range(channel.length):
            server.set(channel.node, 1.0, index=index)
    for found in walk(server, OBJECTS):
        if found.node_class is ua.NodeClass.Variable:
            value = attribute.value_of(server, found).Value  # type: ignore[arg-type]
            assert found.data_type is not None
            assert value.VariantType is built_in_type(server.nodes, found.data_type), found
            assert bool(value.is_array) == (found.value_rank == 1), found


def test_the_server_object_has_no_empty_value(server: Server) -> None:
    for found in walk(server, SERVER):
        if found.node_class is ua.NodeClass.Variable:
            value = attribute.value_of(server, found).Value  # type: ignore[arg-type]
            assert value.VariantType is not ua.VariantType.Null, found
            assert value.Value is not None, found


def test_operation_limits_are_those_that_are_enforced(server: Server) -> None:
    shown = {
        n.browse_name.Name: attribute.value_of(server, n).Value.Value  # type: ignore[arg-type]
        for n in map(server.nodes.get, node(server, "i=11704").targets(HAS_PROPERTY))
        if n is not None
    }
    enforced = {
        "MaxNodesPerRead": ua.ReadRequest,
        "MaxNodesPerWrite": ua.WriteRequest,
        "MaxNodesPerBrowse": ua.BrowseRequest,
        "MaxNodesPerMethodCall": ua.CallRequest,
        "MaxNodesPerRegisterNodes": ua.RegisterNodesRequest,
        "MaxNodesPerTranslateBrowsePathsToNodeIds": ua.TranslateBrowsePathsToNodeIdsRequest,
        "MaxNodesPerHistoryReadData": ua.HistoryReadRequest,
        "MaxNodesPerHistoryReadEvents": ua.HistoryReadRequest,
        "MaxNodesPerHistoryUpdateData": ua.HistoryUpdateRequest,
        "MaxMonitoredItemsPerCall": ua.CreateMonitoredItemsRequest,
    }
    assert shown == {name: TABLE[request].most for name, request in enforced.items()}


def test_every_class_of_permission_is_said_for_every_role() -> None:
    assert set(GRANTS) == set(Role)
    for kind in Kind:
        for role, kinds in GRANTS.items():
            sees = Permission.READ in kinds.get(kind, Permission(0))
            who = {Kind.SECURITY: role is Role.SECURITY_ADMIN, Kind.OWN: True}.get(kind, role is not Role.ANONYMOUS)
            assert sees == who, (kind, role)


@pytest.mark.parametrize(
    ("identifier", "permission", "roles"),
    [
        ("ess0/Soc", Permission.WRITE, ""),
        ("ess0/SetActivePower", Permission.WRITE, "Operator Engineer Supervisor"),
        ("site/Mode", Permission.WRITE, "Operator Engineer Supervisor"),
        ("peak0/import_max_w", Permission.WRITE, "Engineer ConfigureAdmin"),
        ("peak0/Enabled", Permission.WRITE, "Engineer ConfigureAdmin"),
        ("peak0/Enable", Permission.CALL, "Engineer ConfigureAdmin"),
        ("site/SetMode", Permission.CALL, "Operator Engineer Supervisor"),
        ("site/EmergencyStop", Permission.CALL, "Operator Engineer Supervisor"),
        ("ess0/Soc", Permission.READ, "Observer Operator Engineer Supervisor ConfigureAdmin SecurityAdmin Controller Bridge"),
        ("i=2256", Permission.READ, "Observer Operator Engineer Supervisor ConfigureAdmin SecurityAdmin Controller Bridge"),
        ("ess0/Soc", Permission.READ_ROLE_PERMISSIONS, "SecurityAdmin"),
    ],
)
def test_who_may_do_what(server: Server, identifier: str, permission: Permission, roles: str) -> None:
    able = [r for r in Role if permits(session(r).user, node(server, identifier), permission)]
    assert sorted(able) == sorted(roles.split())


@pytest.mark.parametrize("role", ["", "Anonymous", "observer", "Admin", "Root"])
def test_an_unknown_role_may_nothing(server: Server, role: str) -> None:
    for identifier in ("ess0/Soc", "i=2256", "site/SetMode"):
        assert not permits(session(role).user, node(server, identifier), Permission.BROWSE)


def test_ten_thousand_channels_cost_no_memory_until_they_are_looked_at(tmp_path: Path) -> None:
    count = len(device("m", (Meter,)).channels)
    layout = build_layout(device(f"meter{i}", (Meter,)) for i in range(10_000 // count + 1))
    server = Server(tmp_path, layout)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    nodes = [server.nodes.get(at(channel.node)) for channel in layout.channels]
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert all(n is not None for n in nodes)
    assert used / len(nodes) < 2_000


def test_nodes_are_made_again_when_too_many_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.opcua.nodes.NODES_KEPT", 10)
    server = Server(tmp_path, build_layout(site_objects()))
    made = [server.nodes.get(at(c.node)) for c in server.layout.channels]
    assert all(n is not None and n.node_id.NamespaceIndex == NS_SITE for n in made)
    assert len(server.nodes._made) <= 10
