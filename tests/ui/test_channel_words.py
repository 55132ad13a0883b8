"""Devices and Trends as data: groups of channels, how a device is, what may be written, history as points and as a table."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from fake_site import Plant, catalogue
from starlette.datastructures import QueryParams

from server.client import ObjectInfo, Series
from server.core import status
from server.core.natures import EntryState
from ui import history, inventory, natures
from ui.catalogue import Catalogue
from ui.history import Points, Wish
from ui.pages import devices, trends
from ui.readings import Reading, Readings
from ui.refusal import Refused

START = datetime(2026, 1, 5, 10, tzinfo=UTC)
START_MS = round(START.timestamp() * 1000)
TICKS = (round(START.timestamp()) + 11644473600) * 10_000_000


@pytest.fixture
def site() -> Catalogue:
    return catalogue()


@pytest.fixture
def readings() -> Readings:
    found = Readings()
    for node, value in Plant().values(START.timestamp()).items():
        text = isinstance(value, str)
        found[node] = Reading(math.nan if text else float(value), status.GOOD, TICKS, value if text else "")
    return found


def _series(*rows: tuple[float, float, int]) -> Series:
    """Values at seconds after START."""
    times = np.array([TICKS + round(t * 1e7) for t, _, _ in rows], np.int64)
    return Series(times, np.array([v for _, v, _ in rows]), np.array([s for _, _, s in rows], np.uint32))


# What there is.


def test_set_points_come_first_and_the_health_of_a_device_last(site: Catalogue) -> None:
    groups = {g["title"]: [c["name"] for c in g["channels"]] for g in inventory.groups(site.model.objects["ess0"])}
    assert list(groups) == ["Set-points", "Storage", "Start and stop", "Health"]
    assert groups["Set-points"] == ["Set active power"]
    names = [name for some in groups.values() for name in some]
    assert len(names) == len(set(names)) == len(site.model.objects["ess0"].channels)


def test_a_channel_no_nature_declares_is_shown_too(site: Catalogue) -> None:
    ess = site.model.objects["ess0"]
    strange = ObjectInfo("x0", "X", "device", "X", "", "", ("Unheard",), {}, ess.channels)
    titles = [g["title"] for g in inventory.groups(strange)]
    assert titles == ["Other"]


def test_what_is_configured_but_has_no_device_is_listed_with_its_reason(site: Catalogue, readings: Readings) -> None:
    site.model.objects["entry.wall0"] = entry = site.model.objects["entry.meter0"]
    site.model.objects["entry.wall0"] = ObjectInfo(
        "entry.wall0", "Wall", "entry", "", "", "", (), {"Driver": "ocpp"}, entry.channels
    )
    readings["entry.wall0/State"] = Reading(EntryState.SetupRetry, 0, TICKS)
    readings["entry.wall0/Reason"] = Reading(math.nan, 0, TICKS, "no answer")
    readings["entry.wall0/NextRetry"] = Reading(TICKS + 8e7, 0, TICKS)
    shown = inventory.conditions(site, readings)["d.wall0"]
    assert shown == {"tone": "warn", "word": "could not be reached", "reason": "no answer", "retry": START.timestamp() + 8}
    assert inventory.things(site)[-1]["identity"] == [["Driver", "ocpp"]]


@pytest.mark.parametrize(
    ("node", "value", "tone", "word"),
    [
        ("ess0/State", 0, "good", "fine"), ("ess0/State", 2, "warn", "warning"), ("ess0/State", 3, "bad", "fault"),
        ("ess0/CommState", 1, "warn", "answers now and then"), ("ess0/CommState", 2, "bad", "does not answer"),
        ("ess0/State", math.nan, "good", "fine"),
    ],
)  # fmt: skip
def test_how_a_device_is_has_words(site: Catalogue, readings: Readings, node: str, value: float, tone: str, word: str) -> None:
    readings[node] = Reading(value, 0, TICKS)
    shown = inventory.conditions(site, readings)["d.ess0"]
    assert (shown["tone"], shown["word"]) == (tone, word)


@pytest.mark.parametrize(
    ("held", "role", "carrier"),
    [
        (("Device", "Meter"), None, "grid"), (("Meter",), 0, "grid"), (("Meter",), 1, "pv"), (("Meter",), 2, "load"),
        (("Device", "Meter", "Pv"), 1, "pv"), (("ManagedEss",), None, "ess"), (("Load",), None, "load"), ((), None, ""),
    ],
)  # fmt: skip
def test_a_device_has_the_colour_of_its_energy_carrier(held: tuple[str, ...], role: int | None, carrier: str) -> None:
    assert natures.carrier(held, role) == carrier


# What it is now, and what may be written.


def test_every_watched_channel_has_a_row_and_set_points_their_limits(site: Catalogue, readings: Readings) -> None:
    rows = devices.rows(site, list(site.channels), readings)
    assert {key for key in rows if key.startswith("v.")} == {f"v.{n}" for n in site.channels}
    assert rows["v.evcs0/Status"][:2] == ["Charging", ""]
    assert rows["v.ess0/NoFailSafe"][0] == "no"
    assert rows["v.evcs0/IdTag"][0] == "04A2B9"
    assert rows["limits.ess0/SetActivePower"] == [-5000.0, 5000.0]
    assert devices.rows(site, ["meter0/Frequency"], Readings())["v.meter0/Frequency"][:4] == ["–", "Hz", "bad", "no data yet"]


@pytest.mark.parametrize(
    ("node", "value", "refusal"),
    [
        ("ess0/SetActivePower", 5000, ""), ("ess0/SetActivePower", -5000.5, "outside what is allowed now, -5,000 to 5,000 W"),
        ("ess0/SetActivePower", "much", "a number is expected"), ("ess0/SetActivePower", math.nan, "a number is expected"),
        ("site/OverrideRemaining", 90_000, "outside what is allowed now, 0 to 86,400 s"), ("peak0/Enabled", True, ""),
    ],
)  # fmt: skip
def test_a_value_is_checked_before_it_is_written(
    site: Catalogue, readings: Readings, node: str, value: Any, refusal: str
) -> None:
    channel = site.channels[node]
    if not refusal:
        assert devices.checked(site, channel, value, readings) == value
        return
    with pytest.raises(Refused, match=refusal):
        devices.checked(site, channel, value, readings)


# History.


@pytest.mark.parametrize(
    ("hours", "points", "how", "step_s"),
    [
        (0.25, 600, "auto", 0), (1, 600, "auto", 10), (24, 600, "auto", 300), (168, 600, "auto", 1800), (168, 600, "raw", 0),
        (0.25, 60, "average", 15), (0.1, 600, "average", 5), (24 * 4000, 600, "auto", 86400),
    ],
)  # fmt: skip
def test_averages_are_as_wide_as_the_range_needs(hours: float, points: int, how: str, step_s: float) -> None:
    assert history.step(hours * 3600, points, how) == step_s


@pytest.mark.parametrize(
    ("asked", "now", "expected"),
    [((7, 130), 1000, (0, 180)), ((7, 130), 130, (0, 120)), ((60, 120), 1000, (60, 120)), ((7, 20), 20, (0, 60))],
)
def test_averages_lie_on_multiples_of_their_width(asked: tuple[int, int], now: int, expected: tuple[int, int]) -> None:
    at = [START + timedelta(seconds=s) for s in (*asked, now, *expected)]
    assert history.aligned(Wish(("ess0/Soc",), at[0], at[1], 60), at[2]) == Wish(("ess0/Soc",), at[3], at[4], 60)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("node=ess0/Soc", "from: a time in ms"), ("node=ess0/Soc&from=1&to=x", "to: a time in ms"), ("from=1&to=2", "0 channels"),
        ("node=ess0/Soc&from=2&to=1", "ends before it begins"), ("node=evil/Node&from=1&to=2", "evil/Node has no history"),
        ("node=evcs0/IdTag&from=1&to=2", "evcs0/IdTag has no history"), ("node=ess0/Soc&from=1&to=2&how=best", "how=best"),
        ("node=ess0/Soc&from=1&to=1e300", "to: a time in ms"), ("node=ess0/Soc&from=1&to=2&points=many", "points"),
    ],
)  # fmt: skip
def test_a_wish_that_makes_no_sense_is_told_so(site: Catalogue, query: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        history.parse(QueryParams(query), site)


def test_raw_values_hold_until_the_next_and_to_the_end_of_the_range() -> None:
    wish = Wish(("ess0/Soc",), START, START + timedelta(seconds=60), 0)
    found = history.raw(_series((20, 6.0, 0), (21, 7.0, 0)), _series((-100, 5.0, 0)), wish, hold=True)
    assert [t - START_MS for t in found.t] == [0, 19_999, 20_000, 21_000, 59_999, 60_000]
    assert found.v == [5.0, 5.0, 6.0, 7.0, 7.0, 7.0]


def test_a_silent_range_is_empty_and_a_bad_value_is_a_gap() -> None:
    wish = Wish(("ess0/Soc",), START, START + timedelta(seconds=10), 0)
    assert history.raw(_series(), _series(), wish, hold=True) == Points([], [], [])
    found = history.raw(_series((1, math.nan, status.BAD_NO_COMMUNICATION)), _series((-1, 5.0, 0)), wish, hold=False)
    assert (found.v, found.q) == ([5.0, None, None], [0, 2, 2])
    assert history.averages(_series((0, math.nan, status.BAD_NO_DATA)), 60).q == [history.MISSING]


def test_an_average_stands_in_the_middle_of_its_interval() -> None:
    found = history.averages(_series((0, 1.0, 0), (60, 2.0, status.UNCERTAIN_LAST_USABLE_VALUE)), 60)
    assert [t - START_MS for t in found.t] == [30_000, 90_000]
    assert found.q == [0, 1]


def test_a_table_has_a_line_for_each_time_and_nothing_where_a_channel_has_none(site: Catalogue) -> None:
    found = {
        "site/GridPower": Points([START_MS, START_MS + 500], [1.5, None], [0, 2]),
        "ess0/Soc": Points([START_MS], [50.0], [1]),
    }
    assert list(history.table(site, found)) == [
        ["time", "Demo site GridPower [W]", "quality", "Battery Soc [%]", "quality"],
        ["2026-01-05T10:00:00.000+00:00", 1.5, "good", 50.0, "uncertain"],
        ["2026-01-05T10:00:00.500+00:00", "", "bad", "", ""],
    ]


def test_only_channels_with_history_can_be_plotted(site: Catalogue) -> None:
    nodes = {c["node"] for t in trends.things(site) for c in t["channels"]}
    assert nodes == {c.node for c in site.channels.values() if c.historized}
    assert set(trends.BEGIN_WITH) <= nodes
