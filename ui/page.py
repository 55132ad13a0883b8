"""A tab of a browser: it remembers what the browser has and sends on what changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nicegui import Client

from . import view
from .person import Person
from .widgets import Store


class BrowserTab:
    """One page of a person. extra: values of the page beyond the Live page's, asked for in every tick."""

    def __init__(
        self, client: Client, person: Person, store: Store, extra: Callable[[], dict[str, Any]], live: bool = True
    ) -> None:
        self._client = client
        self._person = person
        self._store = store
        self._extra = extra
        self._live = live
        self._shown: dict[str, Any] = {}

    def open(self) -> None:
        """Take part in the person's ticks until the browser is gone."""
        self._shown = dict(self._store.props["values"])
        self._person.enter(self)
        self._client.on_delete(self._close)

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

    def _close(self) -> None:
        self._person.exit(self)
