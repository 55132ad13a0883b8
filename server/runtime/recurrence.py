"""When something recurs (RFC 8984, 4.3.3.1): the days of each period, less those that a part of the rule does not let through.

    period      a year, month, week or day, `interval` of them apart, the first is that of the first start
    day         let through by byMonth, byWeekNo, byYearDay, byMonthDay and byDay; what it leaves open is as in the first start
    time        each hour of byHour with each minute of byMinute; bySetPosition chooses among all of a period

Local times throughout, without zones. What is asked for is found on its own days: of those before `since` none is made, unless
the rule chooses from periods that begin earlier. Where a rule ends after so many, those before are numbered, day by day, or all
at once where its weeks are alike. Each step of this is taken from an Effort, so that no rule goes on for long.
"""

from __future__ import annotations

import sys
from calendar import isleap, monthrange
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import chain
from typing import Final

from server.core.errors import EmsError

DAY: Final = timedelta(days=1)
RULE_STEPS: Final = 10
"""What it takes to begin with a rule; each value in it takes one more."""


class TooMuchEffort(EmsError):
    """More steps than there may be."""


class Effort:
    """Steps that may still be taken: days that are looked at, starts that are made. A step takes about a microsecond or two."""

    def __init__(self, steps: int = sys.maxsize) -> None:
        self.left = steps

    def spend(self, steps: int) -> None:
        """Take so many. TooMuchEffort when there are less."""
        self.left -= steps
        if self.left < 0:
            raise TooMuchEffort("more days and times would have to be looked at than there may be")


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


def recurrences(
    rule: Rule, first: datetime, since: datetime, last: datetime, count: int | None = None, effort: Effort | None = None
) -> Iterator[datetime]:
    """What the rule makes from `first` to `last`, in order, less those before `since`.

    count: those later than `first`, before `since` or not, are so many at most. TooMuchEffort when it takes more than `effort`.
    """
    starts = _Starts(rule, first, effort or Effort())
    begin, passed = max(first, since).date(), 0
    if count is not None:
        begin, passed = starts.numbered(first, begin, count)
    for start in starts.between(begin, last.date() + DAY):
        if start > last or (start > first and passed == count):
            return
        passed += count is not None and start > first
        if start >= first and start >= since:
            yield start


