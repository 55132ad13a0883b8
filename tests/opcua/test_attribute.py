"""Read and Write, called as the dispatcher calls them: what comes from the image, and what a client may put into it."""

from __future__ import annotations

import asyncio
import inspect
import math
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary
from opcua_model import Server, Session, at, device, session, site_layout, with_range

from server.core.layout import build_layout
from server.core.natures import ManagedEss
from server.opcua import attribute, write
from server.opcua.decode import Body, DecodeError
from server.opcua.service import ServiceError

TICKS = 133_000_000_000_000_000
THEN = datetime(1601, 1, 1, tzinfo=UTC) + timedelta(microseconds=TICKS // 10)
BOTH = ua.TimestampsToReturn.Both
VALUE = ua.AttributeIds.Value


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory, shared: Any) -> Server:
    shared.frame = type(shared.frame)(shared.frame.records.copy(), cycle=1)
    shared.audited.clear()
    shared.image.writes.clear()
    return shared  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Server:
    return Server(tmp_path_factory.mktemp("site"), site_layout())


@pytest.fixture
def observer() -> Session:
    return session("Observer")


def item(node: str, attribute_id: int = VALUE, index_range: str | None = None, encoding: str | None = None) -> ua.ReadValueId:
    name = ua.QualifiedName.from_string(encoding) if encoding else ua.QualifiedName(None, 0)
    return ua.ReadValueId(NodeId=at(node), AttributeId=attribute_id, IndexRange=index_range, DataEncoding=name)


def answer(result: Any) -> Any:
    """What the dispatcher makes of a handler's result."""
    return asyncio.run(result) if inspect.iscoroutine(result) else result


def read(
    server: Server, who: Session, *items: ua.ReadValueId, timestamps: ua.TimestampsToReturn = BOTH, max_age: float = 0
) -> list[ua.DataValue]:
    """The results as a client sees them: packed and decoded again."""
    request = ua.ReadRequest()
    request.RequestHeader.RequestHandle = 5
    request.Parameters.NodesToRead = list(items)
    request.Parameters.TimestampsToReturn = timestamps
    request.Parameters.MaxAge = max_age
    request.Parameters = Body(ua.ReadRequest, struct_to_binary(request.Parameters))
    buffer = Buffer(answer(attribute.read_service(server, who, request)))  # type: ignore[arg-type]
    response = struct_from_binary(ua.ReadResponse, buffer)
    assert len(buffer) == 0
    assert response.ResponseHeader.RequestHandle == 5
    return list(response.Results)


def value(result: ua.DataValue) -> Any:
    assert result.StatusCode is None or result.StatusCode.is_good(), result.StatusCode
    return result.Value.Value


# Read: values of the image.


@pytest.mark.parametrize(
    ("node", "number", "kind", "expected"),
    [
        ("ess0/Soc", 55.5, "Double", 55.5),
        ("ess0/GridMode", 1.0, "Int32", 1),
        ("cycle/Counter", 5e9, "Int64", 5_000_000_000),
        ("ess0/NoFailSafe", 1.0, "Boolean", True),
        ("ess0/NoFailSafe", 0.0, "Boolean", False),
        ("ess0/LastCommunication", float(TICKS), "DateTime", THEN),
        ("ess0/LastCommunication", 0.0, "DateTime", attribute.NEVER),
        ("entry.ess0/Reason", 3.0, "String", ""),
        ("peak0/import_max_w", 8000.0, "Double", 8000.0),
    ],
)
def test_a_value_comes_from_the_frame_in_its_type(
    server: Server, observer: Session, node: str, number: float, kind: str, expected: object
) -> None:
    server.set(node, number)
    (result,) = read(server, observer, item(node))
    assert (result.Value.VariantType.name, value(result)) == (kind, expected)
    assert result.SourceTimestamp == THEN
    assert result.ServerTimestamp is not None


def test_an_array_is_one_value(server: Server, observer: Session) -> None:
    for i in range(4):
        server.set("bat0/CellVoltages", 3.0 + i / 10, index=i, source=TICKS + i * 10)
    (result,) = read(server, observer, item("bat0/CellVoltages"))
    assert value(result) == [3.0, 3.1, 3.2, 3.3]
    assert result.SourceTimestamp == THEN + timedelta(microseconds=3)


