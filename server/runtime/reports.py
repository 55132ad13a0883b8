"""What the processes of a site tell the supervisor: small datagrams that never make the sender wait."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from .context import REPORT_BYTES_MAX

BURST_MAX: Final = 256
"""Reports taken in at once, so that a process in a rage does not keep the supervisor from its work."""


@dataclass(frozen=True, slots=True)
class Report:
    """One report. kind: `log`, `ready`, `failed`, `complaint`, `up`, `down`, `identity`, or whatever else a part has to tell."""

    process: str
    pid: int
    kind: str
    text: str
    data: dict[str, Any] = field(default_factory=dict)


class Reports:
    """Both ends of the way: `sender` is handed to every process, `fileno` is readable when a report waits."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ours.setblocking(False)
        self._theirs.setblocking(False)

    @property
    def sender(self) -> int:
        """Descriptor for the processes; it stays ours."""
        return self._theirs.fileno()

    def fileno(self) -> int:
        """Descriptor to watch for reading."""
        return self._ours.fileno()

    def take(self) -> Iterator[Report]:
        """Reports that wait, oldest first; what is malformed is left out."""
        for _ in range(BURST_MAX):
            try:
                packet = os.read(self._ours.fileno(), REPORT_BYTES_MAX)
            except BlockingIOError:
                return
            report = _parse(packet)
            if report is not None:
                yield report

    def close(self) -> None:
        """Close both ends."""
        self._ours.close()
        self._theirs.close()


def _parse(packet: bytes) -> Report | None:
    try:
        report = Report(**json.loads(packet))
    except (ValueError, TypeError):
        return None
    whole = (report.process, str), (report.pid, int), (report.kind, str), (report.text, str), (report.data, dict)
    return report if all(isinstance(value, kind) for value, kind in whole) else None
