"""Devices of the plant fall silent, lie, freeze or are slow: it is told which and why, the others go on, nothing is restarted."""

from __future__ import annotations

import asyncio

import pytest
from demo_site import PlantBench
from drill import Drill

from server.client import Client
from server.core.natures import OperatingState

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SILENT, NONSENSE, FROZEN, SLOW = 1, 2, 3, 4
UNITS = {1: "ess0", 2: "meter0", 3: "pv0", 4: "evcs0", 5: "load0"}


WHY = {SILENT: "no answer", NONSENSE: "values that cannot be", FROZEN: "values stand still", SLOW: "no answer"}


@pytest.mark.parametrize("fault", WHY, ids=("silent", "lying", "frozen", "slow"))
@pytest.mark.parametrize("unit", [1, 2], ids=lambda unit: UNITS[unit])
def test_a_faulty_device_is_told_with_the_reason_and_alone(drill: Drill, plant: PlantBench, unit: int, fault: int) -> None:
    alias = UNITS[unit]
    others = set(UNITS.values()) - {alias}
    with drill.unnoticed():
        plant.set_fault(unit, fault)
        drill.wait(lambda: drill.told(alias, WHY[fault]), f"an alarm names {alias} and says {WHY[fault]}", 30)
        loaded = {row["alias"] for row in drill.site.status()["entries"] if row["state"] == "Loaded"}
        assert others <= loaded
        plant.set_fault(unit, 0)
        drill.wait(lambda: alias not in restless(drill), f"{alias} is well again", 30)
    if alias == "ess0":
        asyncio.run(acknowledge(drill, alias))


async def acknowledge(drill: Drill, alias: str) -> None:
    """What a device said while it lied may have been a failure, which waits for a person."""
    async with Client(drill.identity) as client, asyncio.timeout(30):
        while await operating(client, alias) != OperatingState.Running:
            if await operating(client, alias) == OperatingState.Failed:
                await client.call(alias, "Acknowledge")
            await asyncio.sleep(0.5)


async def operating(client: Client, alias: str) -> float | None:
    (found,) = await client.read([f"{alias}/OperatingState"])
    state: float | None = found.Value.Value
    return state


def restless(drill: Drill) -> set[str]:
    """Entries that are not loaded."""
    return {row["alias"] for row in drill.site.status()["entries"] if row["state"] != "Loaded"}


def test_all_devices_fail_at_once_and_come_back(drill: Drill, plant: PlantBench) -> None:
    with drill.unnoticed():
        for unit in UNITS:
            plant.set_fault(unit, SILENT)
        drill.wait(lambda: restless(drill) == set(UNITS.values()), "all devices are down", 30)
        drill.wait(lambda: all(drill.told(alias) for alias in UNITS.values()), "alarms name them all", 10)
        for unit in UNITS:
            plant.set_fault(unit, 0)
        drill.wait(lambda: not restless(drill), "all devices are back", 30)