def test_an_array_is_as_bad_as_its_worst_element(server: Server, observer: Session) -> None:
    for i in range(4):
        server.set("bat0/CellVoltages", 3.0, index=i, status=ua.StatusCodes.BadSensorFailure if i == 2 else 0)
    (result,) = read(server, observer, item("bat0/CellVoltages"))
    assert result.StatusCode.name == "BadSensorFailure"


@pytest.mark.parametrize("node", ["ess0/Soc", "ess0/GridMode", "bat0/CellVoltages", "tariff0/Currency"])
def test_a_value_that_was_never_heard_is_null(server: Server, observer: Session, node: str) -> None:
    server.frame.records[:] = type(server)(server.settings.directory, server.layout).frame.records
    (result,) = read(server, observer, item(node))
    assert result.StatusCode.name == "BadWaitingForInitialData"
    assert result.Value is None or result.Value.Value is None


def test_an_uncertain_value_is_shown_with_its_status(server: Server, observer: Session) -> None:
    server.set("ess0/Soc", 50.0, status=ua.StatusCodes.UncertainLastUsableValue)
    (result,) = read(server, observer, item("ess0/Soc"))
    assert (result.StatusCode.name, result.Value.Value) == ("UncertainLastUsableValue", 50.0)


def test_an_integer_that_is_no_number_is_no_value(server: Server, observer: Session) -> None:
    server.set("ess0/GridMode", math.nan)
    (result,) = read(server, observer, item("ess0/GridMode"))
    assert result.StatusCode.name == "BadWaitingForInitialData"


def test_nan_is_a_double_like_any_other(server: Server, observer: Session) -> None:
    server.set("ess0/Soc", math.nan)
    assert math.isnan(value(read(server, observer, item("ess0/Soc"))[0]))


@pytest.mark.parametrize(
    ("timestamps", "source", "server_time"),
    [
        (ua.TimestampsToReturn.Source, True, False),
        (ua.TimestampsToReturn.Server, False, True),
        (ua.TimestampsToReturn.Both, True, True),
        (ua.TimestampsToReturn.Neither, False, False),
    ],
)
@pytest.mark.parametrize("node", ["ess0/Soc", "bat0/CellVoltages", "i=2258", "ess0/Manufacturer"])
def test_only_the_timestamps_that_were_asked_for_are_sent(
    server: Server, observer: Session, node: str, timestamps: Any, source: bool, server_time: bool
) -> None:
    for i in range(4 if node == "bat0/CellVoltages" else 1):
        if "=" not in node and node != "ess0/Manufacturer":
            server.set(node, 3.0, index=i)
    (result,) = read(server, observer, item(node), timestamps=timestamps)
    assert (result.SourceTimestamp is not None, result.ServerTimestamp is not None) == (source, server_time)


def test_an_attribute_other_than_value_has_no_source_timestamp(server: Server, observer: Session) -> None:
    (result,) = read(server, observer, item("ess0/Soc", ua.AttributeIds.BrowseName))
    assert result.SourceTimestamp is None
    assert result.ServerTimestamp is not None


@pytest.mark.parametrize(
    ("timestamps", "max_age", "status"),
    [
        (ua.TimestampsToReturn.Invalid, 0, "BadTimestampsToReturnInvalid"),
        (7, 0, "BadTimestampsToReturnInvalid"),
        (BOTH, -1, "BadMaxAgeInvalid"),
        (BOTH, math.nan, "BadMaxAgeInvalid"),
    ],
)
def test_a_whole_read_is_refused(server: Server, observer: Session, timestamps: Any, max_age: float, status: str) -> None:
    with pytest.raises(ServiceError, match=status):
        read(server, observer, item("ess0/Soc"), timestamps=timestamps, max_age=max_age)


