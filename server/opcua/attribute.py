"""The Read service (Part 4, 5.10.2): every attribute of every node, values from the newest frame of the process image.

A PLC or historian reads a thousand plain values per request; those are packed straight from the image (`reading`).
Everything else goes through DataValue objects. `read` and `data_value` are also what subscriptions use for values that are
no numbers.
"""

from __future__ import annotations

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

from . import cells, limits, packed, reading, write
from .access import Permission, permits
from .decode import Body
from .index_range import parse, select
from .metadata import READERS, VARIABLES, Refused
from .nodes import Node
from .service import Service, ServiceError, check_number
from .turns import Turn, Work, in_turns
from .vocabulary import BUILT_IN

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


def read_service(server: UaServer, session: Session, request: ua.ReadRequest) -> bytes | Coroutine[Any, Any, bytes]:
    """The Read service. The frame is never older than a cycle, so any MaxAge is met; a long read may span frames."""
    return in_turns(_read_all(server, session, request))


def _read_all(server: UaServer, session: Session, request: ua.ReadRequest) -> Work[bytes]:
    body: Body = request.Parameters
    key = (session.user, body.data)
    plan = server.read_plans.get(key)
    if plan is None:
        plan = reading.plan(server.nodes, session.user, _checked(body.decode()))
        server.read_plans.put(key, plan, len(body.data))
    turn, results, now = Turn(), [], utc_now()
    for part in plan.parts:
        if turn.over():
            yield
            turn.begin()
        if isinstance(part, reading.Block):
            results.append(part.encode(server.frame, now))
        else:
            results.append(bytes(struct_to_binary(read(server, session, part, plan.timestamps))))
    return packed.response(_RESPONSE, request.RequestHeader.RequestHandle, results, plan.results)


def _checked(parameters: ua.ReadParameters) -> ua.ReadParameters:
    """ServiceError when the request is wrong as a whole."""
    if parameters.TimestampsToReturn not in cells.TIMESTAMPS:
        raise ServiceError(_CODES.BadTimestampsToReturnInvalid)
    if not parameters.MaxAge >= 0:
        raise ServiceError(_CODES.BadMaxAgeInvalid)
    check_number(parameters.NodesToRead, limits.NODES_PER_READ)
    return parameters


SERVICES: Final[dict[type, Service]] = {
    ua.ReadRequest: Service(read_service, most=limits.NODES_PER_READ),
    ua.WriteRequest: Service(write.write_service, most=limits.NODES_PER_WRITE),
}
