"""The decoder: equal to asyncua's encoder for every request, and nothing but DecodeError for every other input."""

from __future__ import annotations

import dataclasses
import functools
import struct
import typing
from enum import Enum, IntFlag
from pathlib import Path
from types import NoneType, UnionType
from typing import Any

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import nodeid_to_binary, struct_to_binary
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.opcua import decode, limits
from server.opcua.decode import Body, DecodeError, Reader, decode_request, read_data_value, read_variant

REQUESTS = sorted(decode._REQUESTS.values(), key=lambda c: c.__name__)

# Strategies from asyncua's annotations.

TEXT = st.none() | st.text(st.characters(codec="utf-8"), max_size=20)
BYTES = st.none() | st.binary(max_size=20)
TIMES = st.integers(0, 2_650_467_743_999_999_999 // 10 - 1).map(lambda us: ua.win_epoch_to_datetime(us * 10))
NODE_IDS = st.one_of(
    st.builds(ua.NodeId, st.integers(0, 2**32 - 1), st.integers(0, 2**16 - 1)),
    st.builds(ua.NodeId, st.text(max_size=20), st.integers(0, 2**16 - 1)),
    st.builds(ua.NodeId, st.binary(max_size=20), st.integers(0, 2**16 - 1)),
    st.builds(ua.NodeId, st.uuids(), st.integers(0, 2**16 - 1)),
)
INTEGERS = {"SByte": 7, "Byte": 8, "Int16": 15, "UInt16": 16, "Int32": 31, "UInt32": 32, "Int64": 63, "UInt64": 64}
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    name: st.integers(0 if bits % 2 == 0 else -(2**bits), 2**bits - 1) for name, bits in INTEGERS.items()
} | {
    "int": st.integers(0, 2**31 - 1),
    "Boolean": st.booleans(),
    "Double": st.floats(allow_nan=False),
    "Float": st.floats(allow_nan=False, width=32),
    "String": TEXT,
    "ByteString": BYTES,
    "DateTime": TIMES,
    "Guid": st.uuids(),
    "NodeId": NODE_IDS,
    "QualifiedName": st.builds(ua.QualifiedName, TEXT, st.integers(0, 2**15 - 1)),
    "LocalizedText": st.builds(ua.LocalizedText, TEXT, TEXT),
    "StatusCode": st.builds(ua.StatusCode, st.integers(0, 2**32 - 1)),
}
NAMED = ["Boolean", "Int16", "UInt32", "Int64", "Double", "Float", "String", "ByteString", "DateTime", "Guid", "NodeId"]
NAMED += ["QualifiedName", "LocalizedText", "StatusCode"]


def decoded(message: bytes) -> Any:
    """A request, with the parameters that its service would decode."""
    request = decode_request(message)
    parameters = getattr(request, "Parameters", None)
    if isinstance(parameters, Body):
        request.Parameters = parameters.decode()
    return request


def variants() -> st.SearchStrategy[ua.Variant]:
    def of(name: str) -> st.SearchStrategy[ua.Variant]:
        kind = ua.VariantType[name]
        scalar = SCALARS[name].filter(lambda v: v is not None).map(lambda v: ua.Variant(v, kind))
        return scalar | st.lists(SCALARS[name], max_size=5).map(lambda v: ua.Variant(v, kind, is_array=True))

    matrix = st.just(ua.Variant([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], ua.VariantType.Double))
    return st.just(ua.Variant()) | matrix | st.sampled_from(NAMED).flatmap(of)


def extension_objects() -> st.SearchStrategy[Any]:
    opaque = st.builds(ua.ExtensionObject, st.just(ua.NodeId("unknown", 7)), st.binary(max_size=20))
    known = [ua.DataChangeFilter, ua.ReadRawModifiedDetails, ua.UserNameIdentityToken, ua.Argument]
    return st.just(ua.ExtensionObject()) | opaque | st.sampled_from(known).flatmap(structures)


def data_values() -> st.SearchStrategy[ua.DataValue]:
    return st.builds(
        lambda v, s, t, u: ua.DataValue(v, s, t, u),
        st.none() | variants(),
        st.none() | SCALARS["StatusCode"],
        st.none() | TIMES,
        st.none() | TIMES,
    )


