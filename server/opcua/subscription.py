"""The services of the Subscription and MonitoredItem sets (Part 4, 5.13 and 5.14), over `SubscriptionManager`."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from asyncua import ua
from asyncua.ua.ua_binary import extensionobject_to_binary
from numpy.typing import NDArray

from server.runtime.memory import utc_now

from . import limits, publish
from .cells import TIMESTAMPS
from .events.filter import EventFilter, FilterRefused
from .events.items import EventItem
from .items import Key, Row
from .monitoring import Plan, plan, replan
from .publication import Subscription, Terms
from .service import Service, ServiceError
from .slow_items import SlowItem
from .subscriptions import SubscriptionManager
from .turns import Turn, Work, in_turns

if TYPE_CHECKING:
    from .server import UaServer
    from .session import Reply, Session

_MS: Final = 1_000_000
_CREATED: Final = np.dtype([("status", "<u4"), ("id", "<u4"), ("interval", "<f8"), ("queue", "<u4"), ("filter", "V3")])
_MODIFIED: Final = np.dtype([("status", "<u4"), ("interval", "<f8"), ("queue", "<u4"), ("filter", "V3")])
"""MonitoredItemCreateResult and MonitoredItemModifyResult without a filter result; a thousand of them encode as one array."""
_NO_FILTER_BYTES: Final = 3


# -- subscriptions ---------------------------------------------------------------------------------------------------


def agree(parameters: Any, cycle_ns: int) -> Terms:
    """Revised terms of a subscription; NaN, negative and absurd wishes are brought into bounds."""
    wanted_ms = parameters.RequestedPublishingInterval
    wanted_ms = 0.0 if math.isnan(wanted_ms) else min(max(wanted_ms, 0.0), limits.PUBLISHING_INTERVAL_MAX_MS)
    interval_ns = max(1, round(wanted_ms * _MS / cycle_ns)) * cycle_ns
    interval_ms = interval_ns / _MS
    keep_alive = min(max(parameters.RequestedMaxKeepAliveCount, 1), limits.KEEP_ALIVE_COUNT_MAX)
    keep_alive = max(1, min(keep_alive, int(limits.LIFETIME_MS_MAX / interval_ms / 3)))
    lifetime = max(parameters.RequestedLifetimeCount, 3 * keep_alive, math.ceil(limits.LIFETIME_MS_MIN / interval_ms))
    lifetime = max(3 * keep_alive, min(lifetime, int(limits.LIFETIME_MS_MAX / interval_ms)))
    most = min(
        parameters.MaxNotificationsPerPublish or limits.NOTIFICATIONS_PER_PUBLISH_MAX, limits.NOTIFICATIONS_PER_PUBLISH_MAX
    )
    return Terms(interval_ns, keep_alive, lifetime, most, parameters.Priority)


def create_subscription(server: UaServer, session: Session, request: Any) -> Any:
    """CreateSubscription: intervals become multiples of the control cycle, counts and lifetimes are brought into bounds."""
    manager = server.subscriptions
    terms = agree(request.Parameters, manager.cycle_ns)
    subscription = manager.create(session, terms, bool(request.Parameters.PublishingEnabled))
    response = ua.CreateSubscriptionResponse()
    response.Parameters = ua.CreateSubscriptionResult(subscription.id, terms.interval_ns / _MS, terms.lifetime, terms.keep_alive)
    return response


def modify_subscription(server: UaServer, session: Session, request: Any) -> Any:
    """ModifySubscription: the new terms hold from now on; what is queued stays."""
    manager = server.subscriptions
    subscription = manager.find(session, request.Parameters.SubscriptionId)
    terms = agree(request.Parameters, manager.cycle_ns)
    manager.modify(subscription, terms)
    response = ua.ModifySubscriptionResponse()
    response.Parameters = ua.ModifySubscriptionResult(terms.interval_ns / _MS, terms.lifetime, terms.keep_alive)
    return response


def set_publishing_mode(server: UaServer, session: Session, request: Any) -> Any:
    """SetPublishingMode: a subscription that does not publish goes on sampling and sends keep-alives."""
    enabled = bool(request.Parameters.PublishingEnabled)

    def change(number: int) -> None:
        server.subscriptions.find(session, number).enable(enabled)

    response = ua.SetPublishingModeResponse()
    response.Parameters.Results = _each(request.Parameters.SubscriptionIds, change)
    return response


def delete_subscriptions(server: UaServer, session: Session, request: Any) -> Any:
    """DeleteSubscriptions: only by the session that has them."""
    manager = server.subscriptions
    response = ua.DeleteSubscriptionsResponse()
    response.Results = _each(request.Parameters.SubscriptionIds, lambda n: manager.delete(manager.find(session, n)))
    return response


def transfer_subscriptions(server: UaServer, session: Session, request: Any) -> Any:
    """TransferSubscriptions: between sessions of the same user only."""
    initial = bool(request.Parameters.SendInitialValues)
    results = []
    for number in request.Parameters.SubscriptionIds:
        result = ua.TransferResult()
        try:
            result.AvailableSequenceNumbers = list(server.subscriptions.transfer(session, number, initial).store)
        except ServiceError as error:
            result.StatusCode = ua.StatusCode(error.status)
        results.append(result)
    response = ua.TransferSubscriptionsResponse()
    response.Parameters.Results = results
    return response


def publish_request(server: UaServer, session: Session, request: Any, reply: Reply) -> None:
    """Publish: answered when a subscription has something to say."""
    acknowledged = request.Parameters.SubscriptionAcknowledgements or []
    if len(acknowledged) > limits.ACKNOWLEDGEMENTS_PER_PUBLISH_MAX:
        raise ServiceError(ua.StatusCodes.BadTooManyOperations)
    server.subscriptions.publish(session, reply, acknowledged, request.RequestHeader.TimeoutHint)


def republish(server: UaServer, session: Session, request: Any) -> bytes:
    """Republish a message that was not acknowledged; any other is BadMessageNotAvailable."""
    subscription = server.subscriptions.find(session, request.Parameters.SubscriptionId)
    subscription.counts["republish"] += 1
    body = subscription.store.get(request.Parameters.RetransmitSequenceNumber)
    if body is None:
        raise ServiceError(ua.StatusCodes.BadMessageNotAvailable)
    subscription.counts["republished"] += 1
    return publish.republish_response(request.RequestHeader.RequestHandle, utc_now(), body)


# -- monitored items -------------------------------------------------------------------------------------------------


def create_monitored_items(server: UaServer, session: Session, request: Any) -> bytes | Coroutine[Any, Any, bytes]:
    """CreateMonitoredItems: sampling down to the control cycle, queues, deadbands against what was reported last, events."""
    return in_turns(_create(server, session, request))


def _create(server: UaServer, session: Session, request: Any) -> Work[bytes]:
    subscription, timestamps = _subject(server, session, request)
    manager = server.subscriptions
    asked = request.Parameters.ItemsToCreate
    manager.check_room(session, len(asked))
    results, said = np.zeros(len(asked), _CREATED), Said()
    plans: list[Plan] = []
    room, turn = _Room(manager, session), Turn()
    for i, each in enumerate(asked):
        try:
            planned = plan(server, subscription, each, timestamps, manager.cycle_ns)
            room.take(planned)
            _check_group(subscription, planned)
        except ServiceError as error:
            _refuse(results, said, i, error)
            continue
        plans.append(planned)
        results["id"][i] = planned.item.id
        _tell(results, said, i, planned)
        if turn.over():
            yield
            turn.begin()
    manager.find(session, subscription.id)
    manager.check_room(session, len(plans))
    _place(subscription, plans)
    return _packed(request, ua.ObjectIds.CreateMonitoredItemsResponse_Encoding_DefaultBinary, results, said)


class _Room:
    """What the session may still take of what is scarce."""

    def __init__(self, manager: SubscriptionManager, session: Session) -> None:
        self._cells = limits.QUEUE_CELLS_PER_SESSION_MAX - manager.cells(session)
        self._left = {
            SlowItem: limits.SLOW_ITEMS_PER_SESSION_MAX - manager.slow_items(session),
            EventItem: limits.EVENT_ITEMS_PER_SESSION_MAX - manager.event_items(session),
        }
        most = limits.EVENT_FILTERS_PER_SESSION_MAX, limits.EVENT_FILTERS_PER_USER_MAX
        self._filters = tuple(zip(most, manager.event_filters(session), strict=True))

    def take(self, planned: Plan, already: int = 0) -> None:
        """ServiceError BadTooManyMonitoredItems when there is no room for the item. already: queue cells it has."""
        more, kind = planned.terms.capacity - already, type(planned.item)
        new = kind in self._left and not already
        if (new and not self._left[kind]) or (more > 0 and more > self._cells):
            raise ServiceError(ua.StatusCodes.BadTooManyMonitoredItems)
        if isinstance(planned.item, EventItem):
            self._take_filter(planned.item.filter)
        if new:
            self._left[kind] -= 1
        self._cells -= more

    def _take_filter(self, chosen: EventFilter) -> None:
        """What an event costs is the sum over different filters; an equal one costs nothing more."""
        for most, known in self._filters:
            if chosen not in known and sum(each.operands for each in known) + chosen.operands > most:
                raise ServiceError(ua.StatusCodes.BadTooManyMonitoredItems, f"event filters of more than {most} operands")
        for _, known in self._filters:
            known.add(chosen)


def _check_group(subscription: Subscription, planned: Plan) -> None:
    """ServiceError BadTooManyMonitoredItems when the item would need one group too many."""
    if planned.key is not None and subscription.items.group(planned.key) is None:
        raise ServiceError(ua.StatusCodes.BadTooManyMonitoredItems, "too many different sampling intervals and queue lengths")


def _place(subscription: Subscription, plans: Iterable[Plan]) -> None:
    """Enter what is planned."""
    rows: dict[Key, list[Row]] = {}
    slow: list[SlowItem] = []
    events: list[EventItem] = []
    for planned in plans:
        if isinstance(planned.item, SlowItem):
            slow.append(planned.item)
        elif isinstance(planned.item, EventItem):
            events.append(planned.item)
        elif planned.key is not None:
            rows.setdefault(planned.key, []).append(planned.item)
    for key, chosen in rows.items():
        subscription.items.add(key, chosen)
    subscription.items.add_slow(slow)
    subscription.items.add_events(events)
    subscription.items.drop_empty()


def modify_monitored_items(server: UaServer, session: Session, request: Any) -> bytes | Coroutine[Any, Any, bytes]:
    """ModifyMonitoredItems: an item keeps its last value and its queue."""
    return in_turns(_modify(server, session, request))


def _modify(server: UaServer, session: Session, request: Any) -> Work[bytes]:
    subscription, timestamps = _subject(server, session, request)
    manager, items = server.subscriptions, subscription.items
    asked = request.Parameters.ItemsToModify
    results, said = np.zeros(len(asked), _MODIFIED), Said()
    plans: dict[int, Plan] = {}
    room, turn = _Room(manager, session), Turn()
    for i, each in enumerate(asked):
        try:
            planned = replan(server, subscription, each, timestamps, manager.cycle_ns)
            room.take(planned, items.capacity(each.MonitoredItemId))
            _check_group(subscription, planned)
        except ServiceError as error:
            _refuse(results, said, i, error)
            continue
        plans[planned.item.id] = planned
        _tell(results, said, i, planned)
        if turn.over():
            yield
            turn.begin()
    manager.find(session, subscription.id)
    present = [planned for number, planned in plans.items() if number in items.place]
    items.amend_slow([p.item for p in present if isinstance(p.item, SlowItem)])
    items.amend_events([p.item for p in present if isinstance(p.item, EventItem)])
    items.move([(p.key, p.item) for p in present if p.key is not None and isinstance(p.item, Row)])
    return _packed(request, ua.ObjectIds.ModifyMonitoredItemsResponse_Encoding_DefaultBinary, results, said)


def set_monitoring_mode(server: UaServer, session: Session, request: Any) -> Any:
    """SetMonitoringMode: disabled, sampling or reporting."""
    subscription = server.subscriptions.find(session, request.Parameters.SubscriptionId)
    asked = request.Parameters.MonitoredItemIds
    response = ua.SetMonitoringModeResponse()
    response.Parameters.Results = _each(asked, lambda number: _known(subscription, number))
    known = {number for number in asked if number in subscription.items.place}
    subscription.items.set_mode(known, int(request.Parameters.MonitoringMode))
    return response


def set_triggering(server: UaServer, session: Session, request: Any) -> Any:
    """SetTriggering: what the triggering item reports makes the linked ones report what they have sampled."""
    parameters = request.Parameters
    subscription = server.subscriptions.find(session, parameters.SubscriptionId)
    to_add, to_remove = parameters.LinksToAdd or [], parameters.LinksToRemove or []
    if not to_add and not to_remove:
        raise ServiceError(ua.StatusCodes.BadNothingToDo)
    if len(to_add) + len(to_remove) > limits.MONITORED_ITEMS_PER_CALL:
        raise ServiceError(ua.StatusCodes.BadTooManyOperations)
    _known(subscription, parameters.TriggeringItemId)
    items = subscription.items
    links = items.links.setdefault(parameters.TriggeringItemId, set())

    def unlink(number: int) -> None:
        if number not in links:
            raise ServiceError(ua.StatusCodes.BadMonitoredItemIdInvalid)
        links.discard(number)

    def link(number: int) -> None:
        _known(subscription, number)
        if len(links) >= limits.TRIGGER_LINKS_PER_ITEM_MAX:
            raise ServiceError(ua.StatusCodes.BadTooManyMonitoredItems)
        links.add(number)

    response = ua.SetTriggeringResponse()
    response.Parameters.RemoveResults = _each(to_remove, unlink)
    response.Parameters.AddResults = _each(to_add, link)
    if not links:
        del items.links[parameters.TriggeringItemId]
    return response


def delete_monitored_items(server: UaServer, session: Session, request: Any) -> Any:
    """DeleteMonitoredItems, with the links from and to them."""
    subscription = server.subscriptions.find(session, request.Parameters.SubscriptionId)
    doomed: set[int] = set()

    def doom(number: int) -> None:
        _known(subscription, number)
        if number in doomed:
            raise ServiceError(ua.StatusCodes.BadMonitoredItemIdInvalid)
        doomed.add(number)

    response = ua.DeleteMonitoredItemsResponse()
    response.Results = _each(request.Parameters.MonitoredItemIds, doom)
    subscription.items.remove(doomed)
    return response


# -- what they share -------------------------------------------------------------------------------------------------


def _each(numbers: Iterable[int], act: Callable[[int], object]) -> list[ua.StatusCode]:
    """Act on each number; its StatusCode."""
    results = []
    for number in numbers:
        status = 0
        try:
            act(number)
        except ServiceError as error:
            status = error.status
        results.append(ua.StatusCode(status))
    return results


def _known(subscription: Subscription, number: int) -> None:
    if number not in subscription.items.place:
        raise ServiceError(ua.StatusCodes.BadMonitoredItemIdInvalid)


def _subject(server: UaServer, session: Session, request: Any) -> tuple[Subscription, ua.TimestampsToReturn]:
    timestamps = request.Parameters.TimestampsToReturn
    if timestamps not in TIMESTAMPS:
        raise ServiceError(ua.StatusCodes.BadTimestampsToReturnInvalid)
    return server.subscriptions.find(session, request.Parameters.SubscriptionId), timestamps


Said = dict[int, ua.EventFilterResult]
"""What is to be said about filters, by number of the operation."""


def _tell(results: NDArray[Any], said: Said, i: int, planned: Plan) -> None:
    results["interval"][i] = planned.terms.interval_ms
    results["queue"][i] = planned.terms.limit
    if planned.result is not None:
        said[i] = planned.result


def _refuse(results: NDArray[Any], said: Said, i: int, error: ServiceError) -> None:
    results["status"][i] = error.status
    if isinstance(error, FilterRefused):
        said[i] = error.result


def _packed(request: Any, type_id: int, results: NDArray[Any], said: Said) -> bytes:
    """A response whose body is an array of results, all of equal size but for those with something said about a filter."""
    head = publish.header(type_id, utc_now(), request.RequestHeader.RequestHandle)
    body, at = [], 0
    for i, result in said.items():
        body += [results[at : i + 1].tobytes()[:-_NO_FILTER_BYTES], extensionobject_to_binary(result)]
        at = i + 1
    return b"".join([head, struct.pack("<i", len(results)), *body, results[at:].tobytes(), struct.pack("<i", -1)])


def _subscriptions(handler: Callable[..., Any], operations: str) -> Service:
    return Service(handler, operations=operations, most=limits.SUBSCRIPTIONS_PER_CALL)


def _items(handler: Callable[..., Any], operations: str) -> Service:
    return Service(handler, operations=operations, most=limits.MONITORED_ITEMS_PER_CALL)


SERVICES: Final[Mapping[type, Service]] = {
    ua.CreateSubscriptionRequest: Service(create_subscription),
    ua.ModifySubscriptionRequest: Service(modify_subscription),
    ua.SetPublishingModeRequest: _subscriptions(set_publishing_mode, "SubscriptionIds"),
    ua.DeleteSubscriptionsRequest: _subscriptions(delete_subscriptions, "SubscriptionIds"),
    ua.TransferSubscriptionsRequest: _subscriptions(transfer_subscriptions, "SubscriptionIds"),
    ua.PublishRequest: Service(publish_request, deferred=True),
    ua.RepublishRequest: Service(republish),
    ua.CreateMonitoredItemsRequest: _items(create_monitored_items, "ItemsToCreate"),
    ua.ModifyMonitoredItemsRequest: _items(modify_monitored_items, "ItemsToModify"),
    ua.SetMonitoringModeRequest: _items(set_monitoring_mode, "MonitoredItemIds"),
    ua.SetTriggeringRequest: Service(set_triggering),
    ua.DeleteMonitoredItemsRequest: _items(delete_monitored_items, "MonitoredItemIds"),
}

__all__ = ["SERVICES", "SubscriptionManager"]
