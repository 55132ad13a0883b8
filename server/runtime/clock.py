"""The clock page: what control tells the others about its cycle. All times are CLOCK_MONOTONIC ns."""

from __future__ import annotations

from typing import Final

from .segment import LINE, Segment

CLOCK_BYTES: Final = LINE
_CYCLE, _NEXT, _HEARTBEAT = range(3)


class CycleClock:
    """Period, next freeze and heartbeat of the control cycle. Control writes it; drivers phase-lock their polls to it."""

    def __init__(self, segment: Segment) -> None:
        self._words = segment.words(0, 3)

    @property
    def cycle_ns(self) -> int:
        """Period of the cycle; 0 before control has started."""
        return self._words[_CYCLE]

    @property
    def heartbeat(self) -> int:
        """When control last ended a cycle; 0 before the first."""
        return self._words[_HEARTBEAT]

    def next_freeze_ns(self) -> int:
        """When control freezes the image next; in the past when control stands still."""
        return self._words[_NEXT]

    def announce(self, cycle_ns: int, next_freeze_ns: int, now_ns: int) -> None:
        """Control: one cycle is done, the next freeze is at `next_freeze_ns`."""
        self._words[_CYCLE] = cycle_ns
        self._words[_NEXT] = next_freeze_ns
        self._words[_HEARTBEAT] = now_ns
