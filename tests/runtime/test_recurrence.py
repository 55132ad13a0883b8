"""Recurrences beside those of an independent implementation, for thousands of rules."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

import pytest

from server.runtime.recurrence import Rule, recurrences

rrule = pytest.importorskip("dateutil.rrule")

FREQUENCIES = {"yearly": rrule.YEARLY, "monthly": rrule.MONTHLY, "weekly": rrule.WEEKLY, "daily": rrule.DAILY}


def some(random_: random.Random, values: range, most: int = 3) -> list[int]:
    return sorted(random_.sample([v for v in values if v], random_.randint(1, most)))


def random_rule(r: random.Random, frequency: str) -> Rule:
    """A rule with up to three parts that go with its frequency (RFC 5545, 3.3.10), as far as dateutil means the same by it.

    It does not where Mondays and the first Tuesday are meant together, where positions are chosen in the first week, in weeks
    that two years share, and in what a yearly rule leaves open, which RFC 8984 takes from the first start. For a rule without any
    recurrence it goes on to the year 9999.
    """
    numbered = frequency in ("yearly", "monthly") and r.random() < 0.5
    parts = {
        "by_day": lambda: [(day - 1, r.choice([1, 2, -1]) if numbered else 0) for day in some(r, range(1, 8))],
        "by_month": lambda: some(r, range(1, 13)),
        "by_hour": lambda: [hour - 1 for hour in some(r, range(1, 25))],
        "by_minute": lambda: [minute - 1 for minute in some(r, range(1, 61))],
        "positions": lambda: some(r, range(-3, 4)),
    }
    if frequency in ("weekly", "daily"):
        del parts["positions"]
    if frequency != "weekly":
        parts["by_month_day"] = lambda: some(r, range(-28, 29))
    if frequency == "yearly":
        parts |= {"by_year_day": lambda: some(r, range(-365, 366)), "by_week": lambda: some(r, range(-51, 52))}
    chosen = {name: parts[name]() for name in r.sample(sorted(parts), r.randint(0, 3))}
    if "by_week" in chosen:
        chosen["by_day"] = [(day, 0) for day, _ in chosen.get("by_day", [(2, 0)])]
    elif frequency == "yearly" and "by_month_day" in chosen:
        chosen.setdefault("by_month", [1, 2, 3])
    return Rule(frequency, r.choice([1, 1, 2, 3, 5]), r.choice([0, 0, 6]), **chosen)


def by_dateutil(rule: Rule, first: datetime, since: datetime, last: datetime) -> list[datetime]:
    by = {
        "byweekday": [rrule.weekday(day)(n) if n else rrule.weekday(day) for day, n in rule.by_day],
        "bymonthday": rule.by_month_day,
        "bymonth": rule.by_month,
        "byyearday": rule.by_year_day,
        "byweekno": rule.by_week,
        "byhour": rule.by_hour,
        "byminute": rule.by_minute,
        "bysetpos": rule.positions,
    }
    given = {name: list(value) for name, value in by.items() if value}
    made = rrule.rrule(FREQUENCIES[rule.frequency], first, rule.interval, rule.week_begins, until=last, **given)
    return [start for start in made if start >= since]


@pytest.mark.parametrize("frequency", FREQUENCIES)
def test_recurrences_are_those_of_dateutil(frequency):
    r = random.Random(frequency)
    years = {"yearly": 9, "monthly": 4, "weekly": 2, "daily": 1}[frequency]
    for number in range(25):
        rule = random_rule(r, frequency)
        first = datetime(2020, 1, 1, 9, 30) + timedelta(days=r.randint(0, 1500), minutes=r.randint(0, 1439))
        last = first + timedelta(days=365 * years)
        since = first + timedelta(days=r.choice([0, 100, 200]))
        found = [start for start in recurrences(rule, first, since, last) if start >= since]
        assert found == by_dateutil(rule, first, since, last), (number, rule, first)


@pytest.mark.parametrize("frequency", FREQUENCIES)
def test_those_that_are_numbered_are_as_many_as_those_that_are_made(frequency):
    r = random.Random(frequency)
    for number in range(100):
        rule = random_rule(r, frequency)
        first = datetime(2020, 1, 1, 9, 30) + timedelta(days=r.randint(0, 1500), minutes=r.randint(0, 1439))
        last = first + timedelta(days=800)
        since, count = first + timedelta(days=r.randint(0, 700)), r.choice([0, 1, 5, 50, 200, 1000])
        made = list(recurrences(rule, first, first, last))
        expected = [*made[: made[:1] == [first]], *[start for start in made if start > first][:count]]
        found = list(recurrences(rule, first, since, last, count))
        assert found == [start for start in expected if start >= since], (number, rule, first, since, count)


@pytest.mark.parametrize("frequency", FREQUENCIES)
def test_a_rule_that_lets_no_day_through_ends(frequency):
    never = Rule(frequency, by_month=[2], by_month_day=[30])
    assert list(recurrences(never, datetime(2000, 1, 1), datetime(2000, 1, 1), datetime(2030, 1, 1))) == []


def test_periods_far_apart_end_before_time_does():
    rare = Rule("yearly", interval=10_000)
    assert list(recurrences(rare, datetime(2026, 1, 1), datetime(2026, 1, 1), datetime(9000, 1, 1))) == [datetime(2026, 1, 1)]
