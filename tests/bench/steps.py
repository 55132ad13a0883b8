"""Steps of something, and how long the battery inverter's set-point register takes to answer them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import numpy as np

from tests.support.demo_site import PlantBench

SETTLE_S = 0.6


def reactions(
    plant: PlantBench,
    steps: int,
    change: Callable[[float], None],
    values: tuple[float, float],
    least_w: float,
    give_up_s: float,
) -> list[float]:
    """Seconds from each step between two values to a set-point changed by `least_w`. TimeoutError when one is not answered."""
    dice = random.Random(1)
    times = []
    for number in range(1, steps + 1):
        time.sleep(SETTLE_S + dice.random() * 0.05)
        before = plant.setpoint_w
        change(values[number % 2])
        started = time.monotonic()
        while abs(plant.setpoint_w - before) < least_w:
            if time.monotonic() - started > give_up_s:
                raise TimeoutError(f"step {number}: the set-point stayed at {before:.0f} W")
        times.append(time.monotonic() - started)
    return times


def spread(name: str, times_s: list[float]) -> dict[str, float]:
    """Percentiles and the maximum, in ms."""
    times_ms = np.array(times_s) * 1e3
    percentiles = {f"{name}_p{p}_ms": float(np.percentile(times_ms, p)) for p in (10, 50, 90, 99)}
    return percentiles | {f"{name}_max_ms": float(times_ms.max())}
