"""From calendars to a timetable: which events there are in the coming days, and which wins where several set the same.

Events are ranked: priority 1 to 9 first, those without one after them; then the calendars in the order of their names, that of
site.toml last; then the order within a calendar. What outranks another holds for its own time, the other before and after it.

Rules of a few bytes may stand for millions of days and times, so that to work them out takes no more than so many steps: for a
calendar, which is refused otherwise, and for all together, whatever lies on the disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final

from server.core.errors import ConfigError, EmsError
from server.core.layout import Layout
from server.core.setting import check_settings
from server.core.ticks import from_datetime
from server.core.timetable import Span, Timetable, overlay

from .calendar import Calendar, Daily, Event, Occurrence
from .config import SITE_FILE
from .explain import InvalidFile, validate
from .recurrence import Effort, TooMuchEffort

AHEAD: Final = timedelta(days=2)
"""How far ahead a timetable goes; it is made anew every hour."""
BACK: Final = timedelta(days=1)
"""How far back: a clock may be set back by less."""
SPANS_MAX: Final = 1024
"""Settings of all occurrences in a timetable."""
STEPS_MAX: Final = 80_000
"""Days and times that are looked at for a calendar, in steps of an Effort."""
STEPS_TOGETHER_MAX: Final = 160_000
"""As STEPS_MAX, for all calendars in a timetable."""
SITE_CALENDAR: Final = "calendar/~site.toml"
"""Name of the calendar that site.toml holds; it is the last of all."""
_LAST: Final = 10
_LOWEST: Final = "the events of lowest rank are left out"
_STEPS: Final = f"takes more than the {STEPS_MAX} days and times that may be looked at for a calendar"
_EXPECTED: Final = "fewer rules and times, a later start, or `until` in place of `count` are expected"
_KIND: Final = re.compile(r"(entries\[\d+\])\.(event|daily)")


def read_calendar(
    name: str, content: Mapping[str, Any], layout: Layout, zone: str, now: datetime, effort: Effort | None = None
) -> Calendar:
    """A calendar a client sent. InvalidFile with every problem of its form, or ConfigError with the first one of what it sets.

    ConfigError also when it sets too much, or takes too much to work out. effort: what is left of that of a larger calendar.
    """
    calendar = parse_calendar(name, content, layout)
    effort, count = effort or Effort(STEPS_MAX), 0
    for i, entry in enumerate(calendar.entries):
        try:
            count += len(_settings(entry, zone, layout, now, effort))
        except TooMuchEffort as error:
            raise ConfigError(name, f"entries[{i}]", f"{_STEPS}; {_EXPECTED}") from error
        if count > SPANS_MAX:
            raise ConfigError(name, "entries", f"more than the {SPANS_MAX} settings that there may be in {AHEAD.days} days")
    return calendar


def parse_calendar(name: str, content: Mapping[str, Any], layout: Layout) -> Calendar:
    """A calendar that fits the site, however much it sets. InvalidFile and ConfigError as `read_calendar`."""
    known = {key: value for key, value in content.items() if ":" not in key}
    try:
        calendar = validate(Calendar, known, name)
    except InvalidFile as error:
        raise InvalidFile([ConfigError(e.file, _KIND.sub(r"\1", e.field), e.problem) for e in error.errors]) from error
    for i, entry in enumerate(calendar.entries):
        _check(entry, layout, f"{name}: entries[{i}].controllers")
    return calendar


def _check(entry: Event | Daily, layout: Layout, where: str) -> None:
    overrides = entry.recurrenceOverrides.values() if isinstance(entry, Event) else ()
    for controllers in (entry.controllers, *(o.controllers or {} for o in overrides)):
        for alias, values in controllers.items():
            check_settings(layout, alias, values, where)


def plan_schedules(rows: Sequence[Mapping[str, Any]], layout: Layout, zone: str) -> tuple[Calendar, list[EmsError]]:
    """The `[[schedule]]` tables of site.toml as a calendar, and what is wrong with those that are left out."""
    entries: list[Event | Daily] = []
    problems: list[EmsError] = []
    effort, now = Effort(STEPS_MAX), datetime.now(UTC)
    for i, row in enumerate(rows):
        try:
            entries += read_calendar(SITE_FILE, {"entries": [row]}, layout, zone, now, effort).entries
        except (InvalidFile, ConfigError) as error:
            problems.append(_renamed(error, i))
    return Calendar(entries=tuple(entries)), problems


def _renamed(error: InvalidFile | ConfigError, number: int) -> InvalidFile:
    """The problem of a table of site.toml under the table's name."""
    errors = error.errors if isinstance(error, InvalidFile) else (error,)
    where = f"schedule[{number}]"
    texts = [str(e).removeprefix(f"{SITE_FILE}: ").replace("entries[0]", where) for e in errors]
    return InvalidFile([ConfigError(SITE_FILE, "", text) for text in texts])


