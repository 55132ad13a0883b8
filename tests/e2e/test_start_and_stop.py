"""Starting and stopping end to end: plant, Modbus, image, control, OPC UA; emergency stops, a push-button among them."""

from __future__ import annotations

import asyncio
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence

import pytest
from demo_site import EMS, DemoSite, PlantBench
from ports import free_port
from witness import Witness

from certs import issue
from drivers.plant.drive import Operation
from drivers.plant.modbus_server import ModbusServer
from server.client import Client, ClientError, Identity
from server.core.natures import OperatingState, SiteMode
from server.runtime.config import SITE_FILE
from server.runtime.demo import make_demo

pytestmark = pytest.mark.slow

PASSWORD = "an operator's long password"
PROFILE = """
title = "Push-button box"
natures = ["DigitalIo"]
[[block]]
name = "inputs"
address = 0
count = 2
poll = "fast"
channels = [{ channel = "Input", address = 0, type = "uint16", length = 2 }]
"""
ENTRY = (
    'driver = "modbus"\nprofile = "{profile}"\nhost = "127.0.0.1"\nport = {port}\nunit_id = 1\npoll_ms = 50\ntimeout_s = 0.3\n'
)
STOP = '\n[[emergency_stop]]\nchannel = "io0/Input[1]"\nbad_after_s = 3.0\n'


class Button:
    """A box with two inputs; the second is a normally closed push-button. Serves Modbus from a thread of its own."""

    silent = False
    delay_s = 0.0

    def __init__(self) -> None:
        self.contacts = [0, 1]
        self.loop = asyncio.new_event_loop()
        self.port = self.loop.run_until_complete(ModbusServer({1: self}).start("127.0.0.1", 0))
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def read(self, address: int, count: int) -> Sequence[int]:
        return self.contacts[address : address + count]

    def write(self, address: int, words: Sequence[int]) -> None:
        raise AssertionError("nobody writes to a button")

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()


@pytest.fixture(scope="module")
def button() -> Iterator[Button]:
    button = Button()
    yield button
    button.close()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, button: Button) -> Iterator[DemoSite]:
    directory = tmp_path_factory.mktemp("stops") / "site"
    make_demo(directory)
    profile = directory / "button.toml"
    profile.write_text(PROFILE)
    (directory / "entries" / "io0.toml").write_text(ENTRY.format(profile=profile, port=button.port))
    site = directory / SITE_FILE
    site.write_text(site.read_text() + STOP)
    with DemoSite(directory, free_port(), free_port(), healthy=False) as running:
        command = [EMS, "users", "add", "olga", "--role", "Operator", "--password-stdin", "--dir", directory]
        subprocess.run(command, input=PASSWORD, text=True, check=True, capture_output=True)
        issue(directory, "desk", application_uri="urn:test:desk", hosts=["127.0.0.1"])
        yield running


def operate(demo: DemoSite, work: Callable[[Client], Awaitable[None]]) -> None:
    """Do something as an operator over OPC UA."""

    async def run() -> None:
        own = demo.directory / "certs" / "own"
        ca = demo.directory / "certs" / "ca" / "ca.pem"
        endpoint = demo.printed(r"(opc\.tcp://\S+)")
        identity = Identity(endpoint, own / "desk.der", own / "desk.key.pem", ca=ca, user="olga", password=PASSWORD)
        async with Client(identity) as client:
            await work(client)

    asyncio.run(run())


async def until(client: Client, node: str, wanted: float, within_s: float) -> None:
    """Wait for a value."""
    deadline = time.monotonic() + within_s
    while (value := (await client.read([node]))[0].Value.Value) != wanted:
        assert time.monotonic() < deadline, f"{node} is {value}, not {wanted}"
        await asyncio.sleep(0.05)


async def text(client: Client, node: str) -> str:
    value = (await client.read([node]))[0].Value.Value
    return str(getattr(value, "Text", value))


async def says(client: Client, node: str, words: str) -> None:
    """Wait until a text says something."""
    deadline = time.monotonic() + 5
    while words not in (found := await text(client, node)):
        assert time.monotonic() < deadline, f"{node} says {found!r}"
        await asyncio.sleep(0.1)


async def ready(client: Client, plant: PlantBench) -> None:
    """Whatever a test before left: the battery runs, and has a load to cover."""
    plant.set_clouds(100)
    plant.set_load(3_000)
    plant.set_failing(0)
    await client.call("site", "ResetEmergencyStop")
    await client.call("ess0", "Start")
    await until(client, STATE, OperatingState.Running, 20)


def stops_within_a_second(plant: PlantBench, witness: Witness) -> None:
    """From now on; the time that the machine stands still is not counted."""
    begun = time.monotonic_ns()
    while plant.setpoint_w != 0:
        assert time.monotonic_ns() - begun < 10e9, "it does not stop at all"
    took_s = (time.monotonic_ns() - begun) * 1e-9
    assert took_s < 1.0 + witness.stood_s(begun)


STATE = "ess0/OperatingState"


