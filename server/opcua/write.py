"""The Write service (Part 4, 5.10.4): wishes of clients, checked here and decided by the control process.

A write that is accepted is in the inbox and takes effect in the next cycle; whether it was then limited, and why, is to be
read from the nodes. Set-points of devices count only while somebody holds the manual override. Every attempt is audited.

A wish is as old as the cycle that takes it. The source time that some clients always send along is therefore accepted and not
used; a StatusCode or a server time cannot be written and is refused.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from asyncua import ua

from server.core.channel import DataType, Spec
from server.core.layout import DEVICE, Channel
from server.core.natures import Site
from server.core.site import SITE_ALIAS

from .access import Permission, permits
from .index_range import parse
from .metadata import has_attribute
from .nodes import Node
from .turns import Turn, Work, in_turns
from .vocabulary import BUILT_IN

if TYPE_CHECKING:
    from .server import UaServer
    from .session import Session

_CODES: Final = ua.StatusCodes
_SHOWN_MAX: Final = 64


def write_service(
    server: UaServer, session: Session, request: ua.WriteRequest
) -> ua.WriteResponse | Coroutine[Any, Any, ua.WriteResponse]:
    """The Write service: each value on its own, in order."""
    server.check_auditable()
    return in_turns(_write_all(server, session, request))


def _write_all(server: UaServer, session: Session, request: ua.WriteRequest) -> Work[ua.WriteResponse]:
    turn, response = Turn(), ua.WriteResponse()
    for item in request.Parameters.NodesToWrite:
        status = ua.StatusCode(write(server, session, item))
        response.Results.append(status)
        value = item.Value.Value.Value if item.Value.Value is not None else None
        server.audit("write", session=session, node=item.NodeId.to_string(), value=shown(value), status=status.name)
        if turn.over():
            yield
            turn.begin()
    return response


def shown(value: Any) -> Any:
    """A value fit for a line of the audit trail."""
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    return value if isinstance(value, (bool, int, float)) else repr(value)[:_SHOWN_MAX]


def write(server: UaServer, session: Session, item: ua.WriteValue) -> int:
    """Check one value and hand it to control. Returns its StatusCode."""
    node = server.nodes.get(item.NodeId)
    if node is None:
        return int(_CODES.BadNodeIdUnknown)
    status = _check_target(session, node, item)
    if status or node.channel is None:
        return status or int(_CODES.BadNotWritable)
    slots = _slots(node.channel, item.IndexRange)
    if isinstance(slots, int):
        return slots
    values = item.Value.Value.Value
    values = values if isinstance(values, list) else [values]
    status = _check_value(node.channel, item.Value.Value, len(slots), indexed=bool(item.IndexRange))
    status = status or next(filter(None, (check_number(node.channel.spec, v) for v in values)), 0)
    return status or _check_override(server, node.channel) or put(server, session, slots, values)


def _check_target(session: Session, node: Node, item: ua.WriteValue) -> int:
    if not has_attribute(node, item.AttributeId):
        return int(_CODES.BadAttributeIdInvalid)
    if item.AttributeId != ua.AttributeIds.Value or not node.access_level & ua.AccessLevel.CurrentWrite.mask:
        return int(_CODES.BadNotWritable)
    if not permits(session.user, node, Permission.WRITE):
        return int(_CODES.BadUserAccessDenied)
    value = item.Value
    if value.ServerTimestamp is not None or (value.StatusCode is not None and value.StatusCode.value != 0):
        return int(_CODES.BadWriteNotSupported)
    return 0


def _slots(channel: Channel, index_range: str | None) -> range | int:
    """The slots to write, or a StatusCode."""
    slots = range(channel.slot, channel.slot + channel.length)
    if not index_range:
        return slots
    selection = parse(index_range)
    if isinstance(selection, int):
        return selection
    if not channel.spec.array or len(selection) > 1 or selection[0][1] >= channel.length:
        return int(_CODES.BadIndexRangeNoData)
    first, last = selection[0]
    return slots[first : last + 1]


def _check_value(channel: Channel, value: ua.Variant | None, wanted: int, *, indexed: bool) -> int:
    """Type and shape: exactly what the variable declares."""
    spec = channel.spec
    if spec.data_type in (DataType.STRING, DataType.DATETIME):
        return int(_CODES.BadWriteNotSupported)
    if value is None or value.VariantType is not BUILT_IN[spec.data_type] or bool(value.is_array) != spec.array:
        return int(_CODES.BadTypeMismatch)
    if value.Value is None or (value.Dimensions and len(value.Dimensions) > 1):
        return int(_CODES.BadTypeMismatch)
    if spec.array and len(value.Value) != wanted:
        return int(_CODES.BadIndexRangeDataMismatch if indexed else _CODES.BadTypeMismatch)
    return 0


def check_number(spec: Spec, value: Any) -> int:
    """BadOutOfRange for what is no number, outside the range, or no state of the enumeration; else 0."""
    number = float(value)
    if not isfinite(number):
        return int(_CODES.BadOutOfRange)
    if (spec.low is not None and number < spec.low) or (spec.high is not None and number > spec.high):
        return int(_CODES.BadOutOfRange)
    if spec.states is not None and number not in tuple(map(int, spec.states)):
        return int(_CODES.BadOutOfRange)
    return 0


def _check_override(server: UaServer, channel: Channel) -> int:
    """Set-points of devices are the engine's, unless an operator holds the manual override."""
    if server.layout.by_alias[channel.alias].kind != DEVICE:
        return 0
    remaining = server.layout.find(SITE_ALIAS, Site.OverrideRemaining)
    held = remaining is not None and (server.frame.get(remaining.slot) or 0.0) > 0.0
    return 0 if held else int(_CODES.BadInvalidState)


def put(server: UaServer, session: Session, slots: Sequence[int], values: Sequence[Any]) -> int:
    """Hand the values to the next cycle; BadResourceUnavailable when its inbox is full."""
    for slot, value in zip(slots, values, strict=True):
        if not server.image.inbox.put(slot, float(value), session.user.index):
            return int(_CODES.BadResourceUnavailable)
    return 0
