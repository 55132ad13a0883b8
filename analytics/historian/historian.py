"""The historian's process: one client, one subscription, one writer thread."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

from server.client import CONNECTED, Client, ClientError, Identity, Table
from server.core.ticks import from_unix_ns
from server.history import HistoryError, database_url
from server.runtime.backoff import Backoff
from server.runtime.config import HistoryTable

from .buffer import Buffer
from .dating import Dating
from .keeper import Keeper
from .thrift import give_memory_back

FLUSH_S: Final = 1.0
RETRY_S: Final = 0.5
RETRIES_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Pauses before a database that failed is tried again."""
ORPHAN_CHECK_S: Final = 0.5

_log = logging.getLogger("ems.historian")


class Context(Protocol):
    """What the supervisor tells a service (server.runtime.context.ProcessContext)."""

    directory: Path
    endpoint: str
    settings: Mapping[str, Any]

    def orphaned(self) -> bool:
        """True when the supervisor is gone."""
        ...

    def ready(self) -> None:
        """Tell the supervisor that we work."""
        ...

    def event(self, kind: str, text: str, **data: Any) -> None:
        """Tell the supervisor something worth the journal."""
        ...


class Feed(Protocol):
    """What brings the values (server.client.Subscription): another `id` means that the server has made it anew."""

    id: int
    nodes: tuple[str, ...]

    def __aiter__(self) -> AsyncIterator[Table]:
        """The values, a table at a time."""
        ...


class Link(Protocol):
    """The connection of the feed (server.client.Client)."""

    state: str


def run(context: Context) -> None:
    """Store history until SIGTERM, or until the supervisor is gone."""
    give_memory_back()
    asyncio.run(_main(context))


async def _main(context: Context) -> None:
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    work = asyncio.create_task(_work(context))
    while not (ending.is_set() or work.done() or context.orphaned()):
        with suppress(TimeoutError):
            await asyncio.wait_for(ending.wait(), ORPHAN_CHECK_S)
    work.cancel()
    with suppress(asyncio.CancelledError):
        await work


async def _work(context: Context) -> None:
    settings: HistoryTable = context.settings["history"]
    async with await _connect(context) as client:
        nodes = await historized(client)
        url = database_url(context.directory, settings.database)
        keeper = Keeper(url, nodes, settings.kept_days, lambda text: context.event("history", text))
        subscription = await client.subscribe(nodes, settings.interval_s * 1000)
        _log.info("storing %d channels every %g s", len(nodes), settings.interval_s)
        context.ready()
        await Historian(keeper, subscription, client, context).run()


async def _connect(context: Context) -> Client:
    """A connected client; waits as long as the server is not there."""
    own = context.directory / "certs" / "own"
    identity = Identity(context.endpoint, own / "historian.der", own / "historian.key.pem", server_certificate=own / "server.der")
    while True:
        client = Client(identity)
        try:
            await client.connect()
        except ClientError as error:
            _log.info("waiting for the OPC UA server: %s", error)
            await client.close()
            await asyncio.sleep(RETRY_S)
        else:
            return client


async def historized(client: Client) -> list[str]:
    """The nodes whose history the server offers."""
    model = await client.model()
    return [channel.node for item in model.objects.values() for channel in item.channels.values() if channel.historized]


class Historian:
    """Moves values from the subscription to the database; neither waits for the other."""

    def __init__(self, keeper: Keeper, subscription: Feed, link: Link, context: Context) -> None:
        self._keeper = keeper
        self._subscription = subscription
        self._link = link
        self._context = context
        self._begun = self._heard = _now()
        self._made = subscription.id
        self._dating = Dating(len(subscription.nodes), self._begun)
        self._buffer = Buffer()
        self._thread = ThreadPoolExecutor(1, "history")
        self._backoff = Backoff(RETRIES_S)
        self._retry_at = 0.0
        self._failing = False

    async def run(self) -> None:
        """Until cancelled; then what is in the buffer is stored."""
        flushing = asyncio.create_task(self._flush_each_second())
        try:
            async for table in self._subscription:
                self._take(table)
        finally:
            flushing.cancel()
            with suppress(asyncio.CancelledError):
                await flushing
            self._retry_at = 0.0
            await self._flush()
            self._thread.submit(self._keeper.close)
            self._thread.shutdown()

    def _take(self, table: Table) -> None:
        now = _now()
        if self._subscription.id != self._made:  # the server forgot the old one, and with it what happened meanwhile
            self._made = self._subscription.id
            self._buffer.add(self._dating.gap(self._heard, now))
        self._buffer.add(self._dating.date(table, now))

    async def _flush_each_second(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            await asyncio.shield(self._flush())

    async def _flush(self) -> None:
        if self._link.state == CONNECTED and self._subscription.id == self._made:
            self._heard = _now()
        if time.monotonic() < self._retry_at:
            return
        table = self._buffer.take()
        try:
            await self._in_thread(self._keeper.store, table, self._begun, self._heard)
        except HistoryError as error:
            if table is not None:
                self._buffer.restore(table)
            self._failed(str(error))
            return
        self._works()
        try:
            await self._in_thread(self._keeper.tend, _now())
        except HistoryError as error:
            self._failed(str(error))

    async def _in_thread(self, function: Callable[..., None], *arguments: Any) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    def _failed(self, reason: str) -> None:
        """Try again later, each time a little later; say it when it breaks."""
        self._retry_at = time.monotonic() + self._backoff.next()
        if not self._failing:
            self._failing = True
            self._context.event("complaint", f"history cannot be stored: {reason}", lost=self._buffer.lost)

    def _works(self) -> None:
        self._backoff = Backoff(RETRIES_S)
        if self._failing:
            self._failing = False
            self._context.event("complaint", "")
            self._context.event("history", f"history is stored again, {self._buffer.lost} values were given up")


def _now() -> int:
    return from_unix_ns(time.time_ns())
