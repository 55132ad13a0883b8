"""What the historian stores is what a reader gets: value, quality and source time, in either direction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from server.history import HistoryError, HistoryReader, HistoryWriter, database_url

GOOD, BAD = 0, 0x80310000


@pytest.fixture
def url(tmp_path: Path) -> str:
    return database_url(tmp_path)


@pytest.fixture
def writer(url: str):
    writer = HistoryWriter(url)
    yield writer
    writer.close()


@pytest.fixture
def reader(url: str):
    reader = HistoryReader(url)
    yield reader
    reader.close()


def store(writer: HistoryWriter, node: str, rows: list[tuple[int, float, int]]) -> None:
    times, values, status = (np.array(c) for c in zip(*rows, strict=True))
    ids = np.repeat(writer.ensure([node]), len(rows))
    writer.append(ids, times.astype(np.int64), values.astype(np.float64), status.astype(np.uint32))


ROWS = [(10, 1.0, GOOD), (20, float("nan"), BAD), (30, 3.5, GOOD), (40, 4.0, GOOD)]


@pytest.mark.parametrize(
    ("start", "end", "limit", "times"),
    [
        (10, 40, 100, [10, 20, 30]),
        (0, 100, 100, [10, 20, 30, 40]),
        (40, 10, 100, [40, 30, 20]),
        (0, 100, 2, [10, 20]),
        (100, 0, 2, [40, 30]),
        (11, 20, 100, []),
    ],
    ids=["end is outside", "all", "backwards", "limited", "limited backwards", "nothing there"],
)
def test_a_range_is_read_in_the_order_asked_for(writer, reader, start, end, limit, times) -> None:
    store(writer, "ess0/ActivePower", ROWS)
    store(writer, "ess0/Soc", [(15, 50.0, GOOD)])
    assert reader.raw("ess0/ActivePower", start, end, limit).times.tolist() == times


def test_value_and_quality_survive_and_no_number_stays_no_number(writer, reader) -> None:
    store(writer, "ess0/ActivePower", ROWS)
    read = reader.raw("ess0/ActivePower", 0, 100, 100)
    np.testing.assert_array_equal(read.values, [1.0, np.nan, 3.5, 4.0])
    assert read.status.tolist() == [GOOD, BAD, GOOD, GOOD]


def test_a_second_value_for_one_moment_corrects_the_first(writer, reader) -> None:
    store(writer, "n", [(10, 1.0, GOOD)])
    store(writer, "n", [(10, 2.0, GOOD)])
    assert reader.raw("n", 0, 100, 10).values.tolist() == [2.0]


@pytest.mark.parametrize(("at", "before", "times"), [(30, True, [20]), (30, False, [40]), (10, True, []), (40, False, [])])
def test_bounds_are_the_nearest_values_outside(writer, reader, at, before, times) -> None:
    store(writer, "n", ROWS)
    assert reader.bound("n", at, before=before).times.tolist() == times


def test_a_history_not_yet_written_is_empty_and_fills_later(url, reader) -> None:
    assert len(reader.raw("n", 0, 100, 10)) == 0
    writer = HistoryWriter(url)
    store(writer, "n", ROWS)
    writer.close()
    assert len(reader.raw("n", 0, 100, 10)) == 4


def test_series_keep_their_id_over_restarts(url) -> None:
    ids = []
    for nodes in (["a", "b"], ["b", "c", "a"]):
        writer = HistoryWriter(url)
        ids.append(dict(zip(nodes, writer.ensure(nodes).tolist(), strict=True)))
        writer.close()
    assert ids[0].items() <= ids[1].items()


def test_a_damaged_file_is_set_aside_not_lost(tmp_path, url) -> None:
    file = tmp_path / "data" / "history.sqlite"
    file.parent.mkdir()
    file.write_bytes(b"this is no database" * 1000)
    writer = HistoryWriter(url)
    store(writer, "n", ROWS)
    writer.close()
    assert writer.set_aside is not None
    assert writer.set_aside.read_bytes().startswith(b"this is no database")
    assert len(HistoryReader(url).raw("n", 0, 100, 10)) == 4


def test_a_reader_cannot_write(writer, url, reader) -> None:
    store(writer, "n", ROWS)
    reader.raw("n", 0, 1, 1)
    with pytest.raises(Exception, match="readonly"), reader._engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM block")


def test_an_unreachable_database_is_named_without_its_password(tmp_path) -> None:
    with pytest.raises(HistoryError) as caught:
        HistoryWriter(f"sqlite:////proc/nowhere/user:secret@{tmp_path.name}/h.sqlite")
    assert "secret" not in str(caught.value)
