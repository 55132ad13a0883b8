"""The tutorials are done as they are written: their files written, their programs run, their output read."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from demo_site import DemoSite
from ports import free_port, free_ports

from drivers.modbus.profile import ProfileError, parse_profile
from server.runtime.demo import make_demo

ROOT = Path(__file__).parents[2]
TUTORIALS = ROOT / "docs" / "tutorials"
NAMES = ("first-run", "first-controller", "first-device")
WHILE_RUNNING = ("first-controller",)
"""Tutorials that are followed at a site that runs."""
FENCE = re.compile(r"^```(?P<info>[^\n]+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
PLANT_PORTS = range(5020, 5026)
OPCUA_PORT = 4840
PATIENCE_S = 20.0
"""A value that was just changed needs a moment to be read."""


@dataclass(frozen=True)
class Block:
    """A fenced block. info: its language and marks, `file=PATH [append]`, `run` or `expect`."""

    info: str
    body: str

    @property
    def file(self) -> str:
        found = re.search(r"file=(\S+)", self.info)
        return found[1] if found else ""


def blocks(name: str) -> list[Block]:
    """All blocks of a tutorial, in order."""
    return [Block(m["info"], m["body"]) for m in FENCE.finditer((TUTORIALS / f"{name}.md").read_text())]


def runs(name: str) -> list[tuple[str, list[str]]]:
    """Commands of a tutorial, each with the lines that it must print."""
    found: list[tuple[str, list[str]]] = []
    for block in blocks(name):
        if block.info.endswith(" run"):
            found.append((block.body.strip(), []))
        elif block.info.endswith(" expect"):
            found[-1][1].extend(block.body.splitlines())
    return found


class Reader:
    """Somebody who follows the tutorials in a folder of their own, on ports that are free here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._followed: set[str] = set()
        self.port = free_port()
        self.ports = {OPCUA_PORT: self.port} | dict(zip(PLANT_PORTS, free_ports(len(PLANT_PORTS)), strict=True))
        make_demo(folder / "demo")
        for entry in (folder / "demo" / "entries").glob("*.toml"):
            entry.write_text(self.here(entry.read_text()))

    def here(self, text: str) -> str:
        """A text with the ports of this machine."""
        return re.sub(r"\b(4840|502\d)\b", lambda m: str(self.ports[int(m[1])]), text)

    def follow(self, name: str) -> None:
        """Write the files of a tutorial, once."""
        if name in self._followed:
            return
        self._followed.add(name)
        for block in (b for b in blocks(name) if b.file):
            path = self.folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            before = path.read_text() if block.info.endswith(" append") else ""
            path.write_text(before + self.here(block.body))

    def run(self, command: str) -> str:
        """What a command prints."""
        words = self.here(command).replace(".venv/bin/", f"{Path(sys.executable).parent}/").split()
        done = subprocess.run(words, cwd=self.folder, capture_output=True, text=True, check=False, timeout=60)
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    person = Reader(tmp_path_factory.mktemp("tutorial"))
    for name in NAMES:
        if name not in WHILE_RUNNING:
            person.follow(name)
    with DemoSite(person.folder / "demo", person.port, free_port()) as site:
        assert site.plant_port == person.ports[PLANT_PORTS.start]
        yield person
    shutil.rmtree(person.folder)


@pytest.mark.parametrize(
    ("name", "command", "lines"), [(name, *pair) for name in NAMES for pair in runs(name)], ids=lambda v: str(v)[:60]
)
def test_a_tutorials_program_prints_what_the_tutorial_says(reader: Reader, name: str, command: str, lines: list[str]) -> None:
    if shutil.which(command.split()[0]) is None and not command.startswith(".venv"):
        pytest.skip(f"{command.split()[0]} is not installed")
    assert lines
    reader.follow(name)
    deadline = time.monotonic() + PATIENCE_S
    while missing := [line for line in lines if line not in (printed := reader.run(command))]:
        assert time.monotonic() < deadline, f"{missing} not in:\n{printed}"


def test_a_mistake_in_a_device_model_is_named_with_its_place() -> None:
    profile = next(b.body for b in blocks("first-device") if b.file.endswith("sky_sensor.toml"))
    with pytest.raises(ProfileError, match="uint17") as raised:
        parse_profile("profiles/sky_sensor.toml", profile.replace("uint16", "uint17"))
    told = next(b.body for b in blocks("first-device") if "uint17" in b.body)
    assert str(raised.value) in told