@pytest.mark.parametrize("max_age", [0, 1, 1e9, math.inf])
def test_any_age_is_young_enough(server: Server, observer: Session, max_age: float) -> None:
    server.set("ess0/Soc", 1.0)
    assert value(read(server, observer, item("ess0/Soc"), max_age=max_age)[0]) == 1.0


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        (item("ess9/Soc"), "BadNodeIdUnknown"),
        (item("ess0"), "BadAttributeIdInvalid"),
        (item("ess0/Soc", 0), "BadAttributeIdInvalid"),
        (item("ess0/Soc", 28), "BadAttributeIdInvalid"),
        (item("ess0/Soc", ua.AttributeIds.EventNotifier), "BadAttributeIdInvalid"),
        (item("ess0/Soc", ua.AttributeIds.Executable), "BadAttributeIdInvalid"),
        (item("site/SetMode", VALUE), "BadAttributeIdInvalid"),
        (item("i=2253", ua.AttributeIds.IsAbstract), "BadAttributeIdInvalid"),
        (item("i=11", ua.AttributeIds.DataTypeDefinition), "BadAttributeIdInvalid"),
        (item("ess0/Soc", index_range="0"), "BadIndexRangeNoData"),
        (item("bat0/CellVoltages", index_range="4"), "BadIndexRangeNoData"),
        (item("bat0/CellVoltages", index_range="0,0"), "BadIndexRangeNoData"),
        (item("bat0/CellVoltages", index_range="2:1"), "BadIndexRangeInvalid"),
        (item("bat0/CellVoltages", index_range="1:1"), "BadIndexRangeInvalid"),
        (item("bat0/CellVoltages", index_range="-1"), "BadIndexRangeInvalid"),
        (item("bat0/CellVoltages", index_range="a"), "BadIndexRangeInvalid"),
        (item("bat0/CellVoltages", index_range="1:"), "BadIndexRangeInvalid"),
        (item("bat0/CellVoltages", index_range="٣"), "BadIndexRangeInvalid"),
        (item("ess0/Soc", encoding="0:Default Binary"), "BadDataEncodingInvalid"),
        (item("i=2256", encoding="0:Default XML"), "BadDataEncodingUnsupported"),
        (item("ess0/Soc", ua.AttributeIds.BrowseName, encoding="0:Default Binary"), "BadDataEncodingInvalid"),
        (item("ess0/Soc", ua.AttributeIds.RolePermissions), "BadUserAccessDenied"),
    ],
)
def test_one_read_is_refused_beside_others_that_are_not(
    server: Server, observer: Session, wanted: ua.ReadValueId, status: str
) -> None:
    server.set("ess0/Soc", 5.0)
    for i in range(4):
        server.set("bat0/CellVoltages", 3.0, index=i)
    before, bad, after = read(server, observer, item("ess0/Soc"), wanted, item("ess0/Soc"))
    assert bad.StatusCode.name == status
    assert bad.Value is None or bad.Value.Value is None
    assert value(before) == value(after) == 5.0


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (item("bat0/CellVoltages", index_range="1"), [1.0]),
        (item("bat0/CellVoltages", index_range="1:2"), [1.0, 2.0]),
        (item("bat0/CellVoltages", index_range="2:99"), [2.0, 3.0]),
        (item("i=2255", index_range="0:1"), ["http://opcfoundation.org/UA/", "urn:test:server"]),
        (item("i=2255", index_range="1,0:2"), ["urn"]),
        (item("site/Id", index_range="1:2"), "f2"),
        (item("ess0/GridMode/EnumStrings", index_range="1"), [ua.LocalizedText("OffGrid")]),
        (item("bat0/CellVoltages", ua.AttributeIds.ArrayDimensions, "0"), [4]),
        (item("i=2256", encoding="0:Default Binary"), None),
    ],
)
def test_an_index_range_selects(server: Server, observer: Session, wanted: ua.ReadValueId, expected: object) -> None:
    for i in range(4):
        server.set("bat0/CellVoltages", float(i), index=i)
    (result,) = read(server, observer, wanted)
    assert expected is None or value(result) == expected


# Read: the other attributes.


@pytest.mark.parametrize(
    ("node", "attribute_id", "expected"),
    [
        ("ess0/Soc", "NodeId", ua.NodeId("ess0/Soc", 4)),
        ("ess0/Soc", "NodeClass", 2),
        ("ess0/Soc", "BrowseName", ua.QualifiedName("Soc", 3)),
        ("ess0/Soc", "Description", ua.LocalizedText("State of charge.", "en")),
        ("ess0", "DisplayName", ua.LocalizedText("Battery")),
        ("meter0", "DisplayName", ua.LocalizedText("meter0")),
        ("ess0/Soc", "WriteMask", 0),
        ("ess0/Soc", "UserWriteMask", 0),
        ("ess0", "EventNotifier", 5),
        ("cycle", "EventNotifier", 0),
        ("i=2253", "EventNotifier", 5),
        ("ess0/Soc", "DataType", ua.NodeId(11, 0)),
        ("ess0/Soc", "ValueRank", -1),
        ("bat0/CellVoltages", "ValueRank", 1),
        ("bat0/CellVoltages", "ArrayDimensions", [4]),
        ("ess0/Soc", "ArrayDimensions", None),
        ("ess0/SetActivePower", "AccessLevel", 0x0F),
        ("ess0/SetActivePower", "UserAccessLevel", 0x05),
        ("ess0/SetActivePower", "AccessLevelEx", 0x0F),
        ("ess0/Soc", "Historizing", True),
        ("bat0/CellVoltages", "Historizing", False),
        ("ess0/Soc", "MinimumSamplingInterval", 20.0),
        ("ess0/Manufacturer", "MinimumSamplingInterval", 0.0),
        ("site/SetMode", "Executable", True),
        ("site/SetMode", "UserExecutable", False),
        ("ess0/Soc", "AccessRestrictions", 5),
        ("i=33", "IsAbstract", True),
        ("i=33", "Symmetric", False),
        ("i=47", "InverseName", ua.LocalizedText("ComponentOf")),
        ("ns=3;i=1001", "IsAbstract", True),
    ],
)
def test_an_attribute_is(server: Server, observer: Session, node: str, attribute_id: str, expected: object) -> None:
    (result,) = read(server, observer, item(node, ua.AttributeIds[attribute_id]))
    assert value(result) == expected


