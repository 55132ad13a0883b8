"""The Write service (Part 4, 5.10.4): wishes of clients, checked here and decided by the control process.

A write that is accepted is in the inbox and takes effect in the next cycle; whether it was then limited, and why, is to be
read from the nodes. Set-points of devices count only while somebody holds the manual override. Every attempt is audited.

A wish is as old as the cycle that takes it. The source time that some clients always send along is therefore accepted and not
used; a StatusCode or a server time cannot be written and is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from functools import lru_cache
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from asyncua import ua

from server.core.channel import Spec
from server.core.layout import Channel
from server.core.natures import Site
from server.core.site import SITE_ALIAS

from . import limits, packed
from .decode import Body, Reader, write_count
from .index_range import parse
from .service import check_number
from .turns import Turn, Work, in_turns
from .writing import VALUES_MIN, WritePlan, head, name, needs_override, plan_writes, target_status, type_status

if TYPE_CHECKING:
    from .server import UaServer
    from .session import Session

_CODES: Final = ua.StatusCodes
_SHOWN_MAX: Final = 64
VALUES_PER_ROW_MAX: Final = 1_000
"""A row of the audit trail stays short enough to be read at once."""
_RESPONSE: Final = int(ua.ObjectIds.WriteResponse_Encoding_DefaultBinary)


class Done(NamedTuple):
    """What became of a request, value by value: nodes, values as they are shown, StatusCodes."""

    nodes: Sequence[str]
    values: Sequence[Any]
    codes: Sequence[int]

    def rows(self, part: slice) -> Done:
        """Some of them."""
        return Done(self.nodes[part], self.values[part], self.codes[part])


def write_service(server: UaServer, session: Session, request: ua.WriteRequest) -> bytes | Coroutine[Any, Any, bytes]:
    """The Write service: each value on its own, in order."""
    server.check_auditable()
    count = write_count(Reader(request.Parameters.data))
    check_number(range(count), limits.NODES_PER_WRITE)
    return in_turns(_write_all(server, session, request, count))


def _write_all(server: UaServer, session: Session, request: ua.WriteRequest, count: int) -> Work[bytes]:
    body: Body = request.Parameters
    plan = (yield from _plan(server, session, body.data, count)) if count >= VALUES_MIN else None
    if plan is not None:
        done = _write_columns(server, session, plan, body.data)
    else:
        done = yield from _write_one_by_one(server, session, (yield from _decoded(server, body)))
    yield from _audit(server, session, done)
    codes = np.array(done.codes, "<u4").tobytes()
    return packed.response(_RESPONSE, request.RequestHeader.RequestHandle, [codes], count)


def _plan(server: UaServer, session: Session, data: bytes, count: int) -> Work[WritePlan | None]:
    """The plan of a request, made when it is the first of its kind; None when it must be written one by one."""
    key = (session.user, len(data), head(data))
    plan = server.write_plans.get(key)
    if plan is None or not plan.fits(data):
        plan = yield from plan_writes(server.nodes, server.layout, session.user, data, count)
        if plan is not None:
            server.write_plans.put(key, plan, len(data))
    return plan


def _decoded(server: UaServer, body: Body) -> Work[ua.WriteParameters]:
    """The parameters, long ones decoded by the thread for that."""
    if len(body.data) <= limits.DECODE_AT_ONCE_BYTES_MAX:
        return body.decode()
    decoding = asyncio.get_running_loop().run_in_executor(server.decoding, body.decode)
    yield decoding
    return decoding.result()


def _write_columns(server: UaServer, session: Session, plan: WritePlan, data: bytes) -> Done:
    """Check all values at once, and hand the good ones to control as one batch."""
    numbers, shown = plan.values(data)
    status = plan.check(numbers, override_held(server))
    good = np.flatnonzero(status == 0)
    taken = server.inbox.put_all(plan.slots[good], numbers[good], session.user.index)
    status[good[taken:]] = _CODES.BadResourceUnavailable
    return Done(plan.nodes, shown, status.tolist())


def _write_one_by_one(server: UaServer, session: Session, parameters: ua.WriteParameters) -> Work[Done]:
    turn, done = Turn(), Done([], [], codes := [])
    for item in parameters.NodesToWrite:
        if turn.over():
            yield
            turn.begin()
        codes.append(write(server, session, item))
    nodes = [name(item.NodeId) for item in parameters.NodesToWrite]
    values = [shown(item.Value.Value.Value if item.Value.Value is not None else None) for item in parameters.NodesToWrite]
    return done._replace(nodes=nodes, values=values)


# The audit trail.


def _audit(server: UaServer, session: Session, done: Done) -> Work[None]:
    """Rows of the trail for the request; an event for each value when somebody listens to such events."""
    turn = Turn()
    for first in range(0, len(done.nodes), VALUES_PER_ROW_MAX):
        part = done.rows(slice(first, first + VALUES_PER_ROW_MAX))
        who = server.record("write", session=session, **_facts(part))
        for told in _each(part) if server.audit_events.heard else ():
            if turn.over():
                yield
                turn.begin()
            server.audit_events("write", {**who, **told})


def _facts(done: Done) -> dict[str, Any]:
    """A row of the trail: one value by itself, several as columns; one status when it is that of all."""
    if len(done.nodes) == 1:
        return next(_each(done))
    alike = len(set(done.codes)) == 1
    status = status_name(done.codes[0]) if alike else [status_name(code) for code in done.codes]
    return {"nodes": done.nodes, "values": done.values, "status": status}


def _each(done: Done) -> Iterator[dict[str, Any]]:
    for node, value, code in zip(*done, strict=True):
        yield {"node": node, "value": value, "status": status_name(code)}


@lru_cache(maxsize=64)
def status_name(code: int) -> str:
    """`BadOutOfRange`."""
    return str(ua.StatusCode(code).name)


def shown(value: Any) -> Any:
    """A value fit for a line of the audit trail."""
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    return value if isinstance(value, (bool, int, float)) else repr(value)[:_SHOWN_MAX]


# One value.


def write(server: UaServer, session: Session, item: ua.WriteValue) -> int:
    """Check one value and hand it to control. Returns its StatusCode."""
    node = server.nodes.get(item.NodeId)
    if node is None:
        return int(_CODES.BadNodeIdUnknown)
    given = item.Value
    foreign = given.ServerTimestamp is not None or (given.StatusCode is not None and given.StatusCode.value != 0)
    status = target_status(session.user, node, item.AttributeId, foreign)
    if status or node.channel is None:
        return status
    slots = _slots(node.channel, item.IndexRange)
    if isinstance(slots, int):
        return slots
    values = given.Value.Value if given.Value is not None else None
    values = values if isinstance(values, list) else [values]
    status = _check_value(node.channel, given.Value, len(slots), indexed=bool(item.IndexRange))
    status = status or next(filter(None, (number_status(node.channel.spec, v) for v in values)), 0)
    return status or _check_override(server, node.channel) or put(server, session, slots, values)


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
    status = type_status(spec, value.VariantType, bool(value.is_array)) if value is not None else int(_CODES.BadTypeMismatch)
    if value is None or status:
        return status
    if value.Value is None or (value.Dimensions and len(value.Dimensions) > 1):
        return int(_CODES.BadTypeMismatch)
    if spec.array and len(value.Value) != wanted:
        return int(_CODES.BadIndexRangeDataMismatch if indexed else _CODES.BadTypeMismatch)
    return 0


def number_status(spec: Spec, value: Any) -> int:
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
    if not needs_override(server.layout, channel) or override_held(server):
        return 0
    return int(_CODES.BadInvalidState)


def override_held(server: UaServer) -> bool:
    """True while an operator holds the manual override."""
    remaining = server.layout.find(SITE_ALIAS, Site.OverrideRemaining)
    return remaining is not None and (server.frame.get(remaining.slot) or 0.0) > 0.0


def put(server: UaServer, session: Session, slots: Sequence[int], values: Sequence[Any]) -> int:
    """Hand the values to the next cycle; BadResourceUnavailable when its inbox is full."""
    for slot, value in zip(slots, values, strict=True):
        if not server.inbox.put(slot, float(value), session.user.index):
            return int(_CODES.BadResourceUnavailable)
    return 0
