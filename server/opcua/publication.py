"""One subscription: its items, and when it has something to say. Pure: frame and time in, bytes out.

    each tick                 sample the items whose time has come
    each publishing cycle     notifications ready  -> due
                              first cycle, or silent for keep_alive cycles -> due, as keep-alive
    due and a Publish request there -> `message`, again while there is more (MoreNotifications)
    due and none there        -> stays due (the standard's state LATE); after `lifetime` cycles it expires

Publishing cycles lie on an absolute grid (a late tick skips, it does not shift the next), each subscription with a phase of its
own, so that subscriptions of the same interval do not all work in the same cycle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from server.core.image import Image

from . import limits, publish
from .events.items import EventItem, EventLane
from .items import DISABLED, Group, Key, Row
from .slow_items import Read, SlowItem, SlowLane

if TYPE_CHECKING:
    from .session import Session, User

SEQUENCE_MAX: Final = 0xFFFFFFFF


class Terms(NamedTuple):
    """What was agreed with the client. interval_ns: multiple of the control cycle; counts in publishing cycles."""

    interval_ns: int
    keep_alive: int
    lifetime: int
    notifications: int
    priority: int


class Message(NamedTuple):
    """An encoded NotificationMessage, and whether another one is waiting."""

    body: bytes
    more: bool


@dataclass(eq=False)
class Items:
    """The monitored items of a subscription: groups of columns, the slow lane, and events."""

    groups: dict[Key, Group] = field(default_factory=dict)
    slow: SlowLane = field(default_factory=SlowLane)
    events: EventLane = field(default_factory=EventLane)
    place: dict[int, Group | SlowItem | EventItem] = field(default_factory=dict)
    links: dict[int, set[int]] = field(default_factory=dict)
    _turn: int = 0

    def __len__(self) -> int:
        return len(self.place)

    def group(self, key: Key) -> Group | None:
        """The group of a key, made when there is room for one more."""
        if key not in self.groups:
            if len(self.groups) >= limits.GROUPS_PER_SUBSCRIPTION_MAX:
                return None
            self.groups[key] = Group(key)
        return self.groups[key]

    def add(self, key: Key, rows: list[Row]) -> None:
        """Add items to the group of a key."""
        group = self.groups.setdefault(key, Group(key))
        group.add(rows)
        self.place.update((row.id, group) for row in rows)

    def add_slow(self, items: Sequence[SlowItem]) -> None:
        """Add items to the slow lane."""
        if not items:
            return
        for item in items:
            self.slow.add(item)
            self.place[item.id] = item
        self.slow.arrange()

    def add_events(self, items: Iterable[EventItem]) -> None:
        """Add event items."""
        for item in items:
            self.events.add(item)
            self.place[item.id] = item

    def amend_slow(self, planned: Sequence[SlowItem]) -> None:
        """Give items of the slow lane the parameters of changed copies; their state, queue and links stay."""
        if not planned:
            return
        for item in planned:
            self.slow.amend(item)
        self.slow.arrange()

    def amend_events(self, planned: Iterable[EventItem]) -> None:
        """Give event items the parameters of changed copies; their queue and links stay."""
        for item in planned:
            self.events.items[item.id].amend(item)

    def move(self, changes: Sequence[tuple[Key, Row]]) -> None:
        """Change items of groups; those whose key is another one move to that group with their mode, state and queue."""
        arriving: dict[Key, list[Row]] = {}
        leaving: dict[Group, list[tuple[int, Key]]] = {}
        amended: set[Group] = set()
        for key, row in changes:
            group = self.place[row.id]
            assert isinstance(group, Group)
            if group.key == key:
                group.amend(row)
                amended.add(group)
            else:
                arriving.setdefault(key, []).append(row)
                leaving.setdefault(group, []).append((row.id, key))
        for key, rows in arriving.items():
            self.groups.setdefault(key, Group(key)).add(rows)
        for group, items in leaving.items():
            for item, key in items:
                group.hand_over(item, self.groups[key])
            group.remove(np.array([group.row(item) for item, _ in items]))
        self.place.update((row.id, self.groups[key]) for key, rows in arriving.items() for row in rows)
        for group in (*amended, *(self.groups[key] for key in arriving)):
            group.arrange()
        self.drop_empty()

    def remove(self, ids: Iterable[int]) -> None:
        """Remove items, and the links from and to them."""
        gone = set(ids)
        doomed: dict[Group, list[int]] = {}
        for item in gone:
            where = self.place.pop(item)
            if isinstance(where, Group):
                doomed.setdefault(where, []).append(where.row(item))
            elif isinstance(where, EventItem):
                self.events.remove(where)
            else:
                self.slow.remove(where)
        self.slow.arrange()
        for group, rows in doomed.items():
            group.remove(np.array(rows))
        self.drop_empty()
        self.links = {trigger: linked - gone for trigger, linked in self.links.items() if trigger not in gone}

    def drop_empty(self) -> None:
        """Forget groups without items."""
        self.groups = {key: group for key, group in self.groups.items() if len(group)}

    def set_mode(self, ids: Iterable[int], mode: int) -> None:
        """Change the monitoring mode of items, which exist."""
        rows: dict[Group, list[int]] = {}
        for item in ids:
            where = self.place[item]
            if isinstance(where, Group):
                rows.setdefault(where, []).append(where.row(item))
            else:
                where.set_mode(mode)
        for group, chosen in rows.items():
            group.set_mode(np.array(chosen), mode)
        self.slow.arrange()

    def sample(self, image: Image, grid_ns: int, read: Read) -> None:
        """Look at what is due, and let triggering items release what is linked to them."""
        fired: set[int] = set()
        for group in self.groups.values():
            hit = group.sample(image, grid_ns)
            if self.links and hit is not None:
                fired.update(self.links.keys() & set(group.ids[hit].tolist()))
        if self.slow.items:
            fired.update(self.links.keys() & set(self.slow.sample(image, grid_ns, read)))
        if self.events.items:
            fired.update(self.links.keys() & self.events.fired_since())
        for trigger in fired:
            self._release(self.links[trigger])

    def _release(self, linked: Iterable[int]) -> None:
        for item in linked:
            where = self.place[item]
            if isinstance(where, Group):
                where.release(np.array([where.row(item)]))
            elif isinstance(where, EventItem):
                where.released = True
            else:
                self.slow.release(where)

    def refresh(self) -> None:
        """Have every reporting item report its next sample."""
        for group in self.groups.values():
            group.refresh()
        self.slow.refresh()

    @property
    def ready(self) -> bool:
        """True when there is something to report."""
        return self.slow.ready or self.events.ready or any(group.ready for group in self.groups.values())

    def take_events(self, most: int, size_max: int) -> tuple[int, list[bytes]]:
        """Remove at most `most` events of at most `size_max` bytes."""
        return self.events.take(most, size_max) if self.events.items else (0, [])

    def take(self, most: int, size_max: int) -> tuple[int, list[bytes]]:
        """Remove at most `most` values of at most `size_max` bytes; groups take turns in being first."""
        groups = list(self.groups.values())
        self._turn = (self._turn + 1) % max(len(groups), 1)
        count = 0
        blocks: list[bytes] = []
        if self.slow.ready:
            count, blocks = self.slow.take(most, size_max)
            size_max -= sum(map(len, blocks))
        for group in groups[self._turn :] + groups[: self._turn]:
            taken, parts = group.take(max(0, min(most - count, size_max // group.cell.itemsize)))
            count += taken
            blocks += parts
            size_max -= taken * group.cell.itemsize
        return count, blocks

    @property
    def cells(self) -> int:
        """Queue cells that the items take."""
        slow = sum(item.limit for lane in (self.slow, self.events) for item in lane.items.values())
        return slow + sum(len(group) * group.key.capacity for group in self.groups.values())

    @property
    def disabled(self) -> int:
        """Items that are not sampled."""
        slow = sum(item.mode == DISABLED for lane in (self.slow, self.events) for item in lane.items.values())
        return slow + sum(int(np.count_nonzero(group.modes == DISABLED)) for group in self.groups.values())

    @property
    def overflows(self) -> int:
        """Notifications lost because a queue was full."""
        return self.slow.overflows + sum(group.overflows for group in self.groups.values())

    def capacity(self, item: int) -> int:
        """Queue cells of one item."""
        where = self.place[item]
        return where.key.capacity if isinstance(where, Group) else where.limit

    def handles(self) -> list[tuple[int, int]]:
        """(id, client handle) of every item, in order of the ids."""
        pairs = [(item.id, item.handle) for lane in (self.slow, self.events) for item in lane.items.values()]
        for group in self.groups.values():
            pairs += zip(group.ids.tolist(), group.ring["handle"][0].tolist(), strict=True)
        return sorted(pairs)


class Subscription:
    """One subscription. `session` is None between two sessions; `due` while a message waits for a Publish request."""

    def __init__(self, number: int, session: Session, terms: Terms, enabled: bool) -> None:
        self.id = number
        self.session: Session | None = session
        self.reader = session
        self.user: User = session.user
        self.terms = terms
        self.enabled = enabled
        self.items = Items()
        self.store = publish.Store()
        self.due = False
        self._sequence = 1
        self._spoken = False
        self._silent = 0
        self._unheard = 0
        self._phase_ns = 0
        self._slot = 0
        self._waited = -1
        self._last_item = 0
        self.counts: Counter[str] = Counter()
        """What happened so far, as `diagnostics` tells it: messages, lateness, values, requests by kind."""

    def agree(self, terms: Terms, grid_ns: int, cycle_ns: int) -> None:
        """Take terms over from now on. cycle_ns: of the image, unit of the phase."""
        self.terms = terms
        self._phase_ns = self.id * cycle_ns % terms.interval_ns
        self._slot = (grid_ns + self._phase_ns) // terms.interval_ns
        self.heard()

    def next_item(self) -> int:
        """Id for a new item."""
        self._last_item += 1
        return self._last_item

    def enable(self, enabled: bool) -> None:
        """Start or stop publishing; keep-alives go on."""
        self.counts["enabled" if enabled else "disabled"] += 1
        self.enabled = enabled
        self.due &= enabled or not self._spoken

    @property
    def sequence(self) -> int:
        """Number of the next message."""
        return self._sequence

    @property
    def silent(self) -> int:
        """Publishing cycles since the last message."""
        return self._silent

    @property
    def unheard(self) -> int:
        """Publishing cycles since the client was heard of."""
        return self._unheard

    def heard(self) -> None:
        """The client showed that it still wants the subscription."""
        self._unheard = 0

    @property
    def expired(self) -> bool:
        """True when the client has not asked for messages for its lifetime."""
        return self._unheard >= self.terms.lifetime

    def step(self, image: Image, grid_ns: int, read: Read) -> None:
        """Sample, and at the end of a publishing cycle decide whether a message is due."""
        self.items.sample(image, grid_ns + self._phase_ns, read)
        slot = (grid_ns + self._phase_ns) // self.terms.interval_ns
        if slot <= self._slot:
            return
        self._slot = slot
        self._unheard += 1
        self._silent += 1
        if self.due:
            return
        self.due = (self.enabled and self.items.ready) or not self._spoken or self._silent >= self.terms.keep_alive

    def wait(self) -> None:
        """There is no Publish request for what is due: late, once for each publishing cycle in which that is so."""
        self.counts["late"] += self._waited != self._slot
        self._waited = self._slot

    def message(self, time: int, size_max: int, stored_max: int) -> Message:
        """The message that is due: notifications where there are some, else a keep-alive with the number of the next one.

        time: 100 ns since 1601 UTC; size_max: bytes of notifications; stored_max: bytes kept for Republish.
        """
        self._spoken, self._silent, self.due = True, 0, False
        self.heard()
        notifications = self._notifications(size_max) if self.enabled else []
        if not notifications:
            return Message(publish.message(self._sequence, time), False)
        body = self.number(time, notifications, stored_max)
        self.due = self.items.ready
        return Message(body, self.due)

    def _notifications(self, size_max: int) -> list[list[bytes]]:
        """What is to be told now: events first, they are rare, and values in the room that is left."""
        events, told = self.items.take_events(self.terms.notifications, size_max)
        most, size_max = self.terms.notifications - events, size_max - sum(map(len, told))
        count, blocks = self.items.take(most, size_max) if most > 0 and size_max > 0 else (0, [])
        self.counts["events"] += events
        self.counts["values"] += count
        changes = [publish.data_change(count, blocks)] if count else []
        return changes + ([publish.event_list(events, told)] if events else [])

    def number(self, time: int, notifications: list[list[bytes]], stored_max: int) -> bytes:
        """A message with the next sequence number, kept for Republish."""
        body = publish.message(self._sequence, time, *notifications)
        self.store.put(self._sequence, body, stored_max)
        self._sequence = self._sequence % SEQUENCE_MAX + 1
        return body
