"""The bridge: the process of a host that stands for all devices of the site whose control runs there.

For control it is a driver like any other: it fills its block with what is measured, and takes set-points with leases. Behind
it is one OPC UA session: a subscription brings the site's values, and one call each cycle, or at once when a set-point changed,
takes the decisions back and brings what clients wrote there. Documents are read when one of them changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

from numpy.typing import NDArray

from server.client import Client, ClientError
from server.core.commands import TOGETHER
from server.core.errors import EmsError
from server.runtime.context import ProcessContext
from server.runtime.driver_process import BEAT_S
from server.runtime.memory import SharedImage
from server.runtime.plan import DESCRIPTION_FILE
from server.runtime.proposing import pack, unpack

from .decisions import Decisions, control_cells
from .documents import SiteDocuments
from .mirror import Mirror
from .portable import digest
from .protocol import Heard
from .site_link import NAME, RETRY_S, Answer, describe, exchange, identity_of, keep
from .trouble import Trouble

FAREWELL_S: Final = 1.0
_SITE: Final = "the site"


class SiteChanged(EmsError):
    """The site is another than this host was started for."""


class Bridge:
    """One connection to the site, for as long as it lasts."""

    def __init__(self, context: ProcessContext, image: SharedImage, mirror: Mirror) -> None:
        self._image, self._mirror = image, mirror
        self._layout: str = context.settings["digest"]
        self._cycle_s: float = context.settings["site"].cycle_s
        self._directory = context.directory
        self._decisions = Decisions(image)
        self._cells = control_cells(image.layout)
        self._log = context.log
        self.trouble = Trouble(context)
        self._documents = SiteDocuments(context, self.trouble)
        self._heard = Heard()
        self._woken = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._decisions.wake_fd, self._wake)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._decisions.wake_fd)
        self._woken.set()

    async def run(self, client: Client) -> None:
        """Follow and decide. Raises ClientError when the site is lost, SiteChanged when it is another one."""
        description = await describe(client)
        if digest(description) != self._layout:
            keep(self._directory / DESCRIPTION_FILE, description)
            raise SiteChanged("the site's layout changed; its control is planned anew")
        self._decisions.again()
        self._documents.again()
        self._mirror.again()
        subscription = await client.subscribe(self._mirror.nodes, self._cycle_s * 1e3, on_timestamp=True)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(subscription))
            tasks.create_task(self._decide(client))
            tasks.create_task(self._documents.follow(client))

    async def _follow(self, subscription: object) -> None:
        async for table in subscription:  # type: ignore[attr-defined]
            self._mirror.take(table)
        raise ClientError("BadNotConnected", "the subscription ended")

    async def _decide(self, client: Client) -> None:
        while True:
            self._woken.clear()
            rows = self._decisions.rows(time.monotonic_ns())
            try:
                answer = await exchange(client, self._layout, *rows, self._heard)
            except ClientError:
                self._decisions.again()
                raise
            self._hear(answer)
            self.trouble.tell(_SITE)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), self._cycle_s)

    def _hear(self, answer: Answer) -> None:
        """Hand on what clients wrote and proposed at the site, each once. For what there is no room the site is asked again."""
        self._documents.hear(answer.documents)
        self._heard = Heard(
            self._take_writes(answer.urgent, self._heard.urgent),
            self._take_writes(answer.writes, self._heard.writes),
            self._take_proposals(answer.proposals, self._heard.proposals),
        )

    def _take_writes(self, writes: NDArray[Any], heard: int) -> int:
        """Put writes in their order, what counts together in one. Number of the last that found room; heard: of those before."""
        rows = iter(writes.tolist())
        for number, index, user, value in rows:
            if index == TOGETHER:
                group = {int(self._cells[i]): v for _, i, _, v in islice(rows, int(value))}
                taken = self._image.inbox.put_together(group, user)
            else:
                taken = index >= len(self._cells) or self._image.inbox.put(int(self._cells[index]), value, user)
            if not taken:
                break
            heard = number
        return heard

    def _take_proposals(self, proposals: Sequence[tuple[int, bytes]], heard: int) -> int:
        """Put proposals in their order. Number of the last that found room; heard: of those before."""
        for number, record in proposals:
            if not self._pass_on(record):
                break
            heard = number
        return heard

    def _pass_on(self, record: bytes) -> bool:
        """A proposal made at the site: its lease is a duration, and counts by this host's clock from now on. False when there is
        no room for it."""
        try:
            proposal = unpack(record)._replace(arrived_ns=time.monotonic_ns())
        except ValueError as error:
            self._log.warning("a proposal of the site cannot be understood: %s", error)
            return True
        return self._image.proposals.put(pack(proposal))

    async def farewell(self, client: Client) -> None:
        """End all leases, as control does when it is stopped."""
        with contextlib.suppress(ClientError, TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                await exchange(client, self._layout, *self._decisions.withdrawn(), self._heard)


def run(context: ProcessContext) -> None:
    """Entry of the process. settings: what site.toml's [bridge] says; site: SiteSettings; digest: of the site's description."""
    import uvloop

    uvloop.run(_serve(context))


async def _serve(context: ProcessContext) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    image = context.image()
    block = image.block()
    mirror = Mirror(image.layout, block)
    bridge = Bridge(context, image, mirror)
    work = asyncio.create_task(_keep_up(context, bridge), name="bridge")
    work.add_done_callback(lambda _: stop.set())
    context.ready()
    while not stop.is_set() and not context.orphaned():
        block.beat()
        mirror.age(time.monotonic_ns())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), BEAT_S)
    work.cancel()
    try:
        await work
    except asyncio.CancelledError:
        return


async def _keep_up(context: ProcessContext, bridge: Bridge) -> None:
    """Be connected to the site; again and again when it is lost."""
    identity = identity_of(context.directory, context.settings)
    while True:
        try:
            async with Client(identity, NAME) as client:
                try:
                    await bridge.run(client)
                except asyncio.CancelledError:
                    await bridge.farewell(client)
                    raise
        except* ClientError as errors:
            bridge.trouble.tell(_SITE, f"control of the site is not possible: {errors.exceptions[0]}")
        except* SiteChanged as errors:
            context.log.warning("%s", errors.exceptions[0])
            os.kill(context.parent_pids[0], signal.SIGUSR1)
        await asyncio.sleep(RETRY_S)
