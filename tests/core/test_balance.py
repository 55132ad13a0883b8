"""The demand behind a meter, from samples of different moments."""

from __future__ import annotations

import pytest

from server.core.balance import TICKS, Balance, History


def history(*samples: tuple[float, float]) -> History:
    found = History()
    for seconds, power in samples:
        found.push(round(seconds * TICKS), power)
    return found


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.5, 100), (1.0, 100), (1.5, 150), (2.0, 200), (2.25, 100), (9.0, -200)],
)
def test_history_interpolates_and_holds_its_ends(seconds, expected):
    found = history((1, 100), (2, 200), (3, -200))
    assert found.at(round(seconds * TICKS)) == pytest.approx(expected)


def test_a_clock_that_stepped_back_starts_a_history_anew():
    found = history((10, 1), (11, 2), (5, 3))
    assert list(found.samples) == [(5 * TICKS, 3)]


class Case:
    """Feeds a balance of one unit with a period of 1 s."""

    def __init__(self, period_s: float = 1.0) -> None:
        self.balance, self.unit, self.period_s = Balance(), History(), period_s

    def unit_is(self, seconds: float, power: float) -> None:
        self.unit.push(round(seconds * TICKS), power)

    def meter_is(self, seconds: float, power: float, members: tuple[int, ...] = (0,)) -> float | None:
        self.balance.update(power, round(seconds * TICKS), members, [self.unit], [self.period_s])
        return self.balance.demand


def test_demand_is_of_one_moment():
    case = Case()
    case.unit_is(0.75, 0)
    case.unit_is(1.75, 4000)
    assert case.meter_is(1.25, 8000) == pytest.approx(10_000)


def test_a_due_sample_is_waited_for_and_the_answer_holds_meanwhile():
    case = Case()
    case.unit_is(1.0, 0)
    assert case.meter_is(1.0, 10_000) == 10_000
    assert case.meter_is(2.0, 6000) == 10_000
    case.unit_is(2.0, 4000)
    assert case.meter_is(2.0, 6000) == 10_000


def test_the_moment_moves_to_the_newest_that_all_have_reached():
    case = Case()
    case.unit_is(1.0, 0)
    case.meter_is(1.0, 10_000)
    case.meter_is(2.0, 8000)
    case.unit_is(1.5, 1000)
    assert case.meter_is(2.0, 8000) == pytest.approx(9000 + 1000)


def test_one_that_reports_on_change_is_not_waited_for():
    case = Case(period_s=0.0)
    case.unit_is(1.0, 500)
    assert case.meter_is(60.0, 8000) == 8500


def test_one_that_is_late_is_not_waited_for():
    case = Case(period_s=1.0)
    case.unit_is(1.0, 500)
    case.meter_is(1.0, 7000)
    assert case.meter_is(3.9, 8000) == 7500
    assert case.meter_is(4.1, 8000) == 8500


def test_a_unit_that_is_not_measured_any_more_counts_as_demand_at_once():
    case = Case()
    case.unit_is(1.0, 3000)
    assert case.meter_is(1.0, 5000) == 8000
    assert case.meter_is(1.0, 5000, members=()) == 5000


def test_without_a_meter_there_is_no_demand_and_it_comes_back_with_it():
    case = Case()
    case.unit_is(1.0, 3000)
    case.meter_is(1.0, 5000)
    case.balance.clear()
    assert case.balance.demand is None
    assert case.meter_is(1.0, 5000) == 8000
