"""Bytes of PublishResponses and of history to Tables.

A server of this product sends thousands of changes as records of equal shape: client handle, mask, Variant type, value,
status, timestamps. The first record tells mask and type; the rest of the block is looked at through a structured array of
that shape, and the run ends at the first record whose mask or type differs. By induction each record of the run starts where
the one before ends, so nothing is guessed. Short runs, texts, arrays and whatever other servers send are decoded one by one.
Every count is compared with the bytes that are there before anything is allocated.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import numpy as np
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import variant_from_binary
from numpy.typing import NDArray

from server.core.ticks import to_datetime

from .errors import ClientError
from .link import plain_header
from .table import Table, concatenate

_NUMBERS: Final = {
    1: "u1",
    2: "i1",
    3: "u1",
    4: "<i2",
    5: "<u2",
    6: "<i4",
    7: "<u4",
    8: "<i8",
    9: "<u8",
    10: "<f4",
    11: "<f8",
    13: "<i8",
    19: "<u4",
}
"""NumPy type of each numeric Variant type; 13 is DateTime."""

_DATA_CHANGE: Final = b"\x01\x00\x2b\x03\x01"
_STATUS_CHANGE: Final = b"\x01\x00\x34\x03\x01"
_EVENTS: Final = b"\x01\x00\x94\x03\x01"
_HISTORY_DATA: Final = b"\x01\x00\x92\x02\x01"
_VALUE, _STATUS, _SOURCE, _SERVER, _SOURCE_PS, _SERVER_PS = (1 << i for i in (0, 1, 2, 3, 4, 5))
_RUN_MIN: Final = 8
_SINGLES: Final = 64


@dataclass(slots=True)
class Published:
    """One PublishResponse.

    time: when the server made the message, 100 ns since 1601.
    table: changed values; events: the selected fields of each event; closing: the StatusCode of a StatusChangeNotification.
    """

    subscription: int
    sequence: int
    more: bool = False
    available: tuple[int, ...] = ()
    table: Table | None = None
    events: list[list[Any]] = field(default_factory=list)
    closing: int | None = None
    notified: bool = False
    time: int = 0


@dataclass(slots=True)
class _Reader:
    data: bytes
    at: int = 0
    end: int = field(default=-1)

    def take(self, form: struct.Struct) -> tuple[Any, ...]:
        if self.at + form.size > self.end:
            raise _short()
        values = form.unpack_from(self.data, self.at)
        self.at += form.size
        return values

    def skip(self, size: int) -> int:
        start = self.at
        if size < 0 or start + size > self.end:
            raise _short()
        self.at += size
        return start

    def count(self, size_min: int) -> int:
        """Length of an array whose elements have at least `size_min` bytes."""
        (count,) = self.take(_INT)
        if count * size_min > self.end - self.at:
            raise _short()
        return max(int(count), 0)


_BYTE, _INT, _UINT, _TIME = struct.Struct("<B"), struct.Struct("<i"), struct.Struct("<I"), struct.Struct("<q")
_SUBSCRIPTION: Final = struct.Struct("<I")
_MESSAGE: Final = struct.Struct("<Iq")


def _short() -> ClientError:
    return ClientError("BadDecodingError", "a notification is shorter than it says")


def publish_response(data: bytes) -> Published:
    """Decode a PublishResponse. ClientError on bytes that are none."""
    start, _ = plain_header(data)
    reader = _Reader(data, start, len(data))
    (subscription,) = reader.take(_SUBSCRIPTION)
    count = reader.count(4)
    at = reader.skip(4 * count)
    available = struct.unpack_from(f"<{count}I", data, at)
    (more,) = reader.take(_BYTE)
    published = Published(subscription, 0, bool(more), available)
    _message(reader, published)
    return published


def republish_response(data: bytes, subscription: int) -> Published:
    """Decode a RepublishResponse."""
    start, _ = plain_header(data)
    published = Published(subscription, 0)
    _message(_Reader(data, start, len(data)), published)
    return published


def _message(reader: _Reader, published: Published) -> None:
    published.sequence, published.time = reader.take(_MESSAGE)
    tables = []
    for _ in range(reader.count(4)):
        published.notified = True
        kind = reader.data[reader.skip(5) : reader.at]
        (size,) = reader.take(_INT)
        start = reader.skip(size)
        inner = _Reader(reader.data, start, start + size)
        if kind == _DATA_CHANGE:
            tables.append(_values(inner, keyed=True))
        elif kind == _EVENTS:
            published.events += _events(inner)
        elif kind == _STATUS_CHANGE:
            (published.closing,) = inner.take(_UINT)
    if tables:
        published.table = concatenate(tables)


def _events(reader: _Reader) -> list[list[Any]]:
    """The fields of each EventFieldList; the client handle is not needed, a subscription has one event item."""
    events = []
    for _ in range(reader.count(8)):
        reader.take(_UINT)
        events.append([_plain(reader) for _ in range(reader.count(1))])
    return events


def _plain(reader: _Reader) -> Any:
    """A Variant's value as Python has it; a DateTime as datetime."""
    kind = reader.data[reader.at] if reader.at < reader.end else 0
    value = _variant(reader)
    if kind == ua.VariantType.DateTime.value:
        return to_datetime(float(value))
    if kind == ua.VariantType.Boolean.value:
        return bool(value)
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value


