"""Following a site that gets other controllers while it runs: nodes come and go, sessions and subscriptions stay.

A frame names the generation of the layout it is of. When that is later than ours, the supervisor is asked for the layout and
the alarms that belong to it. Slots never change their meaning, so monitored items work on; those of a node that is gone report
BadNodeIdUnknown. Clients are told with GeneralModelChangeEvents.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import pickle
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from server.core.alarms import AlarmSpec
from server.core.image import Image
from server.core.layout import CONTROLLER, Layout, ObjectSpec
from server.runtime.bus import BusError, request

from .nodes import NS_SITE

if TYPE_CHECKING:
    from .server import UaServer

_log = logging.getLogger("ems.opcua")

FAILED_S: Final = 10.0
RETRY_S: Final = 0.2
"""The supervisor may learn a moment after us that control has taken a generation over."""


class Generations:
    """Keeps the layout of a server that of its frames."""

    def __init__(self, server: UaServer) -> None:
        self._server = server
        self._task: asyncio.Task[None] | None = None

    def look(self, image: Image) -> None:
        """Begin to follow when a frame is of a later generation."""
        if image.cycle and image.generation > self._server.layout.generation and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._follow(image.generation))

    async def stop(self) -> None:
        """Follow no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self, generation: int) -> None:
        try:
            await self._fetch(generation)
        except Exception as error:  # noqa: BLE001 (supervision point: the nodes of before are served on, and it is tried again)
            _log.error("generation %d of the site cannot be shown", generation, exc_info=error)
            await asyncio.sleep(FAILED_S)

    async def _fetch(self, generation: int) -> None:
        directory = self._server.settings.directory
        try:
            told = await asyncio.to_thread(request, directory, "layout")
        except BusError as error:
            _log.warning("the layout of generation %d is not known: %s", generation, error)
            await asyncio.sleep(RETRY_S)
            return
        if told["generation"] < generation:
            await asyncio.sleep(RETRY_S)
            return
        layout, alarms = await asyncio.to_thread(pickle.loads, base64.b64decode(told["data"]))
        self.adopt(layout, alarms)

    def adopt(self, layout: Layout, alarms: Iterable[AlarmSpec]) -> None:
        """Go on with another layout."""
        server, before = self._server, self._server.layout
        gone = _missing(before, layout)
        server.events.model_changed(removed=gone)
        server.layout, server.settings = layout, replace(server.settings, alarms=tuple(alarms))
        server.image.adopt(layout)
        server.conditions.adopt(server.settings.alarms)
        server.site_nodes.adopt(layout, server.settings.alarms)
        server.nodes.forget(NS_SITE)
        server.forget_plans()
        server.events.model_changed(added=_missing(layout, before), changed=_changed(before, layout))
        _log.info("generation %d of the site: %d controllers", layout.generation, len(_controllers(layout)))


def _controllers(layout: Layout) -> list[ObjectSpec]:
    return [o for o in layout.objects if o.kind == CONTROLLER]


def _missing(here: Layout, there: Layout) -> list[ObjectSpec]:
    """Controllers of one layout that the other does not have."""
    return [o for o in _controllers(here) if o.alias not in there.by_alias]


def _changed(before: Layout, after: Layout) -> list[ObjectSpec]:
    """Controllers of both with other channels."""
    both = [o for o in _controllers(after) if o.alias in before.by_alias]
    return [o for o in both if _names(o) != _names(before.by_alias[o.alias])]


def _names(obj: ObjectSpec) -> set[str]:
    return {use.spec.name for use in obj.channels}
