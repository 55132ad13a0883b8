"""Controllers are loaded, changed, refused and removed while a site runs: no cycle is missed, no device notices, sessions stay"""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from demo_site import EMS, PlantBench
from drill import Drill, Recorder

from server.client import Client, ClientError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CHANGES = 10
HANDED_OVER_WITHIN_S = 1.0
BAD_NODE_ID_UNKNOWN = 0x80340000
TABLE = '\n[[controller]]\nid = "hold0"\ntype = "Hold"\ness = "ess0"\n'
FILE = '''"""Hold the battery at a power."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from server.core.constraint import Bound, Constraint
from server.core.controller import Controller, ControllerOutputs, ControllerParams, EssRef, Now, param, shown
from server.core.image import Image
from server.core.units import Watt


class Hold(Controller):
    """Hold a storage at a power, and count."""

    priority = 3

    class Params(ControllerParams):
        ess: EssRef = param("The storage.")
        power_w: Watt = param("Power, + discharge.", low=-5000, high=5000, default=1000.0)

    class Outputs(ControllerOutputs):
        runs: float = shown("Cycles since it was new.", low=0)

    @dataclass
    class State:
        runs: int = 0

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        self.state.runs += 1
        self.out.runs = float(self.state.runs)
        yield Bound(self.params.ess.power, equals=self.params.power_w, why="holds for revision 0")
'''


