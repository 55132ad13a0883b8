"""HistoryRead of raw values (Part 11, 6.5.3): bounds, paging by continuation points, off the loop.

A page is read by a worker thread and packed as one NumPy block; the loop only sends it. A continuation point is a random
token of the session; behind it lies where the next page begins. It is released by reading on, by asking, or with the session.
"""

from __future__ import annotations

import asyncio
import secrets
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from asyncua import ua

from server.core.channel import DataType
from server.core.layout import Channel
from server.core.series import Series, join
from server.core.ticks import from_datetime
from server.history import HistoryError, HistoryReader

from . import limits
from .access import Permission, permits
from .service import Service, ServiceError
from .vocabulary import BUILT_IN, NUMBERS

if TYPE_CHECKING:
    from .server import UaServer
    from .session import Session

PAGE_VALUES_MAX: Final = 10_000
READERS: Final = 2
FOR_EVER: Final = int(np.iinfo(np.int64).max)
_HISTORY_DATA: Final = ua.NodeId(ua.ObjectIds.HistoryData_Encoding_DefaultBinary, 0)


class Refused(Exception):
    """One node cannot be read; `status` goes into its result."""

    def __init__(self, status: int) -> None:
        super().__init__(ua.StatusCode(status).name)
        self.status = status


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where reading one node goes on. start, end: ticks, read from start towards end, `end` itself outside.

    page: most values of one answer. left: values still wanted, 0 for all. bounds: the nearest values outside are wanted too;
    first: nothing was sent yet.
    """

    channel: Channel
    start: int
    end: int
    left: int
    bounds: bool
    page: int = PAGE_VALUES_MAX
    first: bool = True

    @property
    def forward(self) -> bool:
        """True when reading from old to new."""
        return self.start <= self.end


class History:
    """The site's history as the server reads it: a reader, and the threads that wait for the database."""

    def __init__(self, url: str) -> None:
        self._reader = HistoryReader(url)
        self._threads = ThreadPoolExecutor(READERS, "history")

    async def page(self, cursor: Cursor) -> tuple[Series, Cursor | None]:
        """Read the next page off the loop. Raises HistoryError."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, read_page, self._reader, cursor)

    def close(self) -> None:
        """Release the database; a read that is under way is waited for."""
        self._threads.shutdown()
        self._reader.close()


async def history_read(server: UaServer, session: Session, request: ua.HistoryReadRequest) -> ua.HistoryReadResponse:
    """The HistoryRead service. Only ReadRawModifiedDetails of unmodified values are offered."""
    parameters = request.Parameters
    response = ua.HistoryReadResponse()
    if parameters.ReleaseContinuationPoints:
        for wanted in parameters.NodesToRead:
            session.continuations.pop(wanted.ContinuationPoint, None)
            response.Results.append(ua.HistoryReadResult())
        return response
    details = parameters.HistoryReadDetails
    if not isinstance(details, ua.ReadRawModifiedDetails) or details.IsReadModified:
        raise ServiceError(ua.StatusCodes.BadHistoryOperationUnsupported)
    if parameters.TimestampsToReturn not in (ua.TimestampsToReturn.Source, ua.TimestampsToReturn.Both):
        raise ServiceError(ua.StatusCodes.BadTimestampsToReturnInvalid)
    for wanted in parameters.NodesToRead:
        response.Results.append(await _read_node(server, session, wanted, details))
    return response


async def _read_node(
    server: UaServer, session: Session, wanted: ua.HistoryReadValueId, details: ua.ReadRawModifiedDetails
) -> ua.HistoryReadResult:
    result = ua.HistoryReadResult()
    try:
        cursor = _resume(session, wanted) if wanted.ContinuationPoint else _begin(server, session, wanted, details)
        page, following = await server.history.page(cursor)
        if following is not None:
            result.ContinuationPoint = _keep(session, following)
        result.HistoryData = ua.ExtensionObject(TypeId=_HISTORY_DATA, Body=pack(page, cursor.channel.spec.data_type))
        if not len(page):
            result.StatusCode = ua.StatusCode(ua.StatusCodes.GoodNoData)
    except Refused as refused:
        result.StatusCode = ua.StatusCode(refused.status)
    except HistoryError as error:
        server.audit("history-failed", user=session.user.name, reason=str(error))
        result.StatusCode = ua.StatusCode(ua.StatusCodes.BadHistoryOperationInvalid)
    return result


def _begin(server: UaServer, session: Session, wanted: ua.HistoryReadValueId, details: ua.ReadRawModifiedDetails) -> Cursor:
    node = server.nodes.get(wanted.NodeId)
    if node is None:
        raise Refused(ua.StatusCodes.BadNodeIdUnknown)
    if not permits(session.user, node, Permission.READ_HISTORY):
        raise Refused(ua.StatusCodes.BadUserAccessDenied)
    if node.channel is None or not server.layout.historized(node.channel):
        raise Refused(ua.StatusCodes.BadHistoryOperationUnsupported)
    if wanted.IndexRange:
        raise Refused(ua.StatusCodes.BadIndexRangeNoData)
    return begin(node.channel, details)


def begin(channel: Channel, details: ua.ReadRawModifiedDetails) -> Cursor:
    """Where to begin. Within a range NumValuesPerNode limits each answer; with one time only it says how far to go."""
    start, end, count = from_datetime(details.StartTime), from_datetime(details.EndTime), details.NumValuesPerNode
    if (start > 0) + (end > 0) + (count > 0) < 2:
        raise Refused(ua.StatusCodes.BadHistoryOperationInvalid)
    if start and end:
        page = min(count or PAGE_VALUES_MAX, PAGE_VALUES_MAX)
        return Cursor(channel, start, end + (start == end), 0, details.ReturnBounds, page)
    span = (end, 0) if start == 0 else (start, FOR_EVER)
    return Cursor(channel, *span, count, details.ReturnBounds)


def _resume(session: Session, wanted: ua.HistoryReadValueId) -> Cursor:
    cursor = session.continuations.pop(wanted.ContinuationPoint, None)
    if not isinstance(cursor, Cursor):
        raise Refused(ua.StatusCodes.BadContinuationPointInvalid)
    return cursor


def _keep(session: Session, cursor: Cursor) -> bytes:
    kept = sum(isinstance(c, Cursor) for c in session.continuations.values())
    if kept >= limits.HISTORY_CONTINUATION_POINTS:
        raise Refused(ua.StatusCodes.BadNoContinuationPoints)
    token = secrets.token_bytes(16)
    session.continuations[token] = cursor
    return token


def read_page(reader: HistoryReader, cursor: Cursor) -> tuple[Series, Cursor | None]:
    """The next values of a node, and where to go on (None at the end)."""
    room = min(cursor.left or cursor.page, cursor.page)
    node = cursor.channel.node
    parts: list[Series] = []
    raw = reader.raw(node, cursor.start, cursor.end, room + 1)
    if cursor.bounds and cursor.first and not (len(raw) and raw.times[0] == cursor.start):
        parts.append(_bound(reader, node, cursor.start, before=cursor.forward))
        room -= 1
    complete = len(raw) <= room
    parts.append(raw.first(room))
    if complete and cursor.bounds and len(raw) < room and 0 < cursor.end < FOR_EVER:
        parts.append(_closing_bound(reader, cursor))
    page = join(parts)
    left = cursor.left - len(page) if cursor.left else 0
    if complete or (cursor.left and left <= 0):
        return page, None
    step = 1 if cursor.forward else -1
    return page, replace(cursor, start=int(page.times[-1]) + step, left=left, first=False)


def _closing_bound(reader: HistoryReader, cursor: Cursor) -> Series:
    """The value at the end of the range, or the nearest one beyond it."""
    exact = reader.raw(cursor.channel.node, cursor.end, cursor.end + 1, 1)
    return exact if len(exact) else _bound(reader, cursor.channel.node, cursor.end, before=not cursor.forward)


def _bound(reader: HistoryReader, node: str, at: int, *, before: bool) -> Series:
    """The nearest value outside; where there is none, BadBoundNotFound at the time asked for (Part 11, 4.4)."""
    found = reader.bound(node, at, before=before)
    if len(found):
        return found
    return Series(np.array([at]), np.array([np.nan]), np.array([ua.StatusCodes.BadBoundNotFound], np.uint32))


def pack(series: Series, data_type: DataType) -> bytes:
    """A HistoryData structure: count, then DataValues of value, status and source time as one block of equal records."""
    wire = [("mask", "u1"), ("variant", "u1"), ("value", f"<{NUMBERS[data_type]}"), ("status", "<u4"), ("source", "<i8")]
    records = np.empty(len(series), wire)
    records["mask"] = 0x07
    records["variant"] = BUILT_IN[data_type].value
    values = series.values if data_type is DataType.DOUBLE else np.nan_to_num(series.values)
    records["value"] = values
    records["status"] = series.status
    records["source"] = series.times
    return struct.pack("<i", len(records)) + records.tobytes()


SERVICES: Final = {
    ua.HistoryReadRequest: Service(history_read, operations="NodesToRead", most=limits.NODES_PER_HISTORY_READ),
}
