"""The plant on the network: registers as fresh as the request, a bench that disturbs, faults, ports; and as an integration."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from driver_rig import Site, served_plant
from pymodbus.client import AsyncModbusTcpClient

import drivers.plant
from drivers.modbus.config import Config as ModbusConfig
from drivers.plant import driver
from drivers.plant.config import Config
from drivers.plant.model import Plant
from drivers.plant.server import PlantError, PlantServer
from drivers.plant.sky import elevation, solar_time
from server.core.driver import Entry
from server.core.image import blank_records
from server.core.layout import build_layout

FLOAT, INT32, UINT16 = (AsyncModbusTcpClient.DATATYPE[k] for k in ("FLOAT32", "INT32", "UINT16"))
DEMO = Path(drivers.plant.__file__).parent / "demo"


class Peer:
    """pymodbus as a person's test client."""

    def __init__(self, client: AsyncModbusTcpClient) -> None:
        self.client = client

    async def read(self, unit, address, kind):
        found = await self.client.read_holding_registers(address, count=kind.value[1], device_id=unit)
        assert not found.isError(), found
        return self.client.convert_from_registers(found.registers, kind)

    async def write(self, unit, address, value, kind):
        return await self.client.write_registers(address, self.client.convert_to_registers(value, kind), device_id=unit)


@pytest.fixture
async def site():
    async with served_plant(seed=3) as served:
        yield served


@pytest.fixture
async def peer(site: Site):
    client = AsyncModbusTcpClient("127.0.0.1", port=site.server.ports[0], timeout=3, retries=0)
    await client.connect()
    yield Peer(client)
    client.close()


async def test_a_step_of_the_load_shows_in_the_next_request(site: Site, peer: Peer):
    before = await peer.read(2, 2, FLOAT)
    await peer.write(100, 2, 5000, INT32)
    assert await peer.read(2, 2, FLOAT) - before == pytest.approx(5000, abs=300)
    await peer.write(100, 4, 1000, INT32)
    assert await peer.read(5, 60 - 58, FLOAT) != 6000, "the load meter has its low word first"
    assert site.plant.load_w == 6000.0
    await peer.write(100, 4, -(2**31), INT32)
    assert site.plant.load_override_w is None


async def test_the_bench_sets_time_and_clouds_and_refuses_nonsense(site: Site, peer: Peer):
    await peer.write(100, 6, 100, UINT16)
    assert site.plant.cloud_cover == 1.0
    await peer.write(100, 6, 65535, UINT16)
    assert site.plant.cloud_override is None
    await peer.write(100, 0, 600, UINT16)
    before = site.plant.time_s
    await asyncio.sleep(0.3)
    await peer.read(1, 0, UINT16)
    assert site.plant.time_s - before > 100
    for address, value in ((0, 3601), (6, 101), (8, 39_999), (10, 5), (27, 0)):
        assert (await peer.write(100, address, value, UINT16)).exception_code == 3
    assert abs(await peer.read(100, 20, AsyncModbusTcpClient.DATATYPE.UINT32) - site.plant.time_s) < 600


async def test_the_bench_sets_the_frequency_that_all_meters_see(site: Site, peer: Peer):
    await peer.write(100, 8, 49_750, UINT16)
    assert await peer.read(2, 38, FLOAT) == pytest.approx(49.75, abs=1e-4)
    assert await peer.read(3, 10, UINT16) == 49_750
    await peer.write(100, 8, 0, UINT16)
    assert await peer.read(2, 38, FLOAT) == pytest.approx(site.plant.natural_frequency, abs=0.01)


async def test_the_bench_sets_how_fast_the_battery_inverter_follows(site: Site, peer: Peer):
    assert await peer.read(100, 27, UINT16) == 200
    await peer.write(100, 27, 20, UINT16)
    assert site.plant.battery.lag_s == 0.02


async def test_a_silent_unit_leaves_its_neighbours_on_the_same_connection_alone(site: Site, peer: Peer):
    await peer.write(100, 11, 1, UINT16)
    peer.client.comm_params.timeout_connect = 0.2
    with pytest.raises(Exception, match="No response"):
        await peer.read(2, 2, FLOAT)
    assert await peer.read(1, 20, INT32) == 20000
    await peer.write(100, 11, 0, UINT16)
    assert await peer.read(2, 38, FLOAT) == pytest.approx(50, abs=0.5)


