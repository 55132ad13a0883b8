"""Calendars: events of RFC 8984 (JSCalendar) and daily times, and the moments at which they begin and end.

    {"title": "Night tariff", "start": "2026-01-01T22:00:00", "duration": "PT8H", "timeZone": "Europe/Vienna",
     "recurrenceRules": [{"frequency": "weekly", "byDay": [{"day": "mo"}, {"day": "fr"}]}],
     "recurrenceOverrides": {"2026-12-25T22:00:00": {"excluded": true}},
     "controllers": {"peak0": {"Enabled": false}, "self0": {"deadband_w": 200}}}

    {"title": "Noon", "from": "11:00", "to": "14:00", "days": ["mo", "tu"], "controllers": {...}}

Recurrences are counted in local time (recurrence.py). A local time that the clock skips or shows twice is taken with the offset
before the change: one that is skipped is as much later, one that comes twice is the first (RFC 5545, 3.3.5). Days and
weeks of a duration are days of the calendar, hours and less are exact time (RFC 8984, 1.4.6). A daily time ends when the clock
says so. `controllers` is our own property; those of other vendors, which have a colon in their names, mean nothing here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from heapq import merge
from itertools import groupby
from typing import Annotated, Any, Final, Literal, NamedTuple, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from server.core.ticks import from_datetime

from .recurrence import Effort, Rule, recurrences

EARLIEST: Final = datetime(2000, 1, 1)
LATEST: Final = datetime(2200, 1, 1)
DURATION_DAYS_MAX: Final = 366
ENTRY_STEPS: Final = 10
"""What it takes to begin with an entry, in steps of an Effort."""
OCCURRENCE_STEPS: Final = 5
"""What it takes to place an occurrence in time."""

Weekday = Literal["mo", "tu", "we", "th", "fr", "sa", "su"]
Value = bool | float | str
_WEEKDAYS: Final = ("mo", "tu", "we", "th", "fr", "sa", "su")
_LOCAL: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
_DURATION: Final = re.compile(r"P(?:(\d+)W)?(?:(\d+)D)?(?:T(?=\d)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?")


class Duration(NamedTuple):
    """Days of the calendar, then exact seconds."""

    days: int
    seconds: int


class Occurrence(NamedTuple):
    """An event at one time [ticks]."""

    start: int
    end: int
    title: str
    controllers: Mapping[str, Mapping[str, Value]]


def _local(value: Any) -> datetime:
    if isinstance(value, str) and _LOCAL.fullmatch(value):
        value = datetime.fromisoformat(value)
    if not isinstance(value, datetime) or value.tzinfo is not None:
        raise ValueError(f"'{value}' is not a local date and time such as 2026-03-29T02:30:00")
    return value


def _start(value: Any) -> datetime:
    found = _local(value)
    if not EARLIEST <= found < LATEST:
        raise ValueError(f"'{value}' is not in the years from {EARLIEST.year} to {LATEST.year - 1}")
    return found


def _duration(value: Any) -> Duration:
    if isinstance(value, Duration):
        return value
    found = _DURATION.fullmatch(value) if isinstance(value, str) and len(value) <= 40 else None
    weeks, days, hours, minutes, seconds = (int(part or 0) for part in found.groups()) if found else (0,) * 5
    length = Duration(weeks * 7 + days, hours * 3600 + minutes * 60 + seconds)
    if found is None or not any(length):
        raise ValueError(f"'{value}' is not a duration such as PT8H or P1DT2H30M")
    if length.days + length.seconds / 86_400 > DURATION_DAYS_MAX:
        raise ValueError(f"'{value}' is longer than {DURATION_DAYS_MAX} days")
    return length


def _time(value: Any) -> time:
    if isinstance(value, str) and re.fullmatch(r"\d\d:\d\d(:\d\d)?", value):
        value = time.fromisoformat(value)
    if not isinstance(value, time) or value.tzinfo is not None:
        raise ValueError(f"'{value}' is not a time of day such as 22:00")
    return value


Local = Annotated[datetime, BeforeValidator(_local)]
Start = Annotated[datetime, BeforeValidator(_start)]
Length = Annotated[Duration, BeforeValidator(_duration)]
TimeOfDay = Annotated[time, BeforeValidator(_time)]
MonthDay = Annotated[int, Field(ge=-31, le=31)]
YearDay = Annotated[int, Field(ge=-366, le=366)]
Week = Annotated[int, Field(ge=-53, le=53)]
Hour = Annotated[int, Field(ge=0, le=23)]
Minute = Annotated[int, Field(ge=0, le=59)]
Month = Annotated[str, Field(pattern=r"^(1[0-2]|[1-9])$")]
Controllers = Annotated[dict[str, Annotated[dict[str, Value], Field(min_length=1)]], Field(min_length=1)]


def _zone(name: str | None) -> str | None:
    try:
        return name if name is None else ZoneInfo(name).key
    except (KeyError, OSError, ValueError):
        raise ValueError(f"'{name}' is not an IANA time zone such as Europe/Vienna") from None


class _Part(BaseModel):
    """A part of a calendar whose every property is known."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    type_: str = Field("", alias="@type")

    @model_validator(mode="before")
    @classmethod
    def _without_vendors(cls, data: Any) -> Any:
        """Properties of other vendors have a colon in their names."""
        return {k: v for k, v in data.items() if ":" not in str(k)} if isinstance(data, Mapping) else data


