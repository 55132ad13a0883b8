"""The demo site with frequency services on its battery, and what a step of the grid's frequency does to it, on the wire.

    50.00 Hz ─┐
    49.80     └─ FCR: all of it, 200 mHz ─┐
    49.69                                 └─ FFR Long, 49.7 ─┐
    49.59                                                    └─ FFR Medium, 49.6 ─┐
    49.49                                                                         └─ FFR Short, 49.5

Each service has its own trigger, so one staircase tells them apart. The load is fixed and the simulated clock stands: what moves
the battery beside them is constant.
"""

from __future__ import annotations

import time
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from server.runtime.config import SITE_FILE
from server.runtime.demo import make_demo, set_value

if TYPE_CHECKING:
    from tests.support.demo_site import PlantBench

FCR_W: Final = 2_000.0
FFR_W: Final = 1_000.0
SUPPORT_S: Final = 10.0
LOAD_W: Final = 2_000
NORMAL_HZ: Final = 50.0
LAG_S: Final = 0.05
"""Of an inverter that is fit for fast reserve."""

FULL: Final = 0.95
"""Share of a service that counts as all of it: what is left is the tail of the inverter's lag."""

HOLD_S: Final = 0.5
"""A service that gave all of it for so long is there."""

_CONTROLLERS: Final = f"""
[[controller]]
id = "fcr0"
type = "FrequencyDroop"
ess = "ess0"
meter = "meter0"
power_w = {FCR_W}
"""

_RESERVE: Final = f"""
[[controller]]
id = "ffr_{{0}}"
type = "FastFrequencyReserve"
ess = "ess0"
meter = "meter0"
power_w = {FFR_W}
activation = "{{0}}"
support_s = {SUPPORT_S}
deactivation_s = 0
buffer_s = 0
recovery_s = 0
"""


class Service(NamedTuple):
    """A service, a frequency that asks for all of it, its power, and by when which share has to be there (s, share)."""

    name: str
    hertz: float
    power_w: float
    required: tuple[tuple[float, float], ...]


FCR: Final = Service("fcr", 49.8, FCR_W, ((15.0, 0.5), (30.0, FULL)))
"""Regulation (EU) 2017/1485, Annex V and article 154(7): half of it in 15 s, all of it in 30 s at 200 mHz."""

FFR: Final = (
    Service("ffr_long", 49.69, FFR_W, ((1.3, FULL),)),
    Service("ffr_medium", 49.59, FFR_W, ((1.0, FULL),)),
    Service("ffr_short", 49.49, FFR_W, ((0.7, FULL),)),
)
"""ENTSO-E Nordic, "Technical requirements for fast frequency reserve", 2021: trigger and longest activation time."""


def make_frequency_site(directory: Path, cycle_ms: float = 50.0) -> None:
    """Make the demo site with the services; the devices they need are read once a cycle."""
    make_demo(directory)
    site = directory / SITE_FILE
    text = set_value(site.read_text(), "site", "cycle_ms", cycle_ms)
    site.write_text(text + _CONTROLLERS + "".join(_RESERVE.format(name) for name in ("Long", "Medium", "Short")))
    for alias in ("ess0", "meter0"):
        entry = directory / "entries" / f"{alias}.toml"
        entry.write_text(f"poll_ms = {cycle_ms:g}\n{entry.read_text()}")


def still(plant: PlantBench) -> None:
    """Hold everything but the frequency: no sun, no car, a constant load."""
    plant.set_frequency(NORMAL_HZ)
    plant.set_clouds(100)
    plant.set_load(LOAD_W)
    plant.set_lag(LAG_S)
    plant.stop_time()


def settle(plant: PlantBench, within_s: float = 20.0, exported_w: float = 0.0) -> None:
    """Wait until the battery covers the load and exports so much beside, and nothing moves. TimeoutError when it never does."""
    deadline = time.monotonic() + within_s
    while abs(plant.grid_w + exported_w) > 60 or abs(plant.ess_w - plant.setpoint_w) > 5:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the battery gives {plant.ess_w:.0f} W, the grid {plant.grid_w:.0f} W")
        time.sleep(0.1)


class Trace(NamedTuple):
    """What a step of the frequency did. setpoint_s: until the set-point register held all of the service's power.
    shares: (time since the step in s, share of the power that the battery gives more than before)."""

    setpoint_s: float
    shares: list[tuple[float, float]]

    def since(self, share: float) -> float:
        """From when on the battery gave so much, without falling below again; infinity when it did not."""
        below = [at for at, given in self.shares if given < share]
        return inf if below and below[-1] == self.shares[-1][0] else max(below, default=0.0)


def step(plant: PlantBench, service: Service) -> Trace:
    """Step the frequency so that the service answers with all its power, and watch the battery until it has given that for
    HOLD_S, or has had the time it may take."""
    base, asked = plant.ess_w, plant.setpoint_w
    plant.set_frequency(service.hertz)
    start = time.monotonic()
    elapsed = below_s = 0.0
    setpoint_s, shares = inf, []
    while elapsed < below_s + HOLD_S and below_s < service.required[-1][0]:
        if plant.setpoint_w - asked >= FULL * service.power_w:
            setpoint_s = min(setpoint_s, time.monotonic() - start)
        given = (plant.ess_w - base) / service.power_w
        elapsed = time.monotonic() - start
        shares.append((elapsed, given))
        if given < FULL:
            below_s = elapsed
        time.sleep(0.002)
    return Trace(setpoint_s, shares)
