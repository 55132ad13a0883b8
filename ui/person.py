"""People at the panel: one OPC UA session per person who is logged in, shared by all of that person's tabs.

The panel decides nothing about rights. It opens the session with its own certificate and the person's user token, and
the server enforces roles. The session ends at log-out, when the server ends it, or some minutes after the last tab is gone.
While no tab is open nothing is subscribed to: a person who is not looking costs a session that is kept alive, no more.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from server.client import CLOSED, CONNECTED, Client, ClientError, Model
from server.client.ending import ended
from server.core.roles import Role

from .alarm_watch import AlarmWatch
from .catalogue import Catalogue

LINGER_S = 15 * 60.0
"""How long a browser stays logged in after its last tab is gone, and with the last browser the session."""

log = logging.getLogger("ems.ui")


class Tab(Protocol):
    """A page in a browser. token: of the cookie it was opened with."""

    token: str

    def changed(self) -> None:
        """The connection is another than before."""

    def leave(self, why: str) -> None:
        """The session is over: show the login page with the reason `why`."""

    def reload(self) -> None:
        """The site has other objects than before: build the page again."""


class Person:
    """A logged-in person: the OPC UA client, the roles the server gave, the site's catalogue and alarms, the open tabs."""

    def __init__(self, name: str, client: Client) -> None:
        self.name = name
        self.client = client
        self.roles: frozenset[Role] = frozenset()
        self.catalogue = Catalogue(Model({}))
        self.alarms = AlarmWatch(client)
        self.tabs: set[Tab] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def connected(self) -> bool:
        """False while the OPC UA server is away; values on show are then old."""
        return self.client.state == CONNECTED

    @property
    def ended(self) -> bool:
        """True once the server or a log-out ended the session for good, or the server knows this person no more."""
        return self.client.state == CLOSED or self.client.refused

    async def start(self) -> None:
        """Learn what the site is and what this person may do. Raises ClientError."""
        await self.learn()
        self.client.on_state(self._on_state)

    async def learn(self) -> None:
        """Ask which roles this person has now, and what the site looks like with others than before. Raises ClientError.

        Without a role there is no site to see: the person has a one-time password and must choose another.
        """
        roles = await self.client.roles()
        if roles != self.roles:
            self.catalogue = Catalogue(await self.client.model() if roles else Model({}))
            self.roles = roles

    async def close(self) -> None:
        """End the session."""
        await ended(self._tasks)
        await self.alarms.end()
        await self.client.close()

    def _on_state(self, state: str, _reason: str) -> None:
        for tab in list(self.tabs):
            tab.changed()
            if state == CLOSED:
                tab.leave("ended")
        if state == CONNECTED:
            self._spawn(self.look_again())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def look_again(self) -> None:
        """The site may be another than before, or the person's rights may be: pages are built again then."""
        try:
            found, roles = Catalogue(await self.client.model()), await self.client.roles()
        except ClientError as error:
            log.warning("the model could not be read again: %s", error)
            return
        if (found, roles) == (self.catalogue, self.roles):
            return
        self.catalogue, self.roles = found, roles
        for tab in list(self.tabs):
            tab.reload()


@dataclass
class Browser:
    """A person in one browser. seen: monotonic s when it was last there."""

    person: Person
    seen: float


class People:
    """Everybody who is logged in, by the token in their session cookie."""

    def __init__(self, connect: Callable[[str, str], Awaitable[Client]]) -> None:
        self._connect = connect
        self._browsers: dict[str, Browser] = {}

    def find(self, token: str) -> Person | None:
        """The person of a cookie, unless the session has ended."""
        browser = self._browsers.get(token)
        if browser is None or browser.person.ended:
            return None
        browser.seen = time.monotonic()
        return browser.person

    async def login(self, name: str, password: str) -> str:
        """Log in at the OPC UA server and return a token for the cookie. Raises LoginRefused and ClientError."""
        client = await self._connect(name, password)
        known = next((b.person for b in self._browsers.values() if b.person.name == name and not b.person.ended), None)
        if known is not None:
            await client.close()
        token = secrets.token_urlsafe(24)
        self._browsers[token] = Browser(known or await _begin(name, client), time.monotonic())
        return token

    async def logout(self, token: str) -> None:
        """Forget a browser; the person's session ends with the last one."""
        await self._drop([token], "out")

    def away(self) -> list[Person]:
        """Those whose OPC UA connection is down."""
        return [b.person for b in self._browsers.values() if not b.person.connected]

    async def sweep(self) -> None:
        """Forget browsers that were not there for a while, and everybody whose session the server ended."""
        now = time.monotonic()
        for token, browser in self._browsers.items():
            if any(tab.token == token for tab in browser.person.tabs):
                browser.seen = now
        await self._drop([t for t, b in self._browsers.items() if b.person.ended], "ended")
        await self._drop([t for t, b in self._browsers.items() if now - b.seen > LINGER_S], "idle")

    async def close(self) -> None:
        """End all sessions."""
        await self._drop(list(self._browsers), "stopped")

    async def _drop(self, tokens: Sequence[str], why: str) -> None:
        browsers = [(token, browser) for token in tokens if (browser := self._browsers.pop(token, None))]
        for token, browser in browsers:
            for tab in [t for t in browser.person.tabs if t.token == token]:
                tab.leave(why)
        kept = [b.person for b in self._browsers.values()]
        for person in {b.person for _, b in browsers if b.person not in kept}:
            await person.close()


async def _begin(name: str, client: Client) -> Person:
    person = Person(name, client)
    try:
        await person.start()
    except ClientError:
        await person.close()
        raise
    return person