def test_an_enumeration_is_defined_by_its_data_type(server: Server, observer: Session) -> None:
    data_type = value(read(server, observer, item("ess0/GridMode", ua.AttributeIds.DataType))[0])
    definition = value(read(server, observer, item(data_type.to_string(), ua.AttributeIds.DataTypeDefinition))[0])
    assert [(f.Name, f.Value) for f in definition.Fields] == [("OnGrid", 0), ("OffGrid", 1), ("Genset", 2)]


def test_a_standard_structure_is_defined_with_the_fields_of_its_bases(server: Server, observer: Session) -> None:
    definition = value(read(server, observer, item("i=23498", ua.AttributeIds.DataTypeDefinition))[0])
    assert isinstance(definition, ua.StructureDefinition)
    definition = value(read(server, observer, item("i=884", ua.AttributeIds.DataTypeDefinition))[0])
    assert [f.Name for f in definition.Fields] == ["Low", "High"]
    assert definition.DefaultEncodingId == ua.NodeId(886, 0)


def test_who_may_see_the_roles_of_a_node(server: Server) -> None:
    (result,) = read(server, session("SecurityAdmin"), item("ess0/SetActivePower", ua.AttributeIds.RolePermissions))
    writers = [r.RoleId.Identifier for r in value(result) if r.Permissions & 0x40]
    assert writers == [15680, 15692, 16036]
    (own,) = read(server, session("Operator"), item("ess0/SetActivePower", ua.AttributeIds.UserRolePermissions))
    assert [r.RoleId.Identifier for r in value(own)] == [15680]


@pytest.mark.parametrize("attribute_id", [VALUE, ua.AttributeIds.BrowseName])
def test_somebody_without_a_role_reads_nothing(server: Server, attribute_id: int) -> None:
    server.set("ess0/Soc", 5.0)
    for node in ("ess0/Soc", "i=2258", "ess0/Manufacturer"):
        assert read(server, session(), item(node, attribute_id))[0].StatusCode.name == "BadUserAccessDenied"


# Read: the Server object.


def test_the_time_of_the_server_ticks(server: Server, observer: Session) -> None:
    first, status = read(server, observer, item("i=2258"), item("i=2256"))
    (second,) = read(server, observer, item("i=2258"))
    assert value(first) <= value(second)
    assert value(status).State == ua.ServerState.Running
    assert value(status).StartTime <= value(status).CurrentTime
    assert value(status).BuildInfo.ProductName == "unified-ems"


def test_the_service_level_tells_whether_control_runs(server: Server, observer: Session) -> None:
    server.frame.frozen_at = time.monotonic_ns()
    assert value(read(server, observer, item("i=2267"))[0]) == 255
    server.frame.frozen_at -= 2_000_000_000
    assert value(read(server, observer, item("i=2267"))[0]) == 100
    server.frame.cycle = 0
    assert value(read(server, observer, item("i=2267"))[0]) == 1


@pytest.mark.parametrize(("held", "level"), [(True, 255), (False, 100)])
def test_a_server_whose_control_is_elsewhere_and_away_is_degraded(
    server: Server, observer: Session, monkeypatch: pytest.MonkeyPatch, held: bool, level: int
) -> None:
    server.frame.frozen_at = time.monotonic_ns()
    monkeypatch.setattr(server.settings, "remote", True)
    monkeypatch.setattr(server.remote, "held", held)
    assert value(read(server, observer, item("i=2267"))[0]) == level


