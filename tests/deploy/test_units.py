"""What is deployed: the systemd unit is right and tight, the supervisor speaks to it, and a site needs no root."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ports import free_port

from server.runtime.bus import BusError, request
from server.runtime.create import create_site
from server.runtime.realtime import FIFO_PRIORITY
from server.runtime.service_manager import ServiceManager

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = DEPLOY / "ems@.service"
EXPOSURE_MAX = 2.5
needs_analyze = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The unit as an instance whose command exists here."""
    path = tmp_path / "ems@plant.service"
    text, count = re.subn(r"(?m)^ExecStart=/opt/unified-ems/bin/ems ", f"ExecStart={sys.executable} ", UNIT.read_text())
    assert count == 1
    path.write_text(text)
    return path


@needs_analyze
def test_systemd_finds_nothing_wrong_with_the_unit(installed: Path) -> None:
    done = subprocess.run(["systemd-analyze", "verify", installed], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if "ems@" in line] == []


@needs_analyze
def test_the_unit_leaves_the_site_little_it_does_not_need(installed: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", installed], capture_output=True, text=True, check=False
    )
    found = re.search(r"Overall exposure level for \S+ ([\d.]+)", done.stdout)
    assert found, done.stderr
    assert float(found[1]) <= EXPOSURE_MAX, done.stdout


def test_the_unit_grants_control_the_priority_it_asks_for() -> None:
    assert f"LimitRTPRIO={FIFO_PRIORITY}\n" in UNIT.read_text()
    assert "RestrictRealtime" not in UNIT.read_text()


def test_the_container_is_not_root_and_asks_the_site_how_it_is() -> None:
    lines = (DEPLOY / "Containerfile").read_text().splitlines()
    last = [line.split()[1] for line in lines if line.startswith("USER ")][-1]
    assert last.isdecimal()
    assert int(last) >= 1000
    health = next(line for line in lines if line.startswith("HEALTHCHECK"))
    assert '["ems", "status", "--dir", "/site"]' in health
    for line in (line for line in lines if line.startswith("COPY ") and "--from" not in line):
        assert all((DEPLOY.parent / source).exists() for source in line.split()[1:-1]), line


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """A service manager's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        yield listening


def told(manager: socket.socket, what: str, within_s: float = 60.0) -> str:
    """Wait for a message that begins so; TimeoutError when none came, whatever else was told."""
    deadline = time.monotonic() + within_s
    while (left_s := deadline - time.monotonic()) > 0:
        manager.settimeout(left_s)
        if (message := manager.recv(4096).decode()).startswith(what):
            return message
    raise TimeoutError(what)


@pytest.mark.slow
def test_systemd_is_told_that_everything_listens_how_it_is_and_that_control_lives(tmp_path: Path, manager: socket.socket) -> None:
    directory = create_site(tmp_path / "site", port=free_port(), ui_port=free_port()).directory
    environment = {**clean(), "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "800000"}
    site = subprocess.Popen([sys.executable, "-m", "server.cli", "run", str(directory)], env=environment)
    try:
        told(manager, "READY=1")
        assert request(directory, "status")["state"] == "running"
        assert told(manager, "STATUS=").startswith("STATUS=running")
        told(manager, "WATCHDOG=1")
        control = next(row["pid"] for row in request(directory, "status")["processes"] if row["name"] == "control")
        os.kill(control, signal.SIGSTOP)
        time.sleep(0.2)
        drain(manager)
        with pytest.raises(TimeoutError):
            told(manager, "WATCHDOG=1", 1.0)
        os.kill(control, signal.SIGCONT)
        told(manager, "WATCHDOG=1")
        site.terminate()
        told(manager, "STOPPING=1")
        assert site.wait(30) == 0
    finally:
        site.kill()
        site.wait()


def drain(manager: socket.socket) -> None:
    """Throw away what was told so far."""
    manager.setblocking(False)
    try:
        while manager.recv(4096):
            pass
    except BlockingIOError:
        return


@pytest.mark.parametrize(
    ("environment", "heartbeats", "strokes"),
    [
        ({"WATCHDOG_USEC": "4000000"}, [1, 2, 3], [1, 2, 3]),
        ({"WATCHDOG_USEC": "4000000"}, [1, 1, 1, 2], [1, 4]),
        ({"WATCHDOG_USEC": "4000000", "WATCHDOG_PID": str(os.getpid())}, [1], [1]),
        ({"WATCHDOG_USEC": "4000000", "WATCHDOG_PID": "1"}, [1, 2], []),
        ({}, [1, 2], []),
    ],
    ids=["cycles go on", "control stands still", "for us", "for another", "no watchdog"],
)
def test_the_watchdog_is_fed_by_new_cycles_only(
    tmp_path: Path, manager: socket.socket, environment: dict[str, str], heartbeats: list[int], strokes: list[int]
) -> None:
    """REQ-SAFE-024"""
    now = 0.0
    told_to = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify"), **environment}, lambda: now)
    manager.setblocking(False)
    fed = []
    for second, heartbeat in enumerate(heartbeats, 1):
        now = float(second)
        told_to.stroke(heartbeat)
        try:
            assert manager.recv(100) == b"WATCHDOG=1"
            fed.append(second)
        except BlockingIOError:
            pass
    assert fed == strokes


def test_children_cannot_speak_for_the_site(tmp_path: Path) -> None:
    environment = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "HOME": "/"}
    ServiceManager(environment).ready()
    assert environment == {"HOME": "/"}


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("setpriv"), reason="setpriv is not installed")
def test_a_site_runs_without_any_privilege(tmp_path: Path) -> None:
    directory = create_site(tmp_path / "site", port=free_port(), ui_port=free_port()).directory
    drop = ["--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    command = ["setpriv", "--no-new-privs", *drop, sys.executable, "-m", "server.cli", "run", str(directory)]
    site = subprocess.Popen(command, env=clean(), stderr=subprocess.PIPE, text=True)
    try:
        await_running(directory, site)
        control = next(row["pid"] for row in request(directory, "status")["processes"] if row["name"] == "control")
        if os.geteuid() == 0:
            assert os.sched_getscheduler(control) & ~os.SCHED_RESET_ON_FORK == os.SCHED_OTHER
    finally:
        site.terminate()
        _, errors = site.communicate(timeout=30)
    assert site.returncode == 0, errors


def clean() -> dict[str, str]:
    """This environment without what concerns tests only."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "NICEGUI"))}


def await_running(directory: Path, site: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while True:
        assert site.poll() is None, site.stderr.read() if site.stderr else ""
        assert time.monotonic() < deadline, "it does not run"
        try:
            if request(directory, "status")["state"] == "running":
                return
        except BusError:
            pass
        time.sleep(0.1)
