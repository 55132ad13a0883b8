"""The cycle's own figures as channels of control's block."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from server.core.image import Image
from server.core.layout import CONTROL, Layout
from server.core.natures import Cycle
from server.core.site import CYCLE_ALIAS
from server.core.status import GOOD

from .pacer import Pacer

_NS: Final = 1e-9
_SPECS: Final = (
    Cycle.CycleTime,
    Cycle.Counter,
    Cycle.Slips,
    Cycle.LastDuration,
    Cycle.WorstDuration,
    Cycle.Jitter,
    Cycle.ImageTime,
    Cycle.Restarts,
)


class Figures:
    """Writes Cycle channels. They tell of the last whole cycle, the one before the image they are frozen into."""

    def __init__(self, layout: Layout, restarts: int) -> None:
        first = layout.owner(CONTROL).first
        channels = [layout.find(CYCLE_ALIAS, spec) for spec in _SPECS]
        self._present = [i for i, c in enumerate(channels) if c is not None]
        self._slots = np.array([c.slot - first for c in channels if c is not None], np.intp)
        self._restarts = restarts

    def write(self, block: NDArray[Any], pacer: Pacer, image: Image) -> None:
        """Put the figures of `pacer` into control's `block`."""
        values = (
            pacer.period_ns * _NS,
            pacer.cycles,
            pacer.slips,
            pacer.duration_ns * _NS,
            pacer.worst_ns * _NS,
            pacer.lateness_ns * _NS,
            image.time,
            self._restarts,
        )
        block["value"][self._slots] = [values[i] for i in self._present]
        block["status"][self._slots] = GOOD
        block["source"][self._slots] = image.time
        block["arrival"][self._slots] = image.frozen_at
