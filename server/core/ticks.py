"""Time as the image and OPC UA count it: ticks of 100 ns since 1601-01-01 UTC. 0 stands for an unknown time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from math import isnan
from typing import Final

TICKS: Final = 10_000_000
"""Ticks in a second."""

UNIX_EPOCH: Final = 116_444_736_000_000_000
"""1970-01-01 UTC."""

_EPOCH: Final = datetime(1601, 1, 1, tzinfo=UTC)
_LAST: Final = 2_650_467_743_999_999_999
"""The end of the year 9999."""


def from_unix_ns(unix_ns: int) -> int:
    """Ticks of a time in ns since 1970, as `time.time_ns()` tells it."""
    return unix_ns // 100 + UNIX_EPOCH


def from_datetime(moment: datetime | None) -> int:
    """Ticks of a time; one without a zone is UTC. 0 for None and for what is before 1601."""
    if moment is None:
        return 0
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
    return max(0, (since.days * 86_400 + since.seconds) * TICKS + since.microseconds * 10)


def stamp(ticks: int) -> str:
    """A time as the journal has it, `2026-11-23T07:12:04.150Z`; empty for 0 and what is no time."""
    moment = to_datetime(ticks)
    return "" if moment is None else f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def to_datetime(ticks: float) -> datetime | None:
    """A time from its ticks; None for 0 and what is no time."""
    if isnan(ticks) or not 0 < ticks <= _LAST:
        return None
    return _EPOCH + timedelta(microseconds=int(ticks) // 10)


@lru_cache(maxsize=8)
def local_time(ticks: int, zone: tzinfo) -> datetime:
    """The moment in a zone; the first moment there is for an unknown time. Many controllers ask for that of one cycle."""
    moment = to_datetime(ticks)
    return datetime.min.replace(tzinfo=zone) if moment is None else moment.astimezone(zone)


@lru_cache(maxsize=8)
def hour_of_day(ticks: int, zone: tzinfo) -> float:
    """Time of day of the moment in a zone, in hours, 0 to 24."""
    moment = local_time(ticks, zone)
    return moment.hour + moment.minute / 60 + moment.second / 3600
