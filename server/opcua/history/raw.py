"""Raw and modified values (Part 11, 6.5.3): bounds, directions, pages."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary

from server.core.layout import Channel
from server.core.series import Series, join
from server.core.ticks import from_datetime, to_datetime
from server.history import HistoryReader, Modification

from .answer import PAGE_VALUES_MAX, Answer, Refused, pack, wire_type

FOR_EVER: Final = int(np.iinfo(np.int64).max)
_MODIFIED_DATA: Final = ua.NodeId(ua.ObjectIds.HistoryModifiedData_Encoding_DefaultBinary, 0)


@dataclass(frozen=True, slots=True)
class RawCursor:
    """Where reading the values of one node goes on. start, end: ticks, read from start towards end, `end` itself outside.

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

    def read(self, reader: HistoryReader) -> Answer:
        """The next page."""
        page, following = read_page(reader, self)
        return Answer(pack(page, wire_type(self.channel.spec.data_type)), not len(page), following)


@dataclass(frozen=True, slots=True)
class ModifiedCursor:
    """Where reading what was replaced or deleted goes on: values with low <= time < high, `skip` of which were read."""

    channel: Channel
    low: int
    high: int
    page: int
    skip: int = 0

    def read(self, reader: HistoryReader) -> Answer:
        """The next page."""
        found = reader.modified(self.channel.node, self.low, self.high, self.page + 1, self.skip)
        more = len(found) > self.page
        following = replace(self, skip=self.skip + self.page) if more else None
        return Answer(self._pack(found[: self.page]), not found, following, _MODIFIED_DATA)

    def _pack(self, found: list[Modification]) -> bytes:
        return bytes(
            struct_to_binary(
                ua.HistoryModifiedData(
                    [_data_value(m, self.channel) for m in found],
                    [ua.ModificationInfo(to_datetime(m.changed), ua.HistoryUpdateType(m.kind), m.user) for m in found],
                )
            )
        )


def _data_value(found: Modification, channel: Channel) -> ua.DataValue:
    kind = ua.VariantType(wire_type(channel.spec.data_type)[0])
    value = None if np.isnan(found.value) else found.value if kind is ua.VariantType.Double else int(found.value)
    shown = ua.Variant() if value is None else ua.Variant(bool(value) if kind is ua.VariantType.Boolean else value, kind)
    return ua.DataValue(shown, ua.StatusCode(found.status), to_datetime(found.time))


def begin(channel: Channel, details: ua.ReadRawModifiedDetails) -> RawCursor | ModifiedCursor:
    """Where to begin. Within a range NumValuesPerNode limits each answer; with one time only it says how far to go."""
    start, end, count = from_datetime(details.StartTime), from_datetime(details.EndTime), details.NumValuesPerNode
    if (start > 0) + (end > 0) + (count > 0) < 2:
        raise Refused(ua.StatusCodes.BadHistoryOperationInvalid)
    if start and end:
        page = min(count or PAGE_VALUES_MAX, PAGE_VALUES_MAX)
        if details.IsReadModified:
            return ModifiedCursor(channel, min(start, end), max(start, end) + (start == end), page)
        return RawCursor(channel, start, end + (start == end), 0, details.ReturnBounds, page)
    if details.IsReadModified:
        span = (0, end) if start == 0 else (start, FOR_EVER)
        return ModifiedCursor(channel, *span, min(count, PAGE_VALUES_MAX))
    span = (end, 0) if start == 0 else (start, FOR_EVER)
    return RawCursor(channel, *span, count, details.ReturnBounds)


def read_page(reader: HistoryReader, cursor: RawCursor) -> tuple[Series, RawCursor | None]:
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


def _closing_bound(reader: HistoryReader, cursor: RawCursor) -> Series:
    """The value at the end of the range, or the nearest one beyond it."""
    exact = reader.raw(cursor.channel.node, cursor.end, cursor.end + 1, 1)
    return exact if len(exact) else _bound(reader, cursor.channel.node, cursor.end, before=not cursor.forward)


def _bound(reader: HistoryReader, node: str, at: int, *, before: bool) -> Series:
    """The nearest value outside; where there is none, BadBoundNotFound at the time asked for (Part 11, 4.4)."""
    found = reader.bound(node, at, before=before)
    if len(found):
        return found
    return Series(np.array([at]), np.array([np.nan]), np.array([ua.StatusCodes.BadBoundNotFound], np.uint32))
