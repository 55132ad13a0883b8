"""Events as the client sees them: one dictionary per event, from browse path to value.

A consumer that is slower than the events never makes memory grow: above `buffer` the oldest are given up and counted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from asyncua import ua

from .decode import Published
from .errors import check
from .nodes import node_id, node_name
from .subscription import Followed

if TYPE_CHECKING:
    from .client import Client

Event = dict[str, Any]
"""An event: value by field. Texts are str, NodeIds names as in every call, times datetimes; None where there is none."""

SERVER: Final = "i=2253"
CONDITION_ID: Final = "ConditionId"
EVENT_TYPE: Final = "EventType"
QUEUE: Final = 1_000
BUFFER: Final = 10_000
_BASE: Final = ua.NodeId(ua.ObjectIds.BaseEventType)
_CONDITION: Final = ua.NodeId(ua.ObjectIds.ConditionType)


class EventSubscription(Followed):
    """Events of a notifier: `async for event in subscription`.

    fields: browse paths of what is wanted of each event. types: only events of these types and their subtypes, all when empty.
    queue: events kept at the server between two intervals; overflows are events of their own.
    lost: events given up here because the consumer was slow.
    """

    def __init__(
        self,
        client: Client,
        fields: Sequence[str],
        node: str = SERVER,
        *,
        types: Sequence[str] = (),
        interval_ms: float = 200,
        queue: int = QUEUE,
        buffer: int = BUFFER,
    ) -> None:
        super().__init__(client, interval_ms)
        self.fields = tuple(fields)
        self.node = node
        self.types = tuple(types)
        self.queue = queue
        self.lost = 0
        self._buffer = buffer
        self._events: deque[Event] = deque()
        self._ready = asyncio.Event()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            if self._closed:
                raise StopAsyncIteration
            self._ready.clear()
            await self._ready.wait()
        return self._events.popleft()

    def end(self) -> None:
        """End the iteration once what waits is consumed."""
        super().end()
        self._ready.set()

    async def take(self, published: Published) -> None:
        """Give the events to the consumer."""
        for values in published.events:
            await self.receive(dict(zip(self.fields, map(_plain, values), strict=False)))

    async def receive(self, event: Event) -> None:
        """One event arrived."""
        if len(self._events) >= self._buffer:
            self._events.popleft()
            self.lost += 1
        self._events.append(event)
        self._ready.set()

    def items(self) -> list[ua.MonitoredItemCreateRequest]:
        """The one item that monitors the notifier."""
        wanted = event_filter(self.fields, self.types)
        target = ua.ReadValueId(NodeId=node_id(self.node), AttributeId=ua.AttributeIds.EventNotifier)
        parameters = ua.MonitoringParameters(ClientHandle=0, SamplingInterval=0, Filter=wanted, QueueSize=self.queue)
        return [ua.MonitoredItemCreateRequest(target, ua.MonitoringMode.Reporting, parameters)]


def event_filter(fields: Sequence[str], types: Sequence[str] = ()) -> ua.EventFilter:
    """Select fields by browse path; only events of these types and their subtypes, all when empty."""
    return ua.EventFilter(SelectClauses=[_clause(path) for path in fields], WhereClause=_where(types))


async def read_events(
    client: Client, fields: Sequence[str], start: datetime, end: datetime, node: str, types: Sequence[str]
) -> list[Event]:
    """What a notifier told between two times, oldest first, or newest first when start > end."""
    details = ua.ReadEventDetails(0, start, end, event_filter(fields, types))
    events: list[Event] = []
    point: bytes | None = b""
    while point is not None:
        request = ua.HistoryReadRequest()
        request.Parameters.HistoryReadDetails = details
        request.Parameters.ReleaseContinuationPoints = False
        request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Source
        request.Parameters.NodesToRead = [ua.HistoryReadValueId(node_id(node), ContinuationPoint=point or None)]
        result = (await client.ask(request, ua.HistoryReadResponse)).Results[0]
        check(result.StatusCode, f"reading the events of {node}")
        found = result.HistoryData.Events or []
        events += [dict(zip(fields, (_plain(v.Value) for v in row.EventFields), strict=True)) for row in found]
        point = result.ContinuationPoint or None
    return events


def _clause(path: str) -> ua.SimpleAttributeOperand:
    if path == CONDITION_ID:
        return ua.SimpleAttributeOperand(TypeDefinitionId=_CONDITION, AttributeId=ua.AttributeIds.NodeId)
    names = [ua.QualifiedName(name) for name in path.split("/")]
    return ua.SimpleAttributeOperand(TypeDefinitionId=_BASE, BrowsePath=names, AttributeId=ua.AttributeIds.Value)


def _where(types: Sequence[str]) -> ua.ContentFilter:
    """OfType for one type; for more a chain of Or, each of the rest and the next."""
    tests = [_element(ua.FilterOperator.OfType, ua.LiteralOperand(ua.Variant(node_id(t), ua.VariantType.NodeId))) for t in types]
    ors = max(len(tests) - 1, 0)
    chain = [
        _element(ua.FilterOperator.Or, ua.ElementOperand(ors + i), ua.ElementOperand(i + 1 if i + 1 < ors else ors + i + 1))
        for i in range(ors)
    ]
    return ua.ContentFilter(Elements=[*chain, *tests])


def _element(operator: ua.FilterOperator, *operands: Any) -> ua.ContentFilterElement:
    return ua.ContentFilterElement(FilterOperator=operator, FilterOperands=list(operands))


def _plain(value: Any) -> Any:
    match value:
        case ua.LocalizedText():
            return value.Text or ""
        case ua.NodeId():
            return "" if value.is_null() else node_name(value)
    return value
