"""Calendars: when events begin and end, in time zones that change their clocks; what is refused; who wins."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controllers.fix_active_power import FixActivePower
from controllers.peak_shaving import PeakShaving
from controllers.self_consumption import SelfConsumption
from server.core.controller import controller_object
from server.core.errors import ConfigError
from server.core.layout import build_layout
from server.core.ticks import from_datetime, to_datetime
from server.runtime import planner
from server.runtime.calendar import Calendar, Daily, Event
from server.runtime.explain import InvalidFile
from server.runtime.planner import make_timetable, plan_schedules, read_calendar
from server.runtime.recurrence import Effort

VIENNA = "Europe/Vienna"
OFF = {"fix0": {"Enabled": False}}
LAYOUT = build_layout([controller_object(FixActivePower, "fix0", {"ess": "ess0", "power_w": 0.0})])


def entry(row: dict[str, Any]) -> Event | Daily:
    return Calendar.model_validate({"entries": [row]}).entries[0]


def times(row: dict[str, Any], begin: str, end: str, zone: str = VIENNA) -> list[str]:
    """Occurrences of an entry that touch a period, `03-29 01:30 02:30` in UTC."""
    first, last = (datetime.fromisoformat(t).replace(tzinfo=UTC) for t in (begin, end))
    found = entry({"title": "x", "controllers": OFF, **row}).occurrences(zone, first, last)
    inside = [o for o in found if o.end > from_datetime(first) and o.start < from_datetime(last)]
    return [f"{to_datetime(o.start):%m-%d %H:%M} {to_datetime(o.end):%H:%M}" for o in inside]


def daily(start: str, duration: str, **rule: Any) -> dict[str, Any]:
    return {"start": start, "duration": duration, "recurrenceRules": [{"frequency": "daily", **rule}]}


DST = [
    # In Vienna the clock went from 02:00 to 03:00 on 2026-03-29, and goes from 03:00 back to 02:00 on 2026-10-25.
    (
        "a usual night",
        daily("2026-03-01T22:00:00", "PT8H"),
        "2026-03-20",
        "2026-03-21",
        ["03-19 21:00 05:00", "03-20 21:00 05:00"],
    ),
    (
        "hours are exact: an hour of the clock is missing",
        daily("2026-03-28T22:00:00", "PT8H", count=1),
        "2026-03-28",
        "2026-03-30",
        ["03-28 21:00 05:00"],
    ),
    (
        "a time that the clock skips is as much later",
        daily("2026-03-28T02:30:00", "PT1H", count=3),
        "2026-03-28",
        "2026-03-31",
        ["03-28 01:30 02:30", "03-29 01:30 02:30", "03-30 00:30 01:30"],
    ),
    (
        "a time that comes twice is the first",
        daily("2026-10-24T02:30:00", "PT1H", count=3),
        "2026-10-23",
        "2026-10-28",
        ["10-24 00:30 01:30", "10-25 00:30 01:30", "10-26 01:30 02:30"],
    ),
    (
        "a day is a day of the calendar, of 23 hours",
        daily("2026-03-28T12:00:00", "P1D", count=1),
        "2026-03-28",
        "2026-03-30",
        ["03-28 11:00 10:00"],
    ),
    ("24 hours are 24 hours", daily("2026-03-28T12:00:00", "PT24H", count=1), "2026-03-28", "2026-03-30", ["03-28 11:00 11:00"]),
    (
        "a day of 25 hours, and one hour",
        daily("2026-10-24T12:00:00", "P1DT1H", count=1),
        "2026-10-24",
        "2026-10-27",
        ["10-24 10:00 12:00"],
    ),
    (
        "a day later would be a time that the clock skips",
        daily("2026-03-28T02:30:00", "P1D", count=1),
        "2026-03-28",
        "2026-03-30",
        ["03-28 01:30 01:30"],
    ),
    (
        "an own time zone",
        daily("2026-03-08T01:30:00", "PT1H", count=2) | {"timeZone": "America/New_York"},
        "2026-03-07",
        "2026-03-10",
        ["03-08 06:30 07:30", "03-09 05:30 06:30"],
    ),
    (
        "New York skips 02:30",
        daily("2026-03-08T02:30:00", "PT1H", count=1) | {"timeZone": "America/New_York"},
        "2026-03-07",
        "2026-03-10",
        ["03-08 07:30 08:30"],
    ),
    (
        "Lord Howe moves by half an hour",
        daily("2026-10-04T02:15:00", "PT1H", count=1) | {"timeZone": "Australia/Lord_Howe"},
        "2026-10-03",
        "2026-10-05",
        ["10-03 15:45 16:45"],
    ),
    (
        "UTC knows no summer",
        daily("2026-03-29T02:30:00", "PT1H", count=1) | {"timeZone": "UTC"},
        "2026-03-28",
        "2026-03-30",
        ["03-29 02:30 03:30"],
    ),
    (
        "by the clock: a short night",
        {"from": "22:00", "to": "06:00"},
        "2026-03-28T12:00",
        "2026-03-29T12:00",
        ["03-28 21:00 04:00"],
    ),
    (
        "by the clock: a long night",
        {"from": "22:00", "to": "06:00"},
        "2026-10-24T12:00",
        "2026-10-25T12:00",
        ["10-24 20:00 05:00"],
    ),
    (
        "by the clock: from a time that is skipped",
        {"from": "02:30", "to": "05:00"},
        "2026-03-29",
        "2026-03-29T12:00",
        ["03-29 01:30 03:00"],
    ),
    (
        "by the clock: all day",
        {"from": "00:00", "to": "00:00", "days": ["su"]},
        "2026-03-28",
        "2026-03-31",
        ["03-28 23:00 22:00"],
    ),
]


@pytest.mark.parametrize(("row", "begin", "end", "expected"), [c[1:] for c in DST], ids=[c[0] for c in DST])
def test_the_clock_changes(row, begin, end, expected):
    assert times(row, begin, end) == expected


def rule(start: str, frequency: str, **more: Any) -> dict[str, Any]:
    return {"start": start, "duration": "PT1H", "recurrenceRules": [{"frequency": frequency, **more}]}


MO, WE, FR = ({"day": day} for day in ("mo", "we", "fr"))
RECURRENCES = [
    # The examples of RFC 5545, 3.8.5.3, as RFC 8984 writes them; the days of the month on which they fall.
    ("once", {"start": "2026-01-05T09:00:00", "duration": "PT1H"}, ["01-05"]),
    ("daily, 3 times", rule("2026-01-05T09:00:00", "daily", count=3), ["01-05", "01-06", "01-07"]),
    (
        "daily until, which counts itself",
        rule("2026-01-05T09:00:00", "daily", until="2026-01-07T09:00:00"),
        ["01-05", "01-06", "01-07"],
    ),
    ("every other day", rule("2026-01-05T09:00:00", "daily", interval=2, count=3), ["01-05", "01-07", "01-09"]),
    ("weekly on two days", rule("2026-01-05T09:00:00", "weekly", byDay=[MO, WE], count=4), ["01-05", "01-07", "01-12", "01-14"]),
    (
        "every other week, weeks from Monday",
        rule("2026-01-06T09:00:00", "weekly", interval=2, count=4, byDay=[{"day": "tu"}, {"day": "su"}]),
        ["01-06", "01-11", "01-20", "01-25"],
    ),
    (
        "every other week, weeks from Sunday",
        rule("2026-01-06T09:00:00", "weekly", interval=2, count=4, firstDayOfWeek="su", byDay=[{"day": "tu"}, {"day": "su"}]),
        ["01-06", "01-18", "01-20", "02-01"],
    ),
    (
        "monthly on the first Friday",
        rule("2026-01-02T09:00:00", "monthly", byDay=[{"day": "fr", "nthOfPeriod": 1}], count=3),
        ["01-02", "02-06", "03-06"],
    ),
    (
        "monthly on the last Monday but one",
        rule("2026-01-19T09:00:00", "monthly", byDay=[{"day": "mo", "nthOfPeriod": -2}], count=3),
        ["01-19", "02-16", "03-23"],
    ),
    (
        "the last working day",
        rule(
            "2026-01-30T09:00:00",
            "monthly",
            bySetPosition=[-1],
            count=3,
            byDay=[{"day": d} for d in ("mo", "tu", "we", "th", "fr")],
        ),
        ["01-30", "02-27", "03-31"],
    ),
    ("the 31st, where there is one", rule("2026-01-31T09:00:00", "monthly", count=3), ["01-31", "03-31", "05-31"]),
    ("the last day of the month", rule("2026-01-31T09:00:00", "monthly", byMonthDay=[-1], count=3), ["01-31", "02-28", "03-31"]),
    ("yearly in two months", rule("2026-01-10T09:00:00", "yearly", byMonth=["1", "3"], count=3), ["01-10", "03-10", "01-10"]),
    ("29 February", rule("2024-02-29T09:00:00", "yearly", count=2), ["02-29", "02-29"]),
    ("the 100th day", rule("2026-04-10T09:00:00", "yearly", byYearDay=[100], count=2), ["04-10", "04-10"]),
    ("Monday of week 20", rule("2026-05-11T09:00:00", "yearly", byWeekNo=[20], byDay=[MO], count=2), ["05-11", "05-17"]),
    (
        "a start that does not fit the rule counts",
        rule("2026-01-06T09:00:00", "weekly", byDay=[MO], count=3),
        ["01-06", "01-12", "01-19"],
    ),
    (
        "two rules",
        {
            "start": "2026-01-05T09:00:00",
            "duration": "PT1H",
            "recurrenceRules": [{"frequency": "weekly", "count": 2}, {"frequency": "monthly", "count": 2}],
        },
        ["01-05", "01-12", "02-05"],
    ),
    (
        "an excluded rule",
        rule("2026-01-05T09:00:00", "daily", count=5)
        | {"excludedRecurrenceRules": [{"frequency": "daily", "interval": 2, "count": 2}]},
        ["01-06", "01-08", "01-09"],
    ),
    (
        "an excluded date",
        rule("2026-01-05T09:00:00", "daily", count=3) | {"recurrenceOverrides": {"2026-01-06T09:00:00": {"excluded": True}}},
        ["01-05", "01-07"],
    ),
    (
        "a date more, and one that is moved",
        rule("2026-01-05T09:00:00", "daily", count=2)
        | {"recurrenceOverrides": {"2026-01-10T09:00:00": {}, "2026-01-06T09:00:00": {"start": "2026-01-08T09:00:00"}}},
        ["01-05", "01-08", "01-10"],
    ),
    ("cancelled", rule("2026-01-05T09:00:00", "daily", count=3) | {"status": "cancelled"}, []),
]


@pytest.mark.parametrize(("row", "expected"), [c[1:] for c in RECURRENCES], ids=[c[0] for c in RECURRENCES])
def test_events_recur(row, expected):
    assert [found[:5] for found in times(row, "2024-01-01", "2030-01-01")] == expected


def test_what_has_been_going_on_for_long_is_found():
    assert times(daily("2026-01-01T00:00:00", "P60D", count=1), "2026-02-20", "2026-02-21") == ["12-31 23:00 23:00"]


def test_an_override_may_set_something_else():
    other = {"fix0": {"power_w": 500.0}}
    row = daily("2026-01-05T09:00:00", "PT1H", count=2) | {"title": "x", "controllers": OFF}
    row["recurrenceOverrides"] = {"2026-01-06T09:00:00": {"controllers": other, "title": "Other", "duration": "PT2H"}}
    _, second = entry(row).occurrences("UTC", datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
    assert (second.controllers, second.title, (second.end - second.start) / 3.6e10) == (other, "Other", 2)


EVENT = {"title": "Night", "start": "2026-01-01T22:00:00", "duration": "PT8H", "controllers": OFF}
REFUSED = [
    ({**EVENT, "start": "2026-01-01T22:00:00Z"}, "entries[0].start: '2026-01-01T22:00:00Z' is not a local date and time"),
    ({**EVENT, "start": "1999-01-01T22:00:00"}, "entries[0].start: '1999-01-01T22:00:00' is not in the years from 2000 to 2199"),
    ({**EVENT, "duration": "8 hours"}, "entries[0].duration: '8 hours' is not a duration such as PT8H"),
    ({**EVENT, "duration": "P400D"}, "entries[0].duration: 'P400D' is longer than 366 days"),
    ({**EVENT, "duration": "PT0S"}, "entries[0].duration: 'PT0S' is not a duration"),
    ({**EVENT, "timeZone": "Europe/Wien"}, "entries[0].timeZone: 'Europe/Wien' is not an IANA time zone"),
    ({**EVENT, "recurenceRules": []}, "entries[0].recurenceRules: "),
    (
        {**EVENT, "recurrenceRules": [{"frequency": "hourly"}]},
        "entries[0].recurrenceRules[0].frequency: 'hourly' is not one of yearly",
    ),
    ({**EVENT, "recurrenceRules": [{"frequency": "daily", "skip": "forward"}]}, "entries[0].recurrenceRules[0].skip: "),
    (
        {**EVENT, "recurrenceRules": [{"frequency": "daily", "count": 2, "until": "2026-02-01T00:00:00"}]},
        "count and until: one of them",
    ),
    ({**EVENT, "controllers": {}}, "entries[0].controllers: "),
    (
        {**EVENT, "controllers": {"fix9": {"Enabled": True}}},
        "entries[0].controllers: fix9: there is no such controller; known: fix0",
    ),
    ({**EVENT, "controllers": {"fix0": {"power": 1}}}, "fix0.power: there is no such parameter; known: Enabled, power_w"),
    ({**EVENT, "controllers": {"fix0": {"power_w": "much"}}}, "fix0.power_w: 'much' is not a number"),
    ({**EVENT, "controllers": {"fix0": {"power_w": 1e12}}}, "fix0.power_w: 1e+12 is not in"),
    ({**EVENT, "controllers": {"fix0": {"Enabled": 2}}}, "fix0.Enabled: 2 is neither 1 (on) nor 0 (off)"),
    (
        {"title": "Noon", "from": "11", "to": "14:00", "controllers": OFF},
        "entries[0].from: '11' is not a time of day such as 22:00",
    ),
    ({"title": "Noon", "from": "11:00", "controllers": OFF}, "entries[0].to: is missing"),
    (
        {"title": "Noon", "from": "11:00", "to": "14:00", "days": ["monday"], "controllers": OFF},
        "entries[0].days[0]: 'monday' is not one of mo",
    ),
]


@pytest.mark.parametrize(("row", "problem"), REFUSED, ids=[problem for _, problem in REFUSED])
def test_a_wrong_calendar_is_refused_with_where_what_and_what_was_expected(row, problem):
    with pytest.raises((InvalidFile, ConfigError)) as refused:
        read_calendar("calendar/night", {"entries": [row]}, LAYOUT, VIENNA, datetime(2026, 1, 1, tzinfo=UTC))
    assert str(refused.value).startswith("calendar/night: ")
    assert problem in str(refused.value)


def test_properties_of_other_vendors_mean_nothing():
    row = {**EVENT, "example.com:colour": "red", "@type": "Event", "uid": "1", "description": "Cheap."}
    made = read_calendar("c", {"@type": "Group", "example.com:x": 1, "entries": [row]}, LAYOUT, VIENNA, datetime.now(UTC))
    assert made.entries[0].title == "Night"


def test_years_of_recurrences_need_not_be_counted_to_find_those_of_today():
    old = [
        rule("2000-01-01T09:00:00", "daily", interval=3),
        rule("2000-01-05T09:00:00", "weekly", interval=2, byDay=[MO, WE]),
        rule("2000-01-05T09:00:00", "weekly", firstDayOfWeek="su", interval=3, byDay=[WE, {"day": "su"}]),
    ]
    for row in old:
        counted = {**row, "recurrenceRules": [{**row["recurrenceRules"][0], "count": 20_000}]}
        assert times(row, "2026-03-01", "2026-05-01") == times(counted, "2026-03-01", "2026-05-01") != []


def test_a_calendar_that_sets_too_much_is_refused():
    busy = {**EVENT, **rule("2000-01-01T00:00:00", "daily", byHour=list(range(24)), byMinute=list(range(60)))}
    with pytest.raises(ConfigError, match="calendar/busy: entries: more than the 1024 settings"):
        read_calendar("calendar/busy", {"entries": [busy]}, LAYOUT, VIENNA, datetime(2026, 1, 1, tzinfo=UTC))


SINCE_2000 = {"frequency": "daily", "interval": 2, "byMonth": ["1"], "count": 10_000}
"""Its days are numbered one by one."""


def endless(**more: Any) -> dict[str, Any]:
    """An event whose rules take more steps than a whole calendar may."""
    rules = [{**SINCE_2000, "byYearDay": [day]} for day in range(1, 17)]
    return {**EVENT, "start": "2000-01-01T22:00:00", "recurrenceRules": rules, "excludedRecurrenceRules": rules, **more}


def test_a_calendar_that_takes_too_much_to_work_out_is_refused():
    expected = re.escape(
        "calendar/long: entries[1]: takes more than the 80000 days and times that may be looked at for a calendar; "
        "fewer rules and times, a later start, or `until` in place of `count` are expected"
    )
    with pytest.raises(ConfigError, match=f"^{expected}$"):
        read_calendar("calendar/long", {"entries": [EVENT, endless()]}, LAYOUT, VIENNA, datetime(2026, 1, 1, tzinfo=UTC))


def spent(row: dict[str, Any], day: datetime) -> int:
    """Steps it takes to find the occurrences of a day."""
    effort = Effort()
    left = effort.left
    list(entry({**EVENT, **row}).occurrences(VIENNA, day, day + timedelta(days=1), effort))
    return left - effort.left


EVERY_MINUTE = {"byHour": list(range(24)), "byMinute": list(range(60))}
LONG = [
    ("every day", rule("2000-01-01T09:00:00", "daily", count=10_000)),
    ("every third day, on Mondays", rule("2000-01-01T09:00:00", "daily", interval=3, byDay=[MO], count=10_000)),
    ("every other week", rule("2000-01-01T09:00:00", "weekly", interval=2, byDay=[MO, FR], count=10_000)),
    ("the last of a week", rule("2000-01-01T09:00:00", "weekly", byDay=[MO, FR], bySetPosition=[-1], count=10_000)),
    ("every day for ever", rule("2000-01-01T09:00:00", "daily")),
    ("every year for ever", rule("2000-01-01T09:00:00", "yearly")),
    ("a few times, long ago", rule("2000-01-01T09:00:00", "monthly", count=3)),
]


@pytest.mark.parametrize("row", [row for _, row in LONG], ids=[name for name, _ in LONG])
def test_to_find_what_there_is_today_takes_few_steps_however_long_ago_it_began(row):
    assert spent(row, datetime(2026, 3, 2, tzinfo=UTC)) < 200


def test_a_rule_for_every_minute_of_26_years_takes_the_steps_of_a_few_days():
    row = daily("2000-01-01T00:00:00", "PT1M", count=100_000_000, **EVERY_MINUTE)
    row["excludedRecurrenceRules"] = row["recurrenceRules"]
    assert spent(row, datetime(2026, 3, 2, tzinfo=UTC)) < 24 * 60 * 16
    assert times(row, "2026-03-02", "2026-03-03") == []


def test_an_event_that_ends_after_so_many_ends_there_however_many_they_are():
    days = (datetime(2026, 3, 2) - datetime(2000, 1, 1)).days
    row = daily("2000-01-01T00:00:00", "PT1M", count=days * 1440 + 3, **EVERY_MINUTE)
    assert times(row, "2026-03-02", "2026-03-05", "UTC") == ["03-02 00:00 00:01", "03-02 00:01 00:02", "03-02 00:02 00:03"]


def timetable(*rows: dict[str, Any], **more: list[dict[str, Any]]) -> list[tuple[str, float, str]]:
    """(begin in hours of 2026-01-05 UTC, value, title) of what fix0/power_w is set to."""
    calendars = {name: Calendar(entries=tuple(map(entry, found))) for name, found in {"a": list(rows), **more}.items()}
    made, _ = make_timetable(calendars, "UTC", LAYOUT, datetime(2026, 1, 5, tzinfo=UTC), 1)
    zero = from_datetime(datetime(2026, 1, 5, tzinfo=UTC))
    return [((s.start - zero) / 3.6e10, (s.end - zero) / 3.6e10, s.value, s.title) for s in made.tracks.get("fix0/power_w", ())]


def power(value: float, hour: int, hours: int, **more: Any) -> dict[str, Any]:
    row = {"start": f"2026-01-05T{hour:02}:00:00", "duration": f"PT{hours}H", "title": f"{value:g}"}
    return {**row, "controllers": {"fix0": {"power_w": value}}, **more}


def test_the_first_event_wins_unless_another_has_priority():
    assert timetable(power(1, 6, 4), power(2, 8, 4)) == [(6, 10, 1, "1"), (10, 12, 2, "2")]
    assert timetable(power(1, 6, 4), power(2, 8, 4, priority=1)) == [(6, 8, 1, "1"), (8, 12, 2, "2")]
    assert timetable(power(1, 6, 4, priority=5), power(2, 8, 4, priority=1)) == [(6, 8, 1, "1"), (8, 12, 2, "2")]
    assert timetable(power(1, 6, 4), b=[power(2, 5, 9)]) == [(5, 6, 2, "2"), (6, 10, 1, "1"), (10, 14, 2, "2")]


def test_an_entry_that_no_longer_fits_the_site_is_left_out_and_told():
    gone = entry(power(1, 6, 4, controllers={"gone0": {"Enabled": False}}))
    made, problems = make_timetable({"a": Calendar(entries=(gone,))}, "UTC", LAYOUT, datetime(2026, 1, 5, tzinfo=UTC), 1)
    assert made.tracks == {}
    assert problems == ["1 is left out: gone0: there is no such controller; known: fix0"]


def test_a_calendar_that_takes_too_much_is_left_out_and_told_and_the_others_hold():
    last = entry(power(3, 6, 4))
    calendars = {"a": Calendar(entries=(entry(endless(title="Long")), last)), "b": Calendar(entries=(entry(power(2, 7, 4)),))}
    made, problems = make_timetable(calendars, "UTC", LAYOUT, datetime(2026, 1, 5, tzinfo=UTC), 1)
    assert [span.title for track in made.tracks.values() for span in track] == ["2"]
    assert problems == [
        "a is left out from Long on: takes more than the 80000 days and times that may be looked at for a calendar"
    ]


def test_of_calendars_that_take_too_much_together_those_of_lowest_rank_are_left_out(monkeypatch):
    monkeypatch.setattr(planner, "STEPS_TOGETHER_MAX", 20)
    calendars = {name: Calendar(entries=(entry(power(n, 6 + n, 1)),)) for n, name in enumerate("abcde")}
    made, problems = make_timetable(calendars, "UTC", LAYOUT, datetime(2026, 1, 5, tzinfo=UTC), 1)
    assert [span.title for span in made.tracks["fix0/power_w"]] == ["0", "1"]
    assert problems == ["more than 20 days and times to look at in all calendars: the events of lowest rank are left out"]


def test_schedules_of_the_site_file_that_take_too_much_are_told():
    calendar, problems = plan_schedules([EVENT, endless()], LAYOUT, VIENNA)
    assert [e.title for e in calendar.entries] == ["Night"]
    assert [str(p).partition(" more")[0] for p in problems] == ["site.toml: schedule[1]: takes"]


def test_the_tables_of_the_how_to_are_taken():
    text = (Path(__file__).parents[2] / "docs" / "how-to" / "plan-by-calendar.md").read_text()
    rows = [tomllib.loads(block)["schedule"][0] for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL)]
    grid = {"grid": "grid"}
    shaving = controller_object(PeakShaving, "peak0", {**grid, "import_max_w": 8000.0, "recharge_below_w": 4000.0})
    layout = build_layout([shaving, controller_object(SelfConsumption, "balance0", grid)])
    calendar, problems = plan_schedules(rows, layout, VIENNA)
    assert ([entry.title for entry in calendar.entries], problems) == (["Night tariff", "Market on the first Saturday"], [])
    saturdays = times(rows[1] | {"controllers": OFF}, "2026-07-01", "2026-10-15")
    assert saturdays == ["07-04 04:00 14:00", "09-05 04:00 14:00", "10-03 04:00 14:00"]


def test_schedules_of_the_site_file_are_taken_one_by_one():
    good = {"title": "Noon", "from": "11:00", "to": "14:00", "controllers": OFF}
    calendar, problems = plan_schedules([good, {**good, "to": "late"}, EVENT], LAYOUT, VIENNA)
    assert [e.title for e in calendar.entries] == ["Noon", "Night"]
    assert [str(p) for p in problems] == ["site.toml: schedule[1].to: 'late' is not a time of day such as 22:00"]
