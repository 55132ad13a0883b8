"""The documents of a period in the past: tables as control had them, calendars as they are today."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from server.core.document import Document
from server.core.ticks import stamp
from server.runtime.demo import make_demo
from server.runtime.journaled import ticks
from server.runtime.plan import plan_of
from server.runtime.recorded_documents import Arrived, Timetables, tables

NOON = ticks("2026-11-22T12:00:00.000Z")
HOUR = 3600 * 10**7
NAME = "forecast/production"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("documents") / "site"
    make_demo(directory)
    rules = '\n[[schedule]]\ntitle = "Night"\nfrom = "22:00"\nto = "06:00"\ncontrollers.peak0 = { import_max_w = 12000 }\n'
    file = directory / "site.toml"
    file.write_text(file.read_text() + rules)
    (directory / "data" / "documents").mkdir(parents=True)
    (directory / "data" / "journal").mkdir(parents=True, exist_ok=True)
    return directory


def keep(site: Path, revision: int, arrived: int, content: object, name: str = NAME) -> None:
    """Lay a document where the supervisor keeps it."""
    kept = {"name": name, "revision": revision, "arrived": arrived, "user": "anna", "content": content}
    (site / "data" / "documents" / f"{name.replace('/', '.')}.json").write_text(json.dumps(kept))


def series(value: float) -> dict[str, object]:
    return {"start": "2026-11-22T00:00:00Z", "step_s": 3600, "columns": {"power_w": [value] * 24}}


def journal(site: Path, *records: dict[str, object]) -> None:
    lines = (json.dumps(record, separators=(",", ":")) for record in records)
    (site / "data" / "journal" / "2026-11-22.jsonl").write_text("".join(f"{line}\n" for line in lines))


def told(revision: int, time: int, value: float) -> list[dict[str, object]]:
    """What the supervisor journals about a table."""
    document = Document.regular(NAME, NOON, 3600.0, {"power_w": [value] * 3}, revision=revision)
    event = {"kind": "document", "time": stamp(time), "text": "x", "name": NAME, "revision": revision, "user": "anna"}
    return [event, {"kind": "document_content", "time": stamp(time), "text": "", "document": document.as_json()}]


def found(site: Path, begin: int, end: int) -> list[tuple[int, float | None]]:
    """When each table came, counted in hours from noon, and what it says."""
    arrived = tables(site, plan_of(site).layout, begin, end)
    return [((a.time - NOON) // HOUR, a.document.at(NOON) if a.document else None) for a in arrived]


def test_a_table_that_came_before_is_on_the_disk(site: Path) -> None:
    keep(site, 1, NOON - HOUR, series(500.0))
    assert found(site, NOON, NOON + HOUR) == [(-1, 500.0)]
    (arrived,) = tables(site, plan_of(site).layout, NOON, NOON + HOUR)
    assert isinstance(arrived, Arrived)
    assert (arrived.name, arrived.document and arrived.document.revision) == (NAME, 1)


def test_revisions_before_the_last_are_in_the_journal(site: Path) -> None:
    keep(site, 3, NOON + 5 * HOUR, series(900.0))
    journal(site, *told(1, NOON - 2 * HOUR, 100.0), *told(2, NOON + HOUR, 200.0), *told(3, NOON + 5 * HOUR, 300.0))
    assert found(site, NOON, NOON + 3 * HOUR) == [(-2, 100.0), (1, 200.0)]


def test_a_table_that_was_removed_is_gone_from_then_on(site: Path) -> None:
    keep(site, 2, NOON + HOUR, None)
    gone = {"kind": "document", "time": stamp(NOON + HOUR), "text": "x", "name": NAME, "revision": 2, "user": "anna"}
    journal(site, *told(1, NOON - 2 * HOUR, 100.0), gone)
    assert found(site, NOON, NOON + 3 * HOUR) == [(-2, 100.0), (1, None)]


def noon(controller: str, name: str) -> dict[str, object]:
    """A calendar that sets a parameter every noon."""
    return {"entries": [{"title": "Noon", "from": "12:00", "to": "13:00", "controllers": {controller: {name: 1}}}]}


def test_calendars_of_today_are_followed_at_any_time(site: Path) -> None:
    keep(site, 1, NOON, noon("peak0", "import_max_w"), "calendar/noon")
    plans = Timetables(plan_of(site))
    assert not plans.empty
    spans = plans.at(datetime(2026, 11, 22, 12, tzinfo=UTC)).tracks["peak0/import_max_w"]
    assert {span.value for span in spans} == {12_000.0, 1.0}
    assert plans.problems == []
    keep(site, 2, NOON, noon("nobody", "x"), "calendar/noon")
    assert "calendar/noon is left out" in Timetables(plan_of(site)).problems[0]