class Workshop:
    """Somebody who writes a controller for a running site."""

    def __init__(self, drill: Drill) -> None:
        self.drill = drill
        self.directory: Path = drill.site.directory
        self.file = self.directory / "custom" / "controllers" / "hold.py"
        self.site_file = self.directory / "site.toml"
        self.before = self.site_file.read_text()

    def reload(self) -> dict[str, Any]:
        """What `ems reload` tells."""
        command = [str(EMS), "reload", "--json", "--dir", str(self.directory)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stdout, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == (1 if told["refused"] else 0)
        return told

    def write(self, text: str = FILE, tables: str = TABLE) -> None:
        """Save file and configuration."""
        self.file.write_text(text)
        self.site_file.write_text(self.before + tables)

    def row(self) -> dict[str, Any]:
        """The file in the status."""
        rows = self.drill.site.status()["controllers"]
        return next((row for row in rows if row["type"] == "Hold"), {})


@pytest.fixture
def workshop(drill: Drill) -> Iterator[Workshop]:
    found = Workshop(drill)
    yield found
    found.file.unlink(missing_ok=True)
    found.site_file.write_text(found.before)
    found.reload()


@pytest.fixture
def holding(workshop: Workshop, plant: PlantBench) -> Workshop:
    """The battery is held by a controller that was loaded while the site ran."""
    workshop.write()
    assert workshop.reload()["how"] == "place"
    workshop.drill.wait(lambda: plant.setpoint_w == 1000, "the new controller holds the battery", 5)
    return workshop


async def read(client: Client, *nodes: str) -> list[Any]:
    return [found.Value.Value if found.Value is not None else None for found in await client.read(nodes)]


async def test_a_file_is_changed_ten_times_and_no_cycle_is_missed(holding: Workshop, plant: PlantBench) -> None:
    drill, seen = holding.drill, []
    async with Client(drill.identity) as client:
        with drill.unnoticed(), Recorder(lambda: plant.setpoint_w) as register:
            for number in range(1, CHANGES + 1):
                holding.write(FILE.replace("revision 0", f"revision {number}"))
                told = await asyncio.to_thread(holding.reload)
                assert (told["how"], told["refused"]) == ("place", {})
                seen += await read(client, "hold0/runs")
        assert drill.values(register) == {1000}, "the battery noticed nothing"
        assert seen == sorted(seen), "its memory went on"
        assert seen[0] > 0
        async with asyncio.timeout(10):
            while "revision 10" not in (await read(client, "hold0/Explanation"))[0]:
                await asyncio.sleep(0.1)


async def test_a_bad_file_is_refused_where_people_look_and_never_runs(holding: Workshop, plant: PlantBench) -> None:
    drill = holding.drill
    with drill.unnoticed("control"):
        holding.write(FILE.replace("self.state.runs += 1", "while True: self.state.runs += 1"))
        told = await asyncio.to_thread(holding.reload)
        reason = told["refused"]["controllers.hold"]
        assert "hold0 fails: took longer than 5 ms" in reason
        assert holding.row()["refused"] == reason
        drill.wait(lambda: drill.told("controllers.hold", "longer than 5 ms"), "an alarm tells it", 5)
        journal = subprocess.run(
            ["grep", "-c", "controllers_refused", *map(str, (holding.directory / "data" / "journal").glob("*.jsonl"))],
            capture_output=True,
            text=True,
            check=False,
        )
        assert int(journal.stdout) >= 1
        restarts = drill.site.status()["cycle"]["restarts"]
        with Recorder(lambda: plant.setpoint_w) as register:
            drill.kill("control")
            drill.wait(lambda: drill.site.status()["cycle"]["restarts"] == restarts + 1, "control is back", 10)
            await asyncio.sleep(1)
        assert drill.values(register) == {1000}, "the file that was accepted runs, not the one on disk"
        holding.write()
        await asyncio.to_thread(holding.reload)
        drill.wait(lambda: not drill.told("controllers.hold"), "the alarm is over", 5)


async def test_nodes_come_and_go_while_sessions_stay(workshop: Workshop) -> None:
    drill = workshop.drill
    kinds = (ua.NodeId(ua.ObjectIds.GeneralModelChangeEventType),)
    async with Client(drill.identity) as client:
        events = await client.subscribe_events(("Message", "Changes"), types=[k.to_string() for k in kinds])
        workshop.write()
        loaded, refused, _ = await client.call("site/Controllers", "Reload")
        assert (len(loaded), refused) == (1, [])
        first = await asyncio.wait_for(anext(events), 10)
        assert first["Changes"][0].Affected.Identifier == "hold0"
        assert await read(client, "hold0/power_w") == [1000.0]
        await client.write("hold0/power_w", 700.0)
        values = await client.subscribe(["hold0/power_w"], 100)
        workshop.write(FILE.replace("        power_w:", '        extra_w: Watt = param("More.", default=5.0)\n        power_w:'))
        await client.call("site/Controllers", "Reload")
        await asyncio.wait_for(anext(events), 10)
        assert await read(client, "hold0/extra_w", "hold0/power_w") == [5.0, 700.0]
        assert "hold0" in {r.name for r in await client.browse("site/Controllers")}
        workshop.write(tables="")
        await client.call("site/Controllers", "Reload")
        await asyncio.wait_for(anext(events), 10)
        (gone,) = await client.read(["hold0/power_w"])
        assert gone.StatusCode.value == BAD_NODE_ID_UNKNOWN
        assert await last_status(values) == BAD_NODE_ID_UNKNOWN


async def last_status(values: Any) -> int:
    """The status that a monitored item reported last."""
    found, deadline = 0, time.monotonic() + 10
    async for table in values:
        found = int(table.status[-1])
        if found or time.monotonic() > deadline:
            return found
    return found


async def test_only_an_engineer_may_ask_for_it(drill: Drill) -> None:
    identity = drill.identity
    historian = type(identity)(
        identity.endpoint,
        drill.site.directory / "certs/own/historian.der",
        drill.site.directory / "certs/own/historian.key.pem",
        ca=identity.ca,
    )
    async with Client(historian) as client:
        with pytest.raises(ClientError, match="BadUserAccessDenied"):
            await client.call("site/Controllers", "Reload")


def test_what_needs_a_new_control_process_gets_one_while_the_leases_hold(holding: Workshop, plant: PlantBench) -> None:
    drill, pid, begun = holding.drill, holding.drill.pid("control"), time.monotonic_ns()
    with drill.unnoticed("control"), Recorder(lambda: plant.setpoint_w) as register:
        holding.write(FILE.replace("from dataclasses", "import colorsys\nfrom dataclasses"))
        told = holding.reload()
    assert told["how"] == "successor"
    assert "control has not imported colorsys" in told["notes"][0]
    assert drill.pid("control") != pid
    assert drill.values(register) == {1000}
    assert float(told["took"].split()[-2]) < HANDED_OVER_WITHIN_S + drill.witness.stood_s(begun), told["took"]


def test_a_file_that_takes_its_process_with_it_changes_nothing(holding: Workshop) -> None:
    with holding.drill.unnoticed():
        holding.write(FILE + "\nimport os\nos._exit(3)\n")
        done = subprocess.run([str(EMS), "reload", "--dir", str(holding.directory)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "controllers.hold: the trial broke off (ended with status 3); nothing is loaded" in done.stderr


def test_a_control_process_that_does_not_work_with_them_gives_way_to_one_with_those_before(
    holding: Workshop, plant: PlantBench
) -> None:
    deceives = FILE.replace("from dataclasses", "import colorsys\nfrom dataclasses")
    deceives += '\nassert "trial" in open("/proc/self/comm").read()\n'
    drill = holding.drill
    with drill.unnoticed("control"), Recorder(lambda: plant.setpoint_w) as register:
        holding.write(deceives)
        done = subprocess.run([str(EMS), "reload", "--dir", str(holding.directory)], capture_output=True, text=True, check=False)
        drill.wait(lambda: drill.site.processes()["control"]["state"] == "running", "control is back", 10)
        time.sleep(1)
    assert done.returncode == 1
    assert "control does not work with them: controllers.hold cannot be loaded: AssertionError" in done.stderr
    assert drill.values(register) == {1000}
