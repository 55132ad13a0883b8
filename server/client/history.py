"""History of one node: raw, aggregated, at times; and corrections of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from asyncua import ua

from server.core.series import Series, join
from server.core.ticks import to_datetime

from .decode import history_response
from .errors import ClientError, check
from .nodes import node_id
from .table import Table

if TYPE_CHECKING:
    from .client import Client

_EVERYTHING: Final = 0xFFFFFFFF
"""Number of values that means all of them, for a range with one open end."""
_EMPTY: Final = Series(np.empty(0, np.int64), np.empty(0), np.empty(0, np.uint32))
_SOURCE: Final = ua.TimestampsToReturn.Source


async def read_history(client: Client, node: str, start: datetime | None, end: datetime | None, limit: int) -> Series:
    """Read until the server has no more or `limit` is reached. ClientError with the server's reason."""
    parts: list[Series] = []
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
        page, point = await _page(client, node, details, point)
        parts.append(page)
        count += len(page)
        if not point or (limit and count >= limit):
            break
    if point:
        await client.ask(_request(node, details, point, release=True), ua.HistoryReadResponse)
    series = join(parts)
    return series.first(limit) if limit else series


async def read_aggregate(client: Client, node: str, start: datetime, end: datetime, interval_s: float, aggregate: str) -> Series:
    """One value per interval. ClientError with the server's reason, BadAggregateNotSupported for an unknown name."""
    function = getattr(ua.ObjectIds, f"AggregateFunction_{aggregate}", None)
    if function is None:
        raise ClientError("BadAggregateNotSupported", f"{aggregate} is no aggregate of OPC UA; Average and Maximum are")
    details = ua.ReadProcessedDetails(
        StartTime=_utc(start),
        EndTime=_utc(end),
        ProcessingInterval=interval_s * 1000.0,
        AggregateType=[ua.NodeId(function, 0)],
        AggregateConfiguration=ua.AggregateConfiguration(UseServerCapabilitiesDefaults=True),
    )
    return await _whole(client, node, details)


async def read_at(client: Client, node: str, times: Sequence[datetime], simple: bool) -> Series:
    """One value per time. ClientError with the server's reason."""
    if not times:
        return _EMPTY
    return await _whole(client, node, ua.ReadAtTimeDetails(ReqTimes=list(map(_utc, times)), UseSimpleBounds=simple))


async def update_history(client: Client, node: str, series: Series, kind: str) -> list[str]:
    """Insert, replace or update values; what became of each, by the name of its StatusCode. ClientError."""
    if kind not in ("Insert", "Replace", "Update"):
        raise ClientError("BadInvalidArgument", f"{kind} is none of Insert, Replace, Update")
    variant = await client.variant_type(node)
    details = ua.UpdateDataDetails(
        NodeId=node_id(node),
        PerformInsertReplace=ua.PerformUpdateType[kind],
        UpdateValues=[
            ua.DataValue(_variant(value, variant), ua.StatusCode(status), to_datetime(time))
            for time, value, status in zip(series.times.tolist(), series.values.tolist(), series.status.tolist(), strict=True)
        ],
    )
    return await _update(client, node, details)


async def delete_history(client: Client, node: str, start: datetime, end: datetime) -> None:
    """Delete the values of a range. ClientError with the server's reason."""
    details = ua.DeleteRawModifiedDetails(NodeId=node_id(node), IsDeleteModified=False, StartTime=_utc(start), EndTime=_utc(end))
    await _update(client, node, details)


async def _update(client: Client, node: str, details: Any) -> list[str]:
    request = ua.HistoryUpdateRequest()
    request.Parameters.HistoryUpdateDetails = [details]
    result = (await client.ask(request, ua.HistoryUpdateResponse)).Results[0]
    check(result.StatusCode, f"history of {node}")
    return [status.name for status in result.OperationResults]


def _variant(value: float, kind: ua.VariantType) -> ua.Variant:
    if np.isnan(value):
        return ua.Variant()
    if kind is ua.VariantType.Boolean:
        return ua.Variant(bool(value), kind)
    return ua.Variant(value if kind is ua.VariantType.Double else int(value), kind)


async def _whole(client: Client, node: str, details: Any) -> Series:
    parts: list[Series] = []
    point: bytes | None = None
    while True:
        page, point = await _page(client, node, details, point)
        parts.append(page)
        if not point:
            return join(parts)


async def _page(client: Client, node: str, details: Any, point: bytes | None) -> tuple[Series, bytes | None]:
    status, following, table = history_response(await client.ask_bytes(_request(node, details, point)))
    check(ua.StatusCode(status), f"history of {node}")
    return _series(table), following


def _series(table: Table) -> Series:
    return Series(table.source, table.value, table.status)


def _request(node: str, details: Any, point: bytes | None, release: bool = False) -> ua.HistoryReadRequest:
    request = ua.HistoryReadRequest()
    request.Parameters.HistoryReadDetails = details
    request.Parameters.TimestampsToReturn = _SOURCE
    request.Parameters.ReleaseContinuationPoints = release
    request.Parameters.NodesToRead = [ua.HistoryReadValueId(NodeId=node_id(node), ContinuationPoint=point)]
    return request


def _utc(time: datetime | None) -> datetime:
    """As asyncua encodes it: UTC; the earliest time stands for "not given"."""
    return datetime(1601, 1, 1, tzinfo=UTC) if time is None else time.astimezone(UTC)