class _Starts:
    """The starts of a rule, by their days."""

    def __init__(self, rule: Rule, first: datetime, effort: Effort) -> None:
        by = (rule.by_day, rule.by_month_day, rule.by_month, rule.by_year_day, rule.by_week, rule.by_hour, rule.by_minute)
        effort.spend(RULE_STEPS + sum(map(len, by)) + len(rule.positions))
        self._rule, self._first, self._effort = rule, first.date(), effort
        self._days = _Days(rule, first.date(), effort)
        hours, minutes = sorted(set(rule.by_hour or [first.hour])), sorted(set(rule.by_minute or [first.minute]))
        self._hours, self._minutes, self._second = hours, minutes, first.second
        self._each_day = len(hours) * len(minutes)
        self._chooses = bool(rule.positions)
        self._positions = frozenset(rule.positions) - {0}

    def between(self, begin: date, end: date) -> Iterator[datetime]:
        """Those from one day up to, not including, another, in order; all of each period where the rule chooses from it."""
        for days in self._let_through(begin, end):
            for number in self._chosen(len(days)):
                self._effort.spend(1)
                day, of_day = divmod(number, self._each_day)
                hour, minute = divmod(of_day, len(self._minutes))
                yield datetime.combine(days[day], time(self._hours[hour], self._minutes[minute], self._second))

    def numbered(self, first: datetime, day: date, most: int) -> tuple[date, int]:
        """A day not after `day`, and how many starts later than `first` there are before it, `most` at most."""
        _, opening = self._block(self._first)
        begin, _ = self._block(day)
        if begin < opening:
            return self._first, 0
        passed = sum(start > first for start in self.between(self._first, opening))
        return begin, min(most, passed + self._number(opening, begin, most - passed))

    def _number(self, begin: date, end: date, most: int) -> int:
        """How many there are from one day to another."""
        cycle = self._cycle_days()
        cycles = (end - begin).days // cycle if cycle else 0
        if cycles < 2:
            return self._counted(begin, end, most)
        rest = begin + timedelta(days=cycles * cycle)
        return cycles * self._counted(begin, begin + timedelta(days=cycle), most) + self._counted(rest, end, most)

    def _counted(self, begin: date, end: date, most: int) -> int:
        number = 0
        for days in self._let_through(begin, end):
            number += len(self._chosen(len(days)))
            if number >= most:
                break
        return number

    def _cycle_days(self) -> int:
        """Days after which all is the same again; 0 where they would be years."""
        rule = self._rule
        alike = not (rule.by_month or rule.by_month_day or rule.by_year_day or rule.by_week)
        return 7 * rule.interval if alike and rule.frequency in ("daily", "weekly") else 0

    def _chosen(self, days: int) -> Sequence[int]:
        """Numbers, from 0, of the starts that count among those of some days: all, or those at the positions of the rule."""
        made = days * self._each_day
        if not self._chooses:
            return range(made)
        self._effort.spend(len(self._positions))
        chosen = {p - 1 if p > 0 else made + p for p in self._positions}
        return sorted(number for number in chosen if 0 <= number < made)

    def _let_through(self, begin: date, end: date) -> Iterator[Sequence[date]]:
        """The days that are let through: a period at once where the rule chooses from it."""
        if self._chooses:
            for period in self._periods(begin, end):
                yield list(chain.from_iterable(self._days.among(*period)))
        elif self._rule.interval == 1:
            yield from self._days.among(begin, end)
        else:
            for first, after in self._periods(begin, end):
                yield from self._days.among(max(first, begin), min(after, end))

    def _periods(self, begin: date, end: date) -> Iterator[tuple[date, date]]:
        """First day, and the day after, of each period of the rule that is not over before `begin`, up to `end`."""
        base, interval = _index(self._rule, self._first), self._rule.interval
        begins, ends = (_index(self._rule, day) - base for day in (begin, end - DAY))
        for number in range(-(-begins // interval), ends // interval + 1):
            self._effort.spend(1)
            yield _period(self._rule, self._first, number * interval)

    def _block(self, day: date) -> tuple[date, date]:
        """First day, and the day after, of what starts are found of at once: a day, or its period where the rule chooses."""
        if not self._chooses:
            return day, day + DAY
        return _period(self._rule, self._first, _index(self._rule, day) - _index(self._rule, self._first))


def _index(rule: Rule, day: date) -> int:
    """Number of the period that a day is in, from anywhere."""
    if rule.frequency == "yearly":
        return day.year
    if rule.frequency == "monthly":
        return day.year * 12 + day.month
    return day.toordinal() if rule.frequency == "daily" else (day.toordinal() - 1 - rule.week_begins) // 7


def _period(rule: Rule, first: date, ahead: int) -> tuple[date, date]:
    """First day, and the day after, of the period so many after that of `first`."""
    if rule.frequency == "yearly":
        return date(first.year + ahead, 1, 1), date(first.year + ahead + 1, 1, 1)
    if rule.frequency == "monthly":
        years, month = divmod(first.month - 1 + ahead, 12)
        begin = date(first.year + years, month + 1, 1)
        return begin, _next_month(begin)
    if rule.frequency == "daily":
        return first + timedelta(days=ahead), first + timedelta(days=ahead + 1)
    begin = first - (first.weekday() - rule.week_begins) % 7 * DAY + timedelta(weeks=ahead)
    return begin, begin + timedelta(weeks=1)


def _next_month(day: date) -> date:
    """The first day of the month after that of a day."""
    return day + timedelta(days=monthrange(day.year, day.month)[1] - day.day + 1)


def _year_length(year: int) -> int:
    return 366 if isleap(year) else 365


class _Days:
    """Which days a rule lets through. What it leaves open is taken from the first day."""

    def __init__(self, rule: Rule, first: date, effort: Effort) -> None:
        self._effort = effort
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
        self._weekdays = {weekday for weekday, _ in self._by_day} or set(range(7))
        self._in_month = rule.frequency == "monthly" or bool(rule.by_month)
        self._day_steps = 1 + 2 * bool(self._weeks) + bool(self._year_days) + any(number for _, number in self._by_day)

    def _complete_year(self, rule: Rule, first: date) -> None:
        if not rule.by_month and not rule.by_week and (rule.by_month_day or not rule.by_day):
            self._months = {first.month}
        if not rule.by_month_day and not rule.by_day:
            if rule.by_week:
                self._by_day = {(first.weekday(), 0)}
            else:
                self._month_days = {first.day}

    def among(self, begin: date, end: date) -> Iterator[list[date]]:
        """Those from one day up to, not including, another, by month."""
        while begin < end:
            after = min(end, _next_month(begin))
            self._effort.spend(1)
            if not self._months or begin.month in self._months:
                days = self._of_month(begin, (after - begin).days)
                self._effort.spend(2 + len(days) * self._day_steps)
                yield [day for day in days if self._lets_through(day)]
            begin = after

    def _of_month(self, begin: date, length: int) -> list[date]:
        """So many days of a month, less those that their number in it or their weekday rules out."""
        days: Sequence[int] = range(begin.day, begin.day + length)
        if self._month_days:
            whole = monthrange(begin.year, begin.month)[1]
            days = sorted({day if day > 0 else whole + 1 + day for day in self._month_days if day} & {*days})
        offset = begin.weekday() - begin.day
        return [begin.replace(day=day) for day in days if (day + offset) % 7 in self._weekdays]

    def _lets_through(self, day: date) -> bool:
        """Of what is left of a month."""
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