async def test_a_frozen_unit_answers_and_does_nothing(site: Site, peer: Peer):
    await peer.write(1, 40, 1500, INT32)
    await peer.write(100, 10, 3, UINT16)
    alive = await peer.read(1, 0, UINT16)
    assert not (await peer.write(1, 40, 2500, INT32)).isError()
    await asyncio.sleep(0.25)
    assert await peer.read(1, 0, UINT16) == alive
    assert await peer.read(1, 40, INT32) == 1500
    assert site.plant.battery.set_power == 1500.0


async def test_an_unknown_unit_is_a_gateway_that_reaches_nobody(peer: Peer):
    answer = await peer.client.read_holding_registers(0, count=1, device_id=42)
    assert answer.exception_code == 11


async def test_a_port_in_use_is_named_and_nothing_stays_open():
    async with served_plant() as site:
        taken = site.server.ports[0]
        second = PlantServer(Plant())
        with pytest.raises(PlantError, match=f"port: 127.0.0.1:{taken} is in use; the plant needs {taken} to {taken + 5}"):
            await second.start("127.0.0.1", taken)
        assert second.ports == []


def test_the_plant_runs_alone_and_says_where():
    command = [sys.executable, "-m", "drivers.plant", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        ports = re.findall(r"\d{4,5}", line)
        assert len(ports) == 6
        busy = subprocess.run([*command[:-1], ports[0]], capture_output=True, text=True, timeout=20, check=False)
        process.send_signal(2)
        assert process.wait(10) == 0
    assert busy.returncode == 1
    assert "is in use" in busy.stderr
    assert "Traceback" not in busy.stderr


@pytest.mark.parametrize("day", ["2026-01-05", "2026-06-21", "2026-11-23"])
def test_the_plant_starts_on_the_days_date_at_half_past_ten_solar_time(day):
    config = Config(longitude=151.2, latitude=-33.9)
    now = time.mktime(time.strptime(day, "%Y-%m-%d"))
    plant = driver.build_plant(config, now)
    assert float(solar_time(plant.start_s, plant.place)) == pytest.approx(37800, abs=60)
    assert abs(plant.start_s - now) < 2 * 86400
    assert float(elevation(plant.start_s, plant.place)) > 10


def test_a_start_without_a_zone_is_utc():
    assert driver.build_plant(Config(start="2025-05-15T10:00:00"), 0.0).start_s == 1_747_303_200.0


async def test_as_an_integration_it_publishes_its_weather_and_gives_its_ports_back():
    config = Config(port=0)
    (spec,) = driver.describe("plant", config)
    entry = Entry("plant", config, (replace(spec, owner="plant"),))
    layout = build_layout(entry.objects)
    records = blank_records(layout.owner("plant").count)
    published = asyncio.Event()
    events = []
    io = SimpleNamespace(
        name="plant", layout=layout, block=SimpleNamespace(records=records, publish=published.set),
        event=lambda kind, text, **data: events.append(text),
    )  # fmt: skip
    task = asyncio.create_task(driver.run(io, [entry]))
    await asyncio.wait_for(published.wait(), 5)
    port = int(re.findall(r"ports (\d+)", events[0])[0])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    first = layout.owner("plant").first
    values = {c.spec.name: records[c.slot - first]["value"] for c in layout.channels_of("plant")}
    assert values["Irradiance"] > 10
    assert 0 <= values["CloudCover"] <= 100
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", port)


def test_the_demo_entries_are_valid_and_meet_the_plants_ports():
    plant = tomllib.loads((DEMO / "entries/plant.toml").read_text())
    base = Config(**{k: v for k, v in plant.items() if k not in ("driver", "group")}).port
    for path in sorted((DEMO / "entries").glob("*.toml")):
        entry = tomllib.loads(path.read_text())
        if entry.pop("driver") == "modbus":
            config = ModbusConfig(**entry)
            assert config.port == base + config.unit_id, path.name
    site = tomllib.loads((DEMO / "site.toml").read_text())
    assert (DEMO / f"entries/{site['grid']['meter']}.toml").exists()
    for controller in site["controller"]:
        assert (DEMO / f"entries/{controller.get('ess', 'ess0')}.toml").exists()
