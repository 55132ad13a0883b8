"""A page open in a tab of a browser: what it follows, what it shows, and what the person does there.

The server follows nodes and sends changed values only while the browser is connected and its tab is looked at: an open but
hidden tab costs nothing. All values of a page travel as keys of one store, at most four times a second, and only those that
changed; elements are built once and never again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from nicegui import Client
from nicegui.element import Element
from nicegui.events import GenericEventArguments

from server.core.errors import EmsError
from server.core.roles import Role

from . import refusal
from .feed import Feed
from .person import Person
from .readings import Readings
from .settings import Settings
from .widgets import Store

PUSH_S_MIN = 0.25
LOOK_S = 2.0
"""How often a page is looked at although nothing was heard: words that tell an age go on."""

WATCHED_MAX = 500
"""Most nodes that one page follows at a browser's wish."""

Values = Callable[[], dict[str, Any]]
Deed = Callable[[dict[str, Any]], Awaitable[str]]


class Source(Protocol):
    """Something that costs while it is open."""

    def open(self) -> None:
        """Somebody looks."""

    async def close(self) -> None:
        """Nobody looks."""


class Visit:
    """One open page. token: of the browser's cookie; query: of the address; readings: all that the tab follows."""

    def __init__(self, settings: Settings, person: Person, token: str, query: Mapping[str, str], client: Client) -> None:
        self.settings = settings
        self.person = person
        self.token = token
        self.query = query
        self.readings = Readings()
        self._client = client
        self._store = Store()
        self._sources: list[Values] = []
        self._shown: dict[str, Any] = {}
        self._feeds: list[Source] = []
        self._news = asyncio.Event()
        self._pushing: asyncio.Task[None] | None = None

    # -- for pages ---------------------------------------------------------------------------------------------------

    async def follow(self, nodes: Sequence[str], interval_ms: float = 500) -> Feed:
        """Have the values of `nodes` in `readings`: read now, kept current while somebody looks. Closed with the tab."""
        feed = Feed(self.person.client, self.person.catalogue.known(*nodes), interval_ms, self.readings, self.changed)
        await feed.read()
        self.attach(feed)
        return feed

    def attach(self, source: Source) -> None:
        """Keep `source` open while somebody looks at the tab."""
        self._feeds.append(source)
        if self._pushing is not None:
            source.open()

    async def unfollow(self, feed: Source) -> None:
        """End what `follow` or `attach` began."""
        self._feeds.remove(feed)
        await feed.close()

    def watched(self, interval_ms: float = 1000) -> Watched:
        """Nodes that the browser chooses, and chooses anew, while the page is open."""
        return Watched(self, interval_ms)

    def values(self, source: Values) -> None:
        """Let `source` give values of the browser's store, by key; JSON only. It is asked after news and must be quick."""
        self._sources.append(source)

    def changed(self) -> None:
        """Something else than a reading changed: ask the sources again soon."""
        self._news.set()

    def on(self, element: Element, event: str, deed: Deed) -> None:
        """Do `deed` when the element emits `event`, and tell the person its answer or why it was refused."""

        async def handle(arguments: GenericEventArguments) -> None:
            wish = dict(arguments.args)
            number = wish.pop("deed", 0)
            try:
                self._store.answer(number, True, await deed(wish))
            except EmsError as error:
                self._store.answer(number, False, refusal.words(error))
            self.changed()

        element.on(event, handle)

    def may(self, *roles: Role) -> bool:
        """Whether the person has one of these roles. Only to say beforehand what the server would refuse."""
        return bool(self.person.roles & set(roles))

    # -- for the panel -----------------------------------------------------------------------------------------------

    def open(self) -> None:
        """The page is built: begin with its values, and take part until the browser is gone."""
        self._shown = self._now()
        self._store.begin(self._shown)
        self._store.on("looks", lambda event: self._looks(bool(event.args)))
        self.person.tabs.add(self)
        self._client.on_delete(self._gone)

    def leave(self, why: str) -> None:
        """Show the login page."""
        self._store.leave(why)

    def reload(self) -> None:
        """Build the page again."""
        self._client.run_javascript("window.location.reload()")

    async def _gone(self) -> None:
        self.person.tabs.discard(self)
        await self._looks(False)

    async def _looks(self, looks: bool) -> None:
        """The person turned to this tab, or away from it."""
        if looks and self._pushing is None:
            self._pushing = asyncio.get_running_loop().create_task(self._push_changes())
            for feed in self._feeds:
                feed.open()
        elif not looks and self._pushing is not None:
            self._pushing.cancel()
            self._pushing = None
            await asyncio.gather(*(feed.close() for feed in self._feeds))

    def _now(self) -> dict[str, Any]:
        return {key: value for source in self._sources for key, value in source().items()}

    async def _push_changes(self) -> None:
        while True:
            new = self._now()
            changed = {k: v for k, v in new.items() if k not in self._shown or self._shown[k] != v}
            if changed and self._client.has_socket_connection:
                self._shown |= changed
                self._store.apply(changed)
            await asyncio.sleep(PUSH_S_MIN)
            await _wait(self._news, LOOK_S)
            self._news.clear()


class Watched:
    """Nodes that a browser chose: followed instead of those it chose before. nodes: the present ones."""

    def __init__(self, visit: Visit, interval_ms: float) -> None:
        self.nodes: list[str] = []
        self._visit = visit
        self._interval_ms = interval_ms
        self._feed: Feed | None = None
        self._choice = 0

    async def choose(self, nodes: Sequence[str]) -> None:
        """Follow these, as far as the site has them, and no others; the first WATCHED_MAX of them."""
        self._choice += 1
        choice, known = self._choice, self._visit.person.catalogue.known(*nodes)[:WATCHED_MAX]
        if known == self.nodes:
            return None
        feed = await self._visit.follow(known, self._interval_ms)
        if choice != self._choice:
            return await self._visit.unfollow(feed)
        self.nodes, former, self._feed = known, self._feed, feed
        self._visit.changed()
        if former is not None:
            await self._visit.unfollow(former)
        return None


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return
