"""The alarm against a controller that does not come back.

A timer ticks while the engine works; each tick looks whether the armed controller is over its time. Arming is then a plain
assignment, cheap enough for a hundred controllers a cycle, and a step shorter than FIRST_S never sees a signal. The price
is a resolution of one tick.
"""

from __future__ import annotations

import signal
import time
from types import FrameType, TracebackType
from typing import Final

from server.core.step import OverBudget

FIRST_S: Final = 0.004
"""Time to the first tick: longer than most steps take, shorter than the budget of a controller."""

TICK_S: Final = 0.001


class AlarmGuard:
    """Raises OverBudget in the main thread. Used as a context around a step; the engine arms and disarms it inside."""

    def __init__(self) -> None:
        self._deadline_ns = 0
        signal.signal(signal.SIGALRM, self._tick)

    clock_ns = staticmethod(time.monotonic_ns)
    """CLOCK_MONOTONIC ns."""

    def arm(self, seconds: float) -> None:
        """Raise OverBudget after so long, once, unless disarmed before."""
        self._deadline_ns = time.monotonic_ns() + int(seconds * 1e9)

    def disarm(self) -> None:
        """Raise nothing from now on."""
        self._deadline_ns = 0

    def __enter__(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, FIRST_S, TICK_S)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._deadline_ns = 0

    def _tick(self, number: int, frame: FrameType | None) -> None:
        if not self._deadline_ns or time.monotonic_ns() <= self._deadline_ns:
            return
        if frame is not None and frame.f_code is AlarmGuard.disarm.__code__:
            return  # it came back in time, by a hair
        self._deadline_ns = 0
        raise OverBudget
