"""The whole chain on the real wire: plant, driver, image, control, set-point register. Control is beside the server, or on
another host that has nothing but OPC UA: it is the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from bridged_site import BridgedSite
from demo_site import DemoSite, PlantBench
from drill import Drill
from ports import free_port
from witness import Witness

from server.client import Client, Identity

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["beside", "elsewhere"])
def demo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoSite]:
    """The demo with its control beside the server, then with its control elsewhere."""
    directory = tmp_path_factory.mktemp(request.param) / "site"
    with DemoSite(directory, free_port(), free_port()) if request.param == "beside" else BridgedSite(directory) as site:
        yield site


@pytest.fixture(scope="module")
def engineer(demo: DemoSite) -> Identity:
    with Witness() as witness:
        return Drill(demo, witness).identity


@pytest.fixture
def unbalanced(engineer: Identity) -> Iterator[None]:
    """Nobody balances the grid to zero."""
    asyncio.run(_balance(engineer, on=False))
    yield
    asyncio.run(_balance(engineer, on=True))


async def _balance(engineer: Identity, *, on: bool) -> None:
    async with Client(engineer) as client:
        await client.write("balance0/Enabled", on)


@pytest.mark.usefixtures("unbalanced")
@pytest.mark.parametrize("load_w", [12_000, 14_000])
def test_grid_import_is_held_under_the_peak_limit(demo: DemoSite, plant: PlantBench, load_w: int) -> None:
    plant.set_clouds(100)
    plant.set_load(load_w)

    def held() -> bool:
        time.sleep(0.3)
        return 7_500 < plant.grid_w <= 8_100

    demo.wait(lambda: all(held() for _ in range(10)), 30, "import settles at the limit of 8 kW")


@pytest.mark.parametrize("load_w", [1_500, 6_000, 3_000])
def test_self_consumption_brings_the_grid_to_zero(demo: DemoSite, plant: PlantBench, load_w: int) -> None:
    plant.set_clouds(100)
    plant.set_load(load_w)
    demo.wait(lambda: abs(plant.grid_w) < 150, 20, "the battery takes what the grid would")


def test_each_step_of_the_load_is_answered_by_another_set_point(demo: DemoSite, plant: PlantBench) -> None:
    plant.set_clouds(100)
    for load_w in (2_000, 5_000, 2_500, 4_500):
        demo.wait(lambda: abs(plant.grid_w) < 150, 20, "the step before is over")
        before = plant.setpoint_w
        plant.set_load(load_w)
        demo.wait(lambda before=before: abs(plant.setpoint_w - before) > 500, 5, "a new set-point register")


def test_a_silent_meter_leaves_the_others_working(demo: DemoSite, plant: PlantBench) -> None:
    plant.set_fault(2, 1)
    try:
        demo.wait(lambda: "meter0" in str(demo.status()["alarms"]), 20, "an alarm names the meter")
        assert demo.processes()["control"]["state"] == "running"
    finally:
        plant.set_fault(2, 0)
    demo.wait(lambda: "meter0" not in str(demo.status()["alarms"]), 30, "the alarm is gone")