def test_a_storage_is_stopped_started_slowly_fails_and_is_acknowledged(demo: DemoSite, plant: PlantBench) -> None:
    """REQ-SAFE-003"""

    async def work(client: Client) -> None:
        await ready(client, plant)
        await client.call("ess0", "Stop")
        await until(client, STATE, OperatingState.Stopped, 10)
        assert plant.operation == Operation.Off
        assert plant.setpoint_w == 0
        await says(client, "site/Explanation", "ess0 is stopped")
        plant.set_start(4.0)
        await client.call("ess0", "Start")
        await until(client, STATE, OperatingState.Starting, 3.5)
        await until(client, STATE, OperatingState.Running, 20)
        await says(client, "ess0/StateMachine/LastTransition", "StartingToRunning")
        plant.trip()
        await until(client, STATE, OperatingState.Failed, 5)
        await says(client, "ess0/StartStopReason", "it is in fault")
        assert plant.operation == Operation.Error
        await asyncio.sleep(1.0)
        assert plant.operation == Operation.Error, "nobody acknowledged it"
        await client.call("ess0", "Acknowledge")
        await until(client, STATE, OperatingState.Running, 20)
        assert plant.operation == Operation.Running

    operate(demo, work)


def test_a_start_that_fails_is_tried_again(demo: DemoSite, plant: PlantBench) -> None:
    async def work(client: Client) -> None:
        await ready(client, plant)
        await client.call("ess0", "Stop")
        await until(client, STATE, OperatingState.Stopped, 10)
        plant.set_start(0.5)
        plant.set_failing(1)
        await client.call("ess0", "Start")
        await until(client, STATE, OperatingState.Starting, 10)
        await until(client, STATE, OperatingState.Stopping, 15)
        await says(client, "ess0/StartStopReason", "it did not start in time, is tried again")
        await until(client, STATE, OperatingState.Running, 10)

    operate(demo, work)


def test_an_emergency_stop_over_opc_ua_stops_within_a_few_cycles(demo: DemoSite, plant: PlantBench, witness: Witness) -> None:
    """REQ-SAFE-031"""

    async def work(client: Client) -> None:
        await ready(client, plant)
        demo.wait(lambda: plant.setpoint_w > 1_000, 15, "the battery covers the load")
        await client.call("site", "EmergencyStop")
        stops_within_a_second(plant, witness)
        await until(client, STATE, OperatingState.Stopped, 5)
        await client.call("site", "ResetEmergencyStop")
        await until(client, STATE, OperatingState.Running, 10)
        demo.wait(lambda: plant.setpoint_w > 1_000, 15, "the battery covers the load again")

    operate(demo, work)


def test_a_push_button_stops_the_site_and_is_not_reset_while_it_is_pressed(
    demo: DemoSite, plant: PlantBench, button: Button, witness: Witness
) -> None:
    """REQ-SAFE-033"""

    async def work(client: Client) -> None:
        await ready(client, plant)
        demo.wait(lambda: plant.setpoint_w > 1_000, 20, "the battery covers the load")
        button.contacts[1] = 0
        stops_within_a_second(plant, witness)
        await until(client, "site/Mode", SiteMode.Fault, 2)
        await says(client, "site/Explanation", "io0/Input[1] is pressed")
        await client.call("site", "ResetEmergencyStop")
        await asyncio.sleep(0.3)
        await until(client, "site/EmergencyStopActive", True, 1)
        button.contacts[1] = 1
        await asyncio.sleep(0.5)
        await until(client, "site/EmergencyStopActive", True, 1)
        await client.call("site", "ResetEmergencyStop")
        await until(client, "site/Mode", SiteMode.Run, 5)

    operate(demo, work)


def test_a_push_button_that_is_not_heard_counts_as_pressed(demo: DemoSite, plant: PlantBench, button: Button) -> None:
    """REQ-SAFE-034"""

    async def work(client: Client) -> None:
        await ready(client, plant)
        demo.wait(lambda: plant.setpoint_w > 1_000, 20, "the battery covers the load")
        button.silent = True
        await until(client, "site/EmergencyStopActive", True, 10)
        await says(client, "site/Explanation", "io0/Input[1] is not heard")
        assert plant.setpoint_w == 0
        button.silent = False
        await asyncio.sleep(1.0)
        with pytest.raises(AssertionError):
            await until(client, "site/EmergencyStopActive", False, 1)

    operate(demo, work)


def test_an_observer_stops_nothing(demo: DemoSite) -> None:
    own = demo.directory / "certs" / "own"

    async def run() -> None:
        endpoint = demo.printed(r"(opc\.tcp://\S+)")
        ca = demo.directory / "certs" / "ca" / "ca.pem"
        async with Client(Identity(endpoint, own / "historian.der", own / "historian.key.pem", ca=ca)) as client:
            for method in ("Start", "Stop", "Acknowledge"):
                with pytest.raises(ClientError, match="BadUserAccessDenied"):
                    await client.call("ess0", method)

    asyncio.run(run())
