"""People at the panel: one OPC UA session per person who is logged in, shared by all of that person's tabs.

The panel decides nothing about rights. It opens the session with its own certificate and the person's user token, and
the server enforces roles. The session ends at log-out, when the server ends it, or some minutes after the last tab is
gone. A tab takes part by being in `Person.tabs`: it is handed the page's values once per tick and sends on what changed.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from server.client import CLOSED, CONNECTED, Client, ClientError, Model, Subscription

from . import view
from .alarms import alarms
from .catalogue import Catalogue
from .readings import Readings

FLOW_MS, SLOW_MS, TABLE_MS = 250, 500, 1000
PUSH_S_MIN = 0.24
CHART_STEP_S = 2.0
CHART_POINTS = 300
RETRY_S = 2.0
SLIP_SHOWN_S = 300.0
FIRST_VALUES_S_MAX = 1.5
LINGER_S = 15 * 60.0
"""How long a browser stays logged in after its last tab is gone, and with the last browser the session."""

log = logging.getLogger("ems.ui")


class Tab(Protocol):
    """A page in a browser. token: of the cookie it was opened with."""

    token: str

    def push(self, values: dict[str, Any], point: Sequence[float | None] | None) -> None:
        """Take the values of this tick and, now and then, a new moment of the chart."""

    def leave(self, why: str) -> None:
        """The session is over: show the login page with the reason `why`."""

    def reload(self) -> None:
        """The site has other objects than before: build the page again."""


class Person:
    """A logged-in person: the OPC UA client, the site's catalogue, the latest readings, the last ten minutes."""

    def __init__(self, name: str, client: Client) -> None:
        self.name = name
        self.client = client
        self.catalogue = Catalogue(Model({}))
        self.readings = Readings()
        self.table = Readings()
        self.chart: deque[Sequence[float | None]] = deque(maxlen=CHART_POINTS)
        self.tabs: set[Tab] = set()
        self._slips: float | None = None
        self._slipped_at = 0.0
        self.since: dict[str, float] = {}
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._subscriptions: list[Subscription] = []
        self._table_users = 0
        self._table_task: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """False while the OPC UA server is away; values on show are then old."""
        return self.client.state == CONNECTED

    @property
    def ended(self) -> bool:
        """True once the server or a log-out ended the session for good."""
        return self.client.state == CLOSED

    async def start(self) -> None:
        """Read the model, then follow the values until `close`."""
        self.catalogue = Catalogue(await self.client.model())
        self.client.on_state(self._on_state)
        await self._prefill()
        await self._subscribe()
        await self._first_values()
        self._spawn(self._tick())

    async def close(self) -> None:
        """End the session."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.client.close()

    def values(self) -> dict[str, Any]:
        """The Live page as data, now."""
        now = time.time()
        active = {a.key for a in alarms(self.catalogue, self.readings)}
        self.since = {k: self.since.get(k, now) for k in active}
        return view.live(self.catalogue, self.readings, now, self.since, slipped=self._slipped(now))

    def _slipped(self, now: float) -> bool:
        """True for some minutes after the cycle slipped while this person was here."""
        slips = self.readings.number("cycle/Slips")
        if slips is not None and self._slips is not None and slips > self._slips:
            self._slipped_at = now
        self._slips = slips
        return now - self._slipped_at < SLIP_SHOWN_S

    def follow_table(self) -> None:
        """Somebody looks at all channels: subscribe to them."""
        self._table_users += 1
        if self._table_task is None:
            self._table_task = self._spawn(self._follow_table())

    def leave_table(self) -> None:
        """One who looked at all channels is gone; the last one ends their subscription."""
        self._table_users -= 1
        if self._table_users == 0 and self._table_task is not None:
            self._table_task.cancel()
            self._table_task = None

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _subscribe(self) -> None:
        """Follow the Live page's values, instead of what was followed before."""
        for old in self._subscriptions:
            await old.close()
        flow = await self.client.subscribe(self.catalogue.known(*view.FLOW_NODES), FLOW_MS)
        slow = await self.client.subscribe(view.slow_nodes(self.catalogue), SLOW_MS)
        self._subscriptions = [flow, slow]
        for subscription in self._subscriptions:
            self._spawn(self._follow(subscription, self.readings))

    async def _first_values(self) -> None:
        """Wait until everything was heard once, so that the first page has its numbers; not longer than a person would."""
        wanted = {n for s in self._subscriptions for i, n in enumerate(s.nodes) if i not in s.refused}
        until = time.monotonic() + FIRST_VALUES_S_MAX
        while not wanted <= self.readings.keys() and time.monotonic() < until:
            await asyncio.sleep(0.05)

    async def _follow(self, subscription: Subscription, into: Readings) -> None:
        async for table in subscription:
            into.take(subscription.nodes, table)
            self._news.set()

    async def _follow_table(self) -> None:
        """All channels, as long as this task lives; tried again while the server is away."""
        while True:
            try:
                subscription = await self.client.subscribe(list(self.catalogue.channels), TABLE_MS)
            except ClientError as error:
                log.info("the table of channels waits: %s", error)
                await asyncio.sleep(RETRY_S)
                continue
            try:
                await self._follow(subscription, self.table)
            finally:
                await subscription.close()

    async def _tick(self) -> None:
        charted = 0.0
        while True:
            await _wait(self._news, 1.0)
            self._news.clear()
            now = time.time()
            point = None
            if self.connected and now - charted >= CHART_STEP_S:
                charted = now
                self.chart.append(point := view.chart_point(self.readings, now))
            if self.tabs:
                values = self.values()
                for tab in list(self.tabs):
                    tab.push(values, point)
            await asyncio.sleep(PUSH_S_MIN)

    async def _prefill(self) -> None:
        """Begin the chart with what the history knows; a site without history begins empty."""
        end = datetime.now(UTC)
        start = end - timedelta(seconds=CHART_POINTS * CHART_STEP_S)
        try:
            series = [await self.client.history_read(n, start, end) for n in self.catalogue.known(*view.CHART_NODES)]
        except ClientError as error:
            log.info("no history for the chart: %s", error)
            return
        if len(series) == len(view.CHART_NODES):
            self.chart.extend(view.chart_of_history(series, start.timestamp(), end.timestamp(), CHART_STEP_S))

    def _on_state(self, state: str, _reason: str) -> None:
        self._news.set()
        if state == CONNECTED:
            self._spawn(self._look_again())
        elif state == CLOSED:
            for tab in list(self.tabs):
                tab.leave("ended")

    async def _look_again(self) -> None:
        try:
            found = Catalogue(await self.client.model())
            if found == self.catalogue:
                return
            self.catalogue = found
            await self._subscribe()
        except ClientError as error:
            log.warning("the model could not be read again: %s", error)
            return
        for tab in list(self.tabs):
            tab.reload()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return


