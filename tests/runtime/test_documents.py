"""The documents of a site: what is taken, kept and handed to control; and what control makes of it."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from desk_rig import LAYOUT, ROWS, T0, Desk, Shelf, taken

from server.core.errors import ConfigError
from server.core.layout import build_layout
from server.core.ticks import TICKS
from server.core.timetable import Timetable
from server.runtime import documents as documents_module
from server.runtime.calendar import Calendar
from server.runtime.explain import InvalidFile
from server.runtime.intake import Intake
from server.runtime.memory import SharedImage
from server.runtime.planner import make_timetable, read_calendar
from server.runtime.ring import DocumentRing
from server.runtime.series_document import read_table

NOW = datetime.now(UTC)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "documents")


UNEVEN = {"start": None, "step_s": None, "starts": ["2026-03-01T00:00:00Z", "2026-03-01T06:00:00Z"]}
"""Rows with a start each, beside ROWS."""


def event(hours: float, **power: Any) -> dict[str, Any]:
    """A calendar with one event around now."""
    start = NOW - timedelta(hours=1)
    row = {
        "title": "Now",
        "start": f"{start:%Y-%m-%dT%H:%M:%S}",
        "timeZone": "UTC",
        "duration": f"PT{round((hours + 1) * 3600)}S",
    }
    return {"entries": [{**row, "controllers": {"fix0": power}}]}


@pytest.mark.parametrize(
    ("content", "starts", "end"),
    [
        (ROWS, [0, 900], 1800),
        ({**ROWS, "start": "2026-03-01T01:00:00+01:00"}, [0, 900], 1800),
        (
            {
                "starts": ["2026-03-01T00:00:00Z", "2026-03-01T06:00:00Z"],
                "end": "2026-03-02T00:00:00Z",
                "columns": ROWS["columns"],
            },
            [0, 21_600],
            86_400,
        ),
    ],
)
def test_rows_have_a_step_or_a_start_each(content, starts, end):
    found = read_table("schedule/ess0", content, LAYOUT, 3, T0)
    assert [(t - T0) / TICKS for t in (*found.starts, found.end)] == [*starts, end]
    assert (found.revision, found.issued, found.columns) == (3, T0, {"power_w": (1.0, -2.5)})


def test_of_a_thousand_problems_some_are_told():
    with pytest.raises(InvalidFile) as refused:
        read_table("schedule/ess0", ROWS | {"columns": {"power_w": ["a"] * 1000}}, LAYOUT, 1, T0)
    first, *_, last = refused.value.errors
    assert (str(first), str(last)) == (
        "schedule/ess0: columns.power_w[0]: 'a' is not a number",
        "schedule/ess0: 980 more like these",
    )


def test_a_document_says_when_it_was_made():
    made = read_table("schedule/grid", {**ROWS, "issued": "2026-02-28T23:59:00Z"}, LAYOUT, 1, T0)
    assert made.age_s(T0) == 60


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("schedule/ess9", {}, "schedule/ess9: name: 'ess9' is none of grid, ess0"),
        ("forecast/ess0", {}, "forecast/ess0: name: 'ess0' is none of consumption, production"),
        ("weather/ess0", {}, "weather/ess0: name: 'weather' is no kind of document; known: calendar, schedule"),
        ("price/buy", {}, "price/buy: columns.power_w: is not one of buy, sell"),
        ("schedule/ess0", {"step_s": 0}, "schedule/ess0: step_s: 0 is not in 1..31622400"),
        ("schedule/ess0", {"start": "2026-03-01T00:00:00"}, "schedule/ess0: start: "),
        ("schedule/ess0", {"start": None}, "schedule/ess0: start: is missing: rows have start and step_s, or starts and end"),
        ("schedule/ess0", {"columns": {}}, "schedule/ess0: columns: "),
        ("schedule/ess0", {"columns": {"power_w": []}}, "schedule/ess0: starts: rows must begin one after the other"),
        ("schedule/ess0", {"columns": {"power_w": [1], "mode": [1, 2]}}, "column mode has 2 values for 1 rows"),
        ("schedule/ess0", {"columns": {"power_w": ["a"]}}, "schedule/ess0: columns.power_w[0]: 'a' is not a number"),
        ("schedule/ess0", {"rows": 3}, "schedule/ess0: rows: unknown setting"),
        ("schedule/ess0", {"starts": ["2026-03-01T00:00:00Z"]}, "schedule/ess0: end: is missing"),
        ("schedule/ess0", {"start": "9999-12-01T00:00:00Z", "step_s": 31_622_400}, "schedule/ess0: end: is past the year 9999; "),
        ("schedule/ess0", {"start": "9999-12-31T23:59:59-14:00"}, "schedule/ess0: end: is past the year 9999; "),
        (
            "schedule/ess0",
            UNEVEN | {"end": "9999-12-31T23:59:59-01:00"},
            "schedule/ess0: end: is past the year 9999; an end in UTC up to 9999-12-31T23:59:59Z is expected",
        ),
    ],
)
def test_a_wrong_table_is_refused_with_where_what_and_what_was_expected(name, change, problem):
    with pytest.raises((ConfigError, InvalidFile)) as refused:
        read_table(name, ROWS | change, LAYOUT, 1, T0)
    assert problem in str(refused.value)


def test_a_document_is_numbered_kept_and_handed_to_control(desk, tmp_path):
    assert [desk.hand_in("schedule/ess0", ROWS)["revision"] for _ in range(2)] == [1, 2]
    assert taken(*desk.orders).documents["schedule/ess0"].revision == 2
    again = Desk(tmp_path / "documents")
    assert again.intake().documents["schedule/ess0"].at(T0) == 1.0
    assert again.ask("document", name="schedule/ess0")["content"] == ROWS
    assert again.hand_in("schedule/ess0", ROWS, expected=2)["revision"] == 3


def test_the_journal_has_each_revision_for_people_and_as_control_got_it(desk):
    desk.hand_in("schedule/ess0", ROWS)
    assert desk.notes == [
        ("document", "schedule/ess0 revision 1 has 2 rows until 2026-03-01T00:30:00Z"),
        ("document_content", ""),
    ]


@pytest.mark.parametrize(
    ("asked", "kind", "text"),
    [
        ({"name": "schedule/ess0", "expected": 7}, "revision", "schedule/ess0: revision 7 was expected, but 1 is there"),
        ({"name": "schedule/ess0", "content": "{"}, "content", "the content is no JSON"),
        ({"name": "schedule/ess0", "content": "[]"}, "content", "the content is no JSON object"),
        ({"name": "schedule/ess0", "content": "[" * 100_000}, "content", "the content is no JSON"),
        (
            {"name": "calendar/a", "content": '{"a:b":' + "[" * 900 + "]" * 900 + ',"entries":[]}'},
            "content",
            "is too deeply nested",
        ),
        ({"name": "schedule/ess0", "content": " " * (1 << 20) + "{}"}, "content", "longer than 1048576 bytes"),
        ({"name": "schedule/ess0", "content": '{"columns": {"power_w": [Infinity]}}'}, "content", "Infinity is no number"),
        ({"name": "../../etc/passwd"}, "name", "'..' is no kind of document"),
        ({"name": "calendar/../x"}, "name", "a name such as calendar/night is expected"),
    ],
)
def test_what_is_refused_leaves_the_document_as_it_was(desk, asked, kind, text):
    desk.hand_in("schedule/ess0", ROWS)
    answer = desk.ask("set_document", **{"content": json.dumps(ROWS), "user": "anna", **asked})
    assert (answer["refused"], text in answer["text"]) == (kind, True), answer
    assert desk.ask("document", name="schedule/ess0")["revision"] == 1


def test_a_removed_document_is_gone_from_control_and_its_numbers_go_on(desk, tmp_path):
    desk.hand_in("schedule/ess0", ROWS)
    assert desk.ask("remove_document", name="schedule/ess0", user="anna") == {"revision": 2}
    assert taken(*desk.orders).documents == {}
    again = Desk(tmp_path / "documents")
    assert again.ask("documents") == {"documents": []}
    assert again.intake().documents == {}
    assert again.ask("remove_document", name="schedule/ess0")["refused"] == "unknown"
    assert again.hand_in("schedule/ess0", ROWS)["revision"] == 3


def test_a_document_of_another_site_keeps_its_number_unless_it_would_go_back(desk):
    assert desk.hand_in("schedule/ess0", ROWS, at_least=7) == {"revision": 7}
    assert desk.hand_in("schedule/ess0", ROWS, at_least=3) == {"revision": 8}
    assert desk.intake().documents["schedule/ess0"].revision == 8


def test_a_document_of_another_site_is_as_old_as_it_is_there_and_never_of_tomorrow(desk, monkeypatch):
    monkeypatch.setattr(documents_module, "_now", lambda: T0 + 300 * TICKS)
    desk.hand_in("schedule/ess0", ROWS, arrived=T0)
    assert desk.intake().documents["schedule/ess0"].age_s(T0 + 300 * TICKS) == 300
    assert desk.ask("documents")["documents"][0]["arrived"] == T0
    desk.hand_in("schedule/ess0", ROWS, arrived=T0 + 900 * TICKS)
    assert desk.intake().documents["schedule/ess0"].age_s(T0 + 300 * TICKS) == 0


@pytest.fixture
def few(monkeypatch):
    """Room for three documents, and for the numbers of two that were removed."""
    monkeypatch.setattr(documents_module, "DOCUMENTS_MAX", 3)
    monkeypatch.setattr(documents_module, "REMOVED_MAX", 2)


def test_what_was_removed_takes_no_room(few, desk):
    for n in range(6):
        assert desk.hand_in(f"calendar/n{n}", {"entries": []})["revision"]
        desk.ask("remove_document", name=f"calendar/n{n}")
    for name in ("schedule/ess0", "schedule/grid", "calendar/n5"):
        assert "refused" not in desk.hand_in(name, {"entries": []} if name.startswith("calendar") else ROWS)
    for name in ("price/buy", "calendar/n4"):
        assert desk.hand_in(name, ROWS)["refused"] == "full"
    assert "refused" not in desk.hand_in("schedule/ess0", ROWS)


def test_of_what_was_removed_long_ago_only_the_highest_number_is_kept_and_numbers_still_grow(few, desk, tmp_path):
    for n in range(5):
        for _ in range(7 - n):
            last = desk.hand_in(f"calendar/n{n}", {"entries": []})
        assert desk.ask("remove_document", name=f"calendar/n{n}")["revision"] == last["revision"] + 1
    names = sorted(path.name for path in (tmp_path / "documents").iterdir())
    assert names == ["calendar.n3.json", "calendar.n4.json", "forgotten"]
    again = Desk(tmp_path / "documents")
    for site in (desk, again):
        assert site.hand_in("calendar/n0", {"entries": []})["revision"] > 8
        assert "refused" not in site.ask("remove_document", name="calendar/n0")


def test_a_damaged_number_of_what_is_forgotten_is_told(tmp_path):
    (tmp_path / "forgotten").write_text("many")
    assert [kind for kind, _ in Desk(tmp_path).notes] == ["document_damaged"]


def test_a_damaged_file_is_set_aside_and_one_that_no_longer_fits_stays_without_effect(desk, tmp_path):
    desk.hand_in("schedule/ess0", ROWS)
    (tmp_path / "documents" / "price.buy.json").write_text("{")
    other = Desk(tmp_path / "documents", layout=build_layout([]))
    assert other.intake().documents == {}
    assert sorted(kind for kind, _ in other.notes) == ["document_damaged", "document_left_out"]
    names = sorted(path.name for path in (tmp_path / "documents").iterdir())
    assert [re.sub(r"\d{8}-\d{6}", "TIME", name) for name in names] == ["price.buy.json.damaged-TIME", "schedule.ess0.json"]
    assert Desk(tmp_path / "documents").intake().documents["schedule/ess0"].revision == 1


def test_while_control_takes_nothing_only_the_newest_revision_waits(desk):
    desk.orders.clear()
    desk.room = False
    for _ in range(5):
        desk.hand_in("schedule/ess0", ROWS)
    desk.room = True
    desk.documents.tick()
    assert [taken(order).documents["schedule/ess0"].revision for order in desk.orders if order[:1] == b"D"] == [5]


def test_calendars_reach_control_as_one_timetable(desk):
    desk.hand_in("calendar/b", event(1, power_w=700.0))
    desk.hand_in("calendar/a", event(2, power_w=100.0))
    (found,) = desk.intake().tables  # type: ignore[attr-defined]
    values = [(span.value, span.title) for span in found.tracks["fix0/power_w"]]
    assert values == [(100.0, "Now")]
    assert taken(*desk.orders).tables[-1].tracks == found.tracks  # type: ignore[attr-defined]
    desk.ask("remove_document", name="calendar/a", user="anna")
    assert [span.value for span in desk.intake().tables[0].tracks["fix0/power_w"]] == [700.0]  # type: ignore[attr-defined]


def too_much() -> dict[str, Any]:
    """A calendar that takes more to work out than there may be, and sets nothing in the end."""
    rules = [{"frequency": "daily", "interval": 2, "byMonth": ["1"], "byYearDay": [n], "count": 10_000} for n in range(1, 17)]
    row = {**event(1, power_w=1.0)["entries"][0], "title": "Long", "start": "2000-01-01T00:00:00", "duration": "PT1M"}
    return {"entries": [row | {"recurrenceRules": rules, "excludedRecurrenceRules": rules}]}


def test_a_calendar_that_takes_too_much_is_refused_and_never_kept(desk, tmp_path):
    answer = desk.hand_in("calendar/a", too_much())
    assert (answer["refused"], "calendar/a: entries[0]: takes more than" in answer["text"]) == ("content", True), answer
    assert list((tmp_path / "documents").iterdir()) == []


def test_a_calendar_on_the_disk_that_takes_too_much_is_told_and_the_others_hold(desk, tmp_path):
    for name in ("calendar/a", "calendar/b"):
        desk.hand_in(name, event(1, power_w=700.0))
    path = tmp_path / "documents" / "calendar.a.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"content": too_much()}))
    again = Desk(tmp_path / "documents")
    assert [(kind, text.partition(":")[0]) for kind, text in again.notes] == [
        ("schedule_left_out", "calendar/a is left out from Long on")
    ]
    assert [span.value for span in again.intake().tables[0].tracks["fix0/power_w"]] == [700.0]  # type: ignore[attr-defined]


def test_a_table_past_the_end_of_time_is_refused_and_one_up_to_it_is_told(desk, tmp_path):
    assert desk.hand_in("schedule/ess0", ROWS | {"start": "9999-12-31T23:59:59Z"})["refused"] == "content"
    assert list((tmp_path / "documents").iterdir()) == []
    assert desk.hand_in("schedule/ess0", ROWS | UNEVEN | {"end": "9999-12-31T23:59:59Z"}) == {"revision": 1}
    assert desk.notes[0] == ("document", "schedule/ess0 revision 1 has 2 rows until 9999-12-31T23:59:59Z")


class Maker:
    """Makes timetables; the first one takes until it is let go."""

    def __init__(self, monkeypatch):
        self.begun, self.go_on = threading.Event(), threading.Event()
        monkeypatch.setattr(documents_module, "make_timetable", self)

    def __call__(self, *given):
        made = make_timetable(*given)
        if not self.begun.is_set():
            self.begun.set()
            assert self.go_on.wait(10)
        return made

    async def has_begun(self, desk):
        """An hour is over, and a timetable is being made."""
        desk.documents.adopt(Calendar())
        desk.documents.tick()
        await asyncio.to_thread(self.begun.wait, 10)


def tracks(found: Intake) -> list[str]:
    return list(found.tables[-1].tracks)  # type: ignore[attr-defined]


async def test_a_calendar_that_comes_while_a_timetable_is_made_is_followed(desk, monkeypatch):
    maker = Maker(monkeypatch)
    await maker.has_begun(desk)
    content = json.dumps(event(1, power_w=700.0))
    handing_in = asyncio.create_task(desk.answer("set_document", name="calendar/a", content=content))
    await asyncio.wait({handing_in}, timeout=0.2)
    maker.go_on.set()
    assert await handing_in == {"revision": 1}
    async with asyncio.timeout(10):
        while tracks(desk.intake()) != ["fix0/power_w"]:
            await asyncio.sleep(0.01)
            desk.documents.tick()
    assert tracks(taken(*desk.orders)) == ["fix0/power_w"]
    numbers = [Timetable.unpacked(order[1:]).revision for order in desk.orders if order[:1] == b"T"]
    assert numbers == sorted(set(numbers))


async def test_a_reload_while_a_timetable_is_made_is_followed(desk, monkeypatch):
    maker = Maker(monkeypatch)
    await maker.has_begun(desk)
    desk.documents.adopt(read_calendar("site.toml", event(1, power_w=700.0), LAYOUT, "UTC", NOW))
    maker.go_on.set()
    async with asyncio.timeout(10):
        while tracks(desk.intake()) != ["fix0/power_w"]:
            await asyncio.sleep(0.01)
            desk.documents.tick()
    assert tracks(taken(*desk.orders)) == ["fix0/power_w"]


def test_control_takes_nothing_older_than_it_has(desk):
    desk.hand_in("schedule/ess0", ROWS)
    desk.hand_in("schedule/ess0", ROWS)
    orders = [order for order in desk.orders if order[:1] == b"D"]
    assert taken(*reversed(orders)).documents["schedule/ess0"].revision == 2


def test_what_is_no_order_is_told_and_changes_nothing(desk):
    desk.hand_in("schedule/ess0", ROWS)
    told: list[str] = []
    intake = Intake(Shelf([b"Dnonsense", b"T", b"R[", b""]), desk.documents.orders(), lambda _: None)  # type: ignore[arg-type]
    intake.event = lambda kind, text, data: told.append(kind)
    while intake.idle():
        pass
    assert told == ["document_refused"] * 4
    assert intake.documents["schedule/ess0"].revision == 1


def test_who_holds_the_documents_of_a_cycle_keeps_them(desk):
    desk.hand_in("schedule/ess0", ROWS)
    shelf = Shelf()
    intake = Intake(shelf, desk.documents.orders(), lambda _: None)  # type: ignore[arg-type]
    before = intake.documents
    desk.hand_in("schedule/ess0", ROWS)
    shelf.append(desk.orders[-1])
    assert intake.idle()
    assert (before["schedule/ess0"].revision, intake.documents["schedule/ess0"].revision) == (1, 2)


def test_the_largest_document_fits_the_ring():
    image = SharedImage.create(build_layout([]))
    try:
        columns = {"power_w": [1.0] * 4096, "mode": [1.0] * 4096}
        large = read_table("schedule/ess0", {**ROWS, "columns": columns}, LAYOUT, 1, T0)
        ring: DocumentRing = image.documents
        order = b"D" + large.packed()
        count = 0
        while ring.put(order):
            count += 1
        assert count >= 2
        assert [ring.next() for _ in range(count + 1)] == [order] * count + [None]
    finally:
        image.close()
