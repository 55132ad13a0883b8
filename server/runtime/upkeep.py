"""What the supervisor does again and again while a site runs: look, tell the service manager, keep the journal and the logs."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from .logs import cut_logs
from .running import RunningSite, SiteState
from .service_manager import ServiceManager
from .watch import HangWatch

TICK_S: Final = 0.2
SYNC_EVERY_S: Final = 1.0
CUT_EVERY_S: Final = 30.0


class Upkeep:
    """The repeated work on one site. `up` is set when every part is ready or known to be in trouble."""

    def __init__(self, site: RunningSite, manager: ServiceManager) -> None:
        self.up = asyncio.Event()
        self._site = site
        self._manager = manager
        self._watch = HangWatch(site.image, site.plan.settings.cycle_s)

    async def tick_for_ever(self) -> None:
        """Look at everything every TICK_S."""
        while True:
            self.tick()
            self._watch.look(self._site.processes.values())
            self._manager.stroke(self._site.image.clock.heartbeat)
            await asyncio.sleep(TICK_S)

    def tick(self) -> None:
        """Judge entries and alarms, and take what control has journaled."""
        site = self._site
        site.look()
        site.take_records()
        site.documents.tick()
        if site.stage is SiteState.STARTING and site.up:
            site.stage = SiteState.RUNNING
            site.journal.event("running", f"all parts of the site were started; it is {site.state}")
            self._manager.ready()
            self.up.set()
        self._manager.tell(f"{site.state}, {len(site.alarms.active)} alarms")

    async def keep_records_for_ever(self) -> None:
        """Bring journal and registry to the disk every SYNC_EVERY_S, and cut logs that grew too long."""
        cut_at = 0.0
        while True:
            await asyncio.sleep(SYNC_EVERY_S)
            try:
                await self._keep_records()
                if time.monotonic() >= cut_at:
                    cut_at = time.monotonic() + CUT_EVERY_S
                    cut_logs(self._site.plan.directory / "data" / "log")
            except OSError as error:
                self._disk("cannot be written: " + (error.strerror or str(error)))
            else:
                self._disk("")

    async def _keep_records(self) -> None:
        if self._site.journal.write():
            await asyncio.to_thread(self._site.journal.sync)
        self._site.registry.save()

    def _disk(self, problem: str) -> None:
        """Say it once when the disk takes nothing any more, and once when it does again."""
        if problem != self._site.disk_problem:
            self._site.disk_problem = problem
            text = f"the journal {problem}" if problem else "the journal can be written again"
            self._site.note(logging.ERROR if problem else logging.WARNING, "disk", text)
