"""Journal, audit trail and machine over the bus: newest first, a page at a time, bounded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from certs import create_authority, issue
from server.runtime import audit, records, tail
from server.runtime.bus import Bus, BusError, request
from server.runtime.keys import create_key
from server.runtime.tail import PlaceError, read_page


def lines(*texts: str, kind: str = "note") -> bytes:
    return b"".join(json.dumps({"kind": kind, "text": t}, separators=(",", ":")).encode() + b"\n" for t in texts)


def texts(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [row["text"] for row in rows]


@pytest.fixture
def days(tmp_path: Path) -> list[Path]:
    """Two days of a journal: a .. f, with damage in between."""
    first, second = tmp_path / "2025-01-01.jsonl", tmp_path / "2025-01-02.jsonl"
    first.write_bytes(lines("a", "b") + b'{"kind": "no\n\n' + lines("c"))
    second.write_bytes(lines("d", "e") + b"[1]\n" + lines("f") + b'{"kind": "cut off')
    return [first, second]


def test_the_newest_come_first_and_damage_is_left_out(days: list[Path]) -> None:
    assert texts(read_page(days, 100).rows) == ["f", "e", "d", "c", "b", "a"]
    assert read_page(days, 100).before == ""
    assert read_page([], 100) == ([], "")


@pytest.mark.parametrize("rows", [1, 2, 3, 5])
@pytest.mark.parametrize("chunk", [1, 7, 64, 1 << 16])
def test_pages_join_without_gap_or_repetition(days: list[Path], rows: int, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "CHUNK_BYTES", chunk)
    found, before = [], ""
    while True:
        page = read_page(days, rows, before)
        found += texts(page.rows)
        before = page.before
        if not before:
            break
        assert len(page.rows) == rows
    assert found == ["f", "e", "d", "c", "b", "a"]


def test_what_is_appended_meanwhile_does_not_move_a_page(days: list[Path]) -> None:
    page = read_page(days, 2)
    with days[1].open("ab") as file:
        file.write(b"\n" + lines("g", "h"))
    assert texts(read_page(days, 2, page.before).rows) == ["d", "c"]
    assert texts(read_page(days, 2).rows) == ["h", "g"]


def test_a_page_reads_a_bounded_number_of_bytes_and_goes_on_later(days: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "PAGE_BYTES_MAX", 40)
    page = read_page(days, 10, wanted=lambda line: b'"a"' in line)
    assert (page.rows, page.before != "") == ([], True)
    found = []
    while page.before:
        page = read_page(days, 10, page.before, wanted=lambda line: b'"a"' in line)
        found += texts(page.rows)
    assert found == ["a"]


@pytest.mark.parametrize("place", ["nonsense", "../secret:1", "2025-01-02.jsonl", "2025-01-02.jsonl:-1", "2024-01-01.jsonl:5"])
def test_a_place_that_is_none_is_refused(days: list[Path], place: str) -> None:
    with pytest.raises(PlaceError, match="before"):
        read_page(days, 1, place)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Path]:
    """A site with records and certificates, and a bus."""
    for folder in ("run", "data/journal", "data/audit"):
        (tmp_path / folder).mkdir(parents=True)
    state = json.dumps({"kind": "state", "state": {"a": 1}}, separators=(",", ":")).encode()
    (tmp_path / "data" / "journal" / "2025-01-01.jsonl").write_bytes(
        lines("Grün", "b", kind="alarm_over") + state + b"\n" + lines("c")
    )
    create_key(tmp_path)
    for text in ("old", "new"):
        audit.append(tmp_path, "note", text=text)
    create_authority(tmp_path, "Test")
    issue(tmp_path, "panel", application_uri="urn:test:panel", hosts=["127.0.0.1"], days=30)
    bus = Bus(tmp_path / "run", records.operations(tmp_path))
    await bus.start()
    yield tmp_path
    await bus.stop()


async def ask(directory: Path, op: str, **arguments: Any) -> dict[str, Any]:
    return await asyncio.to_thread(request, directory, op, **arguments)


async def test_the_journal_is_read_in_pages_without_the_engines_states(site: Path) -> None:
    first = await ask(site, "journal", rows=2)
    assert texts(first["rows"]) == ["c", "b"]
    second = await ask(site, "journal", before=first["before"])
    assert (texts(second["rows"]), second["before"]) == (["Grün"], "")
    assert texts((await ask(site, "journal", text="GRün"))["rows"]) == ["Grün"]
    assert texts((await ask(site, "journal", kind="alarm"))["rows"]) == ["b", "Grün"]


async def test_the_audit_trail_is_read_and_verified(site: Path) -> None:
    assert texts((await ask(site, "audit"))["rows"]) == ["new", "old"]
    assert await ask(site, "verify") == {"ok": True, "whole": True, "count": 2, "broken": "", "remarks": []}
    (file,) = (site / "data" / "audit").glob("*.jsonl")
    file.write_bytes(file.read_bytes().replace(b"old", b"odd"))
    found = await ask(site, "verify")
    assert (found["whole"], found["count"]) == (False, 0)
    assert "line 1" in found["broken"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"rows": 0}, "rows: 0 is not in 1..500"),
        ({"rows": 501}, "1..500"),
        ({"rows": "all"}, "1..500"),
        ({"before": 7}, "texts"),
        ({"text": "x" * 201}, "200 characters"),
        ({"kind": 1}, "texts"),
        ({"before": "../../etc/passwd:9"}, "no place"),
    ],
)
async def test_nonsense_is_refused_in_words(site: Path, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(BusError, match=words):
        await ask(site, "journal", **arguments)


async def test_the_machine_tells_version_disk_memory_and_when_certificates_expire(site: Path) -> None:
    found = await ask(site, "machine")
    assert found["version"].count(".") == 2
    assert 0 < found["disk"]["free"] <= found["disk"]["total"]
    assert 0 < found["memory"]["available"] <= found["memory"]["total"]
    assert found["stored"]["audit"] > 100
    assert [(c["name"], c["state"]) for c in found["certificates"]] == [("panel", "own"), ("ca", "issuer")]


async def test_a_damaged_certificate_is_left_out(site: Path) -> None:
    before = (await ask(site, "machine"))["certificates"]
    (site / "certs" / "own" / "broken.der").write_bytes(b"x")
    assert (await ask(site, "machine"))["certificates"] == before
