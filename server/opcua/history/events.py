"""History of events (Part 11, 6.5.2): what a notifier told between two times, filtered as if it were told now."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from asyncua import ua

from server.core.ticks import from_datetime
from server.history import HistoryReader, StoredEvent, read_events

from ..access import Permission, permits
from ..events.event import Event
from ..events.filter import EventFilter, compile_filter
from ..events.recorder import CONDITION_ID, unpack
from ..nodes import NULL_ID, Node
from .answer import Answer, Refused
from .raw import FOR_EVER

if TYPE_CHECKING:
    from ..server import UaServer
    from ..session import Session

PAGE_EVENTS_MAX: Final = 1_000
SCANNED_MAX: Final = 20_000
"""Events looked at for one answer; an answer that found none of them may be followed by another."""
HISTORY_EVENT: Final = ua.NodeId(ua.ObjectIds.HistoryEvent_Encoding_DefaultBinary, 0)
_CAN_READ: Final = ua.EventNotifier.HistoryRead.mask


@dataclass(frozen=True, slots=True)
class EventCursor:
    """Where reading goes on: events with low <= time < high, `skip` of which were looked at. left: still wanted, 0 for all."""

    low: int
    high: int
    forward: bool
    page: int
    left: int
    wanted: Callable[[Event], bool]
    filter: EventFilter
    skip: int = 0

    def read(self, reader: HistoryReader) -> Answer:
        """The next page, filtered."""
        room = min(self.page, self.left or self.page)
        rows: list[bytes] = []
        skip = self.skip
        while skip - self.skip < SCANNED_MAX:
            stored = read_events(reader, self.low, self.high, PAGE_EVENTS_MAX, skip, forward=self.forward)
            for found in stored:
                if len(rows) == room:
                    return self._answer(rows, skip)
                skip += 1
                event = _event(found)
                if self.wanted(event) and self.filter.wants(event):
                    rows.append(self.filter.encode(event))
            if len(stored) < PAGE_EVENTS_MAX:
                return self._answer(rows, None)
        return self._answer(rows, skip)

    def _answer(self, rows: list[bytes], skip: int | None) -> Answer:
        left = self.left - len(rows) if self.left else 0
        done = skip is None or (self.left and left <= 0)
        following = None if done or skip is None else replace(self, skip=skip, left=left)
        return Answer(struct.pack("<i", len(rows)) + b"".join(rows), not rows, following, HISTORY_EVENT)


def _event(stored: StoredEvent) -> Event:
    fields = unpack(stored.body)
    condition = fields.get(CONDITION_ID)
    kind, source = ua.NodeId.from_string(stored.kind), ua.NodeId.from_string(stored.source)
    return Event(kind, source, fields.get, condition.Value if condition is not None else NULL_ID)


def begin_events(server: UaServer, session: Session, node: Node, details: ua.ReadEventDetails) -> EventCursor:
    """Where to begin. Raises Refused when the node keeps no events, or the times or the filter cannot be used."""
    notifier = node.attributes.get(ua.AttributeIds.EventNotifier)
    if notifier is None or not notifier.Value & _CAN_READ:
        raise Refused(ua.StatusCodes.BadHistoryOperationUnsupported)
    start, end, count = from_datetime(details.StartTime), from_datetime(details.EndTime), details.NumValuesPerNode
    if (start > 0) + (end > 0) + (count > 0) < 2:
        raise Refused(ua.StatusCodes.BadHistoryOperationInvalid)
    forward = start > 0 and (end == 0 or start <= end)
    low, high = sorted((start, end)) if start and end else (start, FOR_EVER) if start else (0, end)
    page = min(count or PAGE_EVENTS_MAX, PAGE_EVENTS_MAX)
    left = 0 if start and end else count
    wanted, chosen = _wanted(server, session, node.node_id), compile_filter(details.Filter, server.events.types)
    return EventCursor(low, high + (low == high), forward, page, left, wanted, chosen)


def _wanted(server: UaServer, session: Session, notifier: ua.NodeId) -> Callable[[Event], bool]:
    """Events that this notifier tells and this user may have."""

    def wanted(event: Event) -> bool:
        source = server.nodes.get(event.source)
        known = source is not None and permits(session.user, source, Permission.RECEIVE_EVENTS)
        return known and notifier in server.events.notifiers(event.source)

    return wanted
