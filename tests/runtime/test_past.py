"""The demo's simulated past: it obeys the plant's own balance, ends where the real history begins, and touches nothing real."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from server.core.series import Series
from server.core.status import BAD_NO_DATA
from server.core.ticks import TICKS
from server.history import AGGREGATES, HistoryReader, HistoryWriter, database_url, processed
from server.runtime import past
from server.runtime.demo import PAST_FILE, begin_past, make_demo
from server.runtime.memory import utc_now

FOR_EVER = 1 << 62
MINUTE = 60 * TICKS
BALANCE = ("meter0/ActivePower", "load0/ActivePower", "evcs0/ActivePower", "pv0/ActivePower", "ess0/ActivePower")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A demo site that has run for a minute, and then got a day of past; when it was started."""
    directory = tmp_path_factory.mktemp("demo") / "site"
    make_demo(directory)
    plant = directory / "entries" / "plant.toml"
    plant.write_text("start = 2025-06-15T09:00:00Z\n" + plant.read_text())
    started = utc_now() - MINUTE
    writer = HistoryWriter(database_url(directory))
    ids = writer.ensure(["meter0/ActivePower"])
    writer.append(ids, np.array([started]), np.array([123.0]), np.zeros(1, np.uint32), alive=utc_now())
    past.make_past(directory, days=1)
    writer.seal()
    writer.close()
    return directory, started


@pytest.fixture(scope="module")
def reader(demo):
    reader = HistoryReader(database_url(demo[0]))
    yield reader
    reader.close()


def whole(reader: HistoryReader, node: str) -> Series:
    return reader.raw(node, 0, FOR_EVER, 1_000_000)


def test_real_values_are_left_alone_and_between_past_and_present_there_is_a_gap(demo, reader) -> None:
    series = whole(reader, "meter0/ActivePower")
    assert (series.times[-1], series.values[-1]) == (demo[1], 123.0)
    assert series.status[-2] == BAD_NO_DATA
    assert (np.diff(series.times) > 0).all()
    assert series.times[0] < demo[1] - 23 * 60 * MINUTE


def test_what_comes_in_goes_out(demo, reader) -> None:
    edges = demo[1] - np.arange(20 * 60, 1, -1) * MINUTE
    grid, load, car, pv, ess = (processed(reader, node, edges, AGGREGATES["Interpolative"]).values for node in BALANCE)
    assert np.isfinite(grid).all()
    np.testing.assert_allclose(grid, load + car - pv - ess, atol=3)
    assert 0 <= pv.min() < 1 < pv.max() < 12_500
    assert np.abs(ess).max() > 1000


def test_controllers_kept_their_limits(demo, reader) -> None:
    edges = demo[1] - np.arange(20 * 60, 1, -1) * MINUTE
    soc = processed(reader, "ess0/Soc", edges, AGGREGATES["Interpolative"]).values
    assert 4 < soc.min() < soc.max() < 97
    asked = processed(reader, "ess0/SetActivePower", edges, AGGREGATES["Interpolative"])
    assert (asked.status < BAD_NO_DATA).mean() > 0.9


def test_counters_rise_and_end_where_the_plant_begins(reader) -> None:
    for node, last in (("ess0/ChargeEnergy", 412_000.0), ("meter0/ImportEnergy", 5_120_000.0)):
        values = whole(reader, node).values
        values = values[np.isfinite(values)]
        assert (np.diff(values) >= 0).all()
        assert values[-1] == pytest.approx(last, abs=1)


def test_it_says_that_it_is_simulated_and_is_done_once(demo) -> None:
    told = json.loads((demo[0] / "data" / PAST_FILE).read_text())
    assert told["simulated"] is True
    assert told["until"] == demo[1]
    assert begin_past(demo[0], 7) is None


def test_a_site_without_a_simulated_plant_gets_no_past(tmp_path) -> None:
    directory = tmp_path / "site"
    make_demo(directory)
    for entry in (directory / "entries").iterdir():
        entry.unlink()
    assert past.make_past(directory, days=1) == 0
    assert not (directory / "data" / PAST_FILE).exists()
