"""When something recurs (RFC 8984, 4.3.3.1): the days of each period, less those that a part of the rule does not let through.

    period      a year, month, week or day, `interval` of them apart, the first is that of the first start
    day         let through by byMonth, byWeekNo, byYearDay, byMonthDay and byDay; what it leaves open is as in the first start
    time        each hour of byHour with each minute of byMinute; bySetPosition chooses among all of a period

Local times throughout, without zones. A rule that never lets a day through costs no more than another: the days from the first
start, or from `since`, to `last`.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final

DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Rule:
    """Parts of a rule as in RFC 8984. Weekdays count from 0, Monday; by_day: (weekday, which one of the period or 0 for all)."""

    frequency: str
    interval: int = 1
    week_begins: int = 0
    by_day: Sequence[tuple[int, int]] = ()
    by_month_day: Sequence[int] = ()
    by_month: Sequence[int] = ()
    by_year_day: Sequence[int] = ()
    by_week: Sequence[int] = ()
    by_hour: Sequence[int] = ()
    by_minute: Sequence[int] = ()
    positions: Sequence[int] = ()


def recurrences(rule: Rule, first: datetime, since: datetime, last: datetime) -> Iterator[datetime]:
    """What the rule makes from `first` to `last`, in order; some before `since` are left out."""
    allowed = _Days(rule, first.date())
    clock = [
        time(hour, minute, first.second)
        for hour in sorted(set(rule.by_hour or [first.hour]))
        for minute in sorted(set(rule.by_minute or [first.minute]))
    ]
    for days in _periods(rule, first.date(), max(first, since).date(), last.date()):
        found = [datetime.combine(day, moment) for day in days if allowed(day) for moment in clock]
        for start in _chosen(found, rule.positions):
            if first <= start <= last:
                yield start


def _chosen(found: Sequence[datetime], positions: Sequence[int]) -> Sequence[datetime]:
    """Those at some positions, counted from 1, or from the end by negative numbers; all when none is given."""
    if not positions:
        return found
    chosen = {p - 1 if p > 0 else len(found) + p for p in positions if p}
    return [found[i] for i in sorted(chosen) if 0 <= i < len(found)]


def _periods(rule: Rule, first: date, since: date, last: date) -> Iterator[Sequence[date]]:
    """The days of each period of the rule that is not over before `since`, up to that of `last`."""
    base = _index(rule, first)
    begins, ends = (_index(rule, day) - base for day in (since, last))
    for number in range(begins // rule.interval, ends // rule.interval + 1):
        begin, length = _period(rule, first, number * rule.interval)
        yield [begin + timedelta(days=i) for i in range(length)]


def _index(rule: Rule, day: date) -> int:
    """Number of the period that a day is in, from anywhere."""
    if rule.frequency == "yearly":
        return day.year
    if rule.frequency == "monthly":
        return day.year * 12 + day.month
    return day.toordinal() if rule.frequency == "daily" else (day.toordinal() - 1 - rule.week_begins) // 7


def _period(rule: Rule, first: date, ahead: int) -> tuple[date, int]:
    """First day and number of days of the period so many after that of `first`."""
    if rule.frequency == "yearly":
        year = date(first.year + ahead, 1, 1)
        return year, _year_length(year.year)
    if rule.frequency == "monthly":
        years, month = divmod(first.month - 1 + ahead, 12)
        return date(first.year + years, month + 1, 1), monthrange(first.year + years, month + 1)[1]
    if rule.frequency == "daily":
        return first + timedelta(days=ahead), 1
    return first - (first.weekday() - rule.week_begins) % 7 * DAY + timedelta(weeks=ahead), 7


def _year_length(year: int) -> int:
    return date(year, 12, 31).timetuple().tm_yday


class _Days:
    """Whether a rule lets a day through. What it leaves open is taken from the first day."""

    def __init__(self, rule: Rule, first: date) -> None:
        self._begins = rule.week_begins
        self._weeks = frozenset(rule.by_week)
        self._year_days = frozenset(rule.by_year_day)
        self._months, self._month_days, self._by_day = set(rule.by_month), set(rule.by_month_day), set(rule.by_day)
        if rule.frequency == "weekly" and not rule.by_day:
            self._by_day = {(first.weekday(), 0)}
        elif rule.frequency == "monthly" and not rule.by_day and not rule.by_month_day:
            self._month_days = {first.day}
        elif rule.frequency == "yearly" and not rule.by_year_day:
            self._complete_year(rule, first)
        self._in_month = rule.frequency == "monthly" or bool(rule.by_month)

    def _complete_year(self, rule: Rule, first: date) -> None:
        if not rule.by_month and not rule.by_week and (rule.by_month_day or not rule.by_day):
            self._months = {first.month}
        if not rule.by_month_day and not rule.by_day:
            if rule.by_week:
                self._by_day = {(first.weekday(), 0)}
            else:
                self._month_days = {first.day}

    def __call__(self, day: date) -> bool:
        if self._months and day.month not in self._months:
            return False
        if self._month_days and not self._month_days & _both_ways(day.day, monthrange(day.year, day.month)[1]):
            return False
        if self._year_days and not self._year_days & _both_ways(day.timetuple().tm_yday, _year_length(day.year)):
            return False
        if self._weeks and not self._weeks & self._week(day):
            return False
        return not self._by_day or bool(self._by_day & self._weekday(day))

    def _week(self, day: date) -> set[int]:
        """Number of the week in the year that has most of it, from both ends (ISO 8601, with weeks that begin on any day)."""
        middle = day - (day.weekday() - self._begins) % 7 * DAY + 3 * DAY
        latest = date(middle.year, 12, 31)
        whole = latest - (latest.weekday() - self._begins) % 7 * DAY + 3 * DAY
        weeks = ((whole if whole.year == middle.year else whole - 7 * DAY).timetuple().tm_yday - 1) // 7 + 1
        return _both_ways((middle.timetuple().tm_yday - 1) // 7 + 1, weeks)

    def _weekday(self, day: date) -> set[tuple[int, int]]:
        """The weekday, and which one of the month or year it is."""
        if self._in_month:
            number, length = day.day, monthrange(day.year, day.month)[1]
        else:
            number, length = day.timetuple().tm_yday, _year_length(day.year)
        return {(day.weekday(), n) for n in (0, (number - 1) // 7 + 1, -((length - number) // 7 + 1))}


def _both_ways(number: int, length: int) -> set[int]:
    """A number counted from 1, and from the end."""
    return {number, number - length - 1}
