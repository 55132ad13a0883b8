"""Corrections of history: what may be inserted, replaced and deleted, and that nothing is forgotten."""

from __future__ import annotations

import pytest
from history_rig import BAD, GOOD, NAN, NODE, edges, rows_of, series, store, ticks

from server.history import Edit, HistoryEditor, Outcome, TooMany, edits

NOW = ticks(100_000)
INSERTED, REPLACED, EXISTS, MISSING, DELETED = (
    Outcome.INSERTED, Outcome.REPLACED, Outcome.EXISTS, Outcome.MISSING, Outcome.DELETED,
)  # fmt: skip


@pytest.fixture(params=["recent", "sealed"])
def editor(request, writer):
    store(writer, [(10, 1.0, GOOD), (20, NAN, BAD), (30, 3.0, GOOD)])
    if request.param == "sealed":
        writer.seal()
    return HistoryEditor(writer)


def values(reader) -> dict[float, str]:
    return {time: str(value) for time, value, _ in rows_of(reader)}


@pytest.mark.parametrize(
    ("kind", "outcomes", "after"),
    [
        (Edit.INSERT, [INSERTED, EXISTS], {10: "1.0", 15: "7.0", 20: "nan", 30: "3.0"}),
        (Edit.REPLACE, [MISSING, REPLACED], {10: "1.0", 20: "nan", 30: "8.0"}),
        (Edit.UPDATE, [INSERTED, REPLACED], {10: "1.0", 15: "7.0", 20: "nan", 30: "8.0"}),
    ],
)
def test_each_kind_takes_what_it_may(editor, reader, writer, kind, outcomes, after) -> None:
    found = editor.put(NODE, series([(15, 7.0, GOOD), (30, 8.0, GOOD)]), kind, "emil", NOW)
    assert found == outcomes
    assert values(reader) == after
    writer.seal()
    assert values(reader) == after


def test_what_was_replaced_and_deleted_is_kept_with_who_and_when(editor, reader) -> None:
    editor.put(NODE, series([(30, 8.0, GOOD)]), Edit.REPLACE, "emil", NOW)
    assert editor.delete(NODE, ticks(15), ticks(35), "eva", NOW + 1) == 2
    assert values(reader) == {10: "1.0"}
    kept = [(str(m.value), m.status, m.changed, m.kind, m.user) for m in reader.modified(NODE, 0, 1 << 62, 10)]
    assert kept == [
        ("nan", BAD, NOW + 1, 4, "eva"),
        ("8.0", GOOD, NOW + 1, 4, "eva"),
        ("3.0", GOOD, NOW, 2, "emil"),
    ]
    assert [str(m.value) for m in reader.modified(NODE, ticks(30), 0, 2)] == ["3.0", "8.0"]
    assert [str(m.value) for m in reader.modified(NODE, ticks(30), 0, 9, 2)] == ["nan"]
    assert editor.forget_modified(NODE, 0, 1 << 62) == 3
    assert reader.modified(NODE, 0, 1 << 62, 10) == []


def test_single_values_are_deleted_by_their_times(editor, reader, writer) -> None:
    assert editor.delete_at(NODE, edges(10, 11), "emil", NOW) == [DELETED, MISSING]
    writer.seal()
    assert values(reader) == {20: "nan", 30: "3.0"}
    assert editor.put(NODE, series([(10, 5.0, GOOD)]), Edit.INSERT, "emil", NOW) == [INSERTED]
    assert values(reader) == {10: "5.0", 20: "nan", 30: "3.0"}


def test_nobody_deletes_years_by_one_request(editor, monkeypatch) -> None:
    monkeypatch.setattr(edits, "VALUES_MAX", 2)
    with pytest.raises(TooMany, match="delete a shorter range"):
        editor.delete(NODE, 0, 1 << 60, "emil", NOW)


def test_what_retention_would_take_at_once_is_not_accepted(editor, writer) -> None:
    writer.forget(ticks(40 * 86_400), {0: 10})
    assert editor.put(NODE, series([(40, 5.0, GOOD)]), Edit.INSERT, "emil", NOW) == [Outcome.TOO_OLD]
