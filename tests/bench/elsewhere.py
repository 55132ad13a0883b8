"""How long decisions that are made elsewhere take to the set-point register, on the real wire.

Starts the demo twice, with its control beside the server and with its control on another host (a second supervisor of this
machine that knows the site by OPC UA alone). Each time, by turns: the building's load is stepped, and a foreign controller
proposes another power; the battery inverter's set-point register is polled until it changes. Everything on the way counts: the
plant's answer, drivers, cycles, encryption, for the proposal the call that carries it.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from bridged_site import BridgedSite, ems
from demo_site import DemoSite, PlantBench
from ports import free_port

from server.client import Client, Identity
from server.runtime.demo import make_demo

from .steps import reactions, spread

GIVE_UP_S = 3.0
LOADS_W = (2_000, 5_000)
POWERS_W = (-500.0, 500.0)
CHANGE_W = 25.0
FOREIGN = '\n[[controller]]\nid = "mpc0"\ntype = "ForeignController"\npriority = 15\n'


def figures(steps: int = 100) -> dict[str, float]:
    """Distributions over so many steps each: `beside` and `elsewhere` is control, `load` and `proposal` what is stepped."""
    found: dict[str, float] = {}
    for place in ("beside", "elsewhere"):
        with tempfile.TemporaryDirectory() as folder, _site(place, Path(folder) / "site") as site:
            plant = PlantBench(site.plant_port)
            plant.set_clouds(100)
            plant.stop_time()
            found |= spread(f"{place}.load_to_register", _reactions(plant, steps, plant.set_load, LOADS_W))
            with _proposer(site) as propose:
                found |= spread(f"{place}.proposal_to_register", _reactions(plant, steps, propose, POWERS_W))
            plant.close()
    return found


@contextmanager
def _site(place: str, directory: Path) -> Iterator[DemoSite]:
    if place == "elsewhere":
        with BridgedSite(directory, FOREIGN) as bridged:
            yield bridged
        return
    make_demo(directory)
    file = directory / "site.toml"
    file.write_text(file.read_text() + FOREIGN)
    with DemoSite(directory, free_port(), free_port()) as site:
        yield site


@contextmanager
def _proposer(site: DemoSite) -> Iterator[Callable[[float], None]]:
    """A foreign controller in a thread with a loop of its own; the function proposes a power and returns when it is called."""
    own = site.directory / "certs" / "own"
    ems("certs", "create", "mpc", "--dir", site.directory)
    ems("users", "add", "mpc", "--role", "Controller", "--certificate", own / "mpc.der", "--dir", site.directory)
    ca = site.directory / "certs" / "ca" / "ca.der"
    client = Client(Identity(site.status()["endpoints"]["opcua"], own / "mpc.der", own / "mpc.key.pem", ca=ca))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def propose(power: float) -> None:
        arguments = [["bound"], ["ess0"], [power], [power], [], [], 30.0]
        asyncio.run_coroutine_threadsafe(client.call("mpc0", "ProposeConstraints", *arguments), loop)

    try:
        asyncio.run_coroutine_threadsafe(client.connect(), loop).result(30)
        yield propose
    finally:
        asyncio.run_coroutine_threadsafe(client.close(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def _reactions(plant: PlantBench, steps: int, change: Callable[[float], None], values: tuple[float, float]) -> list[float]:
    """Seconds from each step to the first changed set-point, from the first value on, when it has been answered."""
    change(values[0])
    time.sleep(5.0)
    return reactions(plant, steps, change, values, CHANGE_W, GIVE_UP_S)