def test_there_is_no_redundant_server(server: Server, observer: Session) -> None:
    assert value(read(server, observer, item("i=3709"))[0]) == ua.RedundancySupport.None_


def test_the_sample_rate_is_the_cycle(server: Server, observer: Session) -> None:
    assert value(read(server, observer, item("i=2272"))[0]) == 20.0


def test_the_namespaces_are_listed_and_described(server: Server, observer: Session) -> None:
    assert value(read(server, observer, item("i=2255"))[0]) == server.namespaces
    assert value(read(server, observer, item("ns=1;s=urn:unified-ems:3f2a/NamespaceUri"))[0]) == "urn:unified-ems:3f2a"


async def test_a_long_read_and_a_long_write_give_way_to_others(
    server: Server, observer: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.opcua.turns.TURN_S", 0.0)
    server.set("ess0/Soc", 5.0)
    reading = ua.ReadRequest()
    reading.Parameters.NodesToRead = [item("ess0/Soc"), item("site/Id")] * 20
    reading.Parameters = Body(ua.ReadRequest, struct_to_binary(reading.Parameters))
    body = attribute.read_service(server, observer, reading)  # type: ignore[arg-type]
    assert inspect.iscoroutine(body)
    assert len(struct_from_binary(ua.ReadResponse, Buffer(await body)).Results) == 40
    writing = write_request([ua.WriteValue(NodeId=at("ess0/Soc"), AttributeId=VALUE)] * 20)
    response = write.write_service(server, observer, writing)  # type: ignore[arg-type]
    assert inspect.iscoroutine(response)
    assert statuses(await response) == ["BadNotWritable"] * 20


async def test_a_long_write_of_texts_is_decoded_beside_the_loop(server: Server) -> None:
    text = ua.DataValue(ua.Variant("x" * 4000, ua.VariantType.String))
    long = write_request([ua.WriteValue(at("site/OverrideRemaining"), VALUE, None, text)] * 10)
    with ThreadPoolExecutor(1, "decode") as server.decoding:
        response = write.write_service(server, session("Operator"), long)  # type: ignore[arg-type]
        assert inspect.iscoroutine(response)
        assert statuses(await response) == ["BadTypeMismatch"] * 10


# Write.


def write_request(items: list[ua.WriteValue]) -> ua.WriteRequest:
    """A Write as the wire hands it over: its parameters are still bytes."""
    request = ua.WriteRequest()
    request.Parameters = Body(ua.WriteRequest, struct_to_binary(ua.WriteParameters(items)))
    return request


def statuses(response: bytes) -> list[str]:
    return [status.name for status in struct_from_binary(ua.WriteResponse, Buffer(response)).Results]


def put_all(server: Server, who: Session, *items: ua.WriteValue) -> list[str]:
    """Write values in one request; the names of their statuses."""
    return statuses(answer(write.write_service(server, who, write_request(list(items)))))  # type: ignore[arg-type]


def put(
    server: Server,
    node: str,
    given: Any,
    role: str = "Operator",
    kind: ua.VariantType | None = None,
    copies: int = 1,
    **fields: Any,
) -> str:
    """Write one value, or `copies` of it in one request, and return the name of its status."""
    variant = given if isinstance(given, ua.Variant) else ua.Variant(given, kind or ua.VariantType.Double)
    attribute_id = fields.pop("attribute_id", VALUE)
    index_range = fields.pop("index_range", None)
    item = ua.WriteValue(NodeId=at(node), AttributeId=attribute_id, IndexRange=index_range, Value=ua.DataValue(variant, **fields))
    (status,) = set(put_all(server, session(role), *[item] * copies))
    return status


def slot(server: Server, node: str) -> int:
    return server.layout.by_node[node].slot


def test_a_set_point_counts_only_while_the_override_is_held(server: Server) -> None:
    server.set("site/OverrideRemaining", 0.0)
    assert put(server, "ess0/SetActivePower", 1000.0) == "BadInvalidState"
    server.set("site/OverrideRemaining", 30.0)
    assert put(server, "ess0/SetActivePower", 1000.0) == "Good"
    server.set("site/OverrideRemaining", 30.0, status=ua.StatusCodes.BadNoCommunication)
    assert put(server, "ess0/SetActivePower", 1000.0) == "BadInvalidState"
    assert server.image.writes == [(slot(server, "ess0/SetActivePower"), 1000.0, 7)]


@pytest.mark.parametrize(
    ("node", "given", "role", "kind"),
    [
        ("site/OverrideRemaining", 60.0, "Operator", ua.VariantType.Double),
        ("site/Mode", 1, "Operator", ua.VariantType.Int32),
        ("peak0/import_max_w", 5000.0, "Engineer", ua.VariantType.Double),
        ("peak0/Enabled", False, "ConfigureAdmin", ua.VariantType.Boolean),
    ],
)
def test_what_is_no_set_point_of_a_device_needs_no_override(
    server: Server, node: str, given: Any, role: str, kind: ua.VariantType
) -> None:
    server.set("site/OverrideRemaining", 0.0)
    assert put(server, node, given, role, kind) == "Good"
    assert server.image.writes == [(slot(server, node), float(given), 7)]


@pytest.mark.parametrize(
    ("node", "given", "fields", "status"),
    [
        ("ess9/SetActivePower", 1.0, {}, "BadNodeIdUnknown"),
        ("ess0", 1.0, {}, "BadAttributeIdInvalid"),
        ("ess0/Soc", 1.0, {}, "BadNotWritable"),
        ("site/EmergencyStopActive", True, {"kind": ua.VariantType.Boolean}, "BadNotWritable"),
        ("ess0/Manufacturer", 1.0, {}, "BadNotWritable"),
        ("i=2255", 1.0, {}, "BadNotWritable"),
        ("ess0/SetActivePower", 1.0, {"attribute_id": ua.AttributeIds.DisplayName}, "BadNotWritable"),
        ("ess0/SetActivePower", 1.0, {"attribute_id": ua.AttributeIds.Executable}, "BadAttributeIdInvalid"),
        ("ess0/SetActivePower", 1.0, {"attribute_id": 99}, "BadAttributeIdInvalid"),
        ("ess0/SetActivePower", 1.0, {"role": "Observer"}, "BadUserAccessDenied"),
        ("ess0/SetActivePower", 1.0, {"role": "ConfigureAdmin"}, "BadUserAccessDenied"),
        ("ess0/SetActivePower", 1.0, {"role": ""}, "BadUserAccessDenied"),
        ("peak0/import_max_w", 1.0, {"role": "Operator"}, "BadUserAccessDenied"),
        ("ess0/SetActivePower", 1, {"kind": ua.VariantType.Int32}, "BadTypeMismatch"),
        ("ess0/SetActivePower", 1.0, {"kind": ua.VariantType.Float}, "BadTypeMismatch"),
        ("ess0/SetActivePower", "1", {"kind": ua.VariantType.String}, "BadTypeMismatch"),
        ("ess0/SetActivePower", ua.Variant(), {}, "BadTypeMismatch"),
        ("ess0/SetActivePower", [1.0], {}, "BadTypeMismatch"),
        ("ess0/SetActivePower", [], {}, "BadTypeMismatch"),
        ("site/Mode", 1.0, {}, "BadTypeMismatch"),
        ("site/Mode", 99, {"kind": ua.VariantType.Int32}, "BadOutOfRange"),
        ("site/OverrideRemaining", -1.0, {}, "BadOutOfRange"),
        ("site/OverrideRemaining", 86401.0, {}, "BadOutOfRange"),
        ("site/OverrideRemaining", math.nan, {}, "BadOutOfRange"),
        ("ess0/SetActivePower", math.nan, {}, "BadOutOfRange"),
        ("ess0/SetActivePower", math.inf, {}, "BadOutOfRange"),
        ("pv0/ActivePowerLimit", -1.0, {}, "BadOutOfRange"),
        ("ess0/SetActivePower", 1.0, {"index_range": "0"}, "BadIndexRangeNoData"),
        ("ess0/SetActivePower", 1.0, {"index_range": "x"}, "BadIndexRangeInvalid"),
        ("io0/Output", True, {"kind": ua.VariantType.Boolean}, "BadTypeMismatch"),
        ("io0/Output", [True] * 3, {"kind": ua.VariantType.Boolean}, "BadTypeMismatch"),
        ("io0/Output", [[True, True], [True, True]], {"kind": ua.VariantType.Boolean}, "BadTypeMismatch"),
        ("io0/Output", [True], {"kind": ua.VariantType.Boolean, "index_range": "0:1"}, "BadIndexRangeDataMismatch"),
        ("io0/Output", [True], {"kind": ua.VariantType.Boolean, "index_range": "4"}, "BadIndexRangeNoData"),
        ("io0/Output", [True], {"kind": ua.VariantType.Boolean, "index_range": "0,0"}, "BadIndexRangeNoData"),
        ("ess0/SetActivePower", 1.0, {"ServerTimestamp": THEN}, "BadWriteNotSupported"),
        ("ess0/SetActivePower", 1.0, {"StatusCode": ua.StatusCode(ua.StatusCodes.Uncertain)}, "BadWriteNotSupported"),
    ],
)
@pytest.mark.parametrize("copies", [1, 8])
def test_a_write_is_refused_and_nothing_reaches_control(
    server: Server, node: str, given: Any, fields: dict[str, Any], status: str, copies: int
) -> None:
    server.set("site/OverrideRemaining", 30.0)
    assert put(server, node, given, copies=copies, **fields) == status
    assert server.image.writes == []


@pytest.mark.parametrize(
    ("given", "index_range", "expected"),
    [([True, False, True, True], None, [1, 0, 1, 1]), ([True], "2", [1]), ([False, True], "1:2", [0, 1])],
)
def test_an_array_is_written_whole_or_in_part(
    server: Server, given: list[bool], index_range: str | None, expected: list[int]
) -> None:
    server.set("site/OverrideRemaining", 30.0)
    assert put(server, "io0/Output", given, kind=ua.VariantType.Boolean, index_range=index_range) == "Good"
    first = slot(server, "io0/Output") + int((index_range or "0")[0])
    assert server.image.writes == [(first + i, float(v), 7) for i, v in enumerate(expected)]


def test_a_source_time_is_accepted_and_not_used(server: Server) -> None:
    assert put(server, "site/OverrideRemaining", 60.0, SourceTimestamp=THEN) == "Good"
    assert server.image.writes == [(slot(server, "site/OverrideRemaining"), 60.0, 7)]


def test_the_range_a_driver_declares_is_enforced(tmp_path_factory: pytest.TempPathFactory) -> None:
    objects = [with_range(device("ess0", (ManagedEss,)), "SetActivePower", -5000, 5000), *site_layout().objects[:1]]
    server = Server(tmp_path_factory.mktemp("rated"), build_layout(objects))
    server.set("site/OverrideRemaining", 30.0)
    assert [put(server, "ess0/SetActivePower", v) for v in (-5000.1, -5000.0, 5000.0, 5000.1)] == [
        "BadOutOfRange",
        "Good",
        "Good",
        "BadOutOfRange",
    ]


def test_a_full_inbox_is_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.image, "put", lambda *_: False)
    assert put(server, "site/OverrideRemaining", 60.0) == "BadResourceUnavailable"


