"""The documents of a site on the host of its control: calendars, plans, forecasts and prices, kept as they are there.

    clients ─▶ site: SetDocument ═ Exchange says "documents changed" ═▶ bridge ─ bus ─▶ host's supervisor ─▶ control

The site checks, numbers and audits them. The host reads them like any client, and hands them to its own supervisor under the same
revisions, so that explanations here and there speak of the same plan. What is on the host's disk outlives a lost connection and a
restart.
"""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any, Final

from server.client import Client, ClientError
from server.core.site import SITE_ALIAS
from server.runtime.bus import BusError, request
from server.runtime.context import ProcessContext

RETRY_S: Final = 2.0


class SiteDocuments:
    """Keeps the host's documents as the site's. `hear` what each exchange says of them, `again` for a new connection."""

    def __init__(self, context: ProcessContext) -> None:
        self._context = context
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
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._take_over(client)
            except (BusError, ClientError) as error:
                self._context.log.warning("the site's documents cannot be had: %s", error)
                self._changed.set()
                await asyncio.sleep(RETRY_S)

    async def _take_over(self, client: Client) -> None:
        names, revisions, users, *_ = await client.call(SITE_ALIAS, "ListDocuments")
        there = {name: (revision, user) for name, revision, user in zip(names or (), revisions or (), users or (), strict=True)}
        here = {row["name"]: row["revision"] for row in (await self._ask("documents"))["documents"]}
        for name in here.keys() - there.keys():
            await self._ask("remove_document", name=name, user="the site")
            self._known.pop(name, None)
        for name, (revision, user) in there.items():
            if self._known.get(name) != revision:
                await self._take(client, name, user, name in here)
                self._known[name] = revision

    async def _take(self, client: Client, name: str, user: str, is_here: bool) -> None:
        """One document, unless the host has it as it is; what is refused here is told, and left."""
        revision, content = await client.call(SITE_ALIAS, "GetDocument", name)
        if is_here and (await self._ask("document", name=name)).get("content") == json.loads(content):
            return
        answer = await self._ask("set_document", name=name, content=content, user=user, at_least=revision)
        if "refused" in answer:
            self._context.event("complaint", f"{name} of the site is of no use here: {answer['text']}")

    async def _ask(self, op: str, **arguments: Any) -> dict[str, Any]:
        """Ask the host's supervisor. BusError."""
        return await asyncio.to_thread(partial(request, self._context.directory, op, **arguments))
