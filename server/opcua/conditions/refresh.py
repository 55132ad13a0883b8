"""ConditionRefresh and ConditionRefresh2: a client that comes late is told every condition that matters (Part 9, 5.5.7).

The conditions are told between a RefreshStartEvent and a RefreshEndEvent, only to the items of the caller's own subscription,
with the EventId they were last told with. A second refresh has to wait until the first was fetched.

All of it goes the way of every event, after what is still on its way to these items and before what comes: no older state of a
condition follows a newer one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from asyncua import ua

from ..events.delivery import Hand, Letter
from ..events.event import Event
from ..events.filter import EventFilter
from ..events.items import EventItem, EventLane
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
AHEAD_MAX: Final = 100
"""Events of a refresh wait until not more are on their way to their user; then they can be told as they were found."""

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
    told = [item for item in items if not item.refreshing and item.mode != DISABLED]
    for item in told:
        item.refreshing = True
    work = _Refresh(server, subscription, told).work()
    answer = in_turns(work)
    return _closing(work, answer) if isinstance(answer, Coroutine) else answer


async def _closing(work: Work[Outputs], answer: Awaitable[Outputs]) -> Outputs:
    """The answer; the work is at its end, too, when nobody waits for it any more."""
    try:
        return await answer
    finally:
        work.close()


class _Refresh:
    """One refresh of some items of a subscription."""

    def __init__(self, server: UaServer, subscription: Subscription, items: Iterable[EventItem]) -> None:
        self._server = server
        self._subscription = subscription
        self._items = frozenset(items)

    def work(self) -> Work[Outputs]:
        """Tell all of it; done when it is in the queues. It has an end even when the caller is gone."""
        self._frame(_IDS.RefreshStartEventType, "refresh begins", _told)
        try:
            yield from self._conditions()
        finally:
            last = self._frame(_IDS.RefreshEndEventType, "refresh is complete", _ended)
        while not last.delivered:
            yield
        return []

    def _conditions(self) -> Work[None]:
        turn = Turn()
        for live in list(self._server.conditions):
            if turn.over():
                yield
                turn.begin()
            while self._server.events.delivery.waiting(self._subscription.user) > AHEAD_MAX:
                yield
            if live.condition.retain:
                self._retell(event_of(live))

    def _retell(self, event: Event) -> None:
        events = self._server.events
        if events.may_receive(self._subscription.user, event):
            self._send(event, frozenset(events.notifiers(event.source)), _retold)

    def _frame(self, type_id: int, text: str, hand: Hand) -> Letter:
        notifiers = frozenset(item.notifier for item in self._items)
        return self._send(self._server.events.of_server(type_id, text, SEVERITY), notifiers, hand)

    def _send(self, event: Event, notifiers: frozenset[ua.NodeId], hand: Hand) -> Letter:
        letter = Letter(event, notifiers, {self._subscription: None}, hand, self._items)
        self._server.events.delivery.send(self._subscription, letter)
        return letter


def _told(lane: EventLane, item: EventItem, chosen: EventFilter, letter: Letter) -> None:
    item.refresh(chosen.encode(letter.event))


def _ended(lane: EventLane, item: EventItem, chosen: EventFilter, letter: Letter) -> None:
    item.refresh(chosen.encode(letter.event), end=True)


def _retold(lane: EventLane, item: EventItem, chosen: EventFilter, letter: Letter) -> None:
    block = chosen.tell(letter.event)
    if block is not None:
        item.refresh(block)
