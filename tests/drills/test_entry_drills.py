"""Entries that are wrong, and devices that talk nonsense: each is told with its reason, and the rest of the site runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from demo_site import DemoSite
from drill import Drill, write_file
from hostile import NONSENSE, hostile_devices
from ports import free_port
from witness import Witness

from server.runtime.demo import make_demo

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

OWN = {"ess0", "evcs0", "load0", "meter0", "plant", "pv0"}
METER = 'driver = "modbus"\nprofile = "plant_meter"\nhost = "127.0.0.1"\nunit_id = 2\n'

WRONG: dict[str, tuple[bytes | str, str]] = {
    "syntax": ('driver = "modbus', "end of file: unterminated string"),
    "latin": (b'driver = "\xff"\n', "is not UTF-8 text"),
    "nothing": ("", "driver: is missing"),
    "nul": (b"\0" * 100, "line 1"),
    "stranger": ('driver = "smoke-signals"\n', "there is no such driver"),
    "number": ("driver = 7\n", "driver: 7 is not a text"),
    "typo": (f"{METER}hots = 1\n", "unknown setting"),
    "outside": (f"{METER.replace('2', '300')}port = 502\n", "unit_id: 300 is not in"),
    "words": (f'{METER}port = "five"\n', "port: 'five' is not a whole number"),
    "unprofiled": (METER.replace("plant_meter", "no_such_model"), "no_such_model"),
    "deep": ("a = " + "[" * 20_000 + "]" * 20_000, "too deeply nested"),
    "huge": ("# " + "x" * 3_000_000, "is more than 1048576 bytes long"),
    "gathered": (f'{METER}group = "plant"\nport = 502\n', "'plant' runs plant already"),
    "ungrouped": (f'{METER}group = "No Name"\nport = 502\n', "is not a name"),
    "control": (METER, "is the name of a part of the system"),
    "0bad": (METER, "is not an alias"),
    "peak0": (f"{METER}port = 502\n", "peak0"),
    "refused": (f"{METER}port = 1\n", "refused"),
    "nameless": (METER.replace("127.0.0.1", "no.such.host.invalid") + "port = 502\n", "no.such.host.invalid"),
}
"""Entry files and what is said of each."""


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory, witness: Witness) -> Iterator[Drill]:
    """The demo with every wrong entry beside its own, and a hostile device behind others."""
    directory = tmp_path_factory.mktemp("wrong") / "site"
    make_demo(directory)
    entries = directory / "entries"
    for alias, (content, _) in WRONG.items():
        write_file(entries / f"{alias}.toml", content)
    (entries / "folder.toml").mkdir()
    (entries / "dangling.toml").symlink_to("nowhere")
    os.mkfifo(entries / "pipe.toml")
    with hostile_devices() as ports:
        for name, port in ports.items():
            write_file(entries / f"x-{name}.toml", f"{METER}port = {port}\n")
        with DemoSite(directory, free_port(), free_port(), healthy=False) as site:
            yield Drill(site, witness)


def entry(drill: Drill, alias: str) -> dict[str, Any]:
    rows = {row["alias"]: row for row in drill.site.status()["entries"]}
    assert alias in rows, sorted(rows)
    return rows[alias]


def test_the_rest_of_the_site_runs(wrong: Drill) -> None:
    with wrong.unnoticed():
        wrong.wait(lambda: all(entry(wrong, alias)["state"] == "Loaded" for alias in OWN), "the demo's own entries are loaded")
        status = wrong.site.status()
        assert status["state"] == "degraded"
        assert {row["state"] for row in status["processes"]} == {"running"}
        before = status["cycle"]["counter"]
        wrong.wait(lambda: wrong.site.status()["cycle"]["counter"] > before + 40, "control goes on")


@pytest.mark.parametrize("alias", [*WRONG, "folder", "dangling", "pipe"])
def test_a_wrong_entry_is_told_with_its_reason(wrong: Drill, alias: str) -> None:
    words = {"folder": "is no file", "dangling": "No such file", "pipe": "is no file"}.get(alias) or WRONG[alias][1]
    wrong.wait(lambda: words in entry(wrong, alias)["reason"], f"{alias}: {words}")
    assert entry(wrong, alias)["state"] in ("SetupError", "SetupRetry")
    wrong.wait(lambda: wrong.told(alias), "an alarm names the entry")


@pytest.mark.parametrize("name", NONSENSE)
def test_a_device_that_talks_nonsense_is_told_and_nothing_it_says_is_believed(wrong: Drill, name: str) -> None:
    alias = f"x-{name}"
    wrong.wait(lambda: entry(wrong, alias)["state"] == "SetupRetry", f"{alias} is not loaded")
    assert entry(wrong, alias)["reason"]
    wrong.wait(lambda: wrong.told(alias), "an alarm names the device")


def test_what_was_wrong_is_in_the_journal(wrong: Drill) -> None:
    journal = "".join(f.read_text() for f in Path(wrong.site.directory / "data" / "journal").glob("*.jsonl"))
    assert all(f"entries/{alias}.toml" in journal for alias in ("syntax", "outside", "pipe"))
