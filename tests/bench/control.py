"""How well the control cycle keeps its time: real processes, the real shared image, the real loop and engine.

    writers (2 processes) ── every owner's block, as often as the cycle, not in step ─▶ ┐
    plant (a driver under asyncio, in step with the cycle) ── meter and storages ─────▶ │ image ──▶ control
                     ▲                                                                  ┘              │
                     └───────────────────────── set-points, eventfd ◀──────────────────────────────────┘
                                                                                 image ──▶ server ══ SignAndEncrypt ══▶ client
                                                                                           load: so many changes per second

The site has storages below one grid meter and controllers of mixed kinds. The load is a client of the product's OPC UA server
over the same image, which subscribes to channels at the cycle's rate, decodes and counts; it counts while control is measured.

Reaction is the time from the plant's publication of another demand, LEAD_S before the next freeze, to the moment it holds the
set-points that answer it: LEAD_S, the cycle's work up to its outputs, and waking up. The plant is as prompt as control
(be_prompt), so that it tells of control and not of how an ordinary process is scheduled under load.
Run `ems bench control duration_s=60`.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controllers.backup_reserve import BackupReserve
from controllers.battery_protection import BatteryProtection
from controllers.delay_charge import DelayCharge
from controllers.demand_peak_shaving import DemandPeakShaving
from controllers.fix_active_power import FixActivePower
from controllers.fix_state_of_charge import FixStateOfCharge
from controllers.frequency_droop import FrequencyDroop
from controllers.grid_limits import GridLimits
from controllers.limit_total_charge import LimitTotalCharge
from controllers.limit_total_discharge import LimitTotalDischarge
from controllers.peak_shaving import PeakShaving
from controllers.reactive_power import ReactivePower
from controllers.self_consumption import SelfConsumption
from controllers.time_of_use import TimeOfUse
from controllers.virtual_inertia import VirtualInertia
from server.core.controller import Controller, controller_object
from server.core.layout import DEVICE, ChannelUse, Layout, ObjectSpec, build_layout
from server.core.natures import ManagedEss, Meter
from server.core.rehearsal import Rehearsal
from server.core.site import SiteSettings, cycle_object, site_object
from server.core.status import GOOD
from server.core.step import Engine
from server.runtime.control import ControlLoop
from server.runtime.guard import AlarmGuard
from server.runtime.memory import SharedImage, utc_now
from server.runtime.realtime import be_prompt, stop_collecting

from . import opcua_servers, solver
from .opcua_client import Target, count_changes

PLANT = "plant"
STORAGES = 20
OPENEMS_PERIOD_MS = 1000.0
"""OpenEMS runs its cycle so often by default: its setting, not a measurement of it."""
LEAD_S = 0.005
WRITERS = 2
SETTLE_S = 1.0
"""Processes start and caches fill; not measured."""
ANSWER_S = 1.0
"""Control that rings no bell for so long has nothing to answer, or has ended."""

MEASURED = {
    ManagedEss.Soc: 50.0,
    ManagedEss.Capacity: 10_000.0,
    ManagedEss.GridMode: 0.0,
    ManagedEss.ActivePower: 0.0,
    ManagedEss.ReactivePower: 0.0,
    ManagedEss.MaxApparentPower: 10_000.0,
    ManagedEss.AllowedChargePower: -5000.0,
    ManagedEss.AllowedDischargePower: 5000.0,
}
"""What a storage of the plant says."""

LOAD_FIGURES = ("changes_per_s", "age_p50_ms", "age_p99_ms", "server_load")
"""What the load's client tells that belongs to a run of this bench."""