@dataclass
class Visit:
    """A person in one browser. seen: monotonic s when it was last there."""

    person: Person
    seen: float


class People:
    """Everybody who is logged in, by the token in their session cookie."""

    def __init__(self, connect: Callable[[str, str], Awaitable[Client]]) -> None:
        self._connect = connect
        self._visits: dict[str, Visit] = {}

    def find(self, token: str) -> Person | None:
        """The person of a cookie, unless the session has ended."""
        visit = self._visits.get(token)
        if visit is None or visit.person.ended:
            return None
        visit.seen = time.monotonic()
        return visit.person

    async def login(self, name: str, password: str) -> str:
        """Log in at the OPC UA server and return a token for the cookie. Raises LoginRefused and ClientError."""
        client = await self._connect(name, password)
        known = next((v.person for v in self._visits.values() if v.person.name == name and not v.person.ended), None)
        if known is not None:
            await client.close()
        token = secrets.token_urlsafe(24)
        self._visits[token] = Visit(known or await _begin(name, client), time.monotonic())
        return token

    async def logout(self, token: str) -> None:
        """Forget a browser; the person's session ends with the last one."""
        await self._drop([token], "out")

    def anyone_away(self) -> bool:
        """True while somebody's OPC UA connection is down."""
        return any(not v.person.connected for v in self._visits.values())

    async def sweep(self) -> None:
        """Forget browsers that were not there for a while, and everybody whose session the server ended."""
        now = time.monotonic()
        for token, visit in self._visits.items():
            if any(tab.token == token for tab in visit.person.tabs):
                visit.seen = now
        gone = [t for t, v in self._visits.items() if v.person.ended or now - v.seen > LINGER_S]
        await self._drop(gone, "idle")

    async def close(self) -> None:
        """End all sessions."""
        await self._drop(list(self._visits), "stopped")

    async def _drop(self, tokens: Sequence[str], why: str) -> None:
        visits = [(token, visit) for token in tokens if (visit := self._visits.pop(token, None))]
        for token, visit in visits:
            for tab in [t for t in visit.person.tabs if t.token == token]:
                tab.leave(why)
        kept = [v.person for v in self._visits.values()]
        for person in {v.person for _, v in visits if v.person not in kept}:
            await person.close()


async def _begin(name: str, client: Client) -> Person:
    person = Person(name, client)
    try:
        await person.start()
    except ClientError:
        await person.close()
        raise
    return person
