"""Whatever is sealed, late, corrected or forgotten: raw values, roll-ups and aggregates tell the same story."""

from __future__ import annotations

import numpy as np
import pytest
from history_rig import BAD, BEGIN, GOOD, HOUR_S, NODE, STALE, edges, rows_of, seconds, store, ticks
from sqlalchemy import select, update

from server.core.ticks import TICKS
from server.history import AGGREGATES, HistoryReader, HistoryWriter, database_url, processed
from server.history.packed import RESOLUTIONS_S
from server.history.pieces import as_stored
from server.history.schema import block, recent, rollup

DAY_S = 24 * HOUR_S


def day_of(seed: int, hours: int = 30) -> list[tuple[float, float, int]]:
    """Irregular samples of some hours, some of them not Good, with a pause of four hours."""
    dice = np.random.default_rng(seed)
    times = np.cumsum(dice.exponential(40.0, hours * 90))
    times = times[(times < hours * HOUR_S) & ((times < 5 * HOUR_S) | (times > 9 * HOUR_S))]
    status = dice.choice([GOOD, GOOD, GOOD, GOOD, STALE, BAD], len(times)).tolist()
    values = np.round(np.cumsum(dice.normal(0, 5, len(times))), 2).tolist()
    return list(zip(np.round(times, 3).tolist(), values, status, strict=True))


BOUNDARIES = [
    np.arange(0, 30 * HOUR_S + 1, HOUR_S),
    np.arange(0, 30 * HOUR_S + 1, 900),
    np.array([0.0, 24 * HOUR_S]),
    np.array([1234.5, 40_000.25, 100_000.0]),
    np.arange(-100, 30 * HOUR_S, 7777.7),
    np.arange(3600, 4200, 1.0),
]


@pytest.mark.parametrize("boundaries", BOUNDARIES, ids=["hours", "quarters", "a day", "odd", "odd steps", "seconds"])
def test_what_is_composed_of_roll_ups_is_what_the_samples_say(writer, reader, boundaries) -> None:
    rows = day_of(1)
    store(writer, rows[:1000])
    writer.seal()
    store(writer, rows[1000:])
    at = edges(*boundaries)
    for _ in range(2):
        composed, looked_at = reader.spans(NODE, at), reader.spans(NODE, at, as_stored)
        assert composed is not None
        assert looked_at is not None
        for name in ("has", "known", "good_time", "uncertain_time", "on_time", "start_status", "exact"):
            np.testing.assert_array_equal(getattr(composed, name), getattr(looked_at, name), name)
        for name in ("integral", "start"):
            np.testing.assert_allclose(getattr(composed, name), getattr(looked_at, name), err_msg=name)
        for name in ("good", "bad", "low", "high", "low_time", "squares", "first", "last", "first_good", "last_good", "worst"):
            ours, theirs = getattr(composed.folds, name)[composed.has], getattr(looked_at.folds, name)[composed.has]
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-6, err_msg=name)
        writer.seal()


def test_sealing_changes_no_value_and_leaves_nothing_behind(writer, reader) -> None:
    rows = day_of(2)
    for start in range(0, len(rows), 100):
        store(writer, rows[start : start + 100])
    before = rows_of(reader)
    writer.seal()
    np.testing.assert_array_equal(rows_of(reader), before)
    with writer.engine.begin() as connection:
        assert connection.execute(select(recent.c.id)).first() is None


def test_sealing_that_was_interrupted_begins_again_without_harm(url, writer, reader) -> None:
    for number in range(60):
        store(writer, [(second, float(number), GOOD) for second in range(10)], f"n{number}")
    assert writer.seal_some()
    other = HistoryWriter(url)
    other.seal()
    other.close()
    assert [row[1] for row in rows_of(reader, "n7")] == [7.0] * 10


@pytest.mark.parametrize(
    ("late", "touched"),
    [((90, 100.0, GOOD), {60: 1, 900: 1, 3600: 1}), ((7300, 100.0, GOOD), {60: 1, 900: 1, 3600: 1})],
    ids=["between others", "in another hour"],
)
def test_a_late_value_changes_exactly_the_roll_ups_of_its_own_time(writer, reader, late, touched) -> None:
    store(writer, [(second, 1.0, GOOD) for second in range(0, 3 * HOUR_S, 10)])
    writer.seal()
    before = {s: reader.spans(NODE, _cells(s)).folds for s in RESOLUTIONS_S}
    store(writer, [late])
    for _ in range(2):
        for step in RESOLUTIONS_S:
            after = reader.spans(NODE, _cells(step)).folds
            changed = (after.total != before[step].total).sum()
            assert changed == touched[step], step
        writer.seal()


