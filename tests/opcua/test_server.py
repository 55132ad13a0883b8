"""The server as a whole: it follows the image, keeps an audit trail, and ends when it is told to."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import socket
import time
from pathlib import Path

import pytest
from opcua_peer import Peer, Refused
from opcua_site import Site, running
from ports import free_port

from server.core.errors import ConfigError
from server.core.image import Image, blank_records
from server.core.layout import build_layout
from server.core.site import SiteSettings
from server.opcua import run
from server.opcua.server import FREEZE_TAKES_NS
from server.runtime.config import HistoryTable, OpcUaTable
from server.runtime.context import ProcessContext
from server.runtime.memory import SharedImage
from server.runtime.users import Users

MS = 1_000_000


async def test_each_new_frame_reaches_the_subscriptions_once(site: Site) -> None:
    seen: list[int] = []
    site.server.subscriptions.tick = lambda image, now_ns: seen.append(image.cycle)  # type: ignore[method-assign]
    for cycle in range(1, 4):
        site.image.number = cycle
        while not seen or seen[-1] != cycle:
            await asyncio.sleep(0.001)
    assert sorted(seen) == seen


async def test_a_frame_that_came_during_the_tick_is_not_slept_over(site: Site) -> None:
    seen: list[int] = []

    def overtaken(image: Image, now_ns: int) -> None:
        seen.append(image.cycle)
        if image.cycle == 1:
            site.image.number = 2
            site.server._until_frame = lambda now_ns: 3600.0  # type: ignore[method-assign]  # as if that of frame 3 were announced

    site.server.subscriptions.tick = overtaken  # type: ignore[method-assign,assignment]
    site.image.number = 1
    async with asyncio.timeout(5):
        while seen[-1:] != [2]:
            await asyncio.sleep(0.001)


async def test_an_effect_that_is_there_is_waited_for_however_late_the_server_itself_is(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a set-point written right after taking the override is refused on a machine that stands still now and then."""
    monkeypatch.setattr("server.opcua.server.APPLIED_WITHIN_S", 0.05)
    site.server._until_frame = lambda now_ns: 0.5  # type: ignore[method-assign]
    await asyncio.sleep(0.2)
    waiting = asyncio.create_task(site.server.applied())
    await asyncio.sleep(0)
    site.image.number += 2
    await asyncio.wait_for(waiting, 10)
    assert site.server.frame.cycle == site.image.number


async def test_while_control_stands_still_the_subscriptions_still_breathe(site: Site) -> None:
    seen: list[int] = []
    site.server.subscriptions.tick = lambda image, now_ns: seen.append(now_ns)  # type: ignore[method-assign]
    while len(seen) < 3:
        await asyncio.sleep(0.005)
    assert site.server.frame.cycle == site.image.number == 0


async def test_a_failure_of_the_subscriptions_is_said_once_and_the_rest_is_served(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    calls = []

    def fail(image: Image, now_ns: int) -> None:
        calls.append(now_ns)
        raise ZeroDivisionError("broken")

    with caplog.at_level(logging.ERROR, "ems.opcua"):
        site.server.subscriptions.tick = fail  # type: ignore[method-assign]
        while len(calls) < 3:
            await asyncio.sleep(0.005)
    assert caplog.text.count("subscriptions failed") == 1
    async with Peer(site.port) as peer:
        await peer.log_in(site.directory)
        assert (await peer.read()).Results


@pytest.mark.parametrize(
    ("frozen_ms", "announced_ms", "now_ms", "wait_ms"),
    [
        (1000, 1020, 1001, 20),  # announced: just after that freeze
        (1000, 1000, 1001, 20),  # not yet announced: a cycle after the last
        (1000, 1000, 1021.5, 1),  # late: often
        (1000, 1020, 1050, 10),  # very late: seldom
        (1000, 9000, 1001, 20),  # nonsense: at most a cycle
        (0, 0, 5000, 10),  # never any frame
    ],
)
async def test_the_next_frame_is_looked_for_just_after_its_freeze(
    site: Site, frozen_ms: int, announced_ms: int, now_ms: float, wait_ms: float
) -> None:
    site.server.frame = Image(blank_records(0), frozen_at=frozen_ms * MS)
    site.image.clock.next_freeze_ns = lambda: announced_ms * MS  # type: ignore[method-assign]
    assert site.server._until_frame(int(now_ms * MS)) == pytest.approx(wait_ms / 1000)
    assert FREEZE_TAKES_NS == MS


async def test_stopping_closes_every_connection(directory: Path) -> None:
    async with running(directory) as site:
        peer = await Peer(site.port).__aenter__()
        await peer.log_in(directory)
    with pytest.raises(Refused, match="closed"):
        await peer.chunk()
    assert not site.server.connections
    assert len(site.server.sessions) == 0
    await peer.__aexit__()


def process_context(directory: Path, image: SharedImage, port: int) -> ProcessContext:
    settings = {
        **OpcUaTable(port=port).model_dump(),
        "site": SiteSettings(id="site1", name="Test"),
        "history": HistoryTable(),
        "alarms": (),
        "remote": False,
        "schedule": (),
    }
    return ProcessContext("opcua", directory, image.layout, image.handles("opcua"), "opcua", settings, parent_pids=(os.getpid(),))


def test_an_address_that_is_taken_is_told_with_the_setting_it_comes_from(directory: Path) -> None:
    image = SharedImage.create(build_layout([]))
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"^site\.toml: opcua: 127\.0\.0\.1:{port} is in use$"):
            run(process_context(directory, image, port))
    image.close()


def test_the_process_serves_real_users_until_sigterm(directory: Path) -> None:
    Users(directory).add("anna", ["Operator"], password="a long password")
    image = SharedImage.create(build_layout([]))
    context = process_context(directory, image, free_port())
    process = multiprocessing.get_context("fork").Process(target=run, args=(context,))
    process.start()
    try:
        asyncio.run(log_in_when_up(context.settings["port"], directory))
        os.kill(process.pid or 0, signal.SIGTERM)
        process.join(10)
        assert process.exitcode == 0
    finally:
        process.kill()
        process.join()
        image.close()


async def log_in_when_up(port: int, directory: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            async with Peer(port) as peer:
                await peer.log_in(directory, password="a long password")
                assert (await peer.read()).Results[0].StatusCode.is_good()
                return
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "the server does not listen"
            await asyncio.sleep(0.05)
