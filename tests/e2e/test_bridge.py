"""Control on another host: what happens when it falls silent, when the site is stopped, and what clients of the site notice."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator

import pytest
from bridged_site import BridgedSite, ems
from demo_site import EMS, DemoSite, PlantBench

from server.bridge import site_link
from server.bridge.portable import digest
from server.bridge.protocol import Heard
from server.client import Client, ClientError, Identity
from server.core.ticks import TICKS
from server.runtime.bus import request

pytestmark = pytest.mark.slow

TABLES = """
[[controller]]
id = "mpc0"
type = "ForeignController"
priority = 15

[[schedule]]
title = "Until further notice"
start = 2026-01-01T00:00:00
duration = "P1D"
recurrenceRules = [{ frequency = "daily" }]
controllers.mpc0 = { Enabled = true }
"""
CALENDAR = """{"entries": [{"title": "Repair", "start": "2026-01-01T00:00:00", "duration": "P1D",
    "recurrenceRules": [{"frequency": "daily"}], "controllers": {"balance0": {"Enabled": false}}}]}"""
PARAMETERS = ["peak0/import_max_w", "peak0/recharge_below_w"]
PASSWORD = "a long enough password"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BridgedSite]:
    with BridgedSite(tmp_path_factory.mktemp("bridged") / "site", TABLES) as site:
        for name, role in (("olga", "Operator"), ("mpc", "Controller"), ("otto", "Observer"), ("emil", "Engineer")):
            certificate = site.directory / "certs" / "own" / f"{name}.der"
            ems("certs", "create", name, "--dir", site.directory)
            ems("users", "add", name, "--role", role, "--certificate", certificate, "--dir", site.directory)
        yield site


def client(site: DemoSite, name: str) -> Client:
    """A program of the site that logs in with its certificate."""
    own = site.directory / "certs" / "own"
    endpoint = site.status()["endpoints"]["opcua"]
    return Client(Identity(endpoint, own / f"{name}.der", own / f"{name}.key.pem", ca=site.directory / "certs" / "ca" / "ca.der"))


def held(plant: PlantBench, site: BridgedSite, watts: float) -> None:
    site.wait(lambda: abs(plant.setpoint_w - watts) < 1, 10, f"the register says {watts:.0f} W")


async def text(site: BridgedSite, node: str) -> str:
    async with client(site, "otto") as observer:
        (value,) = await observer.read([node])
    return str(value.Value.Value)


async def test_what_an_operator_writes_at_the_site_is_decided_on_the_host(demo: BridgedSite, plant: PlantBench) -> None:
    async with client(demo, "olga") as olga:
        await olga.call("site", "AcquireManualOverride", 60.0)
        async with asyncio.timeout(10):
            while not (await olga.read(["site/OverrideRemaining"]))[0].Value.Value:
                await asyncio.sleep(0.05)
        await olga.write("ess0/SetActivePower", 1234.0)
        await asyncio.to_thread(held, plant, demo, 1234.0)
        await olga.call("site", "ReleaseManualOverride")
    await asyncio.to_thread(demo.wait, lambda: abs(plant.setpoint_w - 1234) > 100, 10, "controllers decide again")


async def test_a_foreign_controller_at_the_site_is_arbitrated_on_the_host(demo: BridgedSite, plant: PlantBench) -> None:
    async with client(demo, "mpc") as mpc:
        arguments = [["bound"], ["ess0/ActivePower"], [777.0], [777.0], [], ["a test wants it"], 20.0]
        assert await mpc.call("mpc0", "ProposeConstraints", *arguments) == [[]]
        await asyncio.to_thread(held, plant, demo, 777.0)
        assert "a test wants it (proposed by mpc)" in await text(demo, "mpc0/Explanation")
    await asyncio.to_thread(demo.wait, lambda: abs(plant.setpoint_w - 777) > 50, 10, "it ended with its session")


async def test_what_is_scheduled_at_the_site_is_followed_on_the_host(demo: BridgedSite) -> None:
    async def told(node: str, expected: str) -> None:
        async with asyncio.timeout(10):
            while expected not in await text(demo, node):
                await asyncio.sleep(0.1)

    await told("mpc0/Schedule", "Until further notice")
    async with client(demo, "emil") as emil:
        await emil.call("site", "SetDocument", "calendar/repair", 0, CALENDAR)
        await told("balance0/Schedule", "Repair")
        there, here = (request(d, "document", name="calendar/repair") for d in (demo.directory, demo.host_directory))
        assert (here["user"], here["revision"], here["arrived"]) == ("emil", there["revision"], there["arrived"] // TICKS * TICKS)
        await emil.call("site", "RemoveDocument", "calendar/repair")
        async with asyncio.timeout(10):
            while await text(demo, "balance0/Schedule"):
                await asyncio.sleep(0.1)


async def test_parameters_set_together_at_the_site_count_on_the_host(demo: BridgedSite) -> None:
    async with client(demo, "emil") as emil:
        before = [float(value.Value.Value) for value in await emil.read(PARAMETERS)]
        for given in ([7_500.0, 3_500.0], before):
            await emil.call("site", "SetParameters", PARAMETERS, given)
            async with asyncio.timeout(10):
                while [value.Value.Value for value in await emil.read(PARAMETERS)] != given:
                    await asyncio.sleep(0.1)


def test_controllers_are_not_reloaded_on_one_side_alone(demo: BridgedSite) -> None:
    for directory in (demo.directory, demo.host_directory):
        done = subprocess.run([EMS, "reload", "--dir", directory], capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert "on different hosts" in done.stderr


def test_a_silent_device_of_the_site_is_bad_on_the_host(demo: BridgedSite, plant: PlantBench) -> None:
    plant.set_fault(2, 1)
    try:
        demo.wait(
            lambda: "not measured" in asyncio.run(text(demo, "peak0/Explanation")), 20, "the controller says what it misses"
        )
    finally:
        plant.set_fault(2, 0)
    demo.wait(lambda: "not measured" not in asyncio.run(text(demo, "peak0/Explanation")), 20, "it is measured again")


def test_an_emergency_stop_at_the_site_does_not_wait_for_the_host(demo: BridgedSite, plant: PlantBench) -> None:
    assert demo.host is not None
    bridge = demo.host.pid("bridge")
    plant.set_clouds(100)
    plant.set_load(4_000)
    demo.wait(lambda: plant.setpoint_w > 1_000, 20, "the battery discharges")
    os.kill(bridge, signal.SIGSTOP)
    try:

        async def stop() -> None:
            async with client(demo, "olga") as olga:
                await olga.call("site", "EmergencyStop")

        asyncio.run(stop())
        held(plant, demo, 0.0)
    finally:
        os.kill(bridge, signal.SIGCONT)
    demo.wait(lambda: "emergency stop" in asyncio.run(text(demo, "site/Explanation")), 20, "the host knows of it")

    async def reset() -> None:
        async with client(demo, "olga") as olga:
            await olga.call("site", "ResetEmergencyStop")

    asyncio.run(reset())
    demo.wait(lambda: plant.setpoint_w > 1_000, 20, "the battery discharges again")


async def test_nobody_else_decides(demo: BridgedSite) -> None:
    async with client(demo, "otto") as otto:
        with pytest.raises(ClientError, match="BadUserAccessDenied"):
            await site_link.describe(otto)
    ems("certs", "create", "rival", "--dir", demo.directory)
    certificate = demo.directory / "certs" / "own" / "rival.der"
    ems("users", "add", "rival", "--role", "Bridge", "--certificate", certificate, "--dir", demo.directory)
    async with client(demo, "rival") as rival:
        layout = digest(await site_link.describe(rival))
        with pytest.raises(ClientError, match="BadConfigurationError"):
            await site_link.exchange(rival, "another site", b"", b"", {}, Heard())
        with pytest.raises(ClientError, match="BadInvalidState"):
            await site_link.exchange(rival, layout, b"", b"", {}, Heard())


def test_devices_go_to_their_fail_safe_when_the_host_dies_and_come_back_with_it(demo: BridgedSite, plant: PlantBench) -> None:
    assert demo.host is not None
    plant.set_load(4_000)
    demo.wait(lambda: plant.setpoint_w > 1_000, 20, "the battery discharges")
    os.killpg(demo.host.process.pid, signal.SIGKILL)
    demo.wait(lambda: plant.setpoint_w == 0, 10, "the lease ended")
    demo.wait(lambda: "silent" in asyncio.run(text(demo, "site/Explanation")), 10, "the site says so")
    demo.begin_control()
    demo.wait(lambda: plant.setpoint_w > 1_000, 20, "the host decides again")


def test_stopping_the_host_ends_its_leases_at_once(demo: BridgedSite, plant: PlantBench) -> None:
    assert demo.host is not None
    demo.wait(lambda: plant.setpoint_w > 1_000, 20, "the battery discharges")
    demo.host.stop()
    demo.wait(lambda: plant.setpoint_w == 0, 2, "no lease is waited for")
    demo.begin_control()
