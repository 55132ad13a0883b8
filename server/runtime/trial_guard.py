"""The alarm of a trial: it counts computing time, so that a busy machine makes nobody look slow, and ends what only waits."""

from __future__ import annotations

import signal
import time
from types import FrameType, TracebackType
from typing import Final

from server.core.step import OverBudget

LOOK_S: Final = 0.004
WAIT_S: Final = 2.0
"""Nobody may take longer than this by the clock on the wall."""


class TrialGuard:
    """Raises OverBudget in the main thread. Used as a context around what is tried."""

    def __init__(self) -> None:
        self._deadline_ns = self._wall_ns = 0
        signal.signal(signal.SIGPROF, self._look)
        signal.signal(signal.SIGALRM, self._look)

    clock_ns = staticmethod(time.thread_time_ns)
    """Computing time of this thread."""

    def arm(self, seconds: float) -> None:
        """Raise OverBudget after so much computing, or after WAIT_S, once, unless disarmed before."""
        self._wall_ns = time.monotonic_ns() + int(WAIT_S * 1e9)
        self._deadline_ns = time.thread_time_ns() + int(seconds * 1e9)

    def disarm(self) -> None:
        """Raise nothing from now on."""
        self._deadline_ns = 0

    def __enter__(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, LOOK_S, LOOK_S)
        signal.setitimer(signal.ITIMER_REAL, WAIT_S, WAIT_S / 10)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._deadline_ns = 0

    def _look(self, number: int, frame: FrameType | None) -> None:
        late = time.thread_time_ns() > self._deadline_ns or time.monotonic_ns() > self._wall_ns
        if self._deadline_ns and late and not (frame is not None and frame.f_code is TrialGuard.disarm.__code__):
            self._deadline_ns = 0
            raise OverBudget