KINDS: tuple[tuple[type[Controller], dict[str, Any]], ...] = (
    (LimitTotalDischarge, {"ess": "ess{storage}", "min_soc": 10}),
    (LimitTotalCharge, {"ess": "ess{storage}", "max_soc": 90}),
    (PeakShaving, {"grid": "grid", "import_max_w": 8000.0, "recharge_below_w": 4000.0}),
    (GridLimits, {"grid": "grid", "import_max_w": 9000.0, "export_max_w": 9000.0}),
    (SelfConsumption, {"grid": "grid"}),
    (BatteryProtection, {"ess": "ess{storage}"}),
    (BackupReserve, {"ess": "ess{storage}"}),
    (ReactivePower, {"ess": "ess{storage}", "mode": "CosPhi", "cos_phi": 0.95}),
    (FrequencyDroop, {"ess": "ess{storage}", "meter": "meter0", "power_w": 500.0}),
    (VirtualInertia, {"ess": "ess{storage}", "meter": "meter0", "power_w": 500.0}),
    (DelayCharge, {"ess": "ess{storage}"}),
    (TimeOfUse, {"ess": "ess{storage}", "grid": "grid"}),
    (FixStateOfCharge, {"ess": "ess{storage}", "just_in_time": True}),
    (DemandPeakShaving, {"grid": "grid", "demand_max_w": 7000.0}),
    (FixActivePower, {"ess": "ess{storage}", "power_w": 100.0}),
)
"""What a controller may be. The first USUAL of them are what `kinds` begins with."""

USUAL = 5

fork = multiprocessing.get_context("fork")


def make_site(cycle_ms: float) -> SiteSettings:
    """The bench's site."""
    return SiteSettings("bench", "Bench", cycle_s=cycle_ms / 1e3, grid_meter="meter0", import_max_w=40e3, export_max_w=40e3)


def make_layout(site: SiteSettings, channels: int, owners: int, controllers: int, kinds: int = USUAL) -> Layout:
    """A site of `channels` channels in the blocks of `owners` drivers, `controllers` of so many kinds, and the storages."""
    objects = [site_object(site), cycle_object(), *_controllers(controllers, kinds), *_plant(site.cycle_s)]
    every = [ChannelUse(s, period_s=site.cycle_s) for s in Meter.channels().values()]
    for owner in range(owners):
        left = channels // owners
        while left > 0:
            alias = f"m{len(objects)}"
            objects.append(ObjectSpec(alias, DEVICE, f"driver{owner}", (Meter,), tuple(every[:left])))
            left -= len(every)
    return build_layout(objects)


def _controllers(count: int, kinds: int) -> list[ObjectSpec]:
    found = []
    for i in range(count):
        cls, settings = KINDS[i % min(kinds, len(KINDS))]
        told = {k: v.format(storage=i % STORAGES) if isinstance(v, str) else v for k, v in settings.items()}
        found.append(controller_object(cls, f"c{i}", told))
    return found


def _plant(period_s: float) -> list[ObjectSpec]:
    uses = tuple(ChannelUse(s, period_s=period_s) for s in (*MEASURED, ManagedEss.SetActivePower))
    metered = tuple(ChannelUse(s, period_s=period_s) for s in (Meter.ActivePower, Meter.Frequency))
    meter = ObjectSpec("meter0", DEVICE, PLANT, (Meter,), metered)
    return [meter, *(ObjectSpec(f"ess{i}", DEVICE, PLANT, (ManagedEss,), uses) for i in range(STORAGES))]


def write_blocks(image: SharedImage, layout: Layout, names: Sequence[str], period_s: float) -> None:
    """A writer: rewrites the blocks of some owners for ever."""
    blocks = [SharedImage.attach(layout, image.handles(name), name).block() for name in names]
    due = time.monotonic()
    number = 0
    while True:
        number += 1
        for block in blocks:
            block.records["value"] = number
            _stamp(block.records)
            block.publish()
        due += period_s
        time.sleep(max(0.0, due - time.monotonic()))


