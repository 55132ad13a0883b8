"""The demo site: a site on a simulated plant, made on first use from the folder `demo` that a driver brings along.

`drivers/<domain>/demo/site.toml` is the grid and controller part of site.toml, `demo/entries/*.toml` are the entries. Ports that
another program has taken are moved, all of the plant's by the same distance, and that is said.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Final

from server.core.errors import EmsError

from .config import SITE_FILE, SiteFile, read_site
from .create import create_site
from .discovery import DRIVERS
from .files import SiteLock, write_atomically

OPCUA_PORT: Final = 4840
PANEL_PORT: Final = 8443
_TRIES: Final = 200
_STEP: Final = 10
_PORT: Final = re.compile(r"^port\s*=\s*(\d+)", re.MULTILINE)


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


def adapt_demo(directory: Path, *, port: int | None, ui_port: int | None, speed: float | None) -> list[str]:
    """Give the demo site in DIR free ports; what was changed, in words. Raises DemoError, SiteLocked, InvalidFile, OSError.

    port, ui_port: wanted ports, refused when taken; None: the ones it has, or others when those are taken.
    speed: simulated seconds per second; None leaves it.
    """
    entries = [directory / "entries" / file.name for file in sorted((demo_folder() / "entries").glob("*.toml"))]
    if not all(file.exists() for file in entries):
        raise DemoError(
            f"{directory} is a site, but not the demo; `ems run {directory}` runs it, `--dir` puts the demo elsewhere"
        )
    with _unused(directory):
        notes = [*_place_services(directory, port, ui_port), *_place_plant(entries)]
        if speed is not None:
            _set_speed(entries, speed)
    return notes


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


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """True when nobody listens on the port."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


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


def _place_services(directory: Path, port: int | None, ui_port: int | None) -> Iterable[str]:
    path = directory / SITE_FILE
    file = read_site(directory)
    panel_host, panel_port = _panel(file)
    yield from _place(path, "opcua", "OPC UA server", file.opcua.host, file.opcua.port, port)
    if panel_port:
        yield from _place(path, "services.ui", "panel", panel_host, panel_port, ui_port)


def _panel(file: SiteFile) -> tuple[str, int]:
    settings = file.services["ui"].settings if "ui" in file.services else {}
    return str(settings.get("host", "127.0.0.1")), int(settings.get("port", 0))


def _place(path: Path, table: str, what: str, host: str, usual: int, wanted: int | None) -> Iterable[str]:
    """Give a service its port in site.toml."""
    port = usual if wanted is None else wanted
    if wanted is not None and not is_free(wanted, host):
        raise DemoError(f"port {wanted} for the {what} is taken by another program")
    if not is_free(port, host):
        port = next((p for p in range(usual + 1, min(usual + _TRIES, 65536)) if is_free(p, host)), 0)
        if not port:
            raise DemoError(f"no port from {usual} on is free for the {what}")
        yield f"port {usual} is taken by another program; the {what} listens on {port}"
    if port != usual:
        write_atomically(path, set_value(path.read_text(), table, "port", port).encode())


def _place_plant(entries: Iterable[Path]) -> Iterable[str]:
    """Move all ports of the plant and of the entries that dial it, when one of them is taken."""
    texts = {file: file.read_text() for file in entries}
    ports = sorted({int(found) for text in texts.values() for found in _PORT.findall(text)})
    offsets = (n * _STEP for n in range(_TRIES))
    offset = next((o for o in offsets if all(p + o < 65536 and is_free(p + o) for p in ports)), None)
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
