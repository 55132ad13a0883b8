"""Disks that are full, files that are damaged, power that is cut: control goes on, it is told, and nothing else is lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from demo_site import DemoSite
from drill import Drill
from ports import free_port
from witness import Witness

from server.client import Client, ClientError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

DISK_MB = 24
NODE = "peak0/import_max_w"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, a few MB large."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("a small disk needs root and mount")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", place], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def fill(place: Path) -> Path:
    """Take all room that is left."""
    path = place / "filler"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError:
            pass
        try:
            while True:
                file.write(bytes(512))
        except OSError:
            pass
    return path


def records(drill: Drill) -> list[dict[str, object]]:
    """Whole records of the journal."""
    files = sorted((drill.site.directory / "data" / "journal").glob("*.jsonl"))
    found = []
    for line in (line for file in files for line in file.read_bytes().splitlines()):
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


async def test_a_full_disk_stops_no_control_and_is_told_until_there_is_room(small_disk: Path, witness: Witness) -> None:
    with DemoSite(small_disk / "site", free_port(), free_port()) as site:
        drill = Drill(site, witness)
        async with Client(drill.identity) as client:
            with drill.unnoticed():
                filler = fill(small_disk)
                await asyncio.wait_for(refused_by_the_disk(drill, client), 30)
                await client.write(NODE, 7_000.0)
                await asyncio.wait_for(holds(client, 7_000.0), 5)
                drill.wait(lambda: drill.told("historian"), "the historian says that it cannot store", 30)
            filler.unlink()
            with drill.unnoticed():
                drill.wait(lambda: not drill.told("No space left"), "the journal is written again", 30)
                drill.wait(lambda: not drill.told("historian"), "history is stored again", 60)
            kinds = [record["kind"] for record in records(drill)]
            assert "disk" in kinds
            await client.write(NODE, 8_000.0)


async def refused_by_the_disk(drill: Drill, client: Client) -> None:
    """Give the journal things to keep, beyond what its last page has room for, until the status says that there is none."""
    value = 6_000.0
    while not drill.told("journal", "No space left"):
        await client.write(NODE, value := value + 1.0)
        await asyncio.sleep(0.2)


async def holds(client: Client, value: float) -> None:
    """Wait until the parameter shows a value."""
    while (await client.read([NODE]))[0].Value.Value != value:
        await asyncio.sleep(0.05)


async def test_a_power_cut_with_a_torn_journal_costs_no_state(tmp_path: Path, witness: Witness) -> None:
    directory, port, ui_port = tmp_path / "site", free_port(), free_port()
    with DemoSite(directory, port, ui_port) as site:
        drill = Drill(site, witness)
        async with Client(drill.identity) as client:
            await client.write(NODE, 6_500.0)
        drill.wait(lambda: kept(drill) == 6_500, "the parameter is on the disk", 10)
        site.process.send_signal(signal.SIGKILL)
        site.process.wait(30)
    for journal in (directory / "data" / "journal").glob("*.jsonl"):
        journal.write_bytes(journal.read_bytes() + b'{"kind":"state","state":{"comm')
    with DemoSite(directory, port, ui_port) as site:
        drill = Drill(site, witness)
        async with Client(drill.identity) as client:
            (value,) = await client.read([NODE])
        assert value.Value.Value == 6_500
        drill.wait(lambda: records(drill)[-1]["kind"] != "started", "the journal goes on behind the torn line", 10)


def kept(drill: Drill) -> float:
    """The parameter as the journal on disk has it."""
    states = [record["state"] for record in records(drill) if record["kind"] == "state"]
    controllers = states[-1]["controllers"] if states else {}
    return float(controllers.get("peak0", {}).get("params", {}).get("import_max_w", 0.0))


async def test_a_damaged_database_is_set_aside_and_history_goes_on(drill: Drill) -> None:
    data = drill.site.directory / "data"
    aside, told = damaged(data), len(said(drill, "set aside"))
    with drill.unnoticed("historian"):
        drill.kill("historian", signal.SIGKILL)
        for part in data.glob("history.sqlite*"):
            if part not in aside:
                with part.open("r+b") as file:
                    file.write(b"\x5a" * 65_536)
        drill.wait(lambda: damaged(data) > aside, "the damaged database is set aside", 30)
        drill.wait(lambda: len(said(drill, "set aside")) > told, "the journal says so", 10)
    begun = datetime.now(UTC)
    async with Client(drill.identity) as client:
        await asyncio.wait_for(stored(client, begun), 30)


def damaged(data: Path) -> set[Path]:
    """Databases that were set aside."""
    return set(data.glob("history*damaged*"))


def said(drill: Drill, words: str) -> list[str]:
    """Texts of the journal that hold these words."""
    return [str(record.get("text")) for record in records(drill) if words in str(record.get("text"))]


async def stored(client: Client, begun: datetime) -> None:
    """Wait until history since a moment is read back."""
    while True:
        with contextlib.suppress(ClientError):
            if len(await client.history_read("meter0/ActivePower", begun, datetime.now(UTC), 1_000)) >= 2:
                return
        await asyncio.sleep(0.1)
