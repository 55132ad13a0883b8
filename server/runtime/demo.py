"""The demo site: a site on a simulated plant, made on first use from the folder `demo` that a driver brings along.

`drivers/<domain>/demo/site.toml` is the grid and controller part of site.toml, `demo/entries/*.toml` are the entries. Ports that
another program has taken are moved, all of the plant's by the same distance, and that is said.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Final, NamedTuple

from server.core.errors import EmsError

from .config import SITE_FILE, SiteFile, read_site
from .create import create_site
from .discovery import DRIVERS
from .files import SiteLock, write_atomically
from .ports import PortClaims

OPCUA_PORT: Final = 4840
PANEL_PORT: Final = 8443
PAST_FILE: Final = "simulated-past.json"
"""In the data folder: what simulated past was made."""
_TRIES: Final = 200
_STEP: Final = 10
_PORT: Final = re.compile(r"^port\s*=\s*(\d+)", re.MULTILINE)


class Service(NamedTuple):
    """A part of the site that listens. table: of site.toml; what: in words; port: the one it has."""

    table: str
    what: str
    host: str
    port: int


class DemoError(EmsError):
    """The demo cannot be made or started."""


def make_demo(directory: Path) -> str:
    """Make the demo site in DIR unless it is there. The password of `admin`, known nowhere else; "" for an old site."""
    if (directory / SITE_FILE).exists():
        return ""
    source = demo_folder()
    site = create_site(directory, name="Demo site", port=OPCUA_PORT, ui_port=PANEL_PORT, grid=(source / SITE_FILE).read_text())
    for file in sorted((source / "entries").glob("*.toml")):
        shutil.copyfile(file, site.directory / "entries" / file.name)
    return site.password


def adapt_demo(directory: Path, claims: PortClaims, *, port: int | None, ui_port: int | None, speed: float | None) -> list[str]:
    """Give the demo site in DIR free ports; what was changed, in words. Raises DemoError, SiteLocked, InvalidFile, OSError.

    claims: keep the ports for this site until it listens, that is as long as they are kept.
    port, ui_port: wanted ports, refused when taken; None: the ones it has, or others when those are taken.
    speed: simulated seconds per second; None leaves it.
    """
    entries = [directory / "entries" / file.name for file in sorted((demo_folder() / "entries").glob("*.toml"))]
    if not all(file.exists() for file in entries):
        raise DemoError(
            f"{directory} is a site, but not the demo; `ems run {directory}` runs it, `--dir` puts the demo elsewhere"
        )
    with _unused(directory):
        notes = [*_place_services(directory, claims, port, ui_port), *_place_plant(entries, claims)]
        if speed is not None:
            _set_speed(entries, speed)
    return notes


def begin_past(directory: Path, days: int) -> subprocess.Popen[bytes] | None:
    """Make the past of the site in DIR in a process of its own, unless it has been made or none is wanted."""
    if not days or (directory / "data" / PAST_FILE).exists():
        return None
    command = [sys.executable, "-m", "server.runtime.past", str(directory), "--days", str(days)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL)


def demo_folder() -> Path:
    """The folder `demo` of the first driver that has one."""
    for root in import_module(DRIVERS).__path__:
        for file in sorted(Path(root).glob(f"*/demo/{SITE_FILE}")):
            return file.parent
    raise DemoError("no driver brings a demo; this installation is not complete")


def set_value(text: str, table: str, key: str, value: object) -> str:
    """TOML text with `key` of `[table]` set, its line's comment kept; table "" is the top of the file."""
    lines = text.splitlines(keepends=True)
    current = ""
    for i, line in enumerate(lines):
        header = re.match(r"\s*\[+\s*([\w.]+)\s*\]+", line)
        if header:
            current = header[1]
        found = re.match(rf"(\s*{re.escape(key)}\s*=\s*)([^#\n]*?)(\s*(?:#.*)?\n?)$", line) if current == table else None
        if found:
            lines[i] = f"{found[1]}{value}{found[3]}"
            return "".join(lines)
    raise KeyError(f"[{table}] {key}")


@contextlib.contextmanager
def _unused(directory: Path) -> Iterator[None]:
    """Hold the lock of a site while its files are changed."""
    (directory / "run").mkdir(mode=0o700, exist_ok=True)
    lock = SiteLock(directory / "run" / "supervisor.lock")
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _place_services(directory: Path, claims: PortClaims, port: int | None, ui_port: int | None) -> Iterable[str]:
    path = directory / SITE_FILE
    file = read_site(directory)
    panel_host, panel_port = _panel(file)
    yield from _place(path, claims, Service("opcua", "OPC UA server", file.opcua.host, file.opcua.port), port)
    if panel_port:
        yield from _place(path, claims, Service("services.ui", "panel", panel_host, panel_port), ui_port)


def _panel(file: SiteFile) -> tuple[str, int]:
    settings = file.services["ui"].settings if "ui" in file.services else {}
    return str(settings.get("host", "127.0.0.1")), int(settings.get("port", 0))


def _place(path: Path, claims: PortClaims, service: Service, wanted: int | None) -> Iterable[str]:
    """Give a service its port in site.toml."""
    host, usual = service.host, service.port
    port = usual if wanted is None else wanted
    if not claims.take(port, host):
        if wanted is not None:
            raise DemoError(f"port {wanted} for the {service.what} is taken by another program")
        port = next((p for p in range(usual + 1, min(usual + _TRIES, 65536)) if claims.take(p, host)), 0)
        if not port:
            raise DemoError(f"no port from {usual} on is free for the {service.what}")
        yield f"port {usual} is taken by another program; the {service.what} listens on {port}"
    if port != usual:
        write_atomically(path, set_value(path.read_text(), service.table, "port", port).encode())


def _place_plant(entries: Iterable[Path], claims: PortClaims) -> Iterable[str]:
    """Move all ports of the plant and of the entries that dial it, when one of them is taken."""
    texts = {file: file.read_text() for file in entries}
    ports = sorted({int(found) for text in texts.values() for found in _PORT.findall(text)})
    offsets = (n * _STEP for n in range(_TRIES))
    offset = next((o for o in offsets if ports[-1] + o < 65536 and claims.take_all(p + o for p in ports)), None)
    if offset is None:
        raise DemoError(f"no ports from {ports[0]} on are free for the simulated plant")
    if offset:
        for file, text in texts.items():
            moved = _PORT.sub(lambda found: f"port = {int(found[1]) + offset}", text)
            write_atomically(file, moved.encode())
        yield f"ports {ports[0]}-{ports[-1]} are taken; the simulated plant listens on {ports[0] + offset}-{ports[-1] + offset}"


def _set_speed(entries: Iterable[Path], speed: float) -> None:
    for file in entries:
        text = file.read_text()
        if re.search(r"^speed\s*=", text, re.MULTILINE):
            write_atomically(file, set_value(text, "", "speed", speed).encode())
