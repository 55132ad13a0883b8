"""The historian's process: one client, one subscription, one writer thread."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from server.client import Client, ClientError, Identity, Subscription
from server.history import HistoryError, HistoryWriter, database_url

from .buffer import Buffer

FLUSH_S: Final = 1.0
RETRY_S: Final = 2.0
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


@dataclass(frozen=True)
class Settings:
    """Table `[services.historian]` of site.toml.

    interval_s: sampling of each node; database: a SQLAlchemy URL, empty for SQLite in the site's data folder.
    """

    interval_s: float = 1.0
    database: str = ""

    @classmethod
    def read(cls, table: Mapping[str, Any]) -> Settings:
        """Settings from the table; what is not ours is left to the others."""
        return cls(float(table.get("interval_s", cls.interval_s)), str(table.get("database", cls.database)))


def run(context: Context) -> None:
    """Store history until SIGTERM, or until the supervisor is gone."""
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
    settings = Settings.read(context.settings)
    writer = HistoryWriter(database_url(context.directory, settings.database))
    if writer.set_aside is not None:
        context.event("history-damaged", f"the history was damaged and set aside as {writer.set_aside.name}; a new one is begun")
    try:
        async with await _connect(context) as client:
            nodes = await historized(client)
            buffer = Buffer(writer.ensure(nodes))
            subscription = await client.subscribe(nodes, settings.interval_s * 1000)
            _log.info("storing %d channels every %g s", len(nodes), settings.interval_s)
            context.ready()
            await Historian(writer, buffer, subscription, context).run()
    finally:
        writer.close()


async def _connect(context: Context) -> Client:
    """A connected client; waits as long as the server is not there."""
    own = context.directory / "certs" / "own"
    ca = context.directory / "certs" / "ca" / "ca.der"
    identity = Identity(context.endpoint, own / "historian.der", own / "historian.key.pem", ca=ca)
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
    """Moves tables from the subscription to the database; neither waits for the other."""

    def __init__(self, writer: HistoryWriter, buffer: Buffer, subscription: Subscription, context: Context) -> None:
        self._writer = writer
        self._buffer = buffer
        self._subscription = subscription
        self._context = context
        self._thread = ThreadPoolExecutor(1, "history")
        self._failing = False

    async def run(self) -> None:
        """Until cancelled; then what is in the buffer is stored."""
        flushing = asyncio.create_task(self._flush_each_second())
        try:
            async for table in self._subscription:
                self._buffer.add(table)
        finally:
            flushing.cancel()
            with suppress(asyncio.CancelledError):
                await flushing
            await self._flush()
            self._thread.shutdown()

    async def _flush_each_second(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            await asyncio.shield(self._flush())

    async def _flush(self) -> None:
        tables = self._buffer.take()
        if not tables:
            return
        columns = self._buffer.columns(tables)
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._writer.append, *columns)
        except HistoryError as error:
            self._buffer.restore(tables)
            self._report(True, f"history cannot be stored: {error}")
        else:
            self._report(False, f"history is stored again, {self._buffer.lost} values were given up")

    def _report(self, failing: bool, text: str) -> None:
        """Say it once when it breaks and once when it works again."""
        if failing != self._failing:
            self._failing = failing
            self._context.event("history", text, failing=failing, lost=self._buffer.lost)
