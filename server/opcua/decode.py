"""The decoder for everything a client sends (Part 6, 5.2), written for hostile bytes.

Problem: five bytes can announce an array of two thousand million elements. Idea: no count is believed. Every array must fit
into the bytes that remain, all arrays of a message share one budget of elements, nesting has a depth, strings have a length,
and an array of Null - elements of no size at all - does not exist. So the work is at most linear in the message.

Decoders are compiled once per asyncua dataclass, from its annotations to a closure per field. The classes whose fields are
not simply written one after the other (Variant, DataValue, DiagnosticInfo, NodeId, ExtensionObject, ...) and the hot requests
have theirs by hand. A damaged message raises DecodeError and nothing else.

An enumeration value without a name stays a plain int: only the service knows which StatusCode it deserves.
"""

from __future__ import annotations

import dataclasses
import struct
import typing
import uuid
from collections.abc import Callable
from enum import Enum, IntFlag
from functools import lru_cache
from threading import RLock
from types import NoneType, UnionType
from typing import Any, Final, NamedTuple

from asyncua import ua

from . import limits

Decoder = Callable[["Reader"], Any]

NODE_IDS_KEPT: Final = 16_384
NODE_ID_KEPT_LENGTH_MAX: Final = 64


class DecodeError(Exception):
    """The bytes are not a message. `status` and `request_handle` (0 when it was not reached) are for the ServiceFault."""

    def __init__(self, reason: str, status: int = ua.StatusCodes.BadDecodingError, request_handle: int = 0) -> None:
        super().__init__(reason)
        self.status = status
        self.request_handle = request_handle


class Reader:
    """A position in bytes, with what is left of the budgets of elements and depth."""

    __slots__ = ("data", "depth", "elements", "end", "position")

    def __init__(self, data: bytes, position: int = 0) -> None:
        self.data = data
        self.position = position
        self.end = len(data)
        self.depth = limits.DECODE_DEPTH_MAX
        self.elements = limits.DECODE_ELEMENTS_MAX

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        start = self.position
        stop = start + size
        if stop > self.end:
            raise DecodeError(f"{size} bytes at {start} reach beyond the end at {self.end}")
        self.position = stop
        return self.data[start:stop]

    def count(self, size_min: int = 1) -> int:
        """Length of an array whose elements have at least `size_min` bytes; -1 for a null array."""
        count: int = read_int32(self)
        if count < 0:
            return -1
        self.elements -= count
        if count * size_min > self.end - self.position:
            raise DecodeError(f"array of {count} elements is longer than the message")
        if count > limits.ARRAY_LENGTH_MAX or self.elements < 0:
            raise DecodeError(f"array of {count} elements is over the limit", ua.StatusCodes.BadEncodingLimitsExceeded)
        return count


# Simple types.


def _primitive(form: str) -> Decoder:
    layout = struct.Struct("<" + form)
    size, unpack = layout.size, layout.unpack_from

    def decode(reader: Reader) -> Any:
        position = reader.position
        reader.position = position + size
        if reader.position > reader.end:
            raise DecodeError(f"{size} bytes at {position} reach beyond the end at {reader.end}")
        return unpack(reader.data, position)[0]

    return decode


_FORMS: Final = {
    "SByte": "b",
    "Byte": "B",
    "Int16": "h",
    "UInt16": "H",
    "Int32": "i",
    "UInt32": "I",
    "Int64": "q",
    "UInt64": "Q",
    "Float": "f",
    "Double": "d",
    "Boolean": "?",
}

_byte, _uint16, read_int32, _uint32, _int64 = map(_primitive, "BHiIq")


def _bytes_within(reader: Reader, most: int) -> bytes | None:
    size = read_int32(reader)
    if size < 0:
        return None
    if size > most:
        raise DecodeError(f"{size} bytes where at most {most} are allowed", ua.StatusCodes.BadEncodingLimitsExceeded)
    return reader.take(size)


def read_byte_string(reader: Reader) -> bytes | None:
    """A ByteString."""
    return _bytes_within(reader, limits.BYTE_STRING_LENGTH_MAX)