def test_every_attempt_is_audited(server: Server) -> None:
    put(server, "site/OverrideRemaining", 60.0)
    put(server, "ess0/Soc", "x" * 1000, kind=ua.VariantType.String)
    shown = [(event, f["node"], f["value"], f["status"]) for event, f in server.audited]
    assert shown[0] == ("write", "ns=4;s=site/OverrideRemaining", 60.0, "Good")
    assert shown[1][3] == "BadNotWritable"
    assert len(shown[1][2]) <= 64


# Many values in one request.

DOUBLE, INT32, BOOLEAN = ua.VariantType.Double, ua.VariantType.Int32, ua.VariantType.Boolean
MANY: list[tuple[str, Any, ua.VariantType, str]] = [
    ("ess0/SetActivePower", -100.0, DOUBLE, "Good"),
    ("site/Mode", 1, INT32, "Good"),
    ("site/Mode", 99, INT32, "BadOutOfRange"),
    ("ess9/SetActivePower", 1.0, DOUBLE, "BadNodeIdUnknown"),
    ("site/OverrideRemaining", math.nan, DOUBLE, "BadOutOfRange"),
    ("site/OverrideRemaining", 60.0, DOUBLE, "Good"),
    ("ess0/Soc", 50.0, DOUBLE, "BadNotWritable"),
    ("peak0/import_max_w", 1.0, DOUBLE, "BadUserAccessDenied"),
    ("io0/Output", True, BOOLEAN, "BadTypeMismatch"),
    ("pv0/ActivePowerLimit", 1, INT32, "BadTypeMismatch"),
]