def run_control(
    image: SharedImage, layout: Layout, pipe: Connection, site: SiteSettings, duration_s: float, begin: Event
) -> None:
    """The control process: the product's loop, with an eye on each cycle. Sends (work, freeze, lateness [ns], slips so far)."""
    guard = AlarmGuard()
    engine, twin = (Engine(layout, site, {cls.__name__: cls for cls, _ in KINDS}, guard) for _ in range(2))
    mine = SharedImage.attach(layout, image.handles("control"), "control")
    loop = ControlLoop(mine, engine, guard, cycle_s=site.cycle_s, rehearsal=Rehearsal(layout, engine, twin))
    be_prompt()
    stop_collecting()
    samples: list[tuple[int, int, int, int]] = []
    count = round((SETTLE_S + duration_s) / site.cycle_s)

    def watch() -> bool:
        pacer = loop.pacer
        if begin.is_set():
            samples.append((pacer.duration_ns, loop.freeze_ns, pacer.lateness_ns, pacer.slips))
        return len(samples) >= count

    loop.run(until=watch)
    if not engine.healthy or engine.mode.name != "Run":
        raise RuntimeError(f"the engine did not run: {engine.mode.name}")
    pipe.send(np.array(samples, np.int64))


def run_plant(image: SharedImage, layout: Layout, pipe: Connection, begin: Event) -> None:
    """The plant's driver: sends its reactions in ms."""
    plant = Plant(SharedImage.attach(layout, image.handles(PLANT), PLANT))
    be_prompt()
    pipe.send(asyncio.run(plant.run(begin)))


class Plant:
    """A grid meter and storages that follow at once; another demand before every freeze. Ends with control."""

    def __init__(self, image: SharedImage) -> None:
        self.block, self.setpoints, self.clock = image.block(), image.setpoints(), image.clock
        first = self.block.owner.first
        nodes = image.layout.by_node
        self.meter, self.frequency = (nodes[f"meter0/{name}"].slot - first for name in ("ActivePower", "Frequency"))
        self.powers = [nodes[f"ess{i}/ActivePower"].slot - first for i in range(STORAGES)]
        for i in range(STORAGES):
            for spec, value in MEASURED.items():
                self.block.records["value"][nodes[f"ess{i}/{spec.name}"].slot - first] = value
        self.demand = np.random.default_rng(1)

    async def run(self, begin: Event) -> list[float]:
        """Follow while there are set-points; times from publication to answer in ms, from `begin` on."""
        rung = asyncio.Event()
        wake = self.setpoints.wake_fd
        asyncio.get_running_loop().add_reader(wake, lambda: (os.eventfd_read(wake), rung.set()))
        while not self.setpoints.read()["lease"].any():
            self._publish()
            await asyncio.sleep(0.02)
        reactions = []
        while self.setpoints.read()["lease"].any():
            await asyncio.sleep(self._until_freeze_s() - LEAD_S)
            rung.clear()
            start_ns = self._publish()
            try:
                await asyncio.wait_for(rung.wait(), ANSWER_S)
            except TimeoutError:
                continue
            if begin.is_set():
                reactions.append((time.monotonic_ns() - start_ns) / 1e6)
        return reactions[:-1]

    def _until_freeze_s(self) -> float:
        """Time to the next freeze. When the bell rings, control has not announced it yet: then it is one cycle after the last."""
        left_ns = self.clock.next_freeze_ns() - time.monotonic_ns()
        return (left_ns if left_ns > 0 else left_ns + self.clock.cycle_ns) * 1e-9

    def _publish(self) -> int:
        """Measure; when it was published, CLOCK_MONOTONIC ns."""
        records = self.block.records
        powers = self.setpoints.read()["value"]
        records["value"][self.powers] = powers
        records["value"][self.meter] = self.demand.normal(10_000, 5_000) - powers.sum()
        records["value"][self.frequency] = self.demand.normal(50.0, 0.02)
        _stamp(records)
        self.block.publish()
        return time.monotonic_ns()


def _stamp(records: NDArray[Any]) -> None:
    records["status"] = GOOD
    records["source"] = utc_now()
    records["arrival"] = time.monotonic_ns()