def read_string(reader: Reader) -> str | None:
    """A String; anything but UTF-8 is refused."""
    data = _bytes_within(reader, limits.STRING_LENGTH_MAX)
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DecodeError(f"string is not UTF-8: {error}") from error


def _date_time(reader: Reader) -> Any:
    return ua.win_epoch_to_datetime(_int64(reader))


def _guid(reader: Reader) -> uuid.UUID:
    return uuid.UUID(bytes_le=reader.take(16))


def _qualified_name(reader: Reader) -> ua.QualifiedName:
    namespace = _uint16(reader)
    return ua.QualifiedName(read_string(reader), namespace)


def _localized_text(reader: Reader) -> ua.LocalizedText:
    mask = _byte(reader)
    locale = read_string(reader) if mask & 0x01 else None
    return ua.LocalizedText(read_string(reader) if mask & 0x02 else None, locale)


def _node_id_parts(reader: Reader, encoding: int) -> tuple[Any, int]:
    """(identifier, namespace index) after the encoding byte (Part 6, 5.2.2.9)."""
    if encoding == 3:
        namespace = _uint16(reader)
        return read_string(reader) or "", namespace
    if encoding == 0:
        return _byte(reader), 0
    if encoding == 1:
        namespace = _byte(reader)
        return _uint16(reader), namespace
    namespace = _uint16(reader)
    if encoding == 2:
        return _uint32(reader), namespace
    if encoding == 4:
        return _guid(reader), namespace
    if encoding == 5:
        return read_byte_string(reader) or b"", namespace
    raise DecodeError(f"NodeId encoding {encoding}")


_known_node_id: Final = lru_cache(NODE_IDS_KEPT)(ua.NodeId)
"""Clients name the same nodes again and again, and making a NodeId costs more than all the rest of reading it."""


def read_node_id(reader: Reader) -> ua.NodeId:
    """A NodeId. It may be shared: nobody changes one."""
    identifier, namespace = _node_id_parts(reader, _byte(reader))
    if isinstance(identifier, str) and len(identifier) <= NODE_ID_KEPT_LENGTH_MAX:
        return _known_node_id(identifier, namespace)
    return ua.NodeId(identifier, namespace)


def _expanded_node_id(reader: Reader) -> ua.ExpandedNodeId:
    encoding = _byte(reader)
    identifier, namespace = _node_id_parts(reader, encoding & 0x3F)
    uri = read_string(reader) if encoding & 0x80 else None
    server = _uint32(reader) if encoding & 0x40 else 0
    return ua.ExpandedNodeId(identifier, namespace, None, uri, server)


# Composite types whose fields depend on a mask.


def _nested(decode: Decoder) -> Decoder:
    """The same decoder, counted against the depth."""

    def decode_deeper(reader: Reader) -> Any:
        if reader.depth == 0:
            raise DecodeError("nested too deeply", ua.StatusCodes.BadEncodingLimitsExceeded)
        reader.depth -= 1
        value = decode(reader)
        reader.depth += 1
        return value

    return decode_deeper


@_nested
def _extension_object(reader: Reader) -> Any:
    """The structure itself when we know its type, else an ua.ExtensionObject with its bytes."""
    type_id = read_node_id(reader)
    encoding = _byte(reader)
    if encoding == 0:
        return ua.ExtensionObject(type_id)
    if encoding == 2:
        return ua.ExtensionObject(type_id, read_byte_string(reader))
    if encoding != 1:
        raise DecodeError(f"ExtensionObject encoding {encoding}")
    body = read_byte_string(reader)
    known = _structure(type_id)
    if known is None or body is None:
        return ua.ExtensionObject(type_id, body)
    stop, end = reader.position, reader.end
    reader.position, reader.end = stop - len(body), stop
    value = known(reader)
    if reader.position != stop:
        raise DecodeError(f"{stop - reader.position} bytes too many in a structure of type {type_id}")
    reader.end = end
    return value


