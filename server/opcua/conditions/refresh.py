"""ConditionRefresh and ConditionRefresh2: a client that comes late is told every condition that matters (Part 9, 5.5.7).

The conditions are told between a RefreshStartEvent and a RefreshEndEvent, only to the items of the caller's own subscription,
with the EventId they were last told with. A second refresh has to wait until the first was fetched.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from asyncua import ua

from ..events.event import Event
from ..events.items import EventItem
from ..items import DISABLED, REPORTING
from ..metadata import Refused
from ..nodes import NS_UA, Node
from ..turns import Turn, Work, in_turns
from .conditions import event_of

if TYPE_CHECKING:
    from ..publication import Subscription
    from ..server import UaServer
    from ..session import Session

_CODES: Final = ua.StatusCodes
_IDS: Final = ua.ObjectIds
SEVERITY: Final = 100

Outputs: TypeAlias = list[ua.Variant]
Answer: TypeAlias = Outputs | Coroutine[Any, Any, Outputs]


def implementations() -> dict[ua.NodeId, Any]:
    """For the table of the Call service."""
    return {
        ua.NodeId(_IDS.ConditionType_ConditionRefresh, NS_UA): _refresh,
        ua.NodeId(_IDS.ConditionType_ConditionRefresh2, NS_UA): _refresh_item,
    }


def _refresh(server: UaServer, session: Session, target: Node, arguments: list[Any]) -> Answer:
    subscription = server.subscriptions.owned(session, arguments[0])
    return _begin(server, subscription, list(subscription.items.events.items.values()))


def _refresh_item(server: UaServer, session: Session, target: Node, arguments: list[Any]) -> Answer:
    subscription = server.subscriptions.owned(session, arguments[0])
    item = subscription.items.events.items.get(arguments[1])
    if item is None:
        raise Refused(_CODES.BadMonitoredItemIdInvalid)
    return _begin(server, subscription, [item])


def _begin(server: UaServer, subscription: Subscription, items: list[EventItem]) -> Answer:
    """Tell those that listen. One that only samples is told once until its trigger lets go of it; it keeps nobody waiting."""
    if any(item.refreshing and item.mode == REPORTING for item in items):
        raise Refused(_CODES.BadRefreshInProgress)
    told = [item for item in items if not item.refreshing]
    for item in told:
        _say(item, _frame(server, _IDS.RefreshStartEventType, "refresh begins"))
    return in_turns(_tell(server, subscription, told))


def _tell(server: UaServer, subscription: Subscription, items: Iterable[EventItem]) -> Work[Outputs]:
    turn = Turn()
    for live in list(server.conditions):
        event = event_of(live)
        if live.condition.retain and server.events.may_receive(subscription, event):
            for item in items:
                _put(server, item, event)
        if turn.over():
            yield
            turn.begin()
    for item in items:
        _say(item, _frame(server, _IDS.RefreshEndEventType, "refresh is complete"), end=True)
    return []


def _put(server: UaServer, item: EventItem, event: Event) -> None:
    if item.notifier in server.events.notifiers(event.source) and item.filter.wants(event):
        _say(item, event)


def _say(item: EventItem, event: Event, *, end: bool = False) -> None:
    if item.mode != DISABLED:
        item.refresh(item.filter.encode(event), end)


def _frame(server: UaServer, type_id: int, text: str) -> Event:
    return server.events.of_server(type_id, text, SEVERITY)
