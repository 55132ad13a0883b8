"""The Read service (Part 4, 5.10.2): every attribute of every node, values from the newest frame of the process image.

A PLC or historian reads a thousand plain values per request; those are packed straight from the image. Everything else
goes through DataValue objects. `read` and `data_value` are also what subscriptions use for values that are no numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Coroutine
from datetime import UTC, datetime
from math import isnan
from typing import TYPE_CHECKING, Any, Final

from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary

from server.core.channel import DataType
from server.core.image import Image
from server.core.layout import Channel
from server.core.status import BAD_WAITING_FOR_INITIAL_DATA, is_bad
from server.core.ticks import to_datetime
from server.runtime.memory import utc_now

from . import limits, packed, write
from .access import Permission, permits
from .index_range import parse, select
from .metadata import READERS, VARIABLES, Refused
from .nodes import Node
from .service import Service, ServiceError
from .turns import Turn, Work, in_turns
from .vocabulary import BUILT_IN, NUMBERS

if TYPE_CHECKING:
    from .server import UaServer
    from .session import Session, User

_ID: Final = ua.AttributeIds
_TYPE: Final = ua.VariantType
_CODES: Final = ua.StatusCodes
_CLASS: Final = ua.NodeClass
NEVER: Final = datetime(1601, 1, 1, tzinfo=UTC)
"""The earliest time stands for none (Part 6, 5.2.2.5)."""
_RESPONSE: Final = int(ua.ObjectIds.ReadResponse_Encoding_DefaultBinary)


def _number(kind: DataType, value: float) -> Any:
    match kind:
        case DataType.DOUBLE:
            return value
        case DataType.BOOLEAN:
            return bool(value)
        case DataType.DATETIME:
            return to_datetime(value) or NEVER
        case _:
            return int(value)


def data_value(server: UaServer, channel: Channel, frame: Image) -> ua.DataValue:
    """Value, status and source time of a channel in a frame. A Bad value is null; an array is as bad as its worst element."""
    slot, kind = channel.slot, channel.spec.data_type
    statuses = frame.status[slot : slot + channel.length].tolist()
    status = max(statuses)
    source = to_datetime(max(frame.source[slot : slot + channel.length].tolist()))
    values = frame.value[slot : slot + channel.length].tolist()
    if kind not in (DataType.DOUBLE, DataType.STRING) and not is_bad(status) and any(map(isnan, values)):
        status = BAD_WAITING_FOR_INITIAL_DATA
    if is_bad(status):
        return ua.DataValue(ua.Variant(), ua.StatusCode(status), source)
    if kind is DataType.STRING:
        value: Any = server.image.text(channel)
    else:
        value = [_number(kind, v) for v in values] if channel.spec.array else _number(kind, values[0])
    return ua.DataValue(ua.Variant(value, BUILT_IN[kind], is_array=channel.spec.array), ua.StatusCode(status), source)


def value_of(server: UaServer, node: Node) -> ua.DataValue:
    """The value of a variable now, whoever asks."""
    if node.channel is not None:
        return data_value(server, node.channel, server.frame)
    if callable(node.value):
        return node.value(server)
    return node.value if node.value is not None else ua.DataValue(ua.Variant())


# The service.


def read(server: UaServer, session: Session, item: ua.ReadValueId, timestamps: ua.TimestampsToReturn) -> ua.DataValue:
    """Read one attribute. What is wrong is in the StatusCode of the result."""
    try:
        node = server.nodes.get(item.NodeId)
        if node is None:
            raise Refused(_CODES.BadNodeIdUnknown)
        if item.AttributeId == _ID.Value:
            return _stamped(_read_value(server, session.user, node, item), timestamps, with_source=True)
        return _stamped(ua.DataValue(_read_attribute(server, session.user, node, item)), timestamps, with_source=False)
    except Refused as refused:
        return ua.DataValue(ua.Variant(), ua.StatusCode(refused.status))


def _read_attribute(server: UaServer, user: User, node: Node, item: ua.ReadValueId) -> ua.Variant:
    if not permits(user, node, Permission.BROWSE):
        raise Refused(_CODES.BadUserAccessDenied)
    classes, reader = READERS.get(item.AttributeId, ((), None))
    variant = reader(server, user, node) if reader is not None and node.node_class in classes else None
    if variant is None:
        raise Refused(_CODES.BadAttributeIdInvalid)
    if item.DataEncoding is not None and item.DataEncoding.Name:
        raise Refused(_CODES.BadDataEncodingInvalid)
    return _ranged(variant, item.IndexRange)


def _read_value(server: UaServer, user: User, node: Node, item: ua.ReadValueId) -> ua.DataValue:
    if node.node_class not in VARIABLES:
        raise Refused(_CODES.BadAttributeIdInvalid)
    if not permits(user, node, Permission.READ):
        raise Refused(_CODES.BadUserAccessDenied)
    if node.node_class is _CLASS.Variable and not node.access_level & ua.AccessLevel.CurrentRead.mask:
        raise Refused(_CODES.BadNotReadable)
    found = value_of(server, node)
    if item.DataEncoding is not None and item.DataEncoding.Name:
        _check_encoding(found.Value, item.DataEncoding)
    if item.IndexRange and not is_bad(found.StatusCode.value):
        return ua.DataValue(_ranged(found.Value, item.IndexRange), found.StatusCode, found.SourceTimestamp)
    return found


def _check_encoding(value: ua.Variant, encoding: ua.QualifiedName) -> None:
    """Only structures have encodings, and Default Binary is the one they are sent in."""
    if value.VariantType is not _TYPE.ExtensionObject:
        raise Refused(_CODES.BadDataEncodingInvalid)
    if (encoding.NamespaceIndex, encoding.Name) != (0, "Default Binary"):
        raise Refused(_CODES.BadDataEncodingUnsupported)


def _ranged(value: ua.Variant, index_range: str | None) -> ua.Variant:
    if not index_range:
        return value
    selection = parse(index_range)
    if isinstance(selection, int):
        raise Refused(selection)
    found = select(value, selection)
    if found is None:
        raise Refused(_CODES.BadIndexRangeNoData)
    return found


def _stamped(found: ua.DataValue, timestamps: ua.TimestampsToReturn, *, with_source: bool) -> ua.DataValue:
    """The same value with the timestamps that were asked for; a fixed value is as old as this look at it."""
    now = datetime.now(UTC)
    source = (found.SourceTimestamp or now) if with_source and timestamps in _WITH_SOURCE else None
    return ua.DataValue(found.Value, found.StatusCode, source, now if timestamps in _WITH_SERVER else None)


_WITH_SOURCE: Final = (ua.TimestampsToReturn.Source, ua.TimestampsToReturn.Both)
_WITH_SERVER: Final = (ua.TimestampsToReturn.Server, ua.TimestampsToReturn.Both)


class _Packer:
    """Packs plain values of one frame for one user: mask, type, value, status, times as asked for."""

    def __init__(self, server: UaServer, session: Session, timestamps: ua.TimestampsToReturn) -> None:
        self._server = server
        self._session = session
        self._timestamps = timestamps
        self._with_source = timestamps in _WITH_SOURCE
        self._with_server = timestamps in _WITH_SERVER
        times = "q" * (self._with_source + self._with_server)
        self._mask = 0x03 | 0x04 * self._with_source | 0x08 * self._with_server
        plain = {kind: letter for kind, letter in NUMBERS.items() if kind is not DataType.DATETIME}
        self._structs = {kind: struct.Struct(f"<BB{letter}I{times}") for kind, letter in plain.items()}
        self._now = utc_now()

    def pack(self, item: ua.ReadValueId) -> bytes:
        """One encoded DataValue."""
        node = self._server.nodes.get(item.NodeId)
        if node is not None and node.channel is not None and item.AttributeId == _ID.Value:
            found = self._plain(node, node.channel, item)
            if found is not None:
                return found
        return bytes(struct_to_binary(read(self._server, self._session, item, self._timestamps)))

    def _plain(self, node: Node, channel: Channel, item: ua.ReadValueId) -> bytes | None:
        """The value of a scalar number that is not Bad; None when the general way must be taken."""
        kind, slot, frame = channel.spec.data_type, channel.slot, self._server.frame
        status, value = frame.status.item(slot), frame.value.item(slot)
        if kind not in self._structs or channel.spec.array or item.IndexRange or is_bad(status):
            return None
        if (item.DataEncoding is not None and item.DataEncoding.Name) or not permits(self._session.user, node, Permission.READ):
            return None
        if kind is not DataType.DOUBLE:
            if isnan(value):
                return None
            value = int(value)
        times = (frame.source.item(slot),) if self._with_source else ()
        if self._with_server:
            times = (*times, self._now)
        return self._structs[kind].pack(self._mask, BUILT_IN[kind].value, value, status, *times)


def read_service(server: UaServer, session: Session, request: ua.ReadRequest) -> bytes | Coroutine[Any, Any, bytes]:
    """The Read service. The frame is never older than a cycle, so any MaxAge is met; a long read may span frames."""
    parameters = request.Parameters
    if parameters.TimestampsToReturn not in tuple(ua.TimestampsToReturn)[:4]:
        raise ServiceError(_CODES.BadTimestampsToReturnInvalid)
    if not parameters.MaxAge >= 0:
        raise ServiceError(_CODES.BadMaxAgeInvalid)
    return in_turns(_read_all(_Packer(server, session, parameters.TimestampsToReturn), request))


def _read_all(packer: _Packer, request: ua.ReadRequest) -> Work[bytes]:
    turn, results = Turn(), []
    for item in request.Parameters.NodesToRead:
        results.append(packer.pack(item))
        if turn.over():
            yield
            turn.begin()
    return packed.response(_RESPONSE, request.RequestHeader.RequestHandle, results)


SERVICES: Final[dict[type, Service]] = {
    ua.ReadRequest: Service(read_service, operations="NodesToRead", most=limits.NODES_PER_READ),
    ua.WriteRequest: Service(write.write_service, operations="NodesToWrite", most=limits.NODES_PER_WRITE),
}
