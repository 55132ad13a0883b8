"""Give the set-points to a person for a while."""

from __future__ import annotations

from collections.abc import Iterable

from server.core.constraint import Bound, Constraint
from server.core.controller import Controller, Now
from server.core.image import Image


class ManualOverride(Controller):
    """Hold what was written by hand while the manual override is active.

        P(unit) = value written          for each unit that was written, while override_s > 0

    Only protection comes before it (priorities 0 and 1), so a hand cannot overload a fuse or an empty battery. For chargers and
    producers the value is a ceiling. Whoever took the override is named in the explanation.
    """

    priority = 2

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        for wish in now.wishes:
            why = ("holds what user {} set by hand, {:s} left", str(wish.user), now.override_s)
            yield Bound(wish.node, equals=wish.value, why=why)
