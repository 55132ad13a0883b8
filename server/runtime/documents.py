"""The documents of a site: kept on disk, each in its newest revision, and handed to control ready-made.

    client ─▶ opcua ─ bus ─▶ supervisor: check, number, keep, journal ─ ring ─▶ control: image.documents, timetable
                             data/documents/schedule.ess0.json

A document is taken when it is on the disk; control has it a moment later. A calendar does not go to control: from all calendars
together a timetable is made, again whenever one of them changes and every REMAKE_S. Revisions of a name only grow, also when it
was removed in between: of the last REMOVED_MAX that were removed the revision is kept, of all others the highest one. What takes
time, reading and writing, is done beside the supervisor's loop.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from server.core.document import CONTENT_BYTES_MAX, Document
from server.core.errors import ConfigError, EmsError
from server.core.layout import Layout
from server.core.ticks import from_datetime, to_datetime
from server.core.timetable import NO_TIMETABLE, Timetable

from .bus import Operation
from .calendar import Calendar
from .config import ALIAS
from .explain import InvalidFile
from .files import read_file, write_atomically
from .intake import removed, table, timetable
from .planner import SITE_CALENDAR, make_timetable, parse_calendar, read_calendar
from .series_document import read_table

DOCUMENTS_MAX: Final = 256
REMOVED_MAX: Final = 256
REMAKE_S: Final = 3600.0
CALENDAR: Final = "calendar"
_TIMETABLE: Final = "timetable"
_FORGOTTEN: Final = "forgotten"
"""The file with the highest revision of all names that are forgotten."""


class Refusal(EmsError):
    """A document that is not taken. kind: content, name, revision, unknown or full."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Kept:
    """A document as it lies on disk. arrived: ticks; content: as the client sent it, None once it was removed."""

    name: str
    revision: int
    arrived: int
    user: str
    content: dict[str, Any] | None