def history_response(data: bytes) -> tuple[int, bytes | None, Table]:
    """Decode a HistoryReadResponse for one node: its StatusCode, continuation point, and values (index 0)."""
    start, _ = plain_header(data)
    reader = _Reader(data, start, len(data))
    if reader.count(9) != 1:
        raise ClientError("BadDecodingError", "an answer for one node was expected")
    (status,) = reader.take(_UINT)
    size = reader.count(1)
    point = data[reader.skip(size) : reader.at] or None
    kind = data[reader.skip(len(_HISTORY_DATA)) : reader.at]
    if kind != _HISTORY_DATA:
        return status, point, _empty(0)
    (size,) = reader.take(_INT)
    start = reader.skip(size)
    return status, point, _values(_Reader(data, start, start + size), keyed=False)


def _values(reader: _Reader, keyed: bool) -> Table:
    """An array of MonitoredItemNotifications (keyed: a handle before each value) or of DataValues."""
    left = reader.count(5 if keyed else 1)
    tables = []
    while left:
        table = _run(reader, left, keyed) or _singles(reader, min(left, _SINGLES), keyed)
        tables.append(table)
        left -= len(table)
    return concatenate(tables) if tables else _empty(0)


@lru_cache(maxsize=256)
def _record(mask: int, kind: int, keyed: bool) -> np.dtype[Any] | None:
    """Shape of a record of this mask and Variant type; None where its size varies."""
    fields: list[Any] = [("handle", "<u4")] if keyed else []
    fields.append(("mask", "u1"))
    if mask & _VALUE:
        if kind not in _NUMBERS:
            return None
        fields += [("kind", "u1"), ("value", _NUMBERS[kind])]
    options = (_STATUS, "status", "<u4"), (_SOURCE, "source", "<i8"), (_SOURCE_PS, "sps", "<u2"), (_SERVER, "server", "<i8")
    fields += [(name, form) for bit, name, form in (*options, (_SERVER_PS, "vps", "<u2")) if mask & bit]
    return np.dtype(fields)


def _run(reader: _Reader, most: int, keyed: bool) -> Table | None:
    """The records from here on that have the shape of the first one, None when they are few."""
    data, at = reader.data, reader.at + 4 * keyed
    if at + 2 > reader.end:
        return None
    mask, kind = data[at], data[at + 1]
    shape = _record(mask, kind, keyed)
    if shape is None:
        return None
    most = min(most, (reader.end - reader.at) // shape.itemsize)
    if most < _RUN_MIN:
        return None
    records = np.frombuffer(data, shape, most, reader.at)
    same = records["mask"] == mask
    if mask & _VALUE:
        same &= records["kind"] == kind
    count = most if same.all() else int(same.argmin())
    if count < _RUN_MIN:
        return None
    reader.at += count * shape.itemsize
    return _columns(records[:count], mask, keyed)


def _columns(records: NDArray[Any], mask: int, keyed: bool) -> Table:
    count = len(records)
    return Table(
        records["handle"].astype(np.int64) if keyed else np.zeros(count, np.int64),
        records["value"].astype(np.float64) if mask & _VALUE else np.full(count, np.nan),
        records["status"].astype(np.uint32) if mask & _STATUS else np.zeros(count, np.uint32),
        records["source"].astype(np.int64) if mask & _SOURCE else np.zeros(count, np.int64),
    )


def _empty(count: int) -> Table:
    return Table(np.zeros(count, np.int64), np.full(count, np.nan), np.zeros(count, np.uint32), np.zeros(count, np.int64))


def _singles(reader: _Reader, count: int, keyed: bool) -> Table:
    table = _empty(count)
    for row in range(count):
        if keyed:
            (table.index[row],) = reader.take(_UINT)
        (mask,) = reader.take(_BYTE)
        if mask & _VALUE:
            _value(table, row, _variant(reader))
        if mask & _STATUS:
            (table.status[row],) = reader.take(_UINT)
        if mask & _SOURCE:
            (table.source[row],) = reader.take(_TIME)
        reader.skip(2 * bool(mask & _SOURCE_PS) + 8 * bool(mask & _SERVER) + 2 * bool(mask & _SERVER_PS))
    return table


def _variant(reader: _Reader) -> Any:
    """A Variant's value: numbers and arrays of numbers ourselves, texts as str, the rest by asyncua."""
    encoding = reader.data[reader.skip(1)]
    kind, dimensions = encoding & 0x3F, encoding & 0x40
    if kind in _NUMBERS:
        form = np.dtype(_NUMBERS[kind])
        count = reader.count(form.itemsize) if encoding & 0x80 else 1
        values = np.frombuffer(reader.data, form, count, reader.skip(count * form.itemsize))
        if dimensions:
            reader.skip(4 * reader.count(4))
        return values if encoding & 0x80 else values[0]
    if kind == 0:
        if encoding:
            raise ClientError("BadDecodingError", "an array of nothing")
        return None
    if kind == ua.VariantType.Variant.value:
        raise ClientError("BadDecodingError", "an array of Variants is not supported")
    start = reader.at - 1
    buffer = Buffer(reader.data, start, reader.end - start)
    try:
        value = variant_from_binary(buffer).Value
    except (ua.UaError, ValueError, KeyError, TypeError, AttributeError, struct.error, RecursionError) as error:
        raise ClientError("BadDecodingError", str(error)) from error
    reader.at = buffer.cur_pos
    return value


def _value(table: Table, row: int, value: Any) -> None:
    if isinstance(value, np.ndarray):
        table.arrays[row] = value.astype(np.float64)
    elif isinstance(value, np.generic):
        table.value[row] = float(value)
    elif isinstance(value, ua.LocalizedText):
        table.texts[row] = value.Text or ""
    elif value is not None:
        table.texts[row] = value if isinstance(value, str) else str(value)
