"""Raw history of one node, over continuation points."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from asyncua import ua

from server.core.series import Series

from .decode import history_response
from .errors import check
from .nodes import node_id
from .table import Table, concatenate

if TYPE_CHECKING:
    from .client import Client

_EVERYTHING: Final = 0xFFFFFFFF
"""Number of values that means all of them, for a range with one open end."""


async def read_history(client: Client, node: str, start: datetime | None, end: datetime | None, limit: int) -> Series:
    """Read until the server has no more or `limit` is reached. ClientError with the server's reason."""
    tables: list[Table] = []
    point: bytes | None = None
    count = 0
    while True:
        details = ua.ReadRawModifiedDetails(
            IsReadModified=False,
            StartTime=_utc(start),
            EndTime=_utc(end),
            NumValuesPerNode=limit - count if limit else 0 if start and end else _EVERYTHING,
            ReturnBounds=False,
        )
        status, following, table = history_response(await client.ask_bytes(_request(node, details, point)))
        check(ua.StatusCode(status), f"history of {node}")
        tables.append(table)
        count += len(table)
        point = following
        if not point or (limit and count >= limit):
            break
    if point:
        await client.ask(_request(node, details, point, release=True), ua.HistoryReadResponse)
    whole = concatenate(tables)
    series = Series(whole.source, whole.value, whole.status)
    return series.first(limit) if limit else series


def _request(node: str, details: ua.ReadRawModifiedDetails, point: bytes | None, release: bool = False) -> ua.HistoryReadRequest:
    request = ua.HistoryReadRequest()
    request.Parameters.HistoryReadDetails = details
    request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Source
    request.Parameters.ReleaseContinuationPoints = release
    request.Parameters.NodesToRead = [ua.HistoryReadValueId(NodeId=node_id(node), ContinuationPoint=point)]
    return request


def _utc(time: datetime | None) -> datetime:
    """As asyncua encodes it: UTC; the earliest time stands for "not given"."""
    return datetime(1601, 1, 1, tzinfo=UTC) if time is None else time.astimezone(UTC)