def _cells(step: int) -> np.ndarray:
    return edges(*range(0, 3 * HOUR_S + 1, step))


def test_a_correction_is_in_the_averages_at_once_and_for_ever(writer, reader) -> None:
    store(writer, [(second, 10.0, GOOD) for second in range(0, HOUR_S, 60)], alive=HOUR_S)
    writer.seal()
    store(writer, [(600, 70.0, GOOD)])
    for _ in range(2):
        found = processed(reader, NODE, edges(0, HOUR_S), AGGREGATES["TimeAverage2"])
        np.testing.assert_allclose(found.values, [11.0])
        writer.seal()


def test_what_retention_takes_is_still_in_the_roll_ups(writer, reader) -> None:
    store(writer, [(second, float(second % 7), GOOD) for second in range(0, 40 * DAY_S, 300)], alive=40 * DAY_S)
    writer.seal()
    whole = processed(reader, NODE, edges(*range(0, 40 * DAY_S + 1, DAY_S)), AGGREGATES["TimeAverage2"])
    now = ticks(40 * DAY_S)
    while writer.forget(now, {0: 10, 60: 20}):
        pass
    assert seconds(reader.raw(NODE, 0, 1 << 62, 1).times)[0] == 30 * DAY_S
    after = processed(reader, NODE, edges(*range(0, 40 * DAY_S + 1, DAY_S)), AGGREGATES["TimeAverage2"])
    np.testing.assert_allclose(after.values, whole.values)
    odd = processed(reader, NODE, edges(1000, DAY_S + 1000, 2 * DAY_S + 1000), AGGREGATES["Count"])
    assert abs(odd.values - 288).max() <= 12  # the hours at the edges are no longer taken apart
    assert (odd.status < BAD).all()


def test_late_values_from_before_what_is_kept_stay_out(writer, reader) -> None:
    store(writer, [(40 * DAY_S, 1.0, GOOD)])
    writer.seal()
    writer.forget(ticks(40 * DAY_S), {0: 10})
    store(writer, [(5 * DAY_S, 2.0, GOOD)])
    writer.seal()
    assert [row[1] for row in rows_of(reader)] == [1.0]


def test_retention_works_in_small_steps(writer) -> None:
    store(writer, [(second, 1.0, GOOD) for second in range(0, 1500 * HOUR_S, HOUR_S)])
    writer.seal()
    steps = 1
    while writer.forget(ticks(1500 * HOUR_S), {0: 1}):
        steps += 1
    assert steps == 3
    with writer.engine.begin() as connection:
        assert len(connection.execute(select(block.c.start)).fetchall()) == 24
        assert len(connection.execute(select(rollup.c.start).where(rollup.c.seconds == 3600)).fetchall()) == 7


def test_a_damaged_block_is_told_and_costs_only_itself(writer, reader) -> None:
    store(writer, [(10, 1.0, GOOD), (HOUR_S + 10, 2.0, GOOD)])
    writer.seal()
    with writer.engine.begin() as connection:
        connection.execute(update(block).where(block.c.start == BEGIN).values(body=b"rubbish"))
    store(writer, [(20, 3.0, GOOD)])
    writer.seal()
    assert len(writer.damaged) == 1
    assert "1 values" in writer.damaged[0]
    assert [row[1] for row in rows_of(reader)] == [3.0, 2.0]


def test_readers_see_a_whole_state_while_another_process_writes(tmp_path) -> None:
    url = database_url(tmp_path)
    writer, reader = HistoryWriter(url), HistoryReader(url)
    store(writer, [(0, 1.0, GOOD)])
    with writer.engine.begin() as connection:
        connection.execute(recent.delete())
        assert len(rows_of(reader)) == 1
    assert rows_of(reader) == []
    writer.close()
    reader.close()


def test_a_year_takes_little_room(tmp_path) -> None:
    writer = HistoryWriter(database_url(tmp_path))
    times = BEGIN + np.arange(0, 100 * DAY_S, 60, dtype=np.int64) * TICKS
    values = np.round(3000 * np.sin(np.arange(len(times)) / 200))
    ids = np.repeat(writer.ensure([NODE]), len(times))
    writer.append(ids, times, values, np.zeros(len(times), np.uint32))
    writer.seal()
    with writer.engine.begin() as connection:
        stored = sum(len(body) for body in connection.execute(select(block.c.body)).scalars())
    writer.close()
    assert stored / len(times) < 4.0
