"""How well the control cycle keeps its time: real processes, the real shared image, the real loop.

    writers (2 processes) ── every owner's block, 20 Hz, not in step with the cycle ──▶ ┐
    echo (a driver under asyncio, in step with the cycle) ── a new value each cycle ──▶ │ image ──▶ control
                     ▲                                                                  ┘              │
                     └───────────────────────── set-point, eventfd ◀───────────────────────────────────┘

Reaction is the time from the echo driver's publication of a new measurement, LEAD_S before the next freeze, to the moment it
holds the set-point that answers it. Run `python -m tests.bench.control --help`, or `ems bench control`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from server.core.image import Image
from server.core.layout import DEVICE, ChannelUse, Layout, ObjectSpec, build_layout
from server.core.natures import ManagedEss, Meter
from server.core.site import cycle_object
from server.core.step import Now, Output, Write
from server.runtime.control import ControlLoop
from server.runtime.guard import AlarmGuard
from server.runtime.memory import SharedImage, utc_now
from server.runtime.realtime import be_prompt, stop_collecting

ECHO = "echo"
LEAD_S = 0.005
WRITERS = 2
WRITE_HZ = 20.0
SETTLE_S = 1.0
"""Processes start and caches fill; not measured."""

fork = multiprocessing.get_context("fork")


class Rules:
    """An engine of many small rules: each reads a measurement, and the first answers the echo driver."""

    def __init__(self, layout: Layout, rules: int, guard: AlarmGuard) -> None:
        self._layout = layout
        self._guard = guard
        self._inputs = np.linspace(0, layout.slots - 1, rules).astype(int).tolist()
        self._meter = layout.by_node[f"{ECHO}/ActivePower"].slot
        self._setpoint = layout.by_node[f"{ECHO}/SetActivePower"].slot - layout.owner("control").first

    def step(self, image: Image, now: Now, writes: Sequence[Write], out: Output) -> None:
        total = 0.0
        for slot in self._inputs:
            self._guard.arm(0.01)
            total += image.get(slot) or 0.0
            self._guard.disarm()
        out.records["value"][self._setpoint] = image.get(self._meter) or 0.0
        out.records["status"][self._setpoint] = 0

    def state(self) -> dict[str, Any]:
        return {}


def make_layout(channels: int, owners: int) -> Layout:
    """A site of `channels` channels in the blocks of `owners` drivers, and the echo driver."""
    meter = [ChannelUse(s, period_s=1 / WRITE_HZ) for s in Meter.channels().values()]
    objects = [cycle_object(), ObjectSpec(ECHO, DEVICE, ECHO, (ManagedEss,), _echo_channels())]
    for owner in range(owners):
        left = channels // owners
        while left > 0:
            alias = f"m{len(objects)}"
            objects.append(ObjectSpec(alias, DEVICE, f"driver{owner}", (Meter,), tuple(meter[:left])))
            left -= len(meter)
    return build_layout(objects)


def _echo_channels() -> tuple[ChannelUse, ...]:
    return ChannelUse(ManagedEss.ActivePower), ChannelUse(ManagedEss.SetActivePower)


def write_blocks(image: SharedImage, layout: Layout, names: Sequence[str]) -> None:
    """A writer: rewrites the blocks of some owners for ever."""
    blocks = [SharedImage.attach(layout, image.handles(name), name).block() for name in names]
    due = time.monotonic()
    number = 0
    while True:
        number += 1
        for block in blocks:
            block.records["value"] = number
            block.records["status"] = 0
            block.records["source"] = utc_now()
            block.records["arrival"] = time.monotonic_ns()
            block.publish()
        due += 1 / WRITE_HZ
        time.sleep(max(0.0, due - time.monotonic()))


def run_control(image: SharedImage, layout: Layout, pipe: Connection, options: dict[str, Any]) -> None:
    """The control process: the product's loop, with an eye on each cycle. Sends (work, freeze, lateness) in ms and slips."""
    guard = AlarmGuard()
    attached = SharedImage.attach(layout, image.handles("control"), "control")
    engine = Rules(layout, options["controllers"], guard)
    loop = ControlLoop(attached, engine, guard, cycle_s=options["cycle_ms"] / 1e3)
    be_prompt()
    stop_collecting()
    samples: list[tuple[int, int, int, int]] = []
    end = time.monotonic() + SETTLE_S + options["duration_s"]

    def watch() -> bool:
        pacer = loop.pacer
        samples.append((pacer.duration_ns, loop.freeze_ns, pacer.lateness_ns, pacer.slips))
        return time.monotonic() > end

    loop.run(until=watch)
    pipe.send(np.array(samples, np.int64)[int(SETTLE_S * 1e3 / options["cycle_ms"]) :])