def values(hint: Any) -> st.SearchStrategy[Any]:
    origin = typing.get_origin(hint)
    if origin is list:
        return st.lists(values(typing.get_args(hint)[0]), max_size=3)
    if origin is type:
        return extension_objects()
    if origin in (UnionType, typing.Union):
        return values(next(a for a in typing.get_args(hint) if a is not NoneType))
    special = {"Variant": variants, "ExtensionObject": extension_objects, "DataValue": data_values}
    if hint.__name__ in special:
        return special[hint.__name__]()
    if hint.__name__ == "ExpandedNodeId":
        return st.builds(lambda n: ua.ExpandedNodeId(n.Identifier, n.NamespaceIndex), NODE_IDS)
    if hint.__name__ in SCALARS:
        return SCALARS[hint.__name__]
    if issubclass(hint, IntFlag):
        return st.just(hint(0))
    return st.sampled_from(list(hint)) if issubclass(hint, Enum) else structures(hint)


@functools.cache
def structures(cls: type) -> st.SearchStrategy[Any]:
    local = {k: v for k, v in vars(cls).items() if not isinstance(v, property)}
    hints = typing.get_type_hints(cls, localns={**local, "ua": ua})
    fields = {f.name: values(hints[f.name]) for f in dataclasses.fields(cls) if f.name != "TypeId"}
    return st.builds(cls, **fields)


@pytest.mark.parametrize("cls", REQUESTS, ids=lambda c: c.__name__)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_every_request_comes_back_as_asyncua_encoded_it(cls: type, data: st.DataObject) -> None:
    request = data.draw(structures(cls))
    assert decoded(struct_to_binary(request)) == request


# Hostile bytes.


def read_request(additional: bytes) -> bytes:
    """A ReadRequest with these bytes as the AdditionalHeader of its RequestHeader."""
    encoded = struct_to_binary(ua.ReadRequest().RequestHeader)[:-3]
    return nodeid_to_binary(ua.NodeId(ua.ObjectIds.ReadRequest_Encoding_DefaultBinary)) + encoded + additional


def in_argument(body: bytes) -> bytes:
    """An ExtensionObject with an Argument whose bytes are given."""
    return nodeid_to_binary(ua.NodeId(ua.ObjectIds.Argument_Encoding_DefaultBinary)) + struct.pack("<Bi", 1, len(body)) + body


