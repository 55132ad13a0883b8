"""The format of the case files: cases of steps, each with inputs and what is expected then."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf, nextafter
from pathlib import Path
from typing import Any

DEFAULT_T0 = datetime(2020, 1, 1, tzinfo=UTC)
"""Cases without a clock do not depend on it."""


class FormatError(Exception):
    """A file is no case file."""


class NotMapped(Exception):
    """This product has no counterpart for a case; the text says what is missing."""


@dataclass(frozen=True)
class Step:
    """One cycle, or `repeat` of them. t_s: seconds since t0; equal ones are consecutive cycles."""

    t_s: float
    inputs: Mapping[str, Any]
    expected: Mapping[str, Any]
    repeat: int = 1


@dataclass(frozen=True)
class Case:
    """A case as its file has it. tolerance: what it allows itself, None for the usual."""

    id: str
    controller: str
    config: Mapping[str, Any]
    devices: Sequence[Mapping[str, Any]]
    steps: tuple[Step, ...]
    fixtures: Mapping[str, Any]
    t0: datetime = DEFAULT_T0
    tolerance: float | None = None

    def fixture(self, value: Any) -> Any:
        """What `fixtures.A.B` stands for; other values stand for themselves."""
        if not isinstance(value, str) or not value.startswith("fixtures."):
            return value
        found: Any = {"fixtures": self.fixtures}
        for name in value.split("."):
            found = found[name]
        return found


def load(path: Path) -> list[Case]:
    """The cases of a file. FormatError when it is none."""
    try:
        data = json.loads(path.read_text())
        fixtures = data.get("fixtures", {})
        return [_case(raw, fixtures) for raw in data["cases"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"{path} is no file of cases: {type(error).__name__}: {error}") from error


def _case(raw: Mapping[str, Any], fixtures: Mapping[str, Any]) -> Case:
    steps = tuple(_step(s) for s in raw["steps"])
    t0 = datetime.fromisoformat(raw["t0"]) if raw.get("t0") else DEFAULT_T0
    config, devices = raw["config"] or {}, raw["devices"] or []
    return Case(raw["id"], raw["controller"], config, devices, steps, fixtures, t0, raw.get("tolerance"))


def _step(raw: Mapping[str, Any]) -> Step:
    return Step(float(raw["t_s"]), raw["inputs"], raw["expected"], int(raw.get("repeat", 1)))


def number(value: Any) -> float:
    """A number, or what `nextUp(3000)` and `nextDown(-10)` mean: the neighbouring one."""
    if isinstance(value, str):
        name, _, rest = value.partition("(")
        return nextafter(float(rest.rstrip(")")), inf if name == "nextUp" else -inf)
    return float(value)