def _structure(type_id: ua.NodeId) -> Decoder | None:
    known = ua.extension_objects_by_typeid.get(type_id)
    if known is None or known in _OPAQUE:
        return None
    return struct_decoder(_DERIVED.get(known, known))


_OPAQUE: Final = frozenset(
    c for c in ua.extension_objects_by_typeid.values() if c.__name__ in ("AliasCategoryUpdateDataType", "Integer", "UInteger")
)
"""Classes whose annotations do not resolve; no request carries them."""

_DERIVED: Final = {c.__mro__[1]: c for c in (ua.Argument, ua.DataChangeFilter)}
"""asyncua registers the generated class, but its users deal with one derived by hand."""


def _variant_scalar(code: int) -> Decoder:
    name = ua.VariantType(code).name
    return _BY_NAME.get(name) or struct_decoder(getattr(ua, name))


def _variant_array(reader: Reader, code: int, decode: Decoder) -> list[Any] | None:
    form = _FORMS.get(ua.VariantType(code).name)
    count = reader.count(struct.calcsize("<" + form) if form else 1)
    if count < 0:
        return None
    if form:
        return list(struct.unpack(f"<{count}{form}", reader.take(count * struct.calcsize("<" + form))))
    return [decode(reader) for _ in range(count)]


@_nested
def read_variant(reader: Reader) -> ua.Variant:
    """A Variant (Part 6, 5.2.2.16). Matrices come as nested lists."""
    encoding = _byte(reader)
    code = encoding & 0x3F
    if code == 0:
        if encoding:
            raise DecodeError("array of Null")
        return ua.Variant()
    decode = _VARIANT.get(code)
    if decode is None:
        raise DecodeError(f"Variant type {code}")
    if not encoding & 0x80:
        if encoding & 0x40:
            raise DecodeError("dimensions without an array")
        return ua.Variant(decode(reader), ua.VariantType(code), None, False)
    values = _variant_array(reader, code, decode)
    dimensions = _dimensions(reader, values) if encoding & 0x40 else None
    if values is not None and dimensions is not None and len(dimensions) > 1:
        values = _reshape(values, dimensions)
    return ua.Variant(values, ua.VariantType(code), dimensions, True)


def _dimensions(reader: Reader, values: list[Any] | None) -> list[int] | None:
    count = reader.count(4)
    if count > limits.ARRAY_DIMENSIONS_MAX:
        raise DecodeError(f"{count} dimensions", ua.StatusCodes.BadEncodingLimitsExceeded)
    dimensions = [read_int32(reader) for _ in range(count)]
    product = 1
    for length in dimensions:
        product *= max(length, 0)
    if count > 0 and product != len(values or ()):
        raise DecodeError(f"dimensions {dimensions} of {len(values or ())} elements")
    return dimensions or None


def _reshape(values: list[Any], dimensions: list[int]) -> list[Any]:
    for length in reversed(dimensions[1:]):
        values = [values[i : i + length] for i in range(0, len(values), length)] if length else []
    return values


def read_data_value(reader: Reader) -> ua.DataValue:
    """A DataValue (Part 6, 5.2.2.17)."""
    mask = _byte(reader)
    value = read_variant(reader) if mask & 0x01 else None
    status = ua.StatusCode(_uint32(reader)) if mask & 0x02 else None
    source = _date_time(reader) if mask & 0x04 else None
    source_picoseconds = _uint16(reader) if mask & 0x10 else None
    server = _date_time(reader) if mask & 0x08 else None
    server_picoseconds = _uint16(reader) if mask & 0x20 else None
    return ua.DataValue(value, status, source, server, source_picoseconds, server_picoseconds)


@_nested
def _diagnostic_info(reader: Reader) -> ua.DiagnosticInfo:
    mask = _byte(reader)
    return ua.DiagnosticInfo(
        SymbolicId=read_int32(reader) if mask & 0x01 else None,
        NamespaceURI=read_int32(reader) if mask & 0x02 else None,
        Locale=read_int32(reader) if mask & 0x08 else None,
        LocalizedText=read_int32(reader) if mask & 0x04 else None,
        AdditionalInfo=read_string(reader) if mask & 0x10 else None,
        InnerStatusCode=ua.StatusCode(_uint32(reader)) if mask & 0x20 else None,
        InnerDiagnosticInfo=_diagnostic_info(reader) if mask & 0x40 else None,
    )