def measure(
    duration_s: float, cycle_ms: float, channels: int, owners: int, controllers: int, load: float, kinds: int = USUAL
) -> tuple[NDArray[np.int64], list[float], dict[str, float]]:
    """Run the processes; per cycle (work, freeze, lateness [ns], slips so far), the reactions in ms, what the load counted."""
    site = make_site(cycle_ms)
    layout = make_layout(site, channels, owners, controllers, kinds)
    image = SharedImage.create(layout)
    names = [f"driver{i}" for i in range(owners)]
    cycles, cycles_end = fork.Pipe()
    reactions, reactions_end = fork.Pipe()
    begin = fork.Event()
    processes = [_start(write_blocks, image, layout, names[i::WRITERS], site.cycle_s) for i in range(WRITERS)]
    processes.append(_start(run_control, image, layout, cycles_end, site, duration_s, begin))
    processes.append(_start(run_plant, image, layout, reactions_end, begin))
    try:
        with counting(image, layout, site, duration_s, load, begin) as counted:
            if not cycles.poll(duration_s + 30):
                raise RuntimeError("the control process did not finish")
            if not reactions.poll(10):
                raise RuntimeError("the plant did not see control's end")
            return cycles.recv(), reactions.recv(), counted()
    finally:
        for process in processes:
            process.kill()
            process.join()
        image.close()


@contextmanager
def counting(
    image: SharedImage, layout: Layout, site: SiteSettings, duration_s: float, load: float, begin: Event
) -> Iterator[Callable[[], dict[str, float]]]:
    """A server and a client that takes `load` changes per second. Returns when it does; the result gives what it counted."""
    if not load:
        begin.set()
        yield dict
        return
    every = [c.node for o in layout.owners if o.name.startswith("driver") for c in layout.channels if c.owner == o.name]
    nodes = [f"ns=4;s={every[i % len(every)]}" for i in range(round(load * site.cycle_s))]
    found, found_end = fork.Pipe()
    with TemporaryDirectory(prefix="bench-control-") as folder:
        opcua_servers.make_certificates(Path(folder))
        with opcua_servers.serving(image, layout, Path(folder), nodes) as target:
            client = _start(lambda: found_end.send(_count(target, site, SETTLE_S + duration_s, begin)))
            try:
                if not begin.wait(60):
                    raise RuntimeError("the client did not start")
                yield lambda: _load_figures(found.recv())
            finally:
                client.kill()
                client.join()


def _load_figures(found: dict[str, float]) -> dict[str, float]:
    return {f"opcua.{name}": found[name] for name in LOAD_FIGURES}


def _count(target: Target, site: SiteSettings, duration_s: float, begin: Event) -> dict[str, float]:
    return count_changes(target, site.cycle_s * 1e3, duration_s, begin=begin.set)


def _start(target: Callable[..., None], *arguments: Any) -> Any:
    process = fork.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def figures(
    duration_s: float = 10.0,
    cycle_ms: float = 50.0,
    channels: int = 10_000,
    owners: int = 50,
    controllers: int = 100,
    load: float = 200_000.0,
    kinds: int = USUAL,
) -> dict[str, float]:
    """Times in ms of a site's control cycle. Jitter: how late it starts. load: changes/s over OPC UA meanwhile, 0 for none.
    kinds: of controllers. Then the solver and a large freeze by themselves (solver.py)."""
    cycles, reactions, counted = measure(duration_s, cycle_ms, channels, owners, controllers, load, kinds)
    cycles = cycles[round(SETTLE_S * 1e3 / cycle_ms) :]
    work, freeze, lateness = (cycles[:, i] / 1e6 for i in range(3))
    return {
        "control.period_ms": cycle_ms,
        "control.period_openems_ms": OPENEMS_PERIOD_MS,
        "control.cycles": float(len(cycles)),
        "control.work_p50_ms": _percentile(work, 50),
        "control.work_p99_ms": _percentile(work, 99),
        "control.work_max_ms": _percentile(work, 100),
        "control.jitter_p99_ms": _percentile(lateness, 99),
        "control.jitter_max_ms": _percentile(lateness, 100),
        "control.slips": float(cycles[-1, 3] - cycles[0, 3]),
        "control.freeze_p50_ms": _percentile(freeze, 50),
        "control.freeze_p99_ms": _percentile(freeze, 99),
        "control.reaction_p50_ms": _percentile(reactions, 50),
        "control.reaction_p99_ms": _percentile(reactions, 99),
    } | (counted | solver.figures())


def _percentile(values: Any, percent: float) -> float:
    return round(float(np.percentile(values, percent)), 4)
