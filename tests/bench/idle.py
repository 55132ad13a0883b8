"""What the demo costs when nothing happens: CPU of one core and memory, per process and in sum.

Starts the whole demo (plant, driver, control, server, historian, panel), lets it settle, and measures; with `page=1` also
while a browser has the Live page open. Then a site of control, one Modbus driver and the server alone, on a plant that runs
outside of it. Memory is the proportional set size: what a process has alone and its share of what it shares.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from server.runtime.bus import BusError, request
from server.runtime.demo import make_demo
from tests.support.demo_site import EMS, DemoSite
from tests.support.footprint import Footprint, footprints
from tests.support.ports import free_port

SETTLE_S = 20.0
CORE = ("control", "modbus", "opcua")
_PASSWORD = "the password of somebody who looks"


def figures(duration_s: float = 30.0, page: int = 0) -> dict[str, float]:
    """idle.*: the demo; idle.page.*: with the Live page open; idle.core.*: control, one driver and the server alone."""
    with tempfile.TemporaryDirectory() as folder:
        with DemoSite(Path(folder) / "site", free_port(), free_port()) as site:
            found = _measure("idle", site.directory, duration_s)
            if page:
                with _browser(site):
                    found |= _measure("idle.page", site.directory, duration_s)
        with _core_site(Path(folder) / "core") as directory:
            found |= _measure("idle.core", directory, duration_s)
    return found


def _measure(name: str, directory: Path, duration_s: float) -> dict[str, float]:
    time.sleep(SETTLE_S)
    before, begun = _look(directory), time.monotonic()
    time.sleep(duration_s)
    after, seconds = _look(directory), time.monotonic() - begun
    cpu = {process: 100 * (after[process].cpu_s - before[process].cpu_s) / seconds for process in before}
    found = {f"{name}.cpu_percent": sum(cpu.values()), f"{name}.pss_mb": sum(f.pss_mb for f in after.values())}
    for process, taken in after.items():
        found[f"{name}.{process}.cpu_percent"] = cpu[process]
        found[f"{name}.{process}.wakeups_per_s"] = (taken.wakeups - before[process].wakeups) / seconds
        found[f"{name}.{process}.pss_mb"] = taken.pss_mb
    return {key: round(value, 2) for key, value in found.items()}


def _look(directory: Path) -> Mapping[str, Footprint]:
    return footprints(request(directory, "status")["processes"])


@contextlib.contextmanager
def _browser(site: DemoSite) -> Iterator[None]:
    """A browser on the Live page, logged in as an operator."""
    from tests.support.chromium import chromium, fresh_page, log_in

    add = [EMS, "users", "add", "looker", "--role", "Operator", "--password-stdin", "--dir", site.directory]
    subprocess.run([str(a) for a in add], input=_PASSWORD, text=True, check=True, capture_output=True)
    url = site.status()["endpoints"]["panel"]
    with chromium() as browser, fresh_page(browser, url) as page:
        log_in(page, url, "looker", _PASSWORD)
        page.wait_for_url(f"{url}/")
        yield


@contextlib.contextmanager
def _core_site(directory: Path) -> Iterator[Path]:
    """The demo's site without services; the plant runs beside it."""
    make_demo(directory)
    site = directory / "site.toml"
    text = re.sub(r"(?m)^module = .*", r"\g<0>\nenabled = false", site.read_text())
    site.write_text(re.sub(r"(?m)^port = \d+", f"port = {free_port()}", text))
    (directory / "entries" / "plant.toml").unlink()
    plant = subprocess.Popen([sys.executable, "-m", "drivers.plant", "--port", "0"], stdout=subprocess.PIPE, text=True)
    assert plant.stdout is not None
    ports = plant.stdout.readline().rsplit("ports ", 1)[1].split()
    for file in (directory / "entries").glob("*.toml"):
        unit = int(re.findall(r"(?m)^unit_id = (\d+)", file.read_text())[0])
        file.write_text(re.sub(r"(?m)^port = \d+", f"port = {ports[unit]}", file.read_text()))
    run = subprocess.Popen([str(EMS), "run", str(directory)], stdout=subprocess.DEVNULL)
    try:
        _await_running(directory)
        yield directory
    finally:
        for process in (run, plant):
            process.terminate()
            process.wait(30)
        plant.stdout.close()


def _await_running(directory: Path) -> None:
    deadline = time.monotonic() + 60
    status: dict[str, Any] = {}
    while status.get("state") != "running":
        if time.monotonic() > deadline:
            raise TimeoutError(f"{directory} does not run: {status}")
        time.sleep(0.2)
        with contextlib.suppress(BusError):
            status = request(directory, "status")
