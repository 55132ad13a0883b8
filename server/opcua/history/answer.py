"""Answers to HistoryRead, and what is refused."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from asyncua import ua
from numpy.typing import NDArray

from server.core.channel import DataType
from server.core.series import Series
from server.core.status import BAD
from server.history import HistoryReader

from ..vocabulary import BUILT_IN, NUMBERS

PAGE_VALUES_MAX: Final = 10_000
HISTORY_DATA: Final = ua.NodeId(ua.ObjectIds.HistoryData_Encoding_DefaultBinary, 0)
_WITH_VALUE: Final = 0x07  # value, status, source time
_WITHOUT: Final = 0x06


class Refused(Exception):
    """One node or value is refused; `status` goes into its result."""

    def __init__(self, status: int) -> None:
        super().__init__(ua.StatusCode(status).name)
        self.status = status


@dataclass(frozen=True, slots=True)
class Answer:
    """One page of one node. body: the encoded structure of type `kind`; following: where to go on, None at the end."""

    body: bytes
    empty: bool
    following: Cursor | None
    kind: ua.NodeId = HISTORY_DATA


class Cursor(Protocol):
    """Where reading one node goes on; kept behind its continuation point."""

    def read(self, reader: HistoryReader) -> Answer:
        """Read the next page, in a thread. Raises HistoryError, Refused."""
        ...


def wire_type(data_type: DataType) -> tuple[int, str]:
    """Variant type and NumPy letter of a channel's values."""
    return BUILT_IN[data_type].value, NUMBERS[data_type]


def pack(series: Series, wire: tuple[int, str]) -> bytes:
    """A HistoryData structure: count, then DataValues of value, status and source time; a Bad one has no value.

    All are written as records of equal length, of which the bytes of missing values are then left out.
    """
    variant, letter = wire
    fields = [("mask", "u1"), ("variant", "u1"), ("value", f"<{letter}"), ("status", "<u4"), ("source", "<i8")]
    records = np.empty(len(series), fields)
    bad = series.status >= BAD
    records["mask"] = np.where(bad, _WITHOUT, _WITH_VALUE)
    records["variant"] = variant
    records["value"] = series.values if letter == "d" else np.nan_to_num(series.values)
    records["status"] = series.status
    records["source"] = series.times
    return struct.pack("<i", len(records)) + _without_values(records, bad)


def _without_values(records: NDArray[Any], bad: NDArray[np.bool_]) -> bytes:
    if not bad.any():
        return records.tobytes()
    kept = np.ones((len(records), records.dtype.itemsize), np.bool_)
    offset: int = records.dtype.fields["status"][1]  # type: ignore[index]
    kept[bad, 1:offset] = False
    return records.view(np.uint8).reshape(kept.shape)[kept].tobytes()
