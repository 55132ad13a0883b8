"""The services HistoryRead and HistoryUpdate.

A page is read by a worker thread and packed as one NumPy block; the loop only sends it. A continuation point is a random token
of the session; behind it lies where the next page begins. It is released by reading on, by asking, or with the session. A
request that nobody waits for any more, because it was cancelled or its connection is gone, ends after the page under way.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

from asyncua import ua

from server.core.layout import Channel
from server.history import HistoryError

from .. import limits
from ..access import Permission, permits
from ..nodes import Node
from ..service import Service, ServiceError
from .answer import Answer, Cursor, Refused
from .events import begin_events
from .processed import begin_at_times, begin_processed
from .raw import begin
from .update import history_update

if TYPE_CHECKING:
    from ..server import UaServer
    from ..session import Reply, Session

_TIMESTAMPS: Final = (ua.TimestampsToReturn.Source, ua.TimestampsToReturn.Both)


async def history_read(
    server: UaServer, session: Session, request: ua.HistoryReadRequest, reply: Reply
) -> ua.HistoryReadResponse:
    """The HistoryRead service."""
    parameters = request.Parameters
    response = ua.HistoryReadResponse()
    if parameters.ReleaseContinuationPoints:
        for wanted in parameters.NodesToRead:
            session.continuations.pop(wanted.ContinuationPoint, None)
            response.Results.append(ua.HistoryReadResult())
        return response
    if parameters.TimestampsToReturn not in _TIMESTAMPS:
        raise ServiceError(ua.StatusCodes.BadTimestampsToReturnInvalid)
    details = parameters.HistoryReadDetails
    _check(details, len(parameters.NodesToRead))
    for index, wanted in enumerate(parameters.NodesToRead):
        if reply.closed:
            break
        response.Results.append(await _read_node(server, session, wanted, details, index))
    return response


def _check(details: Any, nodes: int) -> None:
    if not isinstance(details, (ua.ReadRawModifiedDetails, ua.ReadProcessedDetails, ua.ReadAtTimeDetails, ua.ReadEventDetails)):
        raise ServiceError(ua.StatusCodes.BadHistoryOperationUnsupported)
    if isinstance(details, ua.ReadProcessedDetails) and len(details.AggregateType or []) != nodes:
        raise ServiceError(ua.StatusCodes.BadAggregateListMismatch)


async def _read_node(
    server: UaServer, session: Session, wanted: ua.HistoryReadValueId, details: Any, index: int
) -> ua.HistoryReadResult:
    result = ua.HistoryReadResult()
    try:
        cursor = _resume(session, wanted) if wanted.ContinuationPoint else _begin(server, session, wanted, details, index)
        answer: Answer = await server.history.read(session, cursor.read)
        if answer.following is not None:
            result.ContinuationPoint = _keep(session, answer.following)
        result.HistoryData = ua.ExtensionObject(TypeId=answer.kind, Body=answer.body)
        if answer.empty:
            result.StatusCode = ua.StatusCode(ua.StatusCodes.GoodNoData)
    except (Refused, ServiceError) as refused:
        result.StatusCode = ua.StatusCode(refused.status)
    except HistoryError as error:
        server.audit("history-failed", session=session, reason=str(error))
        result.StatusCode = ua.StatusCode(ua.StatusCodes.BadDataUnavailable)
    return result


def _begin(server: UaServer, session: Session, wanted: ua.HistoryReadValueId, details: Any, index: int) -> Cursor:
    node = _node(server, session, wanted)
    if isinstance(details, ua.ReadEventDetails):
        return begin_events(server, session, node, details)
    channel = _channel(server, node, wanted)
    if isinstance(details, ua.ReadProcessedDetails):
        return begin_processed(channel, details, details.AggregateType[index])
    if isinstance(details, ua.ReadAtTimeDetails):
        return begin_at_times(channel, details)
    return begin(channel, details)


def _node(server: UaServer, session: Session, wanted: ua.HistoryReadValueId) -> Node:
    node = server.nodes.get(wanted.NodeId)
    if node is None:
        raise Refused(ua.StatusCodes.BadNodeIdUnknown)
    if not permits(session.user, node, Permission.READ_HISTORY):
        raise Refused(ua.StatusCodes.BadUserAccessDenied)
    return node


def _channel(server: UaServer, node: Node, wanted: ua.HistoryReadValueId) -> Channel:
    if node.channel is None or not server.layout.historized(node.channel):
        raise Refused(ua.StatusCodes.BadHistoryOperationUnsupported)
    if wanted.IndexRange:
        raise Refused(ua.StatusCodes.BadIndexRangeNoData)
    return node.channel


def _resume(session: Session, wanted: ua.HistoryReadValueId) -> Cursor:
    cursor = session.continuations.get(wanted.ContinuationPoint)
    if cursor is None or not hasattr(cursor, "read"):
        raise Refused(ua.StatusCodes.BadContinuationPointInvalid)
    del session.continuations[wanted.ContinuationPoint]
    found: Cursor = cursor
    return found


def _keep(session: Session, cursor: Cursor) -> bytes:
    kept = sum(hasattr(c, "read") for c in session.continuations.values())
    if kept >= limits.HISTORY_CONTINUATION_POINTS:
        raise Refused(ua.StatusCodes.BadNoContinuationPoints)
    token = secrets.token_bytes(16)
    session.continuations[token] = cursor
    return token


SERVICES: Final = {
    ua.HistoryReadRequest: Service(history_read, operations="NodesToRead", most=limits.NODES_PER_HISTORY_READ, takes_reply=True),
    ua.HistoryUpdateRequest: Service(history_update, operations="HistoryUpdateDetails", most=limits.NODES_PER_HISTORY_UPDATE),
}
