"""From a step of the load to a new set-point register, on the real wire.

Starts the demo (plant, driver, control, server, historian, panel), steps the building's load and polls the battery
inverter's set-point register until it changes. The time includes the plant's answer, the driver's read, the cycle, the
driver's write, and on average half a poll of this benchmark (about 0.3 ms). Grid meter and set-point are read over Modbus TCP.
"""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.support.demo_site import DemoSite, PlantBench
from tests.support.ports import free_port

SETTLE_S = 0.6
GIVE_UP_S = 2.0
CHANGE_W = 100.0


def figures(steps: int = 200) -> dict[str, float]:
    """Distribution of the reaction over `steps` steps of the load."""
    with tempfile.TemporaryDirectory() as folder, DemoSite(Path(folder) / "site", free_port(), free_port()) as site:
        plant = PlantBench(site.plant_port)
        plant.set_clouds(100)
        plant.stop_time()
        times_ms = np.array(_reactions(plant, steps)) * 1e3
        plant.close()
        slips = site.status()["cycle"]["slips"]
    found = {f"control.step_to_register_p{p}_ms": float(np.percentile(times_ms, p)) for p in (10, 50, 90, 99)}
    return found | {"control.step_to_register_max_ms": float(times_ms.max()), "control.step_slips": slips}


def _reactions(plant: PlantBench, steps: int) -> list[float]:
    """Seconds from each step to the first changed set-point. Raises TimeoutError when a step is not answered."""
    loads = [2_000, 5_000]
    dice = random.Random(1)
    plant.set_load(loads[0])
    time.sleep(3.0)
    times = []
    for step in range(1, steps + 1):
        time.sleep(SETTLE_S + dice.random() * 0.05)
        before = plant.setpoint_w
        plant.set_load(loads[step % 2])
        started = time.monotonic()
        while abs(plant.setpoint_w - before) < CHANGE_W:
            if time.monotonic() - started > GIVE_UP_S:
                raise TimeoutError(f"step {step}: the set-point stayed at {before:.0f} W")
        times.append(time.monotonic() - started)
    return times
