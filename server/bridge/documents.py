"""The documents of a site on the host of its control: calendars, plans, forecasts and prices, kept as they are there.

    clients ─▶ site: SetDocument ═ Exchange says "documents changed" ═▶ bridge ─ bus ─▶ host's supervisor ─▶ control

The site checks, numbers and audits them. The host reads them like any client, and hands them to its own supervisor under the same
revisions, so that explanations here and there speak of the same plan, and as old as they are there. What is on the host's disk
outlives a lost connection and a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final, NamedTuple

from server.client import Client, ClientError
from server.core.site import SITE_ALIAS
from server.core.ticks import from_datetime
from server.runtime.bus import BusError, request
from server.runtime.context import ProcessContext

from .trouble import Trouble

RETRY_S: Final = 2.0
ROOM_S: Final = 60.0
"""How often it is looked whether there is room now for what the host could not keep."""


class _Row(NamedTuple):
    """A document of the site. arrived: ticks, to the second."""

    name: str
    revision: int
    user: str
    arrived: int


class SiteDocuments:
    """Keeps the host's documents as the site's. `hear` what each exchange says of them, `again` for a new connection."""

    def __init__(self, context: ProcessContext, trouble: Trouble) -> None:
        self._context = context
        self._trouble = trouble
        self._changes = -1
        self._known: dict[str, int] = {}
        self._changed = asyncio.Event()

    def again(self) -> None:
        """The next exchange is the first of a connection."""
        self._changes = -1

    def hear(self, changes: int) -> None:
        """How often the site's documents changed."""
        if changes != self._changes:
            self._changes = changes
            self._changed.set()

    async def follow(self, client: Client) -> None:
        """Take over what changed, for as long as the connection lasts."""
        complete = True
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), None if complete else ROOM_S)
            self._changed.clear()
            try:
                complete = await self.take_over(client)
            except (BusError, ClientError, ValueError) as error:  # ValueError: what the site says makes no sense
                self._context.log.warning("the site's documents cannot be had: %s", error)
                self._changed.set()
                await asyncio.sleep(RETRY_S)

    async def take_over(self, client: Client) -> bool:
        """Make the host's documents those of the site. False when there is no room for all of them; BusError, ClientError or
        ValueError when nothing is possible now."""
        there = _rows(*await client.call(SITE_ALIAS, "ListDocuments"))
        here = {row["name"]: int(row["revision"]) for row in (await self._ask("documents"))["documents"]}
        for name in here.keys() - there.keys():
            await self._ask("remove_document", name=name, user="the site")
        for name in self._known.keys() - there.keys():
            del self._known[name]
            self._trouble.tell(name)
        for name, row in there.items():
            if self._known.get(name) != row.revision and await self._take(client, row, here.get(name)):
                self._known[name] = row.revision
        return all(self._known.get(name) == row.revision for name, row in there.items())

    async def _take(self, client: Client, row: _Row, here: int | None) -> bool:
        """One document, unless the host has it as it is; what is of no use here is told, and left. False when there is no room
        for it. here: the host's revision."""
        name, trouble, room = row.name, "", True
        revision, content = await client.call(SITE_ALIAS, "GetDocument", name)
        if revision != row.revision:
            return True  # replaced meanwhile: the next exchange says so, and how old it is comes with the next list
        if here != revision or (await self._ask("document", name=name)).get("content") != json.loads(content):
            origin = {"user": row.user, "at_least": revision, "arrived": row.arrived}
            answer = await self._ask("set_document", name=name, content=content, **origin)
            if refused := answer.get("refused"):
                room = refused != "full"
                trouble = f"{name} of the site is of no use here: {answer['text']}"
        self._trouble.tell(name, trouble)
        return room

    async def _ask(self, op: str, **arguments: Any) -> dict[str, Any]:
        """Ask the host's supervisor. BusError."""
        return await asyncio.to_thread(partial(request, self._context.directory, op, **arguments))


def _rows(
    names: Sequence[str] | None,
    revisions: Sequence[int] | None,
    users: Sequence[str] | None,
    arrived: Sequence[str] | None,
    *_: object,
) -> dict[str, _Row]:
    """The answer to ListDocuments, by name."""
    columns = zip(names or (), revisions or (), users or (), arrived or (), strict=True)
    return {name: _Row(name, revision, user, _ticks(at)) for name, revision, user, at in columns}


def _ticks(moment: str) -> int:
    return from_datetime(datetime.fromisoformat(moment)) if moment else 0
