"""Ticks of 100 ns since 1601 against times that others know."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest

from server.core.ticks import UNIX_EPOCH, from_datetime, from_unix_ns, to_datetime

KNOWN = [
    (UNIX_EPOCH, datetime(1970, 1, 1, tzinfo=UTC)),
    (133_801_632_000_000_000, datetime(2025, 1, 1, tzinfo=UTC)),
    (10, datetime(1601, 1, 1, 0, 0, 0, 1, tzinfo=UTC)),
]


@pytest.mark.parametrize(("ticks", "moment"), KNOWN)
def test_a_time_and_its_ticks_are_the_same(ticks, moment):
    assert from_datetime(moment) == ticks
    assert to_datetime(ticks) == moment


@pytest.mark.parametrize("ticks", [0, -1, math.nan, math.inf, 2_650_467_744_000_000_000])
def test_what_is_no_time_is_none(ticks):
    assert to_datetime(ticks) is None


def test_no_time_and_a_time_before_the_first_are_zero():
    assert from_datetime(None) == from_datetime(datetime(1600, 1, 1, tzinfo=UTC)) == 0


def test_a_time_without_a_zone_is_utc_and_another_zone_is_converted():
    noon = datetime(2025, 6, 1, 12)
    assert from_datetime(noon) == from_datetime(noon.replace(tzinfo=UTC))
    assert from_datetime(datetime(2025, 6, 1, 14, tzinfo=timezone(timedelta(hours=2)))) == from_datetime(noon)


def test_unix_nanoseconds_begin_in_1970():
    assert from_unix_ns(0) == UNIX_EPOCH
    assert from_unix_ns(1_000_000_000) - UNIX_EPOCH == 10_000_000
