"""The documents that control had in a period of the past, for a replay: tables as they were, calendars as they are.

A table, such as a forecast, is an input: each revision is in force from when it arrived. The newest is on the disk; those before
are in the journal, which is looked through for HORIZON_S only when a table that is on the disk came later than the period begins.
A calendar is configuration: the one of today is followed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from server.core.document import CONTENT_BYTES_MAX, Document, DocumentError
from server.core.errors import EmsError
from server.core.layout import Layout
from server.core.timetable import Timetable

from .calendar import Calendar
from .documents import CALENDAR, Kept
from .files import read_file
from .journaled import records_back, ticks
from .plan import SitePlan
from .planner import AHEAD, SITE_CALENDAR, make_timetable, read_calendar
from .series_document import read_table

HORIZON_S: Final = 7 * 86_400.0
"""How far before a period its documents are looked for in the journal."""
REMADE_EACH: Final = AHEAD / 2
"""Virtual time after which a timetable is made again."""
_DOCUMENTS: Final = b'"kind":"document'


class Arrived(NamedTuple):
    """A document that control had from a time (ticks) on; None: it was removed."""

    time: int
    name: str
    document: Document | None


def tables(directory: Path, layout: Layout, begin: int, end: int) -> list[Arrived]:
    """The tables of a site in force at `begin`, and those that came until `end`, in order of time."""
    kept = [k for k in _kept(directory) if not k.name.startswith(f"{CALENDAR}/")]
    found = [Arrived(k.arrived, k.name, _table(k, layout)) for k in kept if k.arrived <= begin and k.content is not None]
    if any(k.arrived > begin for k in kept):
        found += _journaled(directory / "data" / "journal", begin, end)
    return sorted((a for a in found if a.document is None or a.name == a.document.name), key=lambda a: a.time)


def _table(kept: Kept, layout: Layout) -> Document | None:
    """What a kept table says; None where it does not fit the site any more."""
    try:
        return read_table(kept.name, kept.content or {}, layout, kept.revision, kept.arrived)
    except EmsError:
        return None


def _journaled(folder: Path, begin: int, end: int) -> Iterator[Arrived]:
    """What the journal tells of tables: each revision, and that one was removed."""
    contents: set[tuple[str, int]] = set()
    for record in records_back(folder, begin, end, _DOCUMENTS, HORIZON_S):
        time = ticks(str(record.get("time", "")))
        document = _document(record.get("document"))
        if document is not None:
            contents.add((document.name, document.revision))
            yield Arrived(time, document.name, document)
        elif record.get("kind") == "document" and (record.get("name"), record.get("revision")) not in contents:
            yield Arrived(time, str(record.get("name")), None)


def _document(told: Any) -> Document | None:
    if not isinstance(told, Mapping):
        return None
    try:
        columns = {str(name): tuple(map(float, values)) for name, values in told["columns"].items()}
        revision, issued, end = (int(told[key]) for key in ("revision", "issued", "end"))
        return Document(str(told["name"]), revision, issued, end, tuple(map(int, told["starts"])), columns)
    except (DocumentError, KeyError, TypeError, ValueError, AttributeError):
        return None


def _kept(directory: Path) -> Iterator[Kept]:
    """What lies on the disk, as far as it can be read."""
    for path in sorted((directory / "data" / "documents").glob("*.json")):
        try:
            yield Kept(**json.loads(read_file(path, 2 * CONTENT_BYTES_MAX)))
        except (OSError, ValueError, TypeError):
            continue


class Timetables:
    """The timetable of a site at any virtual time, from its calendars of today. problems: what of them had to be left out."""

    def __init__(self, plan: SitePlan) -> None:
        self._plan = plan
        self._zone = plan.settings.timezone
        self._calendars: dict[str, Calendar] = {SITE_CALENDAR: plan.calendar}
        self._revision = 0
        self.problems: list[str] = []
        now = datetime.now(UTC)
        for kept in _kept(plan.directory):
            if kept.name.startswith(f"{CALENDAR}/") and kept.content is not None:
                try:
                    self._calendars[kept.name] = read_calendar(kept.name, kept.content, plan.layout, self._zone, now)
                except EmsError as error:
                    self.problems.append(f"{kept.name} is left out: {error}")

    def at(self, moment: datetime) -> Timetable:
        """The timetable around a moment."""
        self._revision += 1
        made, problems = make_timetable(self._calendars, self._zone, self._plan.layout, moment, self._revision)
        self.problems += [problem for problem in problems if problem not in self.problems]
        return made

    @property
    def empty(self) -> bool:
        """Nothing is scheduled."""
        return not any(calendar.entries for calendar in self._calendars.values())
