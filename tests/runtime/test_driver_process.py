"""The process around a driver: its heartbeat, its end when asked, and its end when it fails."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from image_site import ImageSite
from process_rig import end, start, wait_for

from server.core.driver import Entry

RUN = """
import logging
logging.basicConfig(level=logging.INFO)
sys.path.insert(0, context.settings["folder"])
from server.runtime.driver_process import run
run(context)
"""

GOOD_DRIVER = """
import asyncio, time
async def run(io, entries):
    io.block.records["value"][:] = len(entries)
    io.block.records["status"][:] = 0
    io.block.publish()
    io.event("up", f"{entries[0].alias} at {entries[0].config}")
    try:
        await asyncio.Event().wait()
    finally:
        io.block.records["value"][:] = -1.0
        io.block.publish()
"""
FAILING = """
async def run(io, entries):
    raise ValueError("unit 300 is not in 1..247")
"""
RETURNING = """
async def run(io, entries):
    return
"""
BLOCKING = """
import asyncio, time
async def run(io, entries):
    io.block.publish()
    await asyncio.sleep(0.3)
    time.sleep(60)
"""
DEAF = """
import asyncio
async def run(io, entries):
    io.block.publish()
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass
"""

Start = Callable[..., "subprocess.Popen[Any]"]


@pytest.fixture
def driver(shared: ImageSite, tmp_path: Path) -> Iterator[Start]:
    """Starts a driver process for the battery from a text; leaves none behind."""
    started = []

    def begin(text: str, code: str = RUN, **options: Any) -> subprocess.Popen[Any]:
        package = tmp_path / "made_up"
        package.mkdir()
        (package / "driver.py").write_text(text)
        entries = (Entry("ess0", "loopback", (shared.layout.by_alias["ess0"],)),)
        settings = {"folder": str(tmp_path), "module": "made_up", "entries": entries}
        process = start(shared, "battery", code, settings, **options)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()


def value(shared: ImageSite) -> float:
    """What the battery's driver published last."""
    return float(shared.attach("battery").block().records["value"][0])


def beat(shared: ImageSite) -> int:
    """When the battery's driver gave its last sign of life."""
    return int(shared.attach("control").owner_reader(shared.layout.owner("battery")).heartbeat[0])


def test_a_driver_measures_reports_and_leaves_its_devices_safe_when_asked_to_stop(shared: ImageSite, driver: Start) -> None:
    process = driver(GOOD_DRIVER)
    wait_for(lambda: value(shared) == 1.0)
    process.send_signal(signal.SIGTERM)
    status, _, errors = end(process)
    assert status == 0, errors
    assert value(shared) == -1.0
    assert "up: ess0 at loopback" in errors


def test_a_driver_without_a_supervisor_leaves_its_devices_safe(shared: ImageSite, driver: Start) -> None:
    status, _, errors = end(driver(GOOD_DRIVER, parent_pids=(1,)))
    assert status == 0, errors


def test_a_quiet_driver_still_shows_that_it_is_alive(shared: ImageSite, driver: Start) -> None:
    driver(GOOD_DRIVER)
    wait_for(lambda: value(shared) == 1.0)
    first = beat(shared)
    wait_for(lambda: beat(shared) > first)


def test_a_driver_that_blocks_its_loop_falls_silent(shared: ImageSite, driver: Start) -> None:
    driver(BLOCKING)
    wait_for(lambda: beat(shared) > 0)
    beats: list[int] = []

    def silent() -> bool:
        beats.append(beat(shared))
        return len(beats) > 200 and len(set(beats[-100:])) == 1

    wait_for(silent)


@pytest.mark.parametrize(
    ("text", "cause"),
    [(FAILING, "ValueError: unit 300 is not in 1..247"), (RETURNING, "driver battery returned although it was not asked to")],
)
def test_a_driver_that_ends_by_itself_is_a_failure_with_its_cause(driver: Start, text: str, cause: str) -> None:
    status, _, errors = end(driver(text))
    assert status == 1
    assert cause in errors


def test_a_driver_that_cannot_be_imported_is_a_failure_with_its_cause(driver: Start) -> None:
    status, _, errors = end(driver("import a_library_that_is_missing"))
    assert status == 1
    assert "a_library_that_is_missing" in errors


def test_a_driver_that_does_not_end_is_given_up(shared: ImageSite, driver: Start) -> None:
    quick = RUN.replace("run(context)", "import server.runtime.driver_process as p\np.GRACE_S = 0.2\nrun(context)")
    process = driver(DEAF, quick)
    wait_for(lambda: beat(shared) > 0)
    process.send_signal(signal.SIGTERM)
    status, _, errors = end(process)
    assert status == 1
    assert "did not return within" in errors
