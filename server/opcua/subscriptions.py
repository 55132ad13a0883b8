"""All subscriptions of the server: whose they are, when they step, and which Publish request their messages answer."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from asyncua import ua

from server.core.image import Image
from server.runtime.memory import utc_now

from . import attribute, limits, publish
from .publication import Subscription, Terms
from .service import ServiceError
from .turns import Turn, Work

if TYPE_CHECKING:
    from .events.filter import EventFilter
    from .server import UaServer
    from .session import Reply, Session

_CYCLE_NS: Final = 50_000_000
"""Assumed before control has announced its cycle."""
_SWEEP_NS: Final = 500_000_000
_SIZE_MAX: Final = 16 << 20
_STATUS_CHANGES_MAX: Final = 100


class Grid:
    """Time on the grid of the control cycle.

    A tick belongs to the cycle whose frame it sees, however late it comes; while no frames come, time goes on by itself.
    The origin lies a quarter of a cycle before the freezes, so that their jitter never moves one into a neighbouring cycle.
    """

    def __init__(self) -> None:
        self._origin = 0
        self._frozen_at = -1
        self.now_ns = 0

    def advance(self, frozen_at: int, now_ns: int, cycle_ns: int) -> int:
        """Time of this tick, never going back."""
        if frozen_at != self._frozen_at:
            self._frozen_at = frozen_at
            lag = (frozen_at - self._origin) % cycle_ns
            if not cycle_ns // 10 <= lag <= cycle_ns * 6 // 10:
                self._origin += lag - cycle_ns // 4
        reached = max(frozen_at, now_ns - cycle_ns * 3 // 2) - self._origin
        self.now_ns = max(self.now_ns, reached)
        return self.now_ns


class Request(NamedTuple):
    """A Publish request waiting for a message. deadline_ns: CLOCK_MONOTONIC, when its client gives up."""

    reply: Reply
    results: tuple[int, ...]
    deadline_ns: int | None


class PublishQueue:
    """Publish requests of one session, and what became of its subscriptions."""

    def __init__(self) -> None:
        self.requests: deque[Request] = deque()
        self.endings: deque[tuple[int, int, int]] = deque(maxlen=_STATUS_CHANGES_MAX)

    def next(self) -> Request | None:
        """The oldest request that can still be answered; None too while the client does not keep up reading."""
        while self.requests:
            if self.requests[0].reply.closed:
                self.requests.popleft()
            elif self.requests[0].reply.congested:
                return None
            else:
                return self.requests.popleft()
        return None

    def put(self, request: Request) -> None:
        """Take a request in; above the limit the oldest one is returned with BadTooManyPublishRequests."""
        self.requests.append(request)
        if len(self.requests) > limits.PUBLISH_REQUESTS_PER_SESSION_MAX:
            self.requests.popleft().reply.fail(ua.StatusCodes.BadTooManyPublishRequests)

    def expect(self, number: int) -> None:
        """A subscription comes (back): what waits to be told of its going is not true any more."""
        self.endings = deque((e for e in self.endings if e[0] != number), self.endings.maxlen)

    def sweep(self, now_ns: int) -> None:
        """Give back the requests whose client no longer waits."""
        late = [r for r in self.requests if r.reply.closed or (r.deadline_ns is not None and r.deadline_ns < now_ns)]
        for request in late:
            self.requests.remove(request)
            request.reply.fail(ua.StatusCodes.BadTimeout)

    def fail(self, status: int) -> None:
        """Answer all requests with a ServiceFault."""
        while self.requests:
            self.requests.popleft().reply.fail(status)


def _filters(subscriptions: Iterable[Subscription]) -> set[EventFilter]:
    return {item.filter for s in subscriptions for item in s.items.events.items.values()}


class SubscriptionManager:
    """The subscriptions of all sessions. `tick` is called after each new frame, and now and then when none comes."""

    def __init__(self, server: UaServer) -> None:
        self._server = server
        self._all: dict[int, Subscription] = {}
        self._ordered: list[Subscription] = []
        self._grid = Grid()
        self._swept_ns = 0
        self.cumulated = 0

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Subscription]:
        return iter(self._ordered)

    @property
    def cycle_ns(self) -> int:
        """Period of the control cycle."""
        return self._server.image.clock.cycle_ns or _CYCLE_NS

    def tick(self, image: Image, now_ns: int) -> Work[None]:
        """Let every subscription sample and publish what is due, in turns with other work. now_ns: CLOCK_MONOTONIC."""
        turn, grid_ns = Turn(), self._grid.advance(image.frozen_at, now_ns, self.cycle_ns)
        for subscription in self._ordered:
            if turn.over():
                yield
                turn.begin()
            if subscription.id not in self._all:
                continue
            subscription.step(image, grid_ns, partial(attribute.read, self._server, subscription.reader))
            if subscription.due or subscription.expired:
                self._act(subscription)
        if now_ns - self._swept_ns >= _SWEEP_NS:
            self._swept_ns = now_ns
            for queue in {id(s.session): s.session.publish_queue for s in self._ordered if s.session}.values():
                queue.sweep(now_ns)

    def _act(self, subscription: Subscription) -> None:
        session = subscription.session
        if session is not None and session.user != subscription.user:
            self.end(subscription, ua.StatusCodes.BadUserAccessDenied)
            return
        self._serve(subscription)
        if subscription.expired:
            self.end(subscription, ua.StatusCodes.BadTimeout)

    def _serve(self, subscription: Subscription) -> None:
        """Send what is due, as long as there are requests for it."""
        if subscription.session is None:
            return
        queue: PublishQueue = subscription.session.publish_queue
        while subscription.due:
            request = queue.next()
            if request is None:
                subscription.wait()
                return
            subscription.counts["publish"] += 1
            now = utc_now()
            available = len(subscription.store) + 1
            size_max = (request.reply.max_message_size or _SIZE_MAX) - publish.RESPONSE_OVERHEAD
            size_max -= 4 * (available + len(request.results))
            body, more = subscription.message(now, size_max, self._stored_max())
            sequences = tuple(subscription.store)
            handle = request.reply.request_handle
            request.reply.send(publish.publish_response(handle, now, subscription.id, sequences, more, body, request.results))

    def _stored_max(self) -> int:
        """Bytes a subscription may keep for Republish."""
        return min(limits.STORED_BYTES_PER_SUBSCRIPTION_MAX, limits.STORED_BYTES_MAX // max(len(self._all), 1))

    # -- Publish -----------------------------------------------------------------------------------------------------

    def publish(
        self, session: Session, reply: Reply, acknowledged: Iterable[ua.SubscriptionAcknowledgement], hint_ms: int
    ) -> None:
        """Take a Publish request: note what it acknowledges, and answer it at once when something waits."""
        own = self.of(session)
        queue = self._queue(session)
        if not own and not queue.endings:
            raise ServiceError(ua.StatusCodes.BadNoSubscription)
        results = tuple(self._acknowledge(session, each) for each in acknowledged)
        deadline_ns = time.monotonic_ns() + hint_ms * 1_000_000 if hint_ms else None
        queue.put(Request(reply, results, deadline_ns))
        for subscription in own:
            subscription.heard()
        self._tell_endings(session)
        late = [s for s in own if s.due]
        if late:
            self._act(max(late, key=lambda s: (s.terms.priority, s.silent)))

    def resume(self, sessions: Sequence[Session]) -> None:
        """The client of these sessions reads again: send what waited for it."""
        for subscription in self._ordered:
            if subscription.due and subscription.session in sessions:
                self._act(subscription)

    def _acknowledge(self, session: Session, acknowledgement: ua.SubscriptionAcknowledgement) -> int:
        subscription = self._all.get(acknowledgement.SubscriptionId)
        if subscription is None or subscription.session is not session:
            return int(ua.StatusCodes.BadSubscriptionIdInvalid)
        known = subscription.store.acknowledge(acknowledgement.SequenceNumber)
        return 0 if known else int(ua.StatusCodes.BadSequenceNumberUnknown)

    def _queue(self, session: Session) -> PublishQueue:
        if session.publish_queue is None:
            session.publish_queue = PublishQueue()
            session.on_close.append(self._closed)
        queue: PublishQueue = session.publish_queue
        return queue

    def _tell_endings(self, session: Session) -> None:
        """Send the StatusChangeNotifications that wait, then give requests back that nothing can answer any more."""
        queue = self._queue(session)
        while queue.endings and (request := queue.next()) is not None:
            number, sequence, status = queue.endings.popleft()
            now = utc_now()
            body = publish.message(sequence, now, publish.status_change(status))
            response = publish.publish_response(request.reply.request_handle, now, number, (), False, body, request.results)
            request.reply.send(response)
        if not queue.endings and not self.of(session):
            queue.fail(ua.StatusCodes.BadNoSubscription)

    # -- life of a subscription --------------------------------------------------------------------------------------

    def of(self, session: Session) -> list[Subscription]:
        """The subscriptions of a session."""
        return [s for s in self._ordered if s.session is session]

    def find(self, session: Session, number: int) -> Subscription:
        """A subscription of this session. ServiceError BadSubscriptionIdInvalid for any other."""
        subscription = self._all.get(number)
        if subscription is None or subscription.session is not session:
            raise ServiceError(ua.StatusCodes.BadSubscriptionIdInvalid)
        subscription.heard()
        return subscription

    def create(self, session: Session, terms: Terms, enabled: bool) -> Subscription:
        """Make a subscription. ServiceError BadTooManySubscriptions above a quota."""
        same_user = sum(s.user.name == session.user.name for s in self._ordered)
        if (
            len(self._all) >= limits.SUBSCRIPTIONS_MAX
            or len(self.of(session)) >= limits.SUBSCRIPTIONS_PER_SESSION_MAX
            or same_user >= limits.SUBSCRIPTIONS_PER_USER_MAX
        ):
            raise ServiceError(ua.StatusCodes.BadTooManySubscriptions)
        self._queue(session)
        self.cumulated += 1
        subscription = Subscription(self.cumulated, session, terms, enabled)
        subscription.agree(terms, self._grid.now_ns, self.cycle_ns)
        self._all[subscription.id] = subscription
        self._order()
        return subscription

    def modify(self, subscription: Subscription, terms: Terms) -> None:
        """Change the terms of a subscription."""
        subscription.agree(terms, self._grid.now_ns, self.cycle_ns)
        subscription.counts["modified"] += 1
        self._order()

    def delete(self, subscription: Subscription) -> None:
        """Forget a subscription."""
        del self._all[subscription.id]
        self._order()
        if subscription.session is not None:
            self._tell_endings(subscription.session)

    def end(self, subscription: Subscription, status: int) -> None:
        """Forget a subscription and tell its client why."""
        if subscription.session is not None:
            self._queue(subscription.session).endings.append((subscription.id, subscription.sequence, status))
        self.delete(subscription)

    def transfer(self, session: Session, number: int, initial: bool) -> Subscription:
        """Move a subscription of the same user to this session; its old session is told."""
        subscription = self._all.get(number)
        if subscription is None:
            raise ServiceError(ua.StatusCodes.BadSubscriptionIdInvalid)
        subscription.counts["transfer"] += 1
        if subscription.user != session.user:
            raise ServiceError(ua.StatusCodes.BadUserAccessDenied)
        old = subscription.session
        if old is not session:
            if len(self.of(session)) >= limits.SUBSCRIPTIONS_PER_SESSION_MAX:
                raise ServiceError(ua.StatusCodes.BadTooManySubscriptions)
            self._queue(session).expect(number)
            subscription.counts["transferred"] += 1
            subscription.session = subscription.reader = session
            if old is not None:
                transferred = ua.StatusCodes.GoodSubscriptionTransferred
                self._queue(old).endings.append((number, subscription.sequence, transferred))
                self._tell_endings(old)
        if initial:
            subscription.items.refresh()
        subscription.heard()
        return subscription

    def _closed(self, session: Session, delete_subscriptions: bool) -> None:
        for subscription in self.of(session):
            subscription.session = None
            if delete_subscriptions:
                self.delete(subscription)
        self._queue(session).fail(ua.StatusCodes.BadSessionClosed)

    def _order(self) -> None:
        self._ordered = sorted(self._all.values(), key=lambda s: -s.terms.priority)

    # -- quotas and diagnostics --------------------------------------------------------------------------------------

    def check_room(self, session: Session, more: int) -> None:
        """ServiceError BadTooManyMonitoredItems when `more` items are more than the server or the session may have."""
        everywhere = sum(len(s.items) for s in self._ordered)
        own = sum(len(s.items) for s in self.of(session))
        if everywhere + more > limits.ITEMS_MAX or own + more > limits.ITEMS_PER_SESSION_MAX:
            raise ServiceError(ua.StatusCodes.BadTooManyMonitoredItems)

    def cells(self, session: Session) -> int:
        """Queue cells that the session's items take."""
        return sum(s.items.cells for s in self.of(session))

    def event_items(self, session: Session) -> int:
        """Items of the session that monitor events."""
        return sum(len(s.items.events.items) for s in self.of(session))

    def event_filters(self, session: Session) -> tuple[set[EventFilter], set[EventFilter]]:
        """The different event filters of the session, and of all subscriptions of its user."""
        own, all_of_user = self.of(session), [s for s in self._ordered if s.user.name == session.user.name]
        return _filters(own), _filters(all_of_user)

    def slow_items(self, session: Session) -> int:
        """Items of the session's slow lanes."""
        return sum(len(s.items.slow.items) for s in self.of(session))

    def monitored_items(self, session: Session, number: int) -> tuple[list[int], list[int]]:
        """Item ids and client handles of a subscription (method GetMonitoredItems)."""
        pairs = self.owned(session, number).items.handles()
        return [item for item, _ in pairs], [handle for _, handle in pairs]

    def resend(self, session: Session, number: int) -> None:
        """Have a subscription report all current values again (method ResendData)."""
        self.owned(session, number).items.refresh()

    def owned(self, session: Session, number: int) -> Subscription:
        """As `find`, but BadUserAccessDenied for somebody else's, as the methods of the Server object answer."""
        if number in self._all and self._all[number].session is not session:
            raise ServiceError(ua.StatusCodes.BadUserAccessDenied)
        return self.find(session, number)
