"""The control process in a fresh interpreter: what it imports, how it ends, what its successor finds."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from image_site import SITE, ImageSite
from process_rig import end, start, wait_for

from server.core.status import GOOD

REAL = """
from server.runtime.control import run
run(context)
print("\\n".join(sorted(sys.modules)))
"""
HOLDING = """
from holding_engine import HoldingEngine
from server.runtime import control
control.Engine = HoldingEngine
control.run(context)
"""

Start = Callable[..., "subprocess.Popen[Any]"]


@pytest.fixture
def control(shared: ImageSite) -> Iterator[Start]:
    """Starts control processes and leaves none behind."""
    started = []

    def begin(code: str = HOLDING, **options: Any) -> subprocess.Popen[Any]:
        process = start(shared, "control", code, {}, **options)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()


def cycles(shared: ImageSite) -> Callable[[], int]:
    frames = shared.attach("reader").frames()
    return frames.cycle


def test_control_imports_no_event_loop_no_network_and_no_heavy_library(shared: ImageSite, control: Start) -> None:
    process = control(REAL)
    wait_for(lambda: cycles(shared)() > 3)
    process.send_signal(signal.SIGTERM)
    status, output, errors = end(process)
    assert status == 0, errors
    modules = set(output.split())
    assert "server.core.step" in modules
    roots = {name.partition(".")[0] for name in modules}
    assert roots & {"asyncio", "asyncua", "pydantic", "sqlalchemy", "uvloop", "cryptography", "nicegui", "pymodbus"} == set()


def test_stopped_control_ends_every_lease_and_exits_cleanly(shared: ImageSite, control: Start) -> None:
    process, setpoints = control(), shared.attach("battery").setpoints()
    wait_for(lambda: setpoints.read()["lease"][0] > time.monotonic_ns())
    assert setpoints.read()["value"][0] == 1500.0
    process.send_signal(signal.SIGTERM)
    status, _, errors = end(process)
    assert (status, errors) == (0, "")
    assert setpoints.read()["lease"].tolist() == [0, 0]


def test_control_ends_when_the_supervisor_is_gone(shared: ImageSite, control: Start) -> None:
    process, setpoints = control(parent_pids=(1,)), shared.attach("battery").setpoints()
    status, _, errors = end(process)
    assert (status, errors) == (0, "")
    assert setpoints.read()["lease"].tolist() == [0, 0]


def test_killed_control_leaves_leases_and_its_successor_goes_on(shared: ImageSite, control: Start) -> None:
    process, setpoints, cycle = control(), shared.attach("battery").setpoints(), cycles(shared)
    wait_for(lambda: cycle() > 5 and setpoints.read()["lease"][0] > 0)
    process.kill()
    end(process)
    last = cycle()
    shared.image.journal.take()
    assert setpoints.read()["lease"][0] > time.monotonic_ns()
    control(restarts=1, state={"count": 1000})
    wait_for(lambda: cycle() > last + 3)
    image = shared.attach("reader").frames().latest()
    assert image is not None
    assert image.get(shared.slot("cycle/Restarts")) == 1.0
    state = _journal(shared, "state")
    assert state["state"]["count"] > 1000


def test_the_cycle_shows_its_own_figures(shared: ImageSite, control: Start) -> None:
    control()
    frames = shared.attach("reader").frames()
    wait_for(lambda: frames.cycle() > 10)
    image = frames.latest()
    assert image is not None
    shown = {c.spec.name: image.get(c.slot) for c in shared.layout.channels_of("cycle")}
    assert shown["CycleTime"] == SITE.cycle_s
    assert shown["Counter"] == image.cycle - 2  # the last whole cycle when the block was written
    assert 0 < shown["LastDuration"] <= shown["WorstDuration"]
    assert shown["Restarts"] == 0
    assert 0 < shown["ImageTime"] < image.time
    assert all(image.status[c.slot] == GOOD for c in shared.layout.channels_of("cycle"))


def test_control_announces_its_next_freeze(shared: ImageSite, control: Start) -> None:
    control()
    clock = shared.attach("battery").clock
    assert clock.cycle_ns == 0
    wait_for(lambda: clock.heartbeat > 0)
    assert clock.cycle_ns == round(SITE.cycle_s * 1e9)
    period = [clock.next_freeze_ns()]
    wait_for(lambda: clock.next_freeze_ns() != period[0])
    assert (clock.next_freeze_ns() - period[0]) % clock.cycle_ns == 0


def test_client_writes_reach_the_engine_and_events_the_journal(shared: ImageSite, control: Start) -> None:
    shared.attach("opcua").inbox.put(3, 42.0, 7)
    control()
    event = _journal(shared, "written")
    assert event == {"kind": "written", "text": "a client wrote", "slot": 3, "value": 42.0, "user": 7}


def _journal(shared: ImageSite, kind: str) -> dict[str, Any]:
    """The first journal record of a kind."""
    found: list[dict[str, Any]] = []

    def look() -> bool:
        found.extend(r for r in map(json.loads, shared.image.journal.take()) if r["kind"] == kind)
        return bool(found)

    wait_for(look)
    return found[0]
