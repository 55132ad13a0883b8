"""Control is killed, or stands still: devices are safe within the lease, and control is back with all it knew."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator

import pytest
from demo_site import PlantBench
from drill import Drill, Recorder

from server.client import Client

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

KILLS = 10
BACK_WITHIN_S = 1.0
LEASE_S = 3.0
NOTICED_WITHIN_S = 0.3
"""A driver looks every 50 ms, and a write on the wire takes a moment."""
FAIL_SAFE_W = 0
ASKED_W = 1_500


@pytest.fixture
async def steered(drill: Drill, plant: PlantBench) -> AsyncIterator[None]:
    """The battery is held at ASKED_W by hand, and a parameter has another value than in its file."""
    async with Client(drill.identity) as client:
        await client.write("peak0/import_max_w", 7_000.0)
        await client.call("site", "AcquireManualOverride", 600.0)
        await client.write("ess0/SetActivePower", float(ASKED_W))
    drill.wait(lambda: plant.setpoint_w == ASKED_W, "the set-point register holds what was asked", 5)
    yield
    async with Client(drill.identity) as client:
        await client.call("site", "ReleaseManualOverride")
        await client.write("peak0/import_max_w", 8_000.0)


async def known(drill: Drill) -> tuple[float, float, float, float]:
    """(parameter, seconds of the override, set-point, energy) as a client sees them."""
    nodes = ["peak0/import_max_w", "site/OverrideRemaining", "ess0/SetActivePower", "site/ConsumptionEnergy"]
    async with Client(drill.identity) as client:
        return tuple(float(v.Value.Value) for v in await client.read(nodes))


def cycles_again(drill: Drill, restarts: int) -> bool:
    """True when control has completed cycles in its new life."""
    cycle = drill.site.status()["cycle"]
    return cycle["restarts"] == restarts and cycle["counter"] > 0


def await_again(drill: Drill, restarts: int) -> float:
    """Wait for control's new life; CLOCK_MONOTONIC s."""
    deadline = time.monotonic() + 10
    while not cycles_again(drill, restarts):
        assert time.monotonic() < deadline, drill.site.text
        time.sleep(0.01)
    return time.monotonic()


@pytest.mark.usefixtures("steered")
async def test_control_killed_ten_times_is_back_within_a_second_and_no_device_notices(drill: Drill, plant: PlantBench) -> None:
    before = await known(drill)
    restarts = drill.site.status()["cycle"]["restarts"]
    away: list[float] = []
    begun = time.monotonic_ns()
    with drill.unnoticed("control"), Recorder(lambda: plant.setpoint_w) as register:
        for number in range(1, KILLS + 1):
            killed = time.monotonic()
            drill.kill("control")
            away.append(await_again(drill, restarts + number) - killed)
    after = await known(drill)
    assert sorted(away)[KILLS // 2] < BACK_WITHIN_S, away
    assert max(away) < LEASE_S + drill.witness.stood_s(begun), away
    assert drill.values(register) == {ASKED_W}
    assert after[0] == before[0] == 7_000
    assert 0 < after[1] < before[1]
    assert after[2] == ASKED_W
    assert after[3] >= before[3]


@pytest.mark.usefixtures("steered")
def test_devices_are_at_fail_safe_within_the_lease_when_nobody_brings_control_back(drill: Drill, plant: PlantBench) -> None:
    supervisor, restarts = drill.pid("supervisor"), drill.site.status()["cycle"]["restarts"]
    control = drill.pid("control")
    with drill.unnoticed("control"), Recorder(lambda: plant.setpoint_w) as register:
        os.kill(supervisor, signal.SIGSTOP)
        try:
            died_ns = time.monotonic_ns()
            died = died_ns * 1e-9
            os.kill(control, signal.SIGKILL)
            while register.first(FAIL_SAFE_W, died) == float("inf") and time.monotonic() < died + 2 * LEASE_S:
                time.sleep(0.02)
        finally:
            os.kill(supervisor, signal.SIGCONT)
        await_again(drill, restarts + 1)
        drill.wait(lambda: plant.setpoint_w == ASKED_W, "the set-point is back with control", 5)
    safe_after = register.first(FAIL_SAFE_W, died) - died
    assert LEASE_S - 1 < safe_after < LEASE_S + NOTICED_WITHIN_S + drill.witness.stood_s(died_ns)


@pytest.mark.usefixtures("steered")
def test_control_that_stands_still_is_replaced_and_devices_are_safe_meanwhile(drill: Drill, plant: PlantBench) -> None:
    restarts, control = drill.site.status()["cycle"]["restarts"], drill.pid("control")
    with drill.unnoticed("control"), Recorder(lambda: plant.setpoint_w) as register:
        stopped_ns = time.monotonic_ns()
        os.kill(control, signal.SIGSTOP)
        drill.wait(lambda: drill.told("control", "hangs: no sign of life"), "an alarm says that control hung", 10)
        await_again(drill, restarts + 1)
        drill.wait(lambda: plant.setpoint_w == ASKED_W, "the set-point is back with control", 5)
    stopped = stopped_ns * 1e-9
    safe_after = register.first(FAIL_SAFE_W, stopped) - stopped
    assert safe_after < LEASE_S + NOTICED_WITHIN_S + drill.witness.stood_s(stopped_ns)


async def test_what_was_asked_right_before_control_died_is_not_forgotten(drill: Drill) -> None:
    async with Client(drill.identity) as client:
        for stop in (True, False):
            restarts = drill.site.status()["cycle"]["restarts"]
            await client.call("site", "EmergencyStop" if stop else "ResetEmergencyStop")
            drill.kill("control")
            await_again(drill, restarts + 1)
            (active,) = await client.read(["site/EmergencyStopActive"])
            assert bool(active.Value.Value) is stop


@pytest.mark.usefixtures("steered")
def test_a_driver_that_dies_leaves_its_device_safe_and_takes_up_the_set_point_again(drill: Drill, plant: PlantBench) -> None:
    with drill.unnoticed("modbus"), Recorder(lambda: plant.setpoint_w) as register:
        killed = drill.kill("modbus")
        drill.wait(lambda: drill.pid("modbus") not in (0, killed), "the driver is back, after 10 s at most if it often dies", 30)
        drill.wait(drill.running, "all is well", 30)
    assert {value for _, value in register.samples} <= {ASKED_W, FAIL_SAFE_W}
    drill.wait(lambda: plant.setpoint_w == ASKED_W, "the set-point is held", 5)