def make_timetable(
    calendars: Mapping[str, Calendar], zone: str, layout: Layout, now: datetime, revision: int
) -> tuple[Timetable, list[str]]:
    """What all calendars set from BACK to AHEAD of now, and in words what had to be left out."""
    problems: list[str] = []
    entries = [(name, entry) for name in sorted(calendars) for entry in calendars[name].entries]
    entries.sort(key=lambda ranked: ranked[1].priority or _LAST)
    tracks: dict[str, list[Span]] = {}
    for count, (node, span) in enumerate(_spans(entries, zone, layout, now, problems)):
        if count >= SPANS_MAX:
            problems.append(f"more than {SPANS_MAX} settings in {AHEAD.days} days: {_LOWEST}")
            break
        tracks.setdefault(node, []).append(span)
    return Timetable(revision, {node: overlay(spans) for node, spans in sorted(tracks.items())}), problems


def _spans(
    entries: Iterable[tuple[str, Event | Daily]], zone: str, layout: Layout, now: datetime, problems: list[str]
) -> Iterator[tuple[str, Span]]:
    """Spans with their nodes, in order of rank. entries: with the names of their calendars.

    What does not fit the site any more is left out and told, and so is the rest of a calendar whose rules take too much.
    """
    efforts: dict[str, Effort] = {}
    together = STEPS_TOGETHER_MAX
    for name, entry in entries:
        effort = efforts.setdefault(name, Effort(STEPS_MAX))
        if effort.left < 0:
            continue
        if together < 0:
            problems.append(f"more than {STEPS_TOGETHER_MAX} days and times to look at in all calendars: {_LOWEST}")
            return
        found: list[tuple[str, Span]] = []
        together -= effort.left
        try:
            found = _settings(entry, zone, layout, now, effort)
        except ConfigError as error:
            problems.append(f"{entry.title} is left out: {error.field}: {error.problem}")
        except TooMuchEffort:
            problems.append(f"{SITE_FILE if name == SITE_CALENDAR else name} is left out from {entry.title} on: {_STEPS}")
        together += effort.left
        yield from found


def _settings(entry: Event | Daily, zone: str, layout: Layout, now: datetime, effort: Effort) -> list[tuple[str, Span]]:
    """What an entry sets from BACK to AHEAD of now, with the nodes; of more than SPANS_MAX some. TooMuchEffort, ConfigError."""
    begin, end = now - BACK, now + AHEAD
    first, last = from_datetime(begin), from_datetime(end)
    found = (
        setting
        for occurrence in entry.occurrences(zone, begin, end, effort)
        if first < occurrence.end and occurrence.start < min(last, occurrence.end)
        for setting in _of(occurrence, layout)
    )
    return list(islice(found, SPANS_MAX + 1))


def _of(occurrence: Occurrence, layout: Layout) -> Iterator[tuple[str, Span]]:
    for alias, values in occurrence.controllers.items():
        for name, value in check_settings(layout, alias, values, occurrence.title).items():
            yield f"{alias}/{name}", Span(occurrence.start, occurrence.end, value, occurrence.title)
