"""Finding processes that run but do nothing: control that ends no cycle, a driver whose event loop is stuck."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from .memory import OwnerReader, SharedImage
from .process import Part, Process

DRIVER_SILENT_S: Final = 10.0
CONTROL_SILENT_S: Final = 3.0
"""Also at least five cycles."""
START_S: Final = 15.0
"""How long a process may take to its first heartbeat."""
LATE_S: Final = 1.0
"""A watcher that comes this late was held up itself, and so were the others: it looks again next time."""


class HangWatch:
    """Kills what has no heartbeat any more; the supervisor then starts it again."""

    def __init__(self, image: SharedImage, cycle_s: float, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._image = image
        self._control_s = max(CONTROL_SILENT_S, 5 * cycle_s)
        self._clock = clock
        self._looked = clock()
        self._owners: dict[str, OwnerReader] = {}

    def look(self, processes: Iterable[Process]) -> None:
        """Look at every process that has a heartbeat."""
        now = self._clock()
        late, self._looked = now - self._looked > LATE_S * 1e9, now
        if late:
            return
        for process in processes:
            if process.alive and (silent_s := self._silence(process, now)) is not None:
                process.kill(f"hangs: no sign of life for {silent_s:.0f} s")

    def _silence(self, process: Process, now: int) -> float | None:
        """Seconds without a heartbeat where that is too long, else None."""
        started = round(process.started_at * 1e9)
        if process.spec.part is Part.CONTROL:
            allowed, heartbeat = self._control_s, self._image.clock.heartbeat
        elif process.spec.part is Part.DRIVER:
            allowed, heartbeat = DRIVER_SILENT_S, self._owner(process.spec.role).heartbeat[0]
        else:
            return None
        silent_s = (now - max(heartbeat, started)) * 1e-9
        return silent_s if silent_s > (allowed if heartbeat > started else START_S) else None

    def _owner(self, name: str) -> OwnerReader:
        if name not in self._owners:
            self._owners[name] = self._image.owner_reader(self._image.layout.owner(name))
        return self._owners[name]
