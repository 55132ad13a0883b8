"""Documents: tables over time, as part of the frozen input."""

from __future__ import annotations

import pytest

from server.core.document import Document, DocumentError
from server.core.image import Image, blank_records
from server.core.ticks import TICKS

HOUR = 3600 * TICKS
PLAN = Document("schedule/ess0", 3, 0, 3 * HOUR, (0, HOUR, 2 * HOUR), {"power_w": (1000.0, -500.0, 0.0)})


@pytest.mark.parametrize(
    ("time", "expected"),
    [(-1, None), (0, 1000.0), (HOUR - 1, 1000.0), (HOUR, -500.0), (3 * HOUR - 1, 0.0), (3 * HOUR, None)],
)
def test_a_row_holds_until_the_next(time, expected):
    assert PLAN.at(time) == expected


def test_an_unknown_column_holds_nothing():
    assert PLAN.at(0, "price") is None
    assert list(PLAN.spans(0, HOUR, "price")) == []


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0, 3 * HOUR, 500.0), (HOUR // 2, HOUR, 500.0), (HOUR // 2, HOUR + HOUR // 2, 250.0), (5 * HOUR, 9 * HOUR, 0.0)],
)
def test_energy_between_two_times(start, end, expected):
    assert PLAN.energy_wh(start, end) == pytest.approx(expected)


def test_a_document_survives_the_journal():
    assert Document.from_json(PLAN.as_json()) == PLAN
    assert PLAN.age_s(HOUR) == 3600


def test_a_document_is_taken_over_from_its_bytes():
    assert Document.unpacked(PLAN.packed()) == PLAN
    for damaged in (b"", PLAN.packed()[:-1], b"\xff" * 64):
        with pytest.raises(DocumentError, match="are no document"):
            Document.unpacked(damaged)


@pytest.mark.parametrize(("rows", "columns"), [(4097, 1), (3, 5)])
def test_a_document_has_its_limits(rows, columns):
    with pytest.raises(DocumentError, match="at most 4096 of 4 are expected"):
        Document.regular("price/buy", 0, 60, {f"c{i}": [0.0] * rows for i in range(columns)})


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"starts": (0, 0, HOUR)}, "must begin one after the other"),
        ({"starts": ()}, "must begin one after the other"),
        ({"end": HOUR}, "must begin one after the other"),
        ({"columns": {"power_w": (1.0,)}}, "has 1 values for 3 rows"),
        ({"columns": {"power_w": (1.0, float("nan"), 2.0)}}, "no finite number"),
    ],
)
def test_a_bad_document_is_refused_with_its_name(change, problem):
    fields = {
        "name": "schedule/ess0",
        "revision": 1,
        "issued": 0,
        "end": 3 * HOUR,
        "starts": PLAN.starts,
        "columns": PLAN.columns,
    }
    with pytest.raises(DocumentError, match=problem):
        Document(**(fields | change))


@pytest.mark.parametrize("data", [{}, {"name": "x"}, {"name": "x", "revision": "a"}, {**PLAN.as_json(), "columns": 3}])
def test_what_is_no_document_is_refused(data):
    with pytest.raises(DocumentError, match="is no document"):
        Document.from_json(data)


def test_an_image_carries_documents():
    image = Image(blank_records(1), documents={PLAN.name: PLAN})
    assert image.document("schedule/ess0") is PLAN
    assert image.document("schedule/ess1") is None
    assert Image(blank_records(1)).document("schedule/ess0") is None


def test_regular_rows():
    found = Document.regular("price/buy", HOUR, 900, {"buy": [0.1, 0.2]})
    assert (found.starts, found.end) == ((HOUR, HOUR + HOUR // 4), HOUR + HOUR // 2)
