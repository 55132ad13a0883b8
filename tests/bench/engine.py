"""What one step of the engine costs: 10,000 channels, 100 controllers of mixed kinds over 20 storages.

    python tests/bench/engine.py [SECONDS]

A step is everything between the frozen image and the staged outputs; freezing and publishing are in control.py's bench, the
solver alone is in solver.py. The load changes every cycle, so nothing is answered from memory.
"""

from __future__ import annotations

import gc
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "core")]

import numpy as np  # noqa: E402
from core_rig import Rig, device, ess, evcs, meter, pv  # noqa: E402

from controllers.grid_limits import GridLimits  # noqa: E402
from controllers.limit_total_charge import LimitTotalCharge  # noqa: E402
from controllers.limit_total_discharge import LimitTotalDischarge  # noqa: E402
from controllers.manual_override import ManualOverride  # noqa: E402
from controllers.peak_shaving import PeakShaving  # noqa: E402
from controllers.self_consumption import SelfConsumption  # noqa: E402
from server.core.controller import Now  # noqa: E402
from server.core.image import Image  # noqa: E402
from server.core.layout import Layout, ObjectSpec  # noqa: E402
from server.core.natures import Device, Meter  # noqa: E402

CHANNELS = 10_000
STORAGES = 20


def site() -> Rig:
    """100 controllers over 20 storages, four roofs and four chargers, padded with meters to 10,000 channels."""
    devices: list[ObjectSpec] = [meter(), *(ess(f"ess{i}") for i in range(STORAGES))]
    devices += [pv(f"pv{i}") for i in range(4)] + [evcs(f"evcs{i}") for i in range(4)]
    every = (Device.State, *Meter.channels().values())
    count = (CHANNELS - 1500) // len(every)
    devices += [device(f"sub{i}", Meter, every[1:]) for i in range(count)]
    chosen = [(LimitTotalDischarge, f"floor{i}", {"ess": f"ess{i}", "min_soc": 10}) for i in range(STORAGES)]
    chosen += [(LimitTotalCharge, f"ceiling{i}", {"ess": f"ess{i}", "max_soc": 40 + i}) for i in range(STORAGES)]
    chosen += [(ManualOverride, "manual0", {})]
    chosen += [(PeakShaving, f"peak{i}", {"grid": "grid", "import_max_w": 8000 + i, "recharge_below_w": 4000}) for i in range(20)]
    chosen += [(GridLimits, f"limits{i}", {"grid": "grid", "import_max_w": 9e3 + i, "export_max_w": 9e3}) for i in range(19)]
    chosen += [(SelfConsumption, f"self{i}", {"grid": "grid"}) for i in range(20)]
    return Rig(devices, chosen, guard=Clock(), import_max_w=40_000.0, export_max_w=40_000.0)


class Clock:
    """A guard as cheap as the real one: arming is an assignment."""

    def clock_ns(self) -> int:
        return time.monotonic_ns()

    def arm(self, seconds: float) -> None:
        self._deadline_ns = time.monotonic_ns() + int(seconds * 1e9)

    def disarm(self) -> None:
        self._deadline_ns = 0


def measure_step(seconds: float) -> list[float]:
    """Durations of steps [ms]."""
    rig = site()
    rng = np.random.default_rng(1)
    took: list[float] = []
    end = time.monotonic() + seconds
    gc.collect()
    gc.disable()
    while time.monotonic() < end:
        rig["meter0/ActivePower"] = float(rng.normal(10_000, 5_000))
        for i in range(STORAGES):
            rig[f"ess{i}/ActivePower"] = float(rng.normal(500, 50))
        rig.cycle += 1
        rig.ns += 50_000_000
        image = Image(rig.records, cycle=rig.cycle, frozen_at=rig.ns, time=rig.time)
        now = Now(rig.cycle, rig.ns, rig.time, 0.05)
        start = time.perf_counter_ns()
        rig.engine.step(image, now, (), rig.out)
        took.append((time.perf_counter_ns() - start) * 1e-6)
        if rig.cycle % 200 == 0:
            gc.collect()
    gc.enable()
    assert rig.engine.healthy
    return took[20:]


def line(name: str, values: list[float], unit: str, target: str) -> str:
    p50, p99 = np.percentile(values, [50, 99])
    return f"{name:<44} p50 {p50:8.3f}  p99 {p99:8.3f}  max {max(values):8.3f} {unit}   target {target}"


def channels(layout: Layout) -> int:
    return len(layout.channels)


def main(seconds: float = 10.0) -> None:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, python {platform.python_version()}, ", end="")
    print(f"commit {commit.stdout.strip()}")
    print(line("step, 10,000 channels, 100 controllers", measure_step(seconds), "ms", "p99 < 1.2 ms"))


if __name__ == "__main__":
    main(*(float(a) for a in sys.argv[1:2]))
