"""From a step of the load or of the grid's frequency to a new set-point register, on the real wire.

Starts the demo (plant, driver, control, server, historian, panel) with frequency services (tests/support/frequency_site.py),
makes steps and polls the battery inverter's set-point register until it changes: by the first part of the ramp that answers
another load, by all of the power that answers another frequency. The time includes the plant's answer, the driver's read, the
cycle, the driver's write, and on average half a poll of this benchmark (about 0.3 ms). Meter and set-point are read over Modbus
TCP. At last a staircase of the frequency tells when the battery gives what each service has to give.
Run `ems bench reaction cycle_ms=10` for a shorter cycle.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.support.demo_site import DemoSite, PlantBench
from tests.support.frequency_site import FCR, FCR_W, FFR, FULL, LOAD_W, NORMAL_HZ, make_frequency_site, settle, step, still
from tests.support.ports import free_port

from .steps import reactions, spread

GIVE_UP_S = 2.0
LOADS_W = (LOAD_W, LOAD_W + 3_000)
LOAD_CHANGE_W = 25.0
"""Below what a balance ramps in one cycle, above what moves without a step."""


def figures(steps: int = 200, cycle_ms: float = 50.0) -> dict[str, float]:
    """Distribution of the reaction over so many steps of the load and of the frequency; activation times of the services [s]."""
    with tempfile.TemporaryDirectory() as folder:
        site_folder = Path(folder) / "site"
        make_frequency_site(site_folder, cycle_ms)
        with DemoSite(site_folder, free_port(), free_port()) as site:
            plant = PlantBench(site.plant_port)
            found = _measure(plant, steps)
            plant.close()
            return found | {"control.step_slips": site.status()["cycle"]["slips"]}


def _measure(plant: PlantBench, steps: int) -> dict[str, float]:
    still(plant)
    settle(plant)
    loads = reactions(plant, steps, plant.set_load, LOADS_W, LOAD_CHANGE_W, GIVE_UP_S)
    plant.set_load(LOAD_W)
    settle(plant)
    hertz = reactions(plant, steps, plant.set_frequency, (NORMAL_HZ, FCR.hertz), FULL * FCR_W, GIVE_UP_S)
    plant.set_frequency(NORMAL_HZ)
    settle(plant)
    found = spread("control.step_to_register", loads) | spread("control.frequency_to_register", hertz)
    return found | {f"control.{service.name}_s": step(plant, service).since(FULL) for service in (FCR, *FFR)}