class Documents:
    """The documents of a running site.

    calendar: what site.toml schedules. layout: of the site as it is now. put: hands an order to control; False while there is no
    room. note: tells kind, text and data of something worth the journal.
    """

    def __init__(
        self,
        folder: Path,
        calendar: Calendar,
        zone: str,
        layout: Callable[[], Layout],
        put: Callable[[bytes], bool],
        note: Callable[..., None],
    ) -> None:
        self._folder = folder
        self._zone = zone
        self._layout = layout
        self._put = put
        self._note = note
        self._kept: dict[str, Kept] = {}
        self._forgotten = 0
        self._tables: dict[str, Document] = {}
        self._calendars: dict[str, Calendar] = {SITE_CALENDAR: calendar}
        self._timetable: Timetable = NO_TIMETABLE
        self._made = 0.0
        self._outdated = False
        self._making: asyncio.Task[None] | None = None
        self._one_timetable = asyncio.Lock()
        self._told: list[str] = []
        self._waiting: dict[str, bytes] = {}
        self._one_by_one = asyncio.Lock()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._load_forgotten()
        for path in sorted(folder.glob("*.json")):
            self._load(path)
        self._use(*self._make())

    def operations(self) -> dict[str, Operation]:
        """What may be asked over the bus."""
        return {
            "documents": lambda _: {"documents": [self._row(kept) for kept in self._in_use()]},
            "document": lambda asked: self._answer_content(str(asked.get("name"))),
            "set_document": self._set,
            "remove_document": self._remove,
        }

    def orders(self) -> tuple[bytes, ...]:
        """All that control needs to begin with."""
        return (*map(table, self._tables.values()), timetable(self._timetable))

    def adopt(self, calendar: Calendar) -> None:
        """Go on with another site.toml, and another layout."""
        self._calendars[SITE_CALENDAR] = calendar
        self._outdated = True

    def tick(self) -> None:
        """Hand over what waits, and make the timetable anew when it is due."""
        self._deliver()
        due = self._outdated or not 0 <= time.time() - self._made < REMAKE_S
        if due and (self._making is None or self._making.done()):
            self._making = asyncio.create_task(self._remake())

    # What is asked.

    async def _set(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            async with self._one_by_one:
                kept = await asyncio.to_thread(self._check, asked)
                await self._keep(*kept)
        except Refusal as refusal:
            return {"refused": refusal.kind, "text": str(refusal)}
        return {"revision": kept[0].revision}

    async def _remove(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        name, user = str(asked.get("name")), str(asked.get("user", ""))
        try:
            async with self._one_by_one:
                before = self._find(name)
                gone = Kept(name, before.revision + 1, _now(), user, None)
                await self._keep(gone, None)
                await self._forget()
        except Refusal as refusal:
            return {"refused": refusal.kind, "text": str(refusal)}
        return {"revision": gone.revision}

    def _answer_content(self, name: str) -> Mapping[str, Any]:
        try:
            kept = self._find(name)
        except Refusal as refusal:
            return {"refused": refusal.kind, "text": str(refusal)}
        return self._row(kept) | {"content": kept.content}

    def _row(self, kept: Kept) -> dict[str, Any]:
        found = self._tables.get(kept.name)
        end = 0 if found is None else found.end
        return {"name": kept.name, "revision": kept.revision, "arrived": kept.arrived, "user": kept.user, "end": end}

    def _find(self, name: str) -> Kept:
        kept = self._kept.get(name)
        if kept is None or kept.content is None:
            known = ", ".join(k.name for k in self._in_use()) or "none"
            raise Refusal("unknown", f"there is no document {name!r:.80}; known: {known}")
        return kept

    def _in_use(self) -> list[Kept]:
        """All that were not removed."""
        return [kept for kept in self._kept.values() if kept.content is not None]

    # Checking and keeping.

    def _check(self, asked: Mapping[str, Any]) -> tuple[Kept, Document | Calendar]:
        """The document under its next revision, or with the one and the arrival it has where it comes from. Refusal says what is
        wrong."""
        name, text, user = str(asked.get("name")), str(asked.get("content")), str(asked.get("user", ""))
        expected, at_least, now = int(asked.get("expected", 0)), int(asked.get("at_least", 0)), _now()
        before = self._kept.get(name)
        revision = 0 if before is None else before.revision
        if expected and expected != revision:
            raise Refusal("revision", f"{name}: revision {expected} was expected, but {revision} is there")
        if (before is None or before.content is None) and len(self._in_use()) >= DOCUMENTS_MAX:
            raise Refusal("full", f"{DOCUMENTS_MAX} documents are there, which is all there may be")
        last = self._forgotten if before is None else revision
        arrived = min(int(asked.get("arrived") or now), now)
        kept = Kept(name, max(last + 1, at_least), arrived, user, _parsed(name, text))
        return kept, self._read(kept, new=True)

    def _read(self, kept: Kept, *, new: bool) -> Document | Calendar:
        """What a document says. Refusal when it does not fit the site.

        new: a calendar is refused when it is too much; of one that is kept, the timetable takes as much as there may be.
        """
        assert kept.content is not None, "what was removed is not read"
        kind, _, last = kept.name.partition("/")
        try:
            if kind != CALENDAR:
                return read_table(kept.name, kept.content, self._layout(), kept.revision, kept.arrived)
            if not ALIAS.fullmatch(last):
                raise Refusal("name", f"{kept.name!r:.80}: a name such as calendar/night is expected")
            if not new:
                return parse_calendar(kept.name, kept.content, self._layout())
            return read_calendar(kept.name, kept.content, self._layout(), self._zone, datetime.now(UTC))
        except ConfigError as error:
            raise Refusal("name" if error.field == "name" else "content", str(error)) from error
        except InvalidFile as error:
            raise Refusal("content", str(error)) from error

    async def _keep(self, kept: Kept, meaning: Document | Calendar | None) -> None:
        """Bring it to the disk, then let it count."""
        await asyncio.to_thread(self._write, kept)
        self._take(kept, meaning)
        self._tell(kept, meaning)
        if kept.name.startswith(f"{CALENDAR}/"):
            await self._remake()
        self._deliver()

    def _path(self, name: str) -> Path:
        return self._folder / f"{name.replace('/', '.')}.json"

    def _write(self, kept: Kept) -> None:
        try:
            write_atomically(self._path(kept.name), json.dumps(asdict(kept), separators=(",", ":")).encode(), 0o640)
        except RecursionError as error:
            raise Refusal("content", f"{kept.name} is too deeply nested") from error
        except OSError as error:
            raise Refusal("full", f"{kept.name} cannot be kept: {error.strerror or error}") from error

    async def _forget(self) -> None:
        """Do without the oldest of what was removed."""
        removed_ones = [kept for kept in self._kept.values() if kept.content is None]
        gone = sorted(removed_ones, key=lambda kept: kept.arrived)[:-REMOVED_MAX]
        if not gone:
            return
        self._forgotten = max(self._forgotten, *(kept.revision for kept in gone))
        for kept in gone:
            del self._kept[kept.name]
        try:
            await asyncio.to_thread(self._delete, [self._path(kept.name) for kept in gone])
        except OSError as error:  # what lies there still is known again after a start, and forgotten later
            self._note("document_left_out", f"what was removed cannot be deleted: {error.strerror or error}")

    def _delete(self, paths: Sequence[Path]) -> None:
        """First the number that outlives them, then the files."""
        write_atomically(self._folder / _FORGOTTEN, b"%d" % self._forgotten, 0o640)
        for path in paths:
            path.unlink(missing_ok=True)

    def _take(self, kept: Kept, meaning: Document | Calendar | None) -> None:
        self._kept[kept.name] = kept
        self._tables.pop(kept.name, None)
        self._calendars.pop(kept.name, None)
        if isinstance(meaning, Document):
            self._tables[kept.name] = meaning
            self._waiting[kept.name] = table(meaning)
        elif isinstance(meaning, Calendar):
            self._calendars[kept.name] = meaning
        elif not kept.name.startswith(f"{CALENDAR}/"):
            self._waiting[kept.name] = removed(kept.name, kept.revision)

    def _tell(self, kept: Kept, meaning: Document | Calendar | None) -> None:
        """Journal the event for people, and a table as control gets it, so that a replay knows it."""
        facts = {"name": kept.name, "revision": kept.revision, "user": kept.user}
        what = "is removed" if meaning is None else f"has {_size(meaning)}"
        self._note("document", f"{kept.name} revision {kept.revision} {what}", **facts)
        if isinstance(meaning, Document):
            self._note("document_content", "", document=meaning.as_json())

    def _load_forgotten(self) -> None:
        path = self._folder / _FORGOTTEN
        try:
            self._forgotten = int(path.read_text()) if path.exists() else 0
        except (ValueError, OSError) as error:
            self._note("document_damaged", f"{path.name} is damaged ({error}); names that were removed long ago begin anew")

    def _load(self, path: Path) -> None:
        """Take up a kept document. What is damaged is set aside; what does not fit the site any more stays, without effect."""
        try:
            kept = Kept(**json.loads(read_file(path, 2 * CONTENT_BYTES_MAX)))
            self._kept[kept.name] = kept
            if kept.content is not None:
                self._take(kept, self._read(kept, new=False))
        except (ValueError, TypeError) as error:
            aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}")
            path.rename(aside)
            self._note("document_damaged", f"{path.name} is damaged ({error}); it was set aside as {aside.name}")
        except (Refusal, OSError) as error:
            self._note("document_left_out", f"{path.name} is left out: {error}")

    # The timetable.

    async def _remake(self) -> None:
        """Make the timetable of what there is by now; one that is being made meanwhile may know less, and comes first."""
        async with self._one_timetable:
            self._outdated = False
            try:
                self._use(*await asyncio.to_thread(self._make))
            except Exception as error:  # noqa: BLE001 (supervision point: the timetable before goes on, and is made anew later)
                self._made = time.time()
                self._note("schedule_failed", f"schedules cannot be worked out: {type(error).__name__}: {error}")
        self._deliver()

    def _make(self) -> tuple[Timetable, list[str]]:
        return make_timetable(self._calendars.copy(), self._zone, self._layout(), datetime.now(UTC), 0)

    def _use(self, made: Timetable, problems: list[str]) -> None:
        self._timetable, self._made = replace(made, revision=self._timetable.revision + 1), time.time()
        self._waiting[_TIMETABLE] = timetable(self._timetable)
        for problem in problems:
            if problem not in self._told:
                self._note("schedule_left_out", problem)
        self._told = problems

    def _deliver(self) -> None:
        for key, order in list(self._waiting.items()):
            if not self._put(order):
                return
            del self._waiting[key]


def _parsed(name: str, text: str) -> dict[str, Any]:
    if len(text.encode()) > CONTENT_BYTES_MAX:
        raise Refusal("content", f"{name}: the content is longer than {CONTENT_BYTES_MAX} bytes")
    try:
        found = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Refusal("content", f"{name}: the content is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise Refusal("content", f"{name}: the content is no JSON object")
    return found


def _no_number(constant: str) -> float:
    raise ValueError(f"{constant} is no number")


def _size(meaning: Document | Calendar) -> str:
    if isinstance(meaning, Calendar):
        return f"{len(meaning.entries)} entries"
    return f"{len(meaning.starts)} rows until {to_datetime(meaning.end):%Y-%m-%dT%H:%M:%SZ}"


def _now() -> int:
    return from_datetime(datetime.now(UTC))
