"""HistoryUpdate (Part 11, 6.9): values inserted, replaced, updated and deleted by people who may. What was there is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from asyncua import ua

from server.core.channel import DataType
from server.core.layout import Channel
from server.core.series import Series
from server.core.status import is_bad
from server.core.ticks import TICKS, from_datetime
from server.history import Edit, HistoryError, Outcome, TooMany
from server.runtime.memory import utc_now

from .. import limits
from ..access import Permission, permits
from .answer import Refused, wire_type

if TYPE_CHECKING:
    from ..server import UaServer
    from ..session import Session

_CODES: Final = ua.StatusCodes
_AHEAD: Final = 60 * TICKS
"""History is not the future; this much is forgiven to clocks."""
_STATUS: Final = {
    Outcome.INSERTED: _CODES.GoodEntryInserted,
    Outcome.REPLACED: _CODES.GoodEntryReplaced,
    Outcome.DELETED: _CODES.Good,
    Outcome.EXISTS: _CODES.BadEntryExists,
    Outcome.MISSING: _CODES.BadNoEntryExists,
    Outcome.TOO_OLD: _CODES.BadInvalidTimestamp,
}
_NEEDS: Final = {
    ua.PerformUpdateType.Insert: Permission.INSERT_HISTORY,
    ua.PerformUpdateType.Replace: Permission.MODIFY_HISTORY,
    ua.PerformUpdateType.Update: Permission.INSERT_HISTORY | Permission.MODIFY_HISTORY,
}


async def history_update(server: UaServer, session: Session, request: ua.HistoryUpdateRequest) -> ua.HistoryUpdateResponse:
    """The HistoryUpdate service; one result per details, each in a transaction of its own."""
    server.check_auditable()
    response = ua.HistoryUpdateResponse()
    for details in request.Parameters.HistoryUpdateDetails:
        response.Results.append(await _update(server, session, details))
    return response


async def _update(server: UaServer, session: Session, details: Any) -> ua.HistoryUpdateResult:
    result = ua.HistoryUpdateResult()
    try:
        statuses = await _carry_out(server, session, details)
        result.OperationResults = [ua.StatusCode(status) for status in statuses]
    except Refused as refused:
        result.StatusCode = ua.StatusCode(refused.status)
    except TooMany:
        result.StatusCode = ua.StatusCode(_CODES.BadTooManyOperations)
    except HistoryError as error:
        server.audit("history-failed", session=session, reason=str(error))
        result.StatusCode = ua.StatusCode(_CODES.BadDataUnavailable)
    return result


async def _carry_out(server: UaServer, session: Session, details: Any) -> Sequence[int]:
    """Do what the details say, and note it. The statuses of the single values."""
    if isinstance(details, ua.UpdateDataDetails):
        return await _put(server, session, details)
    if isinstance(details, ua.DeleteRawModifiedDetails):
        return await _delete(server, session, details)
    if isinstance(details, ua.DeleteAtTimeDetails):
        return await _delete_at(server, session, details)
    raise Refused(_CODES.BadHistoryOperationUnsupported)


async def _put(server: UaServer, session: Session, details: ua.UpdateDataDetails) -> Sequence[int]:
    needed = _NEEDS.get(details.PerformInsertReplace)
    if needed is None:
        raise Refused(_CODES.BadHistoryOperationUnsupported)
    channel = _channel(server, session, details.NodeId, needed)
    now = utc_now()
    checked = [_checked(value, channel, now) for value in _some(details.UpdateValues)]
    taken = [c for c in checked if isinstance(c, tuple)]
    kind, user = Edit(int(details.PerformInsertReplace)), session.user.name
    outcomes = iter(await server.history.edit(session, lambda editor: editor.put(channel.node, _series(taken), kind, user, now)))
    statuses = [_STATUS[next(outcomes)] if isinstance(c, tuple) else c for c in checked]
    _note(server, session, channel, kind.name.lower(), statuses, [t for t, *_ in taken])
    return statuses


async def _delete(server: UaServer, session: Session, details: ua.DeleteRawModifiedDetails) -> Sequence[int]:
    channel = _channel(server, session, details.NodeId, Permission.DELETE_HISTORY)
    low, high = from_datetime(details.StartTime), from_datetime(details.EndTime)
    if not low or not high or high < low:
        raise Refused(_CODES.BadInvalidArgument)
    high += low == high
    node, user, now = channel.node, session.user.name, utc_now()
    if details.IsDeleteModified:
        count = await server.history.edit(session, lambda editor: editor.forget_modified(node, low, high))
    else:
        count = await server.history.edit(session, lambda editor: editor.delete(node, low, high, user, now))
    kind = "delete modified" if details.IsDeleteModified else "delete"
    server.audit("history-update", session=session, node=node, kind=kind, values=count, first=low, last=high)
    if not count:
        raise Refused(_CODES.GoodNoData)
    return []


async def _delete_at(server: UaServer, session: Session, details: ua.DeleteAtTimeDetails) -> Sequence[int]:
    channel = _channel(server, session, details.NodeId, Permission.DELETE_HISTORY)
    times = np.array([from_datetime(time) for time in _some(details.ReqTimes)], np.int64)
    node, user, now = channel.node, session.user.name, utc_now()
    outcomes = await server.history.edit(session, lambda editor: editor.delete_at(node, times, user, now))
    statuses = [_STATUS[outcome] for outcome in outcomes]
    _note(server, session, channel, "delete", statuses, times.tolist())
    return statuses


def _some(values: Sequence[Any] | None) -> Sequence[Any]:
    """Values of a request, some but not too many."""
    if not values:
        raise Refused(_CODES.BadNothingToDo)
    if len(values) > limits.VALUES_PER_HISTORY_UPDATE:
        raise Refused(_CODES.BadTooManyOperations)
    return values


def _channel(server: UaServer, session: Session, node_id: ua.NodeId, needed: Permission) -> Channel:
    node = server.nodes.get(node_id)
    if node is None:
        raise Refused(_CODES.BadNodeIdUnknown)
    if node.channel is None or not server.layout.historized(node.channel):
        raise Refused(_CODES.BadHistoryOperationUnsupported)
    if not permits(session.user, node, needed):
        server.audit("history-refused", session=session, node=node.channel.node, needed=needed.name)
        raise Refused(_CODES.BadUserAccessDenied)
    return node.channel


Row = tuple[int, float, int]


def _checked(value: ua.DataValue, channel: Channel, now: int) -> Row | int:
    """Time, value and status to store, or the StatusCode that says what is wrong with it."""
    time = from_datetime(value.SourceTimestamp)
    status = value.StatusCode.value if value.StatusCode is not None else 0
    if not 0 < time <= now + _AHEAD:
        return int(_CODES.BadInvalidTimestamp)
    variant = value.Value
    if variant is None or variant.Value is None:
        return (time, float("nan"), status) if is_bad(status) else int(_CODES.BadTypeMismatch)
    if variant.VariantType.value != wire_type(channel.spec.data_type)[0] or variant.is_array:
        return int(_CODES.BadTypeMismatch)
    if channel.spec.data_type is DataType.DOUBLE and not np.isfinite(variant.Value) and not is_bad(status):
        return int(_CODES.BadOutOfRange)
    return time, float(variant.Value), status


def _series(rows: Sequence[Row]) -> Series:
    times, values, status = zip(*rows, strict=True) if rows else ((), (), ())
    return Series(np.array(times, np.int64), np.array(values, np.float64), np.array(status, np.uint32))


def _note(server: UaServer, session: Session, channel: Channel, kind: str, statuses: Sequence[int], times: Sequence[int]) -> None:
    done = sum(not is_bad(status) for status in statuses)
    facts = {"node": channel.node, "kind": kind, "values": done, "refused": len(statuses) - done}
    span = {"first": min(times), "last": max(times)} if times else {}
    server.audit("history-update", session=session, **facts, **span)
