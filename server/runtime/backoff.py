"""How long to wait before something is tried again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence


class Backoff:
    """Delays in seconds, one after the other, the last for ever; from the first again after `reset_s` without a failure."""

    def __init__(self, delays: Sequence[float], reset_s: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._delays = delays
        self._reset_s = reset_s
        self._clock = clock
        self._index = 0
        self._last = clock()

    def next(self) -> float:
        """The delay after a failure that happened now."""
        now = self._clock()
        if now - self._last > self._reset_s:
            self._index = 0
        delay = self._delays[min(self._index, len(self._delays) - 1)]
        self._index += 1
        self._last = now + delay
        return delay
