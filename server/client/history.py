"""Raw history of one node, over continuation points."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from asyncua import ua
from numpy.typing import NDArray

from .errors import check
from .nodes import node_id

Ask = Callable[[Any, Any], Awaitable[Any]]

VALUES_PER_CALL = 50_000


@dataclass(frozen=True, slots=True)
class Series:
    """Values over time. times: 100 ns since 1601-01-01 UTC; values: NaN where there is none; status: StatusCodes."""

    times: NDArray[np.int64]
    values: NDArray[np.float64]
    status: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.times)


async def read_history(ask: Ask, node: str, start: datetime | None, end: datetime | None, limit: int) -> Series:
    """Read until the server has no more or `limit` is reached. ClientError with the server's reason."""
    details = ua.ReadRawModifiedDetails(
        IsReadModified=False, StartTime=_naive(start), EndTime=_naive(end), NumValuesPerNode=0, ReturnBounds=False
    )
    values: list[ua.DataValue] = []
    point: bytes | None = None
    while True:
        details.NumValuesPerNode = min(VALUES_PER_CALL, limit - len(values)) if limit else VALUES_PER_CALL
        request = ua.HistoryReadRequest()
        request.Parameters.HistoryReadDetails = details
        request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Source
        request.Parameters.ReleaseContinuationPoints = False  # asyncua presets True, which asks for no values at all
        request.Parameters.NodesToRead = [ua.HistoryReadValueId(NodeId=node_id(node), ContinuationPoint=point)]
        result = (await ask(request, ua.HistoryReadResponse)).Results[0]
        check(result.StatusCode, f"history of {node}")
        values += result.HistoryData.DataValues if isinstance(result.HistoryData, ua.HistoryData) else []
        point = result.ContinuationPoint
        full = bool(limit) and len(values) >= limit
        if point and full:
            request.Parameters.ReleaseContinuationPoints = True
            request.Parameters.NodesToRead[0].ContinuationPoint = point
            await ask(request, ua.HistoryReadResponse)
        if not point or full:
            return _series(values)


def _series(values: list[ua.DataValue]) -> Series:
    return Series(
        np.array([ua.datetime_to_win_epoch(v.SourceTimestamp) if v.SourceTimestamp else 0 for v in values], np.int64),
        np.array([_number(v.Value) for v in values], np.float64),
        np.array([v.StatusCode.value if v.StatusCode else 0 for v in values], np.uint32),
    )


def _number(variant: ua.Variant | None) -> float:
    value = None if variant is None else variant.Value
    return float(value) if isinstance(value, (bool, int, float)) else np.nan


def _naive(time: datetime | None) -> datetime:
    """As asyncua encodes it: UTC; the earliest time stands for "not given"."""
    return datetime(1601, 1, 1, tzinfo=UTC) if time is None else time.astimezone(UTC)
