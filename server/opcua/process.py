"""The OPC UA server as a process of the site: started by the supervisor, ends on SIGTERM or when the supervisor is gone."""

from __future__ import annotations

import asyncio
import errno
import gc
import signal
from functools import partial
from typing import TYPE_CHECKING, Final

from server.core.errors import ConfigError
from server.history import database_url
from server.runtime.users import Users

from .channel import ServerSecurity
from .policy import offer
from .reverse import ReverseClient
from .server import Settings, UaServer

if TYPE_CHECKING:
    from server.runtime.context import ProcessContext

    from .announce import Announcement

ORPHAN_CHECK_S: Final = 1.0
COLLECT_AFTER: Final = (20_000, 20, 20)
"""Objects made, and collections of the generation before."""


def serve(context: ProcessContext) -> None:
    """Serve until SIGTERM. Raises ConfigError or OSError when address or files cannot be had: the supervisor tries again."""
    import uvloop

    uvloop.run(_serve(context))


async def _serve(context: ProcessContext) -> None:
    end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set)
    server = make_server(context)
    await _start(server)
    settle()
    context.ready()
    try:
        while not end.is_set() and not context.orphaned():
            await _wait(end, ORPHAN_CHECK_S)
    finally:
        await server.stop()


def settle() -> None:
    """Types, layout and tables stay as long as the process: the garbage collector need not look at them again and again.

    It would stand still for 100 ms now and then while a client browses; nodes are made by the thousand, and few are garbage.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


async def _start(server: UaServer) -> None:
    """Listen. Raises ConfigError that says where the address that cannot be had is set."""
    try:
        await server.start()
    except OSError as error:
        reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be listened on: {error.strerror}"
        address = f"{server.settings.host}:{server.settings.port}"
        raise ConfigError("site.toml", "opcua", f"{address} {reason}") from error


def make_server(context: ProcessContext) -> UaServer:
    """The server a process context describes. OSError when certificates or users cannot be read."""
    site, directory = context.settings["site"], context.directory
    assert context.layout is not None, "the supervisor always gives the server a layout"
    settings = Settings(
        directory=directory,
        host=context.settings["host"],
        port=context.settings["port"],
        site_id=site.id,
        name=site.name,
        history_url=database_url(directory, context.settings["history"].database),
        timezone=site.timezone,
        alarms=context.settings["alarms"],
        site=site,
        remote=context.settings["remote"],
        schedule=context.settings["schedule"],
    )
    security = ServerSecurity.load(directory, offer(context.settings["policies"], context.settings["modes"]))
    server = UaServer(settings, context.layout, context.image(), security, Users(directory))
    tell = partial(context.event, "reverse_connection")
    server.reverse = tuple(ReverseClient(server, url, tell) for url in context.settings["reverse"])
    if context.settings["announce"]:
        server.announcement = _announcement(server)
    return server


def _announcement(server: UaServer) -> Announcement:
    """mDNS is an extra. ConfigError when it is not installed."""
    try:
        from .announce import Announcement
    except ImportError as error:
        raise ConfigError(
            "site.toml", "opcua", "announce needs the extra `discovery`: pip install unified-ems[discovery]"
        ) from error
    return Announcement(server)


async def _wait(end: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(end.wait(), seconds)
    except TimeoutError:
        return
