"""A family of cases: which controller of OpenEMS, how it runs here, what has no counterpart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from .case import Case, NotMapped, Step
from .compare import Mismatch, mismatches

Answer = Mapping[str, Any]
"""What this product gives in a step, by the keys of the format."""

Run = Callable[[Case], Iterable[Answer]]
Expect = Callable[[Case, Step], Mapping[str, Any]]


def _as_given(case: Case, step: Step) -> Mapping[str, Any]:
    return step.expected


@dataclass(frozen=True)
class Family:
    """How cases of one controller run here.

    run: the answers, one for each step. without: expected keys (with wildcards) that have no counterpart here. tolerance: None
    for what rounding allows. expect: what of a step is to be found, where not the numbers themselves are.
    """

    run: Run
    without: tuple[str, ...] = ()
    tolerance: float | Callable[[Case], float] | None = None
    expect: Expect = field(default=_as_given)

    def compare(self, case: Case) -> tuple[int, list[Mismatch]]:
        """How many values were compared, and which differ. NotMapped when there is nothing to compare."""
        found: list[Mismatch] = []
        compared = 0
        tolerance = case.tolerance if self.tolerance is None else self.tolerance
        tolerance = tolerance(case) if callable(tolerance) else tolerance
        for steps, (answer, step) in enumerate(zip(self.run(case), case.steps, strict=True), 1):
            expected = {k: v for k, v in self.expect(case, step).items() if not any(fnmatchcase(k, p) for p in self.without)}
            compared += len(expected)
            found += mismatches(steps, expected, answer, tolerance)
        if not compared:
            raise NotMapped("all that is expected has no counterpart here")
        return compared, found
