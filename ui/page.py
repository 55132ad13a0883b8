"""A tab of a browser: it remembers what the browser has and sends on what changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nicegui import Client

from . import view
from .person import Person
from .settings import Settings
from .widgets import Store


@dataclass(frozen=True)
class Visit:
    """One request for a page. token: of the browser's cookie; link: the state of the connection as data."""

    settings: Settings
    person: Person
    token: str
    link: Callable[[], dict[str, Any]]


class BrowserTab:
    """An open page. extra: values beyond the Live page's, asked for in every tick; live: False for a page of those only."""

    def __init__(self, visit: Visit, client: Client, store: Store, extra: Callable[[], dict[str, Any]], *, live: bool) -> None:
        self.token = visit.token
        self._person = visit.person
        self._client = client
        self._store = store
        self._extra = extra
        self._live = live
        self._shown: dict[str, Any] = {}

    def open(self) -> None:
        """Take part in the person's ticks until the browser is gone."""
        self._shown = dict(self._store.props["values"])
        self._person.tabs.add(self)
        self._client.on_delete(lambda: self._person.tabs.discard(self))

    def push(self, values: dict[str, Any], point: Sequence[float | None] | None) -> None:
        """Send what changed since the last tick; nothing while the browser is not connected."""
        if not self._client.has_socket_connection:
            return
        new = (values if self._live else {"mode": values["mode"]}) | self._extra()
        changed = view.changes(self._shown, new)
        self._shown |= changed
        if changed or (point and self._live):
            self._store.apply(changed, point if self._live else None)

    def leave(self, why: str) -> None:
        """Show the login page."""
        self._store.leave(why)

    def reload(self) -> None:
        """Build the page again."""
        self._client.run_javascript("window.location.reload()")
