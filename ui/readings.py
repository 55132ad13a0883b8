"""The latest value of every channel a person watches, with quality and source time."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from server.core.status import BAD_WAITING_FOR_INITIAL_DATA, is_bad
from server.core.ticks import TICKS, UNIX_EPOCH, from_datetime

from . import numbers, quality

_OLD_S = 2.0


class Reading(NamedTuple):
    """value: SI, NaN when there is none; status: OPC UA StatusCode; source: 100 ns since 1601 UTC, 0 unknown."""

    value: float
    status: int
    source: int
    text: str = ""


NOTHING = Reading(math.nan, BAD_WAITING_FOR_INITIAL_DATA, 0)


def unix_time(ticks: int) -> float:
    """Seconds since 1970 of an OPC UA time; 0 for an unknown one."""
    return (ticks - UNIX_EPOCH) / TICKS if ticks else 0.0


def _number(value: Any) -> float:
    """As the tables of a subscription have it: a time in ticks, NaN for what is no single number."""
    if isinstance(value, datetime):
        return float(from_datetime(value))
    return float(value) if isinstance(value, int | float) else math.nan


class Readings(dict[str, Reading]):
    """Readings by node; an unknown node reads as NOTHING."""

    def __missing__(self, node: str) -> Reading:
        return NOTHING

    def take(self, nodes: Sequence[str], table: Any) -> None:
        """Enter one table of a subscription over `nodes`."""
        rows = zip(table.index.tolist(), table.value.tolist(), table.status.tolist(), table.source.tolist(), strict=True)
        for row, (index, value, status, source) in enumerate(rows):
            self[nodes[index]] = Reading(value, status, source, table.texts.get(row, ""))

    def enter(self, node: str, found: Any) -> None:
        """Enter one value that was read: a DataValue of `Client.read`."""
        value = found.Value.Value if found.Value is not None else None
        source = from_datetime(found.SourceTimestamp) if found.SourceTimestamp else 0
        text = value if isinstance(value, str) else ""
        self[node] = Reading(_number(value), found.StatusCode.value, source, text)

    def number(self, node: str) -> float | None:
        """The value of a node, or None while it is Bad or not a number."""
        reading = self[node]
        return None if is_bad(reading.status) or not math.isfinite(reading.value) else reading.value

    def note(self, node: str, now: float | None = None) -> tuple[str, str]:
        """Quality of a node as (CSS class, words with age), both empty while it is good."""
        reading = self[node]
        grade = quality.grade(reading.status)
        if grade == quality.GOOD:
            return "", ""
        passed = (now or time.time()) - unix_time(reading.source)
        old = f", {numbers.age(passed)} old" if reading.source and passed >= _OLD_S and not math.isnan(reading.value) else ""
        return grade, quality.words(reading.status) + old
