"""Events on their way to the queues of the items: in turns with everything else, and fair between users.

Problem: one event may concern hundreds of items with long filters, all of them lawful, and an alarm rarely comes alone. Idea:
each user has a line of letters, first in first out, so that every item gets its events in order; the lines take turns filter by
filter, so that nobody's alarms wait for another's filters; and after a few milliseconds everything else has its turn. What is
done within the first turn is in the queues when `tell` returns.

    tell ─► Letter, at the end of a user's line ─► items that listened then, grouped by equal filter ─► one group a step ─► queues

A line is bounded; of what is beyond, items are told that events were lost.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from asyncua import ua

from ..turns import Turn
from .event import Event
from .filter import EventFilter
from .items import EventItem, EventLane

if TYPE_CHECKING:
    from ..publication import Subscription
    from ..server import UaServer
    from ..session import User

_log = logging.getLogger("ems.opcua")

WAITING_MAX: Final = 10_000
"""Letters in a line."""

Addressee: TypeAlias = tuple[EventLane, EventItem]
Hand: TypeAlias = Callable[[EventLane, EventItem, EventFilter, "Letter"], None]
"""Puts a letter's event into the queue of an item, as the filter that the item had tells it."""
Group: TypeAlias = tuple[EventFilter, list[Addressee]]


@dataclass(eq=False, slots=True)
class Letter:
    """An event for the items of some subscriptions of one user.

    notifiers: the nodes whose items get it; among: the only items that do, None for all.
    time_ns: CLOCK_MONOTONIC, when it happened: who listens later does not get it.
    """

    event: Event
    notifiers: frozenset[ua.NodeId]
    subscriptions: dict[Subscription, None]
    hand: Hand
    among: frozenset[EventItem] | None = None
    time_ns: int = field(default_factory=time.monotonic_ns)
    delivered: bool = False
    _groups: deque[Group] | None = None

    def step(self, present: Iterable[Subscription]) -> None:
        """Go one filter further. present: the subscriptions that there are."""
        if self._groups is None:
            self._groups = self._grouped(present)
        if self._groups:
            self._hand_all(*self._groups.popleft())
        self.delivered = not self._groups

    def _grouped(self, present: Iterable[Subscription]) -> deque[Group]:
        """Who gets it, by filter."""
        there = self.subscriptions.keys() & set(present)
        groups: dict[bytes, Group] = {}
        for subscription in (s for s in self.subscriptions if s in there):
            lane = subscription.items.events
            for item in lane.listening(self.notifiers):
                if self.among is None or item in self.among:
                    groups.setdefault(item.filter.key, (item.filter, []))[1].append((lane, item))
        return deque(groups.values())

    def _hand_all(self, chosen: EventFilter, addressees: list[Addressee]) -> None:
        try:
            for lane, item in addressees:
                if item.listens(self.time_ns):
                    self.hand(lane, item, chosen, self)
        except Exception as error:  # noqa: BLE001  # one client's filter never keeps an alarm from the others
            _log.error("the filter of %d event items failed", len(addressees), exc_info=error)


class Delivery:
    """The lines of all users. `overflow` makes the event that stands for lost ones."""

    def __init__(self, server: UaServer, overflow: Callable[[], Event]) -> None:
        self._server = server
        self._overflow = overflow
        self._lines: dict[User, deque[Letter]] = {}
        self._turn = Turn()
        self._next: asyncio.Handle | None = None

    def waiting(self, user: User) -> int:
        """Letters in a user's line."""
        return len(self._lines.get(user, ()))

    def tell(self, event: Event, notifiers: frozenset[ua.NodeId], subscriptions: Iterable[Subscription]) -> None:
        """Deliver what happened to all items of these subscriptions that want it."""
        by_user: dict[User, dict[Subscription, None]] = {}
        for subscription in subscriptions:
            by_user.setdefault(subscription.user, {})[subscription] = None
        for user, own in by_user.items():
            self._enter(self._lines.setdefault(user, deque()), Letter(event, notifiers, own, self._news))
        self._begin()

    def send(self, subscription: Subscription, letter: Letter) -> None:
        """Deliver a letter of one's own making after everything that is on its way to that subscription. It is never lost; who
        sends many looks first how many are `waiting`."""
        self._lines.setdefault(subscription.user, deque()).append(letter)
        self._begin()

    def _enter(self, line: deque[Letter], letter: Letter) -> None:
        if len(line) < WAITING_MAX:
            line.append(letter)
        elif line[-1].hand == self._lost:
            _extend(line[-1], letter)
        else:
            line.append(Letter(self._overflow(), letter.notifiers, letter.subscriptions, self._lost))

    def _news(self, lane: EventLane, item: EventItem, chosen: EventFilter, letter: Letter) -> None:
        block = chosen.tell(letter.event)
        if block is not None:
            lane.put(item, block, lambda: chosen.encode(self._overflow()))

    def _lost(self, lane: EventLane, item: EventItem, chosen: EventFilter, letter: Letter) -> None:
        item.lost = item.lost or chosen.encode(letter.event)

    # Turns.

    def _begin(self) -> None:
        """Deliver at once what the present turn has time for; the event loop has one turn for all that happens in a round."""
        if not self._lines:
            return
        if self._next is None:
            self._turn.begin()
            self._next = asyncio.get_running_loop().call_soon(self._go_on)
            self._serve()
        elif not self._turn.over():
            self._serve()

    def _go_on(self) -> None:
        self._next = None
        self._begin()

    def _serve(self) -> None:
        """Lines take turns, a filter at a time, until all is delivered or the turn is over."""
        while self._lines:
            self._step()
            if self._turn.over():
                return

    def _step(self) -> None:
        user, line = next(iter(self._lines.items()))
        del self._lines[user]
        line[0].step(self._server.subscriptions)
        if line[0].delivered:
            line.popleft()
        if line:
            self._lines[user] = line


def _extend(lost: Letter, letter: Letter) -> None:
    """The tale of lost events is for those, too, whom this letter was for."""
    lost.subscriptions |= letter.subscriptions
    lost.notifiers |= letter.notifiers
    lost.time_ns = letter.time_ns
