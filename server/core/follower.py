"""Ceilings of followers: chargers, loads and producers, which do what they like below their set-point.

Problem: a curtailed plant does not tell what it could produce. Released in one go it overshoots, is cut again, and flickers.

Idea: while a follower runs at its ceiling it is believed to be able to do one STEP more, and room is made for that. Cuts act at
once; releases climb by RELEASE of its rating per second, one STEP at a time, which also keeps the number of writes to the
device small. A ceiling at the rating means no limit. A car that was stopped takes some seconds to begin; the least it runs with
is kept for it meanwhile, so that it is not given to the next one too. To be let go it needs room for one STEP more than that:
else a limit that trembles would let it go and stop it again in turn. One that a connection had no room for rests for REST_S.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from .tree import EPSILON

RELEASE: Final = 0.05
"""A released ceiling climbs by this share of the rating each second."""

STEP: Final = 0.02
"""Step of a release, as a share of the rating."""

AT_CEILING: Final = 0.95
"""A follower that does this share of its ceiling is held down by it."""

START_S: Final = 10.0
"""A consumer that was let go begins within this time."""

REST_S: Final = 60.0
"""A charger that was stopped for want of room begins again no sooner: cars are not switched on and off with each kettle."""


class Followers:
    """Ceilings in force, by leaf, in the unit's own sign [W]; None before the first."""

    def __init__(self, leaves: int) -> None:
        self._ceiling: list[float | None] = [None] * leaves
        self._waited_s = [0.0] * leaves
        self._begun_s = [START_S] * leaves
        self._rest_s = [0.0] * leaves

    def state(self, labels: Sequence[str]) -> dict[str, float]:
        """Who rests, and for how long yet [s], as JSON. labels: of the leaves."""
        return {label: round(rest_s, 3) for label, rest_s in zip(labels, self._rest_s, strict=False) if rest_s > 0}

    def restore(self, saved: Mapping[str, Any], labels: Sequence[str], age_s: float) -> None:
        """Take up what `state` gave so many seconds ago."""
        for leaf, label in enumerate(labels[: len(self._rest_s)]):
            self._rest_s[leaf] = float(saved.get(label, 0.0)) - age_s

    def rests(self, leaf: int) -> bool:
        """It was stopped for want of room not long ago."""
        return self._rest_s[leaf] > 0 and self.stopped(leaf)

    def stopped(self, leaf: int) -> bool:
        """The ceiling in force lets it do nothing."""
        return self._ceiling[leaf] == 0.0

    def potential(self, leaf: int, now_w: float, rated_w: float, least_w: float, idle: bool) -> float:
        """What the follower would do without its ceiling, as far as can be known. least_w: power below which it stops;
        idle: nothing waits to be served."""
        ceiling = self._ceiling[leaf]
        if idle or ceiling is None or self.rests(leaf):
            return now_w
        if ceiling >= rated_w or now_w < AT_CEILING * ceiling - STEP * rated_w / 4:
            return max(now_w, min(least_w, ceiling)) if self._begun_s[leaf] < START_S else now_w
        return min(max(ceiling, least_w) + STEP * rated_w, rated_w)

    def move(
        self, leaf: int, wanted_w: float, rated_w: float, least_w: float, dt_s: float, *, cut: bool, starved: bool = False
    ) -> float:
        """The ceiling to write: cuts at once, releases slowly.

        wanted_w: what the solver grants. cut: it is all a connection has room for, so a little more of it is not followed.
        starved: it is less than what it runs with, for want of room.
        """
        wanted = max(wanted_w, least_w) if wanted_w >= least_w - EPSILON else 0.0
        before = self._ceiling[leaf]
        self._begun_s[leaf] += dt_s
        self._rest_s[leaf] = REST_S if starved and before != 0.0 else self._rest_s[leaf] - dt_s
        if before is None or wanted <= before:
            return self.force(leaf, wanted)
        if self.rests(leaf):
            return before
        self._waited_s[leaf] += dt_s
        step = STEP * rated_w
        climb = min(RELEASE * rated_w * self._waited_s[leaf], step, wanted - before)
        if before < least_w:
            climb = max(climb, least_w - before)
        if climb >= step or (not cut and before + climb >= wanted):
            return self.force(leaf, before + climb)
        return before

    def force(self, leaf: int, ceiling_w: float) -> float:
        """Put a ceiling in force at once."""
        self._waited_s[leaf] = 0.0
        if self._ceiling[leaf] == 0.0 and ceiling_w > 0:
            self._begun_s[leaf] = 0.0
        self._ceiling[leaf] = ceiling_w
        return ceiling_w
