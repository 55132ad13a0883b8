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
    first: nothing was sent yet; closing: only the bound at the end is still to be sent.
    """

    channel: Channel
    start: int
    end: int
    left: int
    bounds: bool
    page: int = PAGE_VALUES_MAX
    first: bool = True
    closing: bool = False

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
    """Where reading what was replaced or deleted goes on: start, end, left and page as of a RawCursor; skip: values read."""

    channel: Channel
    start: int
    end: int
    left: int
    page: int = PAGE_VALUES_MAX
    skip: int = 0

    def read(self, reader: HistoryReader) -> Answer:
        """The next page."""
        room = min(self.left or self.page, self.page)
        found = reader.modified(self.channel.node, self.start, self.end, room + 1, self.skip)
        more = len(found) > room and self.left != room
        following = replace(self, left=max(self.left - room, 0), skip=self.skip + room) if more else None
        return Answer(self._pack(found[:room]), not found, following, _MODIFIED_DATA)

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
    """Where to begin. Within a range NumValuesPerNode limits each answer; with one time only it says how far to go.

    Refused with BadHistoryOperationInvalid where two of the three are missing, BadInvalidArgument where modified values are to
    have bounds (Part 11, 6.5.3.3).
    """
    start, end, count = from_datetime(details.StartTime), from_datetime(details.EndTime), details.NumValuesPerNode
    if (start > 0) + (end > 0) + (count > 0) < 2:
        raise Refused(ua.StatusCodes.BadHistoryOperationInvalid)
    if details.IsReadModified and details.ReturnBounds:
        raise Refused(ua.StatusCodes.BadInvalidArgument)
    if start and end:
        span, left, page = (start, end + (start == end)), 0, min(count or PAGE_VALUES_MAX, PAGE_VALUES_MAX)
    else:
        span, left, page = (start, FOR_EVER) if start else (end, 0), count, PAGE_VALUES_MAX
    if details.IsReadModified:
        return ModifiedCursor(channel, *span, left, page)
    return RawCursor(channel, *span, left, details.ReturnBounds, page)


def read_page(reader: HistoryReader, cursor: RawCursor) -> tuple[Series, RawCursor | None]:
    """The next values of a node, and where to go on (None at the end)."""
    if cursor.closing:
        return _closing_bound(reader, cursor), None
    room = min(cursor.left or cursor.page, cursor.page)
    node = cursor.channel.node
    parts: list[Series] = []
    raw = reader.raw(node, cursor.start, cursor.end, room + 1)
    if cursor.bounds and cursor.first and not (len(raw) and raw.times[0] == cursor.start):
        parts.append(_bound(reader, node, cursor.start, before=cursor.forward))
        room -= 1
    complete = len(raw) <= room
    closing = complete and _closes(cursor, raw)
    parts.append(raw.first(room))
    if closing and len(raw) < room:
        parts.append(_closing_bound(reader, cursor))
    page = join(parts)
    if closing and len(raw) == room:
        return page, replace(cursor, closing=True)
    left = cursor.left - len(page) if cursor.left else 0
    if complete or (cursor.left and left <= 0):
        return page, None
    step = 1 if cursor.forward else -1
    return page, replace(cursor, start=int(page.times[-1]) + step, left=left, first=False)


def _closes(cursor: RawCursor, raw: Series) -> bool:
    """True when a bound at the end is wanted: there is an end, and it is not one moment with a value, which is its own bound."""
    moment = cursor.first and cursor.end - cursor.start == 1 and len(raw) > 0
    return cursor.bounds and 0 < cursor.end < FOR_EVER and not moment


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
