"""What is expected against what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

WHOLE_NUMBERS = 1.0
"""Their numbers are whole: truncated or rounded at each step of a calculation."""

DECIMALS = 1e-3
"""Relative difference of numbers with decimals, which theirs hold as 32-bit floats."""


@dataclass(frozen=True)
class Mismatch:
    """Something expected that was not found. step counts from 1."""

    step: int
    key: str
    expected: Any
    found: Any

    def __str__(self) -> str:
        return f"step {self.step}: {self.key} is {_shown(self.found)}, expected {_shown(self.expected)}"


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


MISSING = "nothing"
"""What is found where a family gives no answer."""


def agree(expected: Any, found: Any, tolerance: float | None) -> bool:
    """Equal, or as near as rounding allows."""
    if isinstance(found, float) and isnan(found):
        found = None
    if isinstance(expected, Mapping):
        return isinstance(found, Mapping) and all(agree(v, found.get(k, MISSING), tolerance) for k, v in expected.items())
    if isinstance(expected, list):
        sequence = isinstance(found, Sequence) and len(found) == len(expected)
        return sequence and all(agree(e, f, tolerance) for e, f in zip(expected, found, strict=True))
    if isinstance(expected, bool) or expected is None or isinstance(expected, str):
        return found is expected or (not isinstance(found, bool) and found == expected and not isinstance(expected, bool))
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        return False
    if tolerance is None:
        tolerance = WHOLE_NUMBERS if isinstance(expected, int) else DECIMALS * max(1.0, abs(expected))
    return abs(expected - found) <= tolerance + 1e-9


def mismatches(step: int, expected: Mapping[str, Any], found: Mapping[str, Any], tolerance: float | None) -> list[Mismatch]:
    """Everything that is expected in a step and was not found."""
    return [
        Mismatch(step, key, value, found.get(key, MISSING))
        for key, value in expected.items()
        if not agree(value, found.get(key, MISSING), tolerance)
    ]