BOMBS = {
    "array of Null": b"\x80" + struct.pack("<i", 2**31 - 1),
    "array of Double": b"\x8b" + struct.pack("<i", 2**31 - 1),
    "array of Variant": b"\x98" + struct.pack("<i", 2**31 - 1),
    "array of Variant one too long": b"\x98" + struct.pack("<i", 3) + b"\0\0",
    "string": b"\x0c" + struct.pack("<i", 2**31 - 1),
    "string that is not UTF-8": b"\x0c" + struct.pack("<i", 2) + b"\xff\xfe",
    "nesting": b"\x98\x01\x00\x00\x00" * 20_000 + b"\x00",
    "scalar Variant in a Variant": b"\x18" * 20_000,
    "DiagnosticInfo in DiagnosticInfo": b"\x19" + b"\x40" * 20_000,
    "unknown type": b"\x3f",
    "dimensions of a scalar": b"\x46" + struct.pack("<i", 1),
    "dimensions that multiply to more": b"\xc3\x01\0\0\0\x07" + struct.pack("<iii", 2, 2**30, 2**30),
    "thousand dimensions": b"\xc3\x01\0\0\0\x07" + struct.pack("<i1000i", 1000, *[1] * 1000),
    "NodeId of no kind": b"\x11\x3e",
    "null scalar of a type that has none": b"\x13" + b"\xff",
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_variant_that_lies_is_refused(bomb: bytes) -> None:
    with pytest.raises(DecodeError):
        decoded(read_request(in_argument(bomb)))
    with pytest.raises(DecodeError):
        read_variant(Reader(bomb))


def test_a_valid_request_with_bytes_behind_it_is_refused() -> None:
    encoded = struct_to_binary(ua.ReadRequest())
    with pytest.raises(DecodeError, match="1 bytes too many"):
        decoded(encoded + b"\0")


def test_all_arrays_of_a_message_share_one_budget() -> None:
    reader = Reader(b"\x98" + struct.pack("<i", limits.ARRAY_LENGTH_MAX) + b"\x00" * limits.ARRAY_LENGTH_MAX)
    reader.elements = limits.ARRAY_LENGTH_MAX - 1
    with pytest.raises(DecodeError) as refused:
        read_variant(reader)
    assert refused.value.status == ua.StatusCodes.BadEncodingLimitsExceeded


def test_hundred_levels_are_decoded_and_more_are_not() -> None:
    nested = lambda n: b"\x98\x01\x00\x00\x00" * n + b"\x00"  # noqa: E731
    assert read_variant(Reader(nested(99))).is_array
    with pytest.raises(DecodeError):
        read_variant(Reader(nested(100)))


def test_an_unknown_request_keeps_its_handle_for_the_fault() -> None:
    request = ua.ReadRequest()
    request.RequestHeader.RequestHandle = 77
    body = struct_to_binary(request)
    wrong = nodeid_to_binary(ua.NodeId(65_000)) + body[4:]
    with pytest.raises(DecodeError) as refused:
        decoded(wrong)
    assert (refused.value.status, refused.value.request_handle) == (ua.StatusCodes.BadServiceUnsupported, 77)


def test_an_enumeration_value_without_a_name_is_left_to_the_service() -> None:
    request = ua.ReadRequest()
    request.Parameters.NodesToRead = [ua.ReadValueId()]
    encoded = bytearray(struct_to_binary(request))
    stamps = len(encoded) - len(struct_to_binary(request.Parameters)) + 8
    encoded[stamps : stamps + 4] = struct.pack("<i", 99)
    assert decoded(bytes(encoded)).Parameters.TimestampsToReturn == 99


def test_picoseconds_stand_behind_their_own_time() -> None:
    value = read_data_value(Reader(b"\x3c" + struct.pack("<qHqH", 10, 1, 20, 2)))
    assert (value.SourcePicoseconds, value.ServerPicoseconds) == (1, 2)
    assert value.SourceTimestamp == ua.win_epoch_to_datetime(10)
    assert value.ServerTimestamp == ua.win_epoch_to_datetime(20)


def samples() -> list[bytes]:
    read = ua.ReadRequest()
    read.Parameters.NodesToRead = [ua.ReadValueId(NodeId=ua.NodeId("ess0/Soc", 4)), ua.ReadValueId(NodeId=ua.NodeId(5))]
    write = ua.WriteRequest()
    write.Parameters.NodesToWrite = [ua.WriteValue(NodeId=ua.NodeId(1, 4), Value=ua.DataValue(ua.Variant([1.0, 2.0])))]
    call = ua.CallRequest()
    arguments = [ua.Variant("x"), ua.Variant(ua.Argument()), ua.Variant([[1, 2], [3, 4]], ua.VariantType.Int32)]
    call.Parameters.MethodsToCall = [ua.CallMethodRequest(ua.NodeId(1, 1), ua.NodeId(2, 1), arguments)]
    items = ua.CreateMonitoredItemsRequest()
    item = ua.MonitoredItemCreateRequest()
    item.RequestedParameters.Filter = ua.EventFilter(SelectClauses=[ua.SimpleAttributeOperand()])
    items.Parameters.ItemsToCreate = [item]
    publish = ua.PublishRequest()
    publish.Parameters.SubscriptionAcknowledgements = [ua.SubscriptionAcknowledgement(1, 2)]
    return [struct_to_binary(r) for r in (read, write, call, items, publish, ua.CreateSessionRequest())]


SAMPLES = samples()


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(SAMPLES), st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=5)), max_size=6))
def test_a_damaged_request_is_decoded_or_refused_never_more(sample: bytes, damage: list[tuple[int, bytes]]) -> None:
    data = bytearray(sample)
    for position, patch in damage:
        start = position % len(data)
        data[start : start + len(patch)] = patch
    try_to_decode(bytes(data))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_noise_is_decoded_or_refused_never_more(noise: bytes) -> None:
    try_to_decode(noise)
    try_to_decode(read_request(in_argument(noise)))
    try:
        read_variant(Reader(noise))
    except (DecodeError, ua.UaError, ValueError, TypeError):
        return


def try_to_decode(data: bytes) -> None:
    try:
        decoded(data)
    except DecodeError:
        return


SEEDS = [line.split(" ") for line in Path(__file__).with_name("decoder_seeds.txt").read_text().splitlines()]
"""Bytes that once hurt a server, ours or another: name, what becomes of them, the message."""


@pytest.mark.parametrize(("status", "data"), [(s, d) for _, s, d in SEEDS], ids=[name for name, _, _ in SEEDS])
def test_a_seed_that_was_kept_is_answered_as_before(status: str, data: str) -> None:
    assert outcome(bytes.fromhex(data)) == status


def outcome(data: bytes) -> str:
    """`Good`, or why the bytes are refused."""
    try:
        decoded(data)
    except DecodeError as error:
        return str(ua.StatusCode(error.status).name)
    return "Good"
