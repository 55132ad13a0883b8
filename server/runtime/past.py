"""A past for a simulated site, so that a demo has something to look back on: `python -m server.runtime.past DIR`.

The driver that simulates the plant brings a module `past`; the engine with the site's own controllers steers it, one simulated
minute per step. The values are stamped so that they end when the real history begins, and go where nothing has been stored. It
is done once, at the lowest priority; what was made is told in data/simulated-past.json. See docs/explanations/history.md.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from server.core.controller import Now
from server.core.driver import Entry
from server.core.image import Image, blank_records
from server.core.layout import CONTROL, Layout
from server.core.rehearsal import Nowhere
from server.core.runner import NoAlarm
from server.core.status import BAD, BAD_NO_DATA, GOOD
from server.core.step import Engine
from server.core.ticks import TICKS
from server.core.units import WATT_HOUR
from server.history import HistoryReader, HistoryWriter, database_url

from .demo import PAST_FILE
from .discovery import load_controller
from .files import write_atomically
from .memory import utc_now
from .plan import SitePlan, plan_of

STEP_S: Final = 60
LOWEST_PRIORITY: Final = 19
_WARM_UP: Final = 30
"""Steps until engine and plant have settled."""
_AT_ONCE: Final = 100_000
_FOR_EVER: Final = 1 << 62


class Reading(Protocol):
    """A channel of a device, and what it says now; NaN for nothing."""

    @property
    def node(self) -> str:
        """The channel."""
        ...

    @property
    def value(self) -> Callable[[], float]:
        """What it says."""
        ...


class Simulation(Protocol):
    """What a driver's `past.Past` is. counters: where each counter must end, by node."""

    readings: Sequence[Reading]
    counters: Mapping[str, float]

    def advance(self, setpoints: Mapping[str, float]) -> None:
        """Go on by one step under these set-points, by node."""
        ...


class Rehearsed:
    """The site in virtual time: plant, image, engine. `run` gives one row of values per step, in the order of `nodes`."""

    def __init__(self, plan: SitePlan, simulation: Simulation, begin: int) -> None:
        layout = plan.layout
        classes = {name: load_controller(target) for name, target in plan.classes.items()}
        self._out = Nowhere(layout)
        self._engine = Engine(layout, plan.settings, classes, NoAlarm())
        self._simulation = simulation
        self._records = blank_records(layout.slots)
        self._control = slice(layout.owner(CONTROL).first, layout.owner(CONTROL).first + layout.owner(CONTROL).count)
        self._slots = [(layout.by_node[r.node].slot, r) for r in simulation.readings if r.node in layout.by_node]
        self._outputs = [(c.node, c.slot) for c in layout.channels if c.output >= 0]
        read = {r.node for _, r in self._slots}
        kept = [c for c in layout.channels if layout.historized(c) and (c.node in read or c.owner == CONTROL)]
        self._kept = [c for c in kept if c.node in read or c.spec.unit is not WATT_HOUR]  # the site counts from its start
        self.nodes = [c.node for c in self._kept]
        self._begin = begin

    def run(self, steps: int) -> Iterator[Any]:
        """The records of each step."""
        slots = np.array([c.slot for c in self._kept])
        for cycle in range(1, steps + 1):
            self._step(cycle)
            yield self._records[slots]

    def _step(self, cycle: int) -> None:
        now = Now(cycle, cycle * STEP_S * 10**9, self._begin + cycle * STEP_S * TICKS, float(STEP_S))
        setpoints = {
            node: float(self._records["value"][slot]) for node, slot in self._outputs if self._records["status"][slot] < BAD
        }
        self._simulation.advance(setpoints)
        for slot, reading in self._slots:
            value = reading.value()
            status = GOOD if value == value else BAD_NO_DATA
            self._records[slot] = (value, now.time, now.monotonic_ns, status, cycle)
        image = Image(self._records.copy(), cycle=cycle, frozen_at=now.monotonic_ns, time=now.time)
        image.records.flags.writeable = False
        self._engine.step(image, now, (), self._out)
        self._records[self._control] = self._out.records


def make_past(directory: Path, days: int) -> int:
    """Simulate the past of the site in DIR and store it; the number of values, 0 when there is nobody to simulate it."""
    plan = plan_of(directory)
    url = database_url(directory, plan.file.history.database)
    simulation = _simulation(plan, days * 86_400)
    if simulation is None:
        return 0
    steps = days * 1440
    until = _first_time(url, plan.layout)
    site = Rehearsed(plan, simulation, until - (steps + 1) * STEP_S * TICKS)
    rows = np.stack(list(site.run(steps)))[_WARM_UP:]
    count = _store(url, site.nodes, rows, simulation.counters, until)
    told = {"simulated": True, "values": count, "first": int(rows["source"].min()), "until": until, "step_s": STEP_S}
    write_atomically(directory / "data" / PAST_FILE, json.dumps(told).encode())
    return count


def _simulation(plan: SitePlan, duration_s: float) -> Simulation | None:
    """The past of the first entry whose driver has one."""
    usable = [planned for planned in plan.entries if planned.usable]
    entries = [Entry(planned.alias, planned.config, planned.objects) for planned in usable]
    for planned, entry in zip(usable, entries, strict=True):
        if find_spec(f"{planned.module}.past") is not None:
            module = import_module(f"{planned.module}.past")
            found: Simulation = module.Past(entry.alias, entry.config, entries, duration_s)
            return found
    return None


def _first_time(url: str, layout: Layout) -> int:
    """When the real history begins, in ticks; now when it has not."""
    reader = HistoryReader(url)
    firsts = [reader.raw(c.node, 0, _FOR_EVER, 1).times for c in layout.channels if layout.historized(c)]
    reader.close()
    return min([int(times[0]) for times in firsts if len(times)], default=utc_now())


def _store(url: str, nodes: Sequence[str], rows: Any, counters: Mapping[str, float], until: int) -> int:
    """Store what changed, and that nothing is known between the last step and `until`."""
    writer = HistoryWriter(url)
    ids = writer.ensure(nodes)
    values = rows["value"] + np.array([counters[n] - rows["value"][-1, i] if n in counters else 0.0 for i, n in enumerate(nodes)])
    changed = np.ones(values.shape, np.bool_)
    changed[1:] = ((values[1:] != values[:-1]) & (rows["status"][1:] < BAD)) | (rows["status"][1:] != rows["status"][:-1])
    step, column = np.nonzero(changed)
    for start in range(0, len(step), _AT_ONCE):
        at = slice(start, start + _AT_ONCE)
        picked = (step[at], column[at])
        writer.append(ids[column[at]], rows["source"][picked], values[picked], rows["status"][picked])
    end = np.full(len(ids), until - 1)
    writer.append(ids, end, np.full(len(ids), np.nan), np.full(len(ids), BAD_NO_DATA, np.uint32))
    writer.close()
    return len(step)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m server.runtime.past", description="Give a simulated site a past.")
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--days", type=int, default=7)
    options = parser.parse_args()
    os.nice(LOWEST_PRIORITY)
    make_past(options.directory, options.days)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
