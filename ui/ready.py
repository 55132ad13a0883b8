"""Telling the supervisor that the panel answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from nicegui import app, background_tasks
from nicegui.server import Server

LOOK_S: Final = 0.05


def tell_when_listening(ready: Callable[[], None]) -> None:
    """Call `ready` once, as soon as the HTTPS server listens."""
    app.on_startup(lambda: background_tasks.create(_tell(ready), name="panel ready"))


async def _tell(ready: Callable[[], None]) -> None:
    while not Server.instance.started:
        await asyncio.sleep(LOOK_S)
    ready()
