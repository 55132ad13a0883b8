"""A driver process: one driver folder's `run` under asyncio, between the shared image and its devices.

It beats its owner's heart from the event loop, so a driver that blocks the loop is seen as silent like one that died. Asked to
stop by SIGTERM, or orphaned, it cancels the driver, which writes the fail-safe set-points and returns. An exception of the driver
ends the process with status 1 and its cause in the log; the supervisor starts it again with back-off.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
from collections.abc import Sequence
from typing import Any, Final

from server.core.driver import Entry
from server.core.errors import EmsError
from server.core.layout import Layout

from .clock import CycleClock
from .context import ProcessContext
from .memory import OwnerBlock, SetpointReader, SharedImage

BEAT_S: Final = 0.1
GRACE_S: Final = 5.0
"""How long a cancelled driver may take for its fail-safe writes."""


class DriverEnded(EmsError):
    """A driver returned although nobody asked it to."""


class RuntimeIo:
    """The DriverIo of this process (see server.core.driver)."""

    def __init__(self, image: SharedImage, context: ProcessContext) -> None:
        self.name: str = image.role
        self.layout: Layout = image.layout
        self.block: OwnerBlock = image.block()
        self.setpoints: SetpointReader = image.setpoints()
        self.clock: CycleClock = image.clock
        self._context = context

    def event(self, kind: str, text: str, **data: Any) -> None:
        """Tell log and journal."""
        self._context.log.info("%s: %s", kind, text)
        self._context.event(kind, text, **data)


def run(context: ProcessContext) -> None:
    """Entry of a driver process; raises what the driver raises.

    settings: module: the driver's package, whose `driver.py` has `run`; entries: its Entry objects.
    """
    image = context.image()
    module = importlib.import_module(f"{context.settings['module']}.driver")
    asyncio.run(attend(context, RuntimeIo(image, context), module.run, tuple(context.settings["entries"])))


async def attend(context: ProcessContext, io: RuntimeIo, run_driver: Any, entries: Sequence[Entry]) -> None:
    """Run the driver until it is to stop; then see that it comes to an end."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    driver = asyncio.create_task(run_driver(io, entries), name=f"driver {io.name}")
    driver.add_done_callback(lambda _: stop.set())
    context.ready()
    await _beat_until(stop, io.block, context)
    if driver.done():
        await driver
        raise DriverEnded(f"driver {io.name} returned although it was not asked to")
    await _cancel(driver, context)


async def _beat_until(stop: asyncio.Event, block: OwnerBlock, context: ProcessContext) -> None:
    while not stop.is_set() and not context.orphaned():
        block.beat()
        try:
            await asyncio.wait_for(stop.wait(), BEAT_S)
        except TimeoutError:
            continue


async def _cancel(driver: asyncio.Task[None], context: ProcessContext) -> None:
    """Cancel the driver and wait for its fail-safe writes. A deaf one would hold up any orderly end: the process just ends."""
    driver.cancel()
    _, late = await asyncio.wait({driver}, timeout=GRACE_S)
    if late:
        context.log.error("the driver did not return within %g s of being cancelled", GRACE_S)
        os._exit(1)
    if not driver.cancelled():
        await driver