_BY_NAME: Final[dict[str, Decoder]] = {
    **{name: _primitive(form) for name, form in _FORMS.items()},
    "int": read_int32,
    "bool": _primitive("?"),
    "String": read_string,
    "CharArray": read_string,
    "XmlElement": read_string,
    "ByteString": read_byte_string,
    "DateTime": _date_time,
    "Guid": _guid,
    "NodeId": read_node_id,
    "ExpandedNodeId": _expanded_node_id,
    "QualifiedName": _qualified_name,
    "LocalizedText": _localized_text,
    "ExtensionObject": _extension_object,
    "Variant": read_variant,
    "DataValue": read_data_value,
    "DiagnosticInfo": _diagnostic_info,
}
"""Decoders made by hand, by the name of the type."""


# Structures, compiled from their annotations.

_compiled: dict[type, Decoder] = {}
_unfinished: dict[type, Decoder] = {}
_compiling: Final = RLock()


def struct_decoder(cls: type) -> Decoder:
    """The decoder of a structure; compiled when first asked for, by whatever thread. Recursive types are fine."""
    known = _BY_NAME.get(cls.__name__) or _compiled.get(cls)
    if known is not None:
        return known
    with _compiling:
        outermost = not _unfinished
        decode = _compiled.get(cls) or _unfinished.get(cls) or _compile(cls)
        if outermost:
            _compiled.update(_unfinished)
            _unfinished.clear()
    return decode


def _compile(cls: type) -> Decoder:
    """A decoder that is ready when those of its fields are."""
    decoders: list[Decoder] = []

    @_nested
    def decode(reader: Reader) -> Any:
        return cls(*[d(reader) for d in decoders])

    _unfinished[cls] = decode
    decoders += _field_decoders(cls)
    return decode


def _field_decoders(cls: type, skip: int = 0) -> list[Decoder]:
    local = {k: v for k, v in vars(cls).items() if not isinstance(v, property)}
    hints = typing.get_type_hints(cls, localns={**local, "ua": ua})
    return [type_decoder(hints[f.name]) for f in dataclasses.fields(cls)[skip:]]


def type_decoder(hint: Any) -> Decoder:
    """The decoder for an annotation of asyncua: a built-in type, enumeration, structure, or a list of one of them."""
    origin = typing.get_origin(hint)
    if origin is list:
        return _list_decoder(type_decoder(typing.get_args(hint)[0]))
    if origin is type:  # any subtype of a structure
        return _extension_object
    if origin in (UnionType, typing.Union):
        return type_decoder(next(a for a in typing.get_args(hint) if a is not NoneType))
    by_hand = _BY_NAME.get(hint.__name__)
    if by_hand is not None:
        return by_hand
    return _enum_decoder(hint) if issubclass(hint, Enum) else struct_decoder(hint)


def _list_decoder(element: Decoder) -> Decoder:
    def decode(reader: Reader) -> list[Any]:
        return [element(reader) for _ in range(reader.count())]

    return decode


def _enum_decoder(cls: Any) -> Decoder:
    """An enumeration is an Int32, an option set the integer it says."""
    number = _BY_NAME[cls.datatype() if hasattr(cls, "datatype") else "UInt32"] if issubclass(cls, IntFlag) else read_int32
    names = cls._value2member_map_

    def decode(reader: Reader) -> Any:
        value = number(reader)
        return names.get(value, value)

    return decode


_VARIANT: Final[dict[int, Decoder]] = {code: _variant_scalar(code) for code in range(1, 26)}


# Requests.


