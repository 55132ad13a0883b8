"""Values wait for the database in order, bounded, and come back when it could not take them."""

from __future__ import annotations

import numpy as np
import pytest

from analytics.historian.buffer import Buffer
from server.client import Table
from server.core.status import BAD_NO_DATA


def table(*rows: tuple[int, float, int]) -> Table:
    index, values, times = zip(*rows, strict=True)
    return Table(np.array(index), np.array(values), np.zeros(len(rows), np.uint32), np.array(times))


def taken(buffer: Buffer) -> list[tuple[int, float, int]]:
    found = buffer.take()
    assert found is not None
    return list(zip(found.index.tolist(), found.value.tolist(), found.source.tolist(), strict=True))


def test_values_leave_in_the_order_in_which_they_came() -> None:
    buffer = Buffer()
    buffer.add(table((0, 1.0, 10), (2, 2.0, 11)))
    buffer.add(table((1, 3.0, 12)))
    assert taken(buffer) == [(0, 1.0, 10), (2, 2.0, 11), (1, 3.0, 12)]
    assert buffer.values == 0
    assert buffer.take() is None


def test_a_value_without_a_source_time_is_no_history() -> None:
    buffer = Buffer()
    buffer.add(table((0, 1.0, 0), (1, 2.0, 11)))
    assert taken(buffer) == [(1, 2.0, 11)]


def test_what_could_not_be_stored_goes_first_next_time() -> None:
    buffer = Buffer()
    buffer.add(table((0, 1.0, 10)))
    waiting = buffer.take()
    assert waiting is not None
    buffer.add(table((0, 2.0, 20)))
    buffer.restore(waiting)
    assert taken(buffer) == [(0, 1.0, 10), (0, 2.0, 20)]


@pytest.mark.parametrize(
    ("arrived", "kept", "lost"),
    [
        (
            [(0, 1.0, 10), (0, 2.0, 20), (0, 3.0, 30), (0, 4.0, 40), (0, 5.0, 50)],
            [(0, None, 10), (0, 2.0, 20), (0, 3.0, 30), (0, 4.0, 40), (0, 5.0, 50)],
            1,
        ),
        (
            [(0, 1.0, 10), (1, 5.0, 11), (0, 3.0, 30), (0, 4.0, 40), (0, 5.0, 50)],
            [(0, 1.0, 10), (1, 5.0, 11), (0, 3.0, 30), (0, 4.0, 40), (0, 5.0, 50)],
            0,
        ),
    ],
    ids=["the last value of a series stays, and the time before it has no data", "a single value is not given up"],
)
def test_without_a_database_the_oldest_half_is_thinned_and_counted(arrived, kept, lost) -> None:
    buffer = Buffer(values_max=4)
    for row in arrived:
        buffer.add(table(row))
    assert [(i, None if np.isnan(v) else v, t) for i, v, t in taken(buffer)] == kept
    assert buffer.lost == lost


def test_however_long_the_database_is_away_the_buffer_stays_bounded() -> None:
    buffer = Buffer(values_max=100)
    for time in range(1, 2000):
        buffer.add(table((0, 1.0, 10 * time), (1, 2.0, 10 * time)))
    assert buffer.values <= 110
    found = buffer.take()
    assert found is not None
    assert (np.diff(found.source) >= 0).all()
    assert found.source[-1] == 19_990
    assert set(found.status.tolist()) == {0, BAD_NO_DATA}
    assert buffer.lost + int((found.status == 0).sum()) == 2 * 1999
