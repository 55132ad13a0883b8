"""What a process of the site is told when it starts.

The supervisor makes one `ProcessContext` per start and hands it, with file descriptors, through a zygote to the forked
child, which runs `module:function` with it. `settings` holds, by kind of process:

    control   site: SiteSettings; classes: {type name: "module:Class"} of the controllers in use
    driver    module: package of the driver (its `driver.py` has `run`); entries: tuple[server.core.driver.Entry, ...]
    opcua     what site.toml's [opcua] says; site: SiteSettings; history: HistoryTable; alarms: tuple[AlarmSpec, ...]
    service   its own table of site.toml (without `module`); site: SiteSettings; history: HistoryTable
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from server.core.layout import Layout

    from .memory import SharedImage

REPORT_BYTES_MAX = 32_768
"""A report that would be longer goes without its data."""
TEXT_MAX = 2_000


@dataclass(frozen=True)
class ProcessContext:
    """Everything a process needs to begin, and the ways it talks to the supervisor: `ready`, `event` and its end.

    name: of the process, unique in the site; role: its role in the shared image (`control`, a driver group, `opcua`).
    handles: file descriptors of the shared image; empty for a process that lives from OPC UA alone.
    endpoint: URL of the site's OPC UA server for a client on this host.
    restarts: how often the process was started again in this run of the site.
    state: the engine's last state from the journal, for control only; state_age_s: seconds since it was taken.
    documents: what control begins with, as orders to its intake.
    parent_pids: the processes that may be our parent; any other parent means the supervisor is gone.
    """

    name: str
    directory: Path
    layout: Layout | None = None
    handles: Mapping[str, int] = field(default_factory=dict)
    role: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    endpoint: str = ""
    restarts: int = 0
    state: dict[str, Any] | None = None
    documents: tuple[bytes, ...] = ()
    state_age_s: float = 0.0
    parent_pids: tuple[int, ...] = ()
    report_fd: int = -1

    def image(self) -> SharedImage:
        """Attach to the shared image in this process's role."""
        from .memory import SharedImage

        if self.layout is None:
            raise RuntimeError(f"process {self.name} has no part in the shared image")
        return SharedImage.attach(self.layout, dict(self.handles), self.role)

    def orphaned(self) -> bool:
        """True when the supervisor is gone: go to fail-safe and end. SIGTERM arrives in that case, too."""
        return bool(self.parent_pids) and os.getppid() not in self.parent_pids

    @property
    def log(self) -> logging.Logger:
        """The process's logger: lines go to DIR/data/log/<name>.log, warnings also to the supervisor."""
        return logging.getLogger(f"ems.{self.name}")

    def ready(self) -> None:
        """Tell the supervisor that this process works, and listens where it is to listen. Until then the site is starting."""
        report(self.report_fd, self.name, "ready", "", {})

    def event(self, kind: str, text: str, **data: Any) -> None:
        """Tell the supervisor something worth the journal. Never blocks; dropped when the supervisor cannot listen."""
        report(self.report_fd, self.name, kind, text, data)


def report(fd: int, name: str, kind: str, text: str, data: Mapping[str, Any]) -> None:
    """Send one report datagram over the non-blocking `fd`; without effect when fd is -1 or nobody can listen."""
    if fd < 0:
        return
    message = {"process": name, "pid": os.getpid(), "kind": kind, "text": text[:TEXT_MAX], "data": data}
    packet = json.dumps(message, default=str).encode()
    if len(packet) > REPORT_BYTES_MAX:
        packet = json.dumps(message | {"data": {}}).encode()
    try:
        os.write(fd, packet)
    except OSError:
        return