def _requests() -> dict[int, type]:
    """Request class by the numeric id of its binary encoding."""
    suffix = "_Encoding_DefaultBinary"
    names = [n.removesuffix(suffix) for n in vars(ua.ObjectIds) if n.endswith("Request" + suffix)]
    found = {getattr(ua.ObjectIds, n + suffix): getattr(ua, n) for n in names if hasattr(ua, n)}
    return {number: cls for number, cls in found.items() if [f.name for f in dataclasses.fields(cls)][1:2] == ["RequestHeader"]}


_REQUESTS: Final = _requests()
_bodies: dict[type, list[Decoder]] = {}

_NO_ENCODING: Final = ua.QualifiedName(None, 0)
_ACKNOWLEDGEMENT: Final = struct.Struct("<II")


_request_header: Final = struct_decoder(ua.RequestHeader)


class Body:
    """The parameters of a request whose decoding may be saved: pollers send the same bytes again and again."""

    __slots__ = ("_cls", "data")

    def __init__(self, cls: type, data: bytes) -> None:
        self._cls = cls
        self.data = data

    def decode(self) -> Any:
        """The parameters. DecodeError."""
        reader = Reader(self.data)
        try:
            (parameters,) = [decode(reader) for decode in _body(self._cls)]
        except _REFUSALS as cause:
            raise DecodeError(str(cause)) from cause
        check_end(reader)
        return parameters


_REFUSALS: Final = (ValueError, TypeError, OverflowError, ua.UaError)
"""How the classes of asyncua refuse values."""


def check_end(reader: Reader) -> None:
    """DecodeError when something follows."""
    if reader.position != reader.end:
        raise DecodeError(f"{reader.end - reader.position} bytes too many")


def decode_request(message: bytes) -> Any:
    """The request in the body of a message; the parameters of some services stay a Body.

    DecodeError, with BadServiceUnsupported for an unknown type.
    """
    reader = Reader(message)
    handle = 0
    try:
        type_id = read_node_id(reader)
        header = _request_header(reader)
        handle = header.RequestHandle
        cls = _REQUESTS.get(type_id.Identifier) if type_id.NamespaceIndex == 0 else None
        if cls is None:
            raise DecodeError(f"no request of type {type_id}", ua.StatusCodes.BadServiceUnsupported)
        if cls in _LATE:
            return cls(type_id, header, Body(cls, message[reader.position :]))
        request = cls(type_id, header, *[d(reader) for d in _body(cls)])
        check_end(reader)
    except DecodeError as error:
        error.request_handle = handle
        raise
    except _REFUSALS as cause:
        raise DecodeError(str(cause), request_handle=handle) from cause
    return request


def is_quick(message: bytes) -> bool:
    """True when decoding the message holds nobody up: it is short, or only its header is decoded now."""
    return len(message) <= limits.DECODE_AT_ONCE_BYTES_MAX or message.startswith(_LATE_IDS)


def decode_open_request(body: bytes) -> ua.OpenSecureChannelRequest:
    """The request of an OPN message, and no other. DecodeError."""
    request = decode_request(body)
    if not isinstance(request, ua.OpenSecureChannelRequest):
        raise DecodeError(f"{type(request).__name__} in an OpenSecureChannel message")
    return request


def _body(cls: type) -> list[Decoder]:
    """Decoders of what follows the type id and the header."""
    known = _bodies.get(cls)
    if known is None:
        known = _bodies[cls] = [_PARAMETERS[cls]] if cls in _PARAMETERS else _field_decoders(cls, skip=2)
    return known


# The hot requests, by hand.


def _data_encoding(reader: Reader) -> ua.QualifiedName:
    """A QualifiedName that is nearly always null."""
    position = reader.position
    if reader.data[position : position + 6] == b"\0\0\xff\xff\xff\xff" and position + 6 <= reader.end:
        reader.position = position + 6
        return _NO_ENCODING
    return _qualified_name(reader)


def _read_value_id(reader: Reader) -> ua.ReadValueId:
    node = read_node_id(reader)
    attribute = _uint32(reader)
    return ua.ReadValueId(node, attribute, read_string(reader), _data_encoding(reader))


