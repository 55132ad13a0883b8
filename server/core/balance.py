"""The balance at a meter, from measurements of one moment.

Problem: the demand of a connection, what it would import without its units, is the meter's power plus the units' measured
supply. When the two were sampled 250 ms apart, each change of a unit shows as a change of demand for 250 ms; the answer to
it comes back as the next false demand, and the grid swings for ever.

Idea: keep a short history of the meter and of each unit by source time, and compute the demand for the newest moment that all
of them have reached; it holds until the next such moment. A unit that is not measured any more leaves the balance at once
and counts as demand; one that reports on change only, or is late, is not waited for.

    source time  ---+-----------+-----------+------>
    meter           M1                      M2          when M2 arrives, u is known up to c: the moment is c,
    unit       a        b           c        d          between M1 and M2; when d arrives the moment is M2
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from .ticks import TICKS

DEPTH: Final = 256
"""Samples kept per unit: 12 s at the fastest cycle of devices, 50 ms."""

SIMULTANEOUS: Final = TICKS // 50
"""Samples less than 20 ms apart are of one moment: closer than any plant changes its power."""

LATE_PERIODS: Final = 3
"""A unit later than this is not waited for; its status is Uncertain by then."""


class History:
    """Recent samples of one unit's supply [W] by source time, oldest first. newest: source time of the last, 0 before any."""

    __slots__ = ("newest", "samples")

    def __init__(self) -> None:
        self.samples: deque[tuple[int, float]] = deque(maxlen=DEPTH)
        self.newest = 0

    def push(self, source: int, supply: float) -> None:
        """Take a sample that is newer than the last; a clock that stepped back starts the history anew."""
        if source == self.newest:
            return
        if source < self.newest:
            self.samples.clear()
        self.samples.append((source, supply))
        self.newest = source

    def at(self, source: int) -> float:
        """Supply at a moment: interpolated between the samples around it, the nearest one outside them."""
        if source == self.newest:
            return self.samples[-1][1] if self.samples else 0.0
        after: tuple[int, float] | None = None
        for sample in reversed(self.samples):
            if sample[0] <= source:
                if after is None or after[0] == sample[0]:
                    return sample[1]
                share = (source - sample[0]) / (after[0] - sample[0])
                return sample[1] + share * (after[1] - sample[1])
            after = sample
        return after[1] if after else 0.0


class Balance:
    """Demand behind one meter: what it would show if no unit below supplied anything [W]."""

    __slots__ = ("_members", "_meter", "_time", "demand", "supply")

    def __init__(self) -> None:
        self.demand: float | None = None
        self.supply: dict[int, float] = {}
        """Supply of each member at the moment the demand is for."""
        self._meter = History()
        self._time = 0
        self._members: tuple[int, ...] = ()

    def clear(self) -> None:
        """The meter cannot be used: no demand."""
        self.demand = None
        self._time = 0

    def update(
        self, power: float, source: int, members: tuple[int, ...], histories: Sequence[History], periods: Sequence[float]
    ) -> None:
        """Take the meter's power with its source time.

        members: the units that are measured now, as indices of histories and of periods, the expected time between two samples
        [s], 0 for units that report on change.
        """
        self._meter.push(source, power)
        moment = source
        for m in members:
            newest = histories[m].newest
            if newest < moment and 0 < source - newest - SIMULTANEOUS <= LATE_PERIODS * periods[m] * TICKS:
                moment = newest
        if self.demand is not None and members == self._members and moment <= self._time <= source:
            return
        self.supply = {m: histories[m].at(moment) for m in members}
        self.demand = self._meter.at(moment) + sum(self.supply.values())
        self._time, self._members = moment, members
