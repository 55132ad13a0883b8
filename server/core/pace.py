"""How long somebody must wait after failures: nothing at first, then twice as long each time, up to a bound."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """after: failures in a row after which one must wait; first_s: the first wait; most_s: the longest."""

    after: int
    first_s: float
    most_s: float

    def wait_s(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row."""
        beyond = failures - self.after
        return 0.0 if beyond < 0 else min(self.first_s * 2.0 ** min(beyond, 32), self.most_s)


class Failures:
    """Failures in a row by whatever they are counted of, such as a name or an address; times are monotonic seconds.

    At most `kept` counts are remembered; those that were idle longest are forgotten.
    """

    def __init__(self, pace: Pace, kept: int) -> None:
        self._pace = pace
        self._kept = kept
        self._counts: OrderedDict[Hashable, tuple[int, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counts)

    def wait_s(self, of: Hashable, now: float) -> float:
        """Seconds until it may be tried again; 0 when it may."""
        return max(0.0, self._counts.get(of, (0, now))[1] - now)

    def failed(self, of: Hashable, now: float) -> None:
        """It failed once more."""
        failures = self._counts.pop(of, (0, 0.0))[0] + 1
        self._counts[of] = (failures, now + self._pace.wait_s(failures))
        if len(self._counts) > self._kept:
            self._counts.popitem(last=False)

    def succeeded(self, of: Hashable) -> None:
        """It succeeded; earlier failures are forgotten."""
        self._counts.pop(of, None)