_time_stamps: Final = _enum_decoder(ua.TimestampsToReturn)
_double: Final = _BY_NAME["Double"]


def _read_parameters(reader: Reader) -> ua.ReadParameters:
    age = _double(reader)
    stamps = _time_stamps(reader)
    count = reader.count(16)
    if count > limits.NODES_PER_READ:
        raise DecodeError(f"{count} nodes", ua.StatusCodes.BadTooManyOperations)
    return ua.ReadParameters(age, stamps, [_read_value_id(reader) for _ in range(count)])


def _write_value(reader: Reader) -> ua.WriteValue:
    node = read_node_id(reader)
    attribute = _uint32(reader)
    return ua.WriteValue(node, attribute, read_string(reader), read_data_value(reader))


def write_count(reader: Reader) -> int:
    """How many values a Write request has. DecodeError BadTooManyOperations."""
    count = max(reader.count(11), 0)
    if count > limits.NODES_PER_WRITE:
        raise DecodeError(f"{count} values", ua.StatusCodes.BadTooManyOperations)
    return count


def _write_parameters(reader: Reader) -> ua.WriteParameters:
    return ua.WriteParameters([_write_value(reader) for _ in range(write_count(reader))])


NUMBER_FORMS: Final = {code: _FORMS[ua.VariantType(code).name] for code in range(1, 12)}
"""Letter by which `struct` and NumPy know a number, by its type in a Variant."""
_NUMBER_SIZES: Final = {code: struct.calcsize("<" + form) for code, form in NUMBER_FORMS.items()}
_TIMES_SIZES: Final = [8 * (m >> 2 & 1) + 8 * (m >> 3 & 1) + 2 * (m >> 4 & 1) + 2 * (m >> 5 & 1) for m in range(256)]
"""Bytes of the times that the mask of a DataValue announces."""
_NO_RANGE: Final = struct.Struct("<IiBB")
"""AttributeId, null IndexRange, mask of the DataValue, type of its Variant."""
_HAS_VALUE, _HAS_STATUS, _HAS_SERVER_TIME = 0x01, 0x02, 0x08


class Place(NamedTuple):
    """Where a WriteValue has its one number: its type and position, then its times up to the end.

    foreign: it has a StatusCode that is not Good, or a time of the server.
    """

    attribute: int
    kind: int
    value: int
    times: int
    end: int
    foreign: bool


def place_of_value(reader: Reader) -> Place | None:
    """What follows the NodeId of a WriteValue, when it is one number and no range; None, and the reader astray, otherwise."""
    value = reader.position + _NO_RANGE.size
    if value > reader.end:
        return None
    attribute, length, mask, kind = _NO_RANGE.unpack_from(reader.data, reader.position)
    size = _NUMBER_SIZES.get(kind)
    if length != -1 or not mask & _HAS_VALUE or size is None:
        return None
    reader.position = value + size
    foreign = bool(mask & _HAS_SERVER_TIME) | bool(mask & _HAS_STATUS and _uint32(reader))
    times = reader.position
    reader.position = end = times + _TIMES_SIZES[mask]
    return Place(attribute, kind, value, times, end, foreign) if end <= reader.end else None


def _publish_parameters(reader: Reader) -> ua.PublishParameters:
    count = max(reader.count(8), 0)
    pairs = _ACKNOWLEDGEMENT.iter_unpack(reader.take(count * 8))
    return ua.PublishParameters([ua.SubscriptionAcknowledgement(*pair) for pair in pairs])


_PARAMETERS: Final[dict[type, Decoder]] = {
    ua.ReadRequest: _read_parameters,
    ua.WriteRequest: _write_parameters,
    ua.PublishRequest: _publish_parameters,
}
_LATE: Final = frozenset({ua.ReadRequest, ua.WriteRequest})
"""Requests whose parameters are decoded by their service."""
_LATE_IDS: Final = tuple(
    struct.pack("<BBH", 1, 0, getattr(ua.ObjectIds, f"{cls.__name__}_Encoding_DefaultBinary")) for cls in _LATE
)
"""How messages with them begin."""