def many(shift: float = 0.0, **fields: Any) -> list[ua.WriteValue]:
    """The rows of MANY, the numbers a little different."""
    return [
        ua.WriteValue(at(node), VALUE, None, ua.DataValue(ua.Variant(v + shift if kind is DOUBLE else v, kind), **fields))
        for node, v, kind, _ in MANY
    ]


@pytest.mark.parametrize("fields", [{}, {"SourceTimestamp": THEN}], ids=["plain", "with a time"])
def test_each_of_many_values_has_its_own_status_the_first_time_and_again(server: Server, fields: dict[str, Any]) -> None:
    server.set("site/OverrideRemaining", 30.0)
    who = session("Operator")
    for shift in (0.0, 1.0, 2.5):
        server.image.writes.clear()
        assert put_all(server, who, *many(shift, **fields)) == [status for *_, status in MANY]
        assert server.image.writes == [
            (slot(server, "ess0/SetActivePower"), -100.0 + shift, 7),
            (slot(server, "site/Mode"), 1.0, 7),
            (slot(server, "site/OverrideRemaining"), 60.0 + shift, 7),
        ]


def test_what_was_allowed_once_is_asked_again_of_another_user_and_without_the_override(server: Server) -> None:
    wishes = [ua.WriteValue(at("ess0/SetActivePower"), VALUE, None, ua.DataValue(ua.Variant(float(i), DOUBLE))) for i in range(8)]
    server.set("site/OverrideRemaining", 30.0)
    assert set(put_all(server, session("Operator"), *wishes)) == {"Good"}
    assert set(put_all(server, session("Observer"), *wishes)) == {"BadUserAccessDenied"}
    server.set("site/OverrideRemaining", 0.0)
    assert set(put_all(server, session("Operator"), *wishes)) == {"BadInvalidState"}
    assert len(server.image.writes) == 8


