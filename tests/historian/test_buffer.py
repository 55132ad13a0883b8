"""Values wait for the database in order, bounded, and come back when it could not take them."""

from __future__ import annotations

import numpy as np

from analytics.historian.buffer import Buffer
from server.client import Table

IDS = np.array([70, 71, 72])


def table(*rows: tuple[int, float, int]) -> Table:
    index, values, times = zip(*rows, strict=True)
    return Table(np.array(index), np.array(values), np.zeros(len(rows), np.uint32), np.array(times))


def test_values_leave_as_columns_with_the_ids_of_their_series() -> None:
    buffer = Buffer(IDS)
    buffer.add(table((0, 1.0, 10), (2, 2.0, 11)))
    buffer.add(table((1, 3.0, 12)))
    ids, times, values, status = buffer.columns(buffer.take())
    assert ids.tolist() == [70, 72, 71]
    assert times.tolist() == [10, 11, 12]
    assert values.tolist() == [1.0, 2.0, 3.0]
    assert status.tolist() == [0, 0, 0]
    assert buffer.values == 0


def test_a_value_without_a_source_time_is_no_history() -> None:
    buffer = Buffer(IDS)
    buffer.add(table((0, 1.0, 0), (1, 2.0, 11)))
    assert buffer.columns(buffer.take())[1].tolist() == [11]


def test_what_could_not_be_stored_goes_first_next_time() -> None:
    buffer = Buffer(IDS)
    buffer.add(table((0, 1.0, 10)))
    waiting = buffer.take()
    buffer.add(table((0, 2.0, 20)))
    buffer.restore(waiting)
    assert buffer.columns(buffer.take())[1].tolist() == [10, 20]


def test_without_a_database_the_oldest_values_are_given_up_and_counted() -> None:
    buffer = Buffer(IDS, values_max=3)
    for time in (10, 20, 30, 40, 50):
        buffer.add(table((0, 1.0, time)))
    assert buffer.lost == 2
    assert buffer.columns(buffer.take())[1].tolist() == [30, 40, 50]