class NDay(_Part):
    """A weekday; nthOfPeriod: which one of the month or year, from its end when negative."""

    day: Weekday
    nthOfPeriod: int | None = Field(None, ge=-53, le=53)


class RecurrenceRule(_Part):
    """recurrenceRules: RFC 8984, 4.3.3, down to days, in the Gregorian calendar; dates that do not exist are left out."""

    frequency: Literal["yearly", "monthly", "weekly", "daily"] = Field(description="How often.")
    interval: int = Field(1, ge=1, le=10_000, description="Every so many years, months, weeks or days.")
    rscale: Literal["gregorian"] = Field("gregorian", description="Nothing else is known.")
    skip: Literal["omit"] = Field("omit", description="Nothing else is known.")
    firstDayOfWeek: Weekday = Field("mo", description="Where weeks begin, for those of `interval` and `byWeekNo`.")
    byDay: tuple[NDay, ...] = Field(
        (), description="Weekdays; `nthOfPeriod` is which one of the month or year, from its end if < 0."
    )
    byMonthDay: tuple[MonthDay, ...] = Field((), description="Days of the month, from its end if < 0.")
    byMonth: tuple[Month, ...] = Field((), description="Months, as texts.")
    byYearDay: tuple[YearDay, ...] = Field((), description="Days of the year, from its end if < 0.")
    byWeekNo: tuple[Week, ...] = Field((), description="Weeks of the year (ISO 8601).")
    byHour: tuple[Hour, ...] = Field((), description="Hours, instead of that of `start`.")
    byMinute: tuple[Minute, ...] = Field((), description="Minutes, instead of that of `start`.")
    bySetPosition: tuple[YearDay, ...] = Field((), description="Which of the dates of a period, from its end if < 0.")
    count: int | None = Field(None, ge=1, description="It ends after so many.")
    until: Local | None = Field(None, description="It ends with this local time.")

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if self.count is not None and self.until is not None:
            raise ValueError("count and until: one of them ends a recurrence, not both")
        return self

    @model_validator(mode="after")
    def _of_a_period(self) -> Self:
        if self.frequency in ("weekly", "daily") and any(day.nthOfPeriod for day in self.byDay):
            raise ValueError("nthOfPeriod: monthly and yearly rules only have it")
        return self

    def starts(self, first: datetime, since: datetime, last: datetime, effort: Effort) -> Iterator[datetime]:
        """Local starts from `since` to `last`, in order; the first one always counts (RFC 8984, 4.3.3)."""
        if first >= since:
            yield first
        last = last if self.until is None else min(last, self.until)
        later = None if self.count is None else self.count - 1
        yield from (start for start in recurrences(self._rule, first, since, last, later, effort) if start != first)

    @property
    def _rule(self) -> Rule:
        return Rule(
            self.frequency,
            self.interval,
            _WEEKDAYS.index(self.firstDayOfWeek),
            [(_WEEKDAYS.index(day.day), day.nthOfPeriod or 0) for day in self.byDay],
            self.byMonthDay,
            [int(month) for month in self.byMonth],
            self.byYearDay,
            self.byWeekNo,
            self.byHour,
            self.byMinute,
            self.bySetPosition,
        )


class Override(_Part):
    """recurrenceOverrides: what is different in one recurrence, by its local start; one that no rule makes is added."""

    excluded: bool = Field(False, description="It does not take place.")
    start: Start | None = Field(None, description="It is moved.")
    duration: Length | None = Field(None, description="It is shorter or longer.")
    title: str | None = Field(None, description="It is called otherwise.")
    controllers: Controllers | None = Field(None, description="It sets this instead.")