def test_requests_of_one_length_are_told_apart(server: Server) -> None:
    def wishes(last: str) -> list[ua.WriteValue]:
        nodes = ["ess0/SetActivePower"] * 8 + [last]
        return [ua.WriteValue(at(n), VALUE, None, ua.DataValue(ua.Variant(5.0, DOUBLE))) for n in nodes]

    server.set("site/OverrideRemaining", 30.0)
    for last, status in (("pv0/ActivePowerLimit", "Good"), ("pv9/ActivePowerLimit", "BadNodeIdUnknown")) * 2:
        assert put_all(server, session("Operator"), *wishes(last))[-1] == status


def test_an_inbox_that_fills_up_takes_the_first_and_tells_the_others(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.set("site/OverrideRemaining", 30.0)
    monkeypatch.setattr(server.image, "put_all", lambda slots, values, user: 3)
    wishes = [ua.WriteValue(at("ess0/SetActivePower"), VALUE, None, ua.DataValue(ua.Variant(float(i), DOUBLE))) for i in range(8)]
    assert put_all(server, session("Operator"), *wishes) == ["Good"] * 3 + ["BadResourceUnavailable"] * 5


def test_a_request_of_many_values_is_one_row_of_the_audit_trail(server: Server) -> None:
    server.set("site/OverrideRemaining", 30.0)
    put_all(server, session("Operator"), *many())
    ((event, row),) = server.audited
    assert event == "write"
    assert row["nodes"] == [at(node).to_string() for node, *_ in MANY]
    assert repr(row["values"]) == repr([value for _, value, *_ in MANY])
    assert row["status"] == [status for *_, status in MANY]
    server.audited.clear()
    put_all(server, session("Operator"), *[many()[1]] * 8)
    assert server.audited[0][1]["status"] == "Good"


def test_a_long_request_is_several_rows(server: Server) -> None:
    put_all(server, session("Operator"), *[many()[1]] * 1001)
    assert [len(row.get("nodes", [row.get("node")])) for _, row in server.audited] == [1000, 1]


@pytest.mark.parametrize("size", [3, 40, 300, -1, -9])
def test_a_request_that_ends_early_is_no_request(server: Server, size: int) -> None:
    whole = struct_to_binary(ua.WriteParameters(many()))
    request = ua.WriteRequest()
    request.Parameters = Body(ua.WriteRequest, whole[:size])
    with pytest.raises(DecodeError):
        answer(write.write_service(server, session("Operator"), request))  # type: ignore[arg-type]
    request.Parameters = Body(ua.WriteRequest, whole + b"x")
    with pytest.raises(DecodeError):
        answer(write.write_service(server, session("Operator"), request))  # type: ignore[arg-type]
    assert server.image.writes == []
