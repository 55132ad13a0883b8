"""What parts of a cycle cost by themselves, in a tight loop: the solver's answer, and the freeze of a large image.

    ems bench solver

Medians tell the cost of the code; the high percentiles are the machine's as well. In the running loop both are slower, see
control.py.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "core")]

from core_rig import Rig, ess, meter  # noqa: E402

from server.core.cluster import ClusterSettings, cluster_objects  # noqa: E402
from server.core.constraint import Bound, Calm, Target  # noqa: E402
from server.core.follower import Followers  # noqa: E402
from server.core.image import SLOT, Image  # noqa: E402
from server.core.layout import DEVICE, ChannelUse, ObjectSpec, build_layout  # noqa: E402
from server.core.natures import Meter  # noqa: E402
from server.core.sensing import Sensing  # noqa: E402
from server.core.solver import Claim, Solver  # noqa: E402
from server.runtime.freezer import Freezer  # noqa: E402
from server.runtime.memory import FRAMES, OWNER_BANKS, SharedImage, utc_now  # noqa: E402

TREE = (ClusterSettings("park", ("ess0", "ess1", "ess2", "ess3")), ClusterSettings("hall", ("ess4", "ess5", "ess6", "ess7")))
"""Two clusters of four storages below the grid: eleven nodes in three layers."""

TURNS = 10
"""Cycles of 50 ms in which each owner publishes once: 200,000 values a second."""

LOADS = 7
"""Different loads of the site, one after the other."""


def solve(storages: int, rounds: int, clusters: Sequence[ClusterSettings] = ()) -> list[float]:
    """Durations of the solver [µs]: a limit of the connection, bounds of a unit and of each cluster, and a balance."""
    devices = [meter(), *(ess(f"ess{i}") for i in range(storages))]
    made, _ = cluster_objects(clusters, devices, 0.05)
    rig = Rig([*devices, *made])
    topology = rig.engine.topology
    grid = topology.import_node("grid")
    claims = [Claim("limit", Bound(grid, at_most=2000.0)), Claim("unit", Bound(topology.unit_node("ess0"), at_most=1000.0))]
    claims += [Claim(c.alias, Bound(topology.unit_node(c.alias), at_most=9000.0)) for c in clusters]
    claims += [Claim("balance", Target(grid, equals=0.0, calm=Calm(50, 1e5, 1e5)))]
    abilities = []
    for i in range(LOADS):
        rig["meter0/ActivePower"] = 2000.0 * storages + 300.0 * i
        abilities.append(Sensing(topology, Followers(storages)).read(Image(rig.records, time=rig.time), {}))
    solver, took = Solver(topology), []
    for i in range(rounds):
        start = time.perf_counter_ns()
        solver.solve(abilities[i % LOADS], claims, 0.05)
        took.append((time.perf_counter_ns() - start) * 1e-3)
    return took


def freeze(channels: int, owners: int, rounds: int, turns: int = 1) -> list[float]:
    """Durations of the freeze [ms] of so many channels. turns: in which owners take turns to publish all they have."""
    objects = []
    every = [ChannelUse(spec, period_s=0.05) for spec in Meter.channels().values()]
    for owner in range(owners):
        left = channels // owners
        while left > 0:
            objects.append(ObjectSpec(f"m{len(objects)}", DEVICE, f"driver{owner}", (Meter,), tuple(every[:left])))
            left -= len(every)
    image = SharedImage.create(build_layout(objects))
    try:
        return _freezing(image, [f"driver{i}" for i in range(owners)], rounds, turns)
    finally:
        image.close()


def _freezing(image: SharedImage, names: Sequence[str], rounds: int, turns: int) -> list[float]:
    blocks = [SharedImage.attach(image.layout, image.handles(name), name).block() for name in names]
    freezer = Freezer(SharedImage.attach(image.layout, image.handles("control"), "control"))
    took = []
    for number in range(1, rounds + 1):
        for i, block in enumerate(blocks):
            if (number + i) % turns == 0:
                _rewrite(block, number)
            block.beat()
        start = time.perf_counter_ns()
        freezer.freeze(number, time.monotonic_ns(), utc_now())
        took.append((time.perf_counter_ns() - start) * 1e-6)
    return took


def copy(channels: int, rounds: int) -> list[float]:
    """Durations of the bare copy [ms] of as many records that were just written: what no freeze can do without."""
    sources, targets = ([np.zeros(channels, SLOT) for _ in range(count)] for count in (OWNER_BANKS, FRAMES))
    took = []
    for number in range(rounds):
        source, target = sources[number % OWNER_BANKS], targets[number % FRAMES]
        for name in ("value", "source", "arrival", "status"):
            source[name] = number
        start = time.perf_counter_ns()
        target.view(np.uint8)[:] = source.view(np.uint8)
        took.append((time.perf_counter_ns() - start) * 1e-6)
    return took


def _rewrite(block: Any, number: int) -> None:
    block.records["value"], block.records["status"] = number, 0
    block.records["source"], block.records["arrival"] = utc_now(), time.monotonic_ns()
    block.publish()


def figures(rounds: int = 2000, channels: int = 100_000, owners: int = 50) -> dict[str, float]:
    """The solver on ten storages and the grid, on the same with clusters between, on a hundred storages [µs]; the freeze of a
    large image of which a tenth is new, as drivers that poll twice a second bring it, or all; the bare copy of its bytes [ms]."""
    found: dict[str, float] = {}
    trees = {"11_nodes": solve(10, rounds), "11_nodes_clustered": solve(8, rounds, TREE), "100_ess": solve(100, rounds // 4)}
    for name, took in trees.items():
        found |= {f"control.solver_{name}_p{p}_us": _percentile(took, p) for p in (50, 99)}
    times = max(rounds // 20, 20)
    freezes = {"freeze": freeze(channels, owners, times, TURNS), "freeze_all_new": freeze(channels, owners, times)}
    for name, took in (freezes | {"copy": copy(channels, times)}).items():
        found |= {f"control.{name}_{channels // 1000}k_p{p}_ms": _percentile(took[5:], p) for p in (50, 99)}
    return found


def _percentile(values: Sequence[float], percent: float) -> float:
    return round(float(np.percentile(values, percent)), 4)
