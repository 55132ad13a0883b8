"""Numbers of the process image as records of the wire, many at once.

A record is a DataValue with an explicit status, for a notification led by the client's handle; records of one kind have one
size, so a thousand of them are one NumPy array and their bytes one copy. What a number means is said here, for reading and
for subscriptions alike: what has no value yet cannot be an integer and is Bad; what is Bad loses its value (Part 4, 7.11).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
from asyncua import ua
from numpy.typing import NDArray

from server.core.channel import DataType
from server.core.status import BAD, BAD_WAITING_FOR_INITIAL_DATA

from .vocabulary import BUILT_IN, NUMBERS

HAS_VALUE, HAS_STATUS, HAS_SOURCE, HAS_SERVER = 0x01, 0x02, 0x04, 0x08
TIMESTAMPS: Final = {
    ua.TimestampsToReturn.Source: HAS_SOURCE,
    ua.TimestampsToReturn.Server: HAS_SERVER,
    ua.TimestampsToReturn.Both: HAS_SOURCE | HAS_SERVER,
    ua.TimestampsToReturn.Neither: 0,
}
"""Mask bits of the timestamps asked for."""


@lru_cache(maxsize=64)
def cell_type(kind: DataType, timestamps: ua.TimestampsToReturn, *, keyed: bool) -> np.dtype[Any]:
    """Record of a number of this kind. keyed: led by a client handle, as in a MonitoredItemNotification."""
    stamps = TIMESTAMPS[timestamps]
    fields: list[Any] = [("handle", "<u4")] if keyed else []
    fields += [("mask", "u1"), ("kind", "u1"), ("value", f"<{NUMBERS[kind]}"), ("status", "<u4")]
    fields += [("source", "<i8")] if stamps & HAS_SOURCE else []
    fields += [("server", "<i8")] if stamps & HAS_SERVER else []
    return np.dtype(fields)


def blank(shape: tuple[int, ...], kind: DataType, timestamps: ua.TimestampsToReturn, *, keyed: bool) -> NDArray[Any]:
    """Records with everything that never changes."""
    cells = np.zeros(shape, cell_type(kind, timestamps, keyed=keyed))
    cells["mask"] = HAS_VALUE | HAS_STATUS | TIMESTAMPS[timestamps]
    cells["kind"] = BUILT_IN[kind].value
    return cells


def true_status(kind: DataType, value: NDArray[np.float64], status: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The status of numbers of this kind: no integer stands for "nothing yet"."""
    if kind is DataType.DOUBLE:
        return status
    return np.where(np.isnan(value) & (status < BAD), np.uint32(BAD_WAITING_FOR_INITIAL_DATA), status)


def fill(cells: NDArray[Any], at: Any, kind: DataType, value: Any, status: Any, source: Any, server: Any) -> None:
    """Write numbers into the records `at`. source, server: 100 ns since 1601, where the records have them."""
    if kind is DataType.BOOLEAN:
        value = value != 0
    with np.errstate(invalid="ignore"):
        cells["value"][at] = value
    cells["status"][at] = status
    names = cells.dtype.names or ()
    if "source" in names:
        cells["source"][at] = source
    if "server" in names:
        cells["server"][at] = server


def bytes_of(cells: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
    """The bytes of records, a row each, and which of them are sent; None for all: what is Bad loses its value."""
    rows = cells.view(np.uint8).reshape(len(cells), cells.itemsize)
    bad = cells["status"] >= BAD
    if not bad.any():
        return rows, None
    offsets = {name: int(offset) for name, (_, offset, *_) in (cells.dtype.fields or {}).items()}
    rows, kept = rows.copy(), np.ones(rows.shape, np.bool_)
    rows[bad, offsets["mask"]] &= ~np.uint8(HAS_VALUE)
    kept[bad, offsets["kind"] : offsets["status"]] = False
    return rows, kept


def encode(cells: NDArray[Any]) -> bytes:
    """Records as they are sent, in their order."""
    rows, kept = bytes_of(cells)
    return rows.tobytes() if kept is None else rows[kept].tobytes()