def run_echo(image: SharedImage, layout: Layout, pipe: Connection) -> None:
    """The echo driver: sends the reactions in ms when told to stop."""
    pipe.send(asyncio.run(echo(SharedImage.attach(layout, image.handles(ECHO), ECHO))))


async def echo(image: SharedImage) -> list[float]:
    """Publish a new value just before each freeze; note when the set-point that answers it has arrived."""
    loop = asyncio.get_running_loop()
    block, setpoints, clock = image.block(), image.setpoints(), image.clock
    rung, stop = asyncio.Event(), asyncio.Event()
    loop.add_reader(setpoints.wake_fd, lambda: (os.eventfd_read(setpoints.wake_fd), rung.set()))
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    reactions = []
    value = 0
    while not stop.is_set():
        value += 1
        await asyncio.sleep((clock.next_freeze_ns() - time.monotonic_ns()) * 1e-9 - LEAD_S)
        rung.clear()
        start = time.monotonic_ns()
        block.records["value"] = value
        block.records["status"] = 0
        block.publish()
        while setpoints.read()["value"][0] != value and not stop.is_set():
            await _wait(rung, 0.05)
            rung.clear()
        reactions.append((time.monotonic_ns() - start) / 1e6)
    return reactions[20:-1]


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return


def measure(**options: Any) -> tuple[np.ndarray, list[float]]:
    """Run the processes; per cycle (work, freeze, lateness [ns], slips so far), and the reactions in ms."""
    layout = make_layout(options["channels"], options["owners"])
    image = SharedImage.create(layout)
    names = [f"driver{i}" for i in range(options["owners"])]
    cycles, cycles_end = fork.Pipe()
    reactions, reactions_end = fork.Pipe()
    writers = [_start(write_blocks, image, layout, names[i::WRITERS]) for i in range(WRITERS)]
    control = _start(run_control, image, layout, cycles_end, options)
    driver = _start(run_echo, image, layout, reactions_end)
    try:
        if not cycles.poll(options["duration_s"] + 30):
            raise RuntimeError("the control process did not finish")
        found = cycles.recv()
        driver.terminate()
        return found, reactions.recv()
    finally:
        for process in (*writers, control, driver):
            process.kill()
            process.join()
        image.close()


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
) -> dict[str, float]:
    """Times in ms of a site's control cycle. Lateness of a start is its jitter."""
    cycles, reactions = measure(
        duration_s=duration_s, cycle_ms=cycle_ms, channels=channels, owners=owners, controllers=controllers
    )
    work, freeze, lateness = (cycles[:, i] / 1e6 for i in range(3))
    return {
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
    }


def _percentile(values: Any, percent: float) -> float:
    return round(float(np.percentile(values, percent)), 4)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--duration", dest="duration_s", type=float, default=10.0, help="seconds")
    parser.add_argument("--cycle", dest="cycle_ms", type=float, default=50.0, help="milliseconds")
    parser.add_argument("--channels", type=int, default=10_000)
    parser.add_argument("--owners", type=int, default=50)
    parser.add_argument("--controllers", type=int, default=100)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    options = vars(parser.parse_args())
    as_json = options.pop("json")
    found = figures(**options)
    if as_json:
        print(json.dumps(found))
    else:
        print("\n".join(f"{name:28} {value:10.3f}" for name, value in found.items()))


if __name__ == "__main__":
    main()