class _Entry(_Part):
    title: str = Field(min_length=1, max_length=100, description="What people call it.")
    controllers: Controllers = Field(description="What it sets: by controller, `Enabled` or a parameter, and the value.")
    timeZone: str | None = Field(None, description="IANA time zone; that of the site when left out.")
    priority: int = Field(0, ge=0, le=9, description="1 is heard first, 9 last but for 0, which says nothing.")
    uid: str = Field("", description="Not used.")

    @field_validator("timeZone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        return _zone(value)

    def zone(self, otherwise: str) -> ZoneInfo:
        """The zone its times are in."""
        return ZoneInfo(self.timeZone or otherwise)


class Daily(_Entry):
    """[[schedule]] by the clock: every day, or on some weekdays, from one time to another. Also an entry of a calendar."""

    from_: TimeOfDay = Field(alias="from", description="When it begins.")
    to: TimeOfDay = Field(description="When it ends; on the next day unless it is later than `from`.")
    days: tuple[Weekday, ...] = Field(_WEEKDAYS, min_length=1, description="Weekdays on which it begins.")

    def occurrences(self, site_zone: str, begin: datetime, end: datetime, effort: Effort | None = None) -> Iterator[Occurrence]:
        """Those that may overlap begin to end (UTC). TooMuchEffort when it takes more than `effort` to find them."""
        effort = effort or Effort()
        effort.spend(ENTRY_STEPS)
        zone = self.zone(site_zone)
        day = begin.astimezone(zone).date() - timedelta(days=2)
        while day <= end.astimezone(zone).date():
            if _WEEKDAYS[day.weekday()] in self.days:
                effort.spend(OCCURRENCE_STEPS)
                last = day if self.to > self.from_ else day + timedelta(days=1)
                yield Occurrence(_ticks(day, self.from_, zone), _ticks(last, self.to, zone), self.title, self.controllers)
            day += timedelta(days=1)


class Event(_Entry):
    """[[schedule]] by the calendar: an event of RFC 8984. Also an entry of a calendar."""

    start: Start = Field(description="Local time of the first occurrence.")
    duration: Length = Field(description="How long, such as PT8H.")
    recurrenceRules: tuple[RecurrenceRule, ...] = Field((), max_length=16, description="When it comes again.")
    excludedRecurrenceRules: tuple[RecurrenceRule, ...] = Field((), max_length=16, description="When it does not.")
    recurrenceOverrides: dict[Start, Override] = Field({}, max_length=1000, description="What is different at single times.")
    status: Literal["confirmed", "tentative", "cancelled"] = Field("confirmed", description="One that is cancelled sets nothing.")
    description: str = Field("", description="For people.")
    sequence: int = Field(0, description="Not used.")
    created: str = Field("", description="Not used.")
    updated: str = Field("", description="Not used.")

    def occurrences(self, site_zone: str, begin: datetime, end: datetime, effort: Effort | None = None) -> Iterator[Occurrence]:
        """Those that may overlap begin to end (UTC). TooMuchEffort when it takes more than `effort` to find them."""
        if self.status == "cancelled":
            return
        effort = effort or Effort()
        effort.spend(ENTRY_STEPS + len(self.recurrenceOverrides))
        zone = self.zone(site_zone)
        last = end.astimezone(zone).replace(tzinfo=None) + timedelta(days=1)
        since = begin.astimezone(zone).replace(tzinfo=None) - timedelta(days=2)
        earliest = since - _length(self.duration)
        single = [self.start] if self.start >= earliest else []
        made = _merged(single, *self._starts(self.recurrenceRules, earliest, last, effort))
        excluded = _merged(*self._starts(self.excludedRecurrenceRules, earliest, last, effort))
        for start in _merged(_without(made, excluded), sorted(self.recurrenceOverrides)):
            change = self.recurrenceOverrides.get(start, _AS_IT_IS)
            begins = change.start or start
            if not change.excluded and since - _length(change.duration or self.duration) <= begins <= last:
                effort.spend(OCCURRENCE_STEPS)
                yield self._at(begins, change, zone)

    def _starts(
        self, rules: Iterable[RecurrenceRule], since: datetime, last: datetime, effort: Effort
    ) -> Iterator[Iterator[datetime]]:
        return (rule.starts(self.start, since, last, effort) for rule in rules)

    def _at(self, start: datetime, change: Override, zone: ZoneInfo) -> Occurrence:
        days, seconds = change.duration or self.duration
        first = _utc(start, zone)
        last = (_utc(start + timedelta(days=days), zone) if days else first) + timedelta(seconds=seconds)
        controllers = self.controllers if change.controllers is None else change.controllers
        return Occurrence(from_datetime(first), from_datetime(last), change.title or self.title, controllers)


_AS_IT_IS: Final = Override()


def _kind(row: Any) -> str:
    return "daily" if isinstance(row, Daily) or (isinstance(row, Mapping) and "from" in row) else "event"


Entry = Annotated[Annotated[Event, Tag("event")] | Annotated[Daily, Tag("daily")], Discriminator(_kind)]


class Calendar(_Part):
    """A group of entries."""

    title: str = Field("", max_length=100, description="What people call it.")
    entries: tuple[Entry, ...] = Field((), max_length=256, description="Events and daily times.")


def _length(duration: Duration) -> timedelta:
    """How long at the clock, as far as it is not changed."""
    return timedelta(days=duration.days, seconds=duration.seconds)


def _merged(*ordered: Iterable[datetime]) -> Iterator[datetime]:
    """All times in order, each once."""
    return (time for time, _ in groupby(merge(*ordered)))


def _without(ordered: Iterable[datetime], excluded: Iterator[datetime]) -> Iterator[datetime]:
    """Times in order, less others in order."""
    next_excluded = next(excluded, None)
    for found in ordered:
        while next_excluded is not None and next_excluded < found:
            next_excluded = next(excluded, None)
        if found != next_excluded:
            yield found


def _utc(local: datetime, zone: ZoneInfo) -> datetime:
    """A local time as UTC: with the offset before the change, where the clock skips it or shows it twice."""
    return local.replace(tzinfo=zone, fold=0).astimezone(UTC)


def _ticks(day: date, clock: time, zone: ZoneInfo) -> int:
    return from_datetime(_utc(datetime.combine(day, clock), zone))
