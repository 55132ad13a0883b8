"""The audit trail: whatever is done to it shows, and whatever happens to its writer leaves it whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server.runtime import audit
from server.runtime.audit import AuditLog, tail
from server.runtime.audit_chain import ANCHOR, audit_files, audit_folder, verify
from server.runtime.keys import KEY_FILE, create_key


@pytest.fixture
def site(tmp_path: Path) -> Path:
    create_key(tmp_path)
    return tmp_path


def filled(site: Path, rows: int = 10) -> Path:
    """A trail with rows; its only file."""
    log = AuditLog(site)
    for number in range(1, rows + 1):
        log.write("write", {"user": "anna", "node": "ess0/SetActivePower", "value": number})
    log.close()
    (file,) = audit_files(site)
    return file


def test_rows_come_back_in_order_with_their_time_and_number(site: Path) -> None:
    filled(site)
    rows = tail(site, 3)
    assert [(r["seq"], r["event"], r["value"]) for r in rows] == [(8, "write", 8), (9, "write", 9), (10, "write", 10)]
    assert all(r["time"].endswith("+00:00") for r in rows)
    assert len(tail(site, 1000)) == 10
    assert tail(site / "elsewhere", 5) == []


def test_a_whole_trail_is_found_whole(site: Path) -> None:
    filled(site)
    report = verify(site)
    assert (report.broken, report.rows, report.first, report.last, report.remarks) == ("", 10, 1, 10, [])


def test_the_trail_is_its_owners_only(site: Path) -> None:
    file = filled(site)
    assert [oct(p.stat().st_mode & 0o777) for p in (file.parent, file, file.parent / ANCHOR)] == ["0o700", "0o600", "0o600"]


def test_another_writer_goes_on_where_the_last_one_ended(site: Path) -> None:
    filled(site)
    log, other = AuditLog(site), AuditLog(site)
    for number in range(20):
        (log, other)[number % 2].write("call", {"number": number})
        (log, other)[number % 2].settle()
    audit.append(site, "users", action="add")
    log.close()
    other.close()
    assert (verify(site).broken, verify(site).rows, tail(site, 1)[0]["event"]) == ("", 31, "users")


def edited(lines: list[bytes]) -> list[bytes]:
    return [*lines[:4], lines[4].replace(b'"value": 5', b'"value": 6'), *lines[5:]]


def forged(lines: list[bytes]) -> list[bytes]:
    """A row that fits the one before it, as anybody could compute it."""
    from server.runtime.audit_chain import Tail, link, members

    before, made = json.loads(lines[-2]), bytearray()
    link(
        Tail(before["seq"], before["hash"]),
        members({"time": "2026-01-01T00:00:00+00:00", "event": "write", "user": "otto"}),
        made,
    )
    return [*lines[:-1], bytes(made)]


TAMPERED: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "a value edited": (edited, "line 5: row 5 was changed"),
    "a row deleted": (lambda lines: [*lines[:4], *lines[5:]], "line 5: row 6 follows row 4"),
    "two rows swapped": (lambda lines: [*lines[:4], lines[5], lines[4], *lines[6:]], "line 5: row 6 follows row 4"),
    "a row said twice": (lambda lines: [*lines[:5], lines[4], *lines[5:]], "line 6: row 5 follows row 5"),
    "the first row deleted": (lambda lines: lines[1:], "line 1: row 2 follows row 0"),
    "the last rows deleted": (lambda lines: lines[:-3], "rows 8 to 10 are missing at the end"),
    "all rows deleted": (lambda lines: [], "rows 1 to 10 are missing at the end"),
    "the last row rewritten": (forged, "line 10: row 10 is not the one the anchor knows"),
    "a line put in": (lambda lines: [*lines[:4], b'{"seq": 5, "event": "x"}\n', *lines[4:]], "line 5: is no row of the trail"),
    "half a line": (lambda lines: [*lines[:-1], lines[-1][:20]], "line 10: row 10 was never finished"),
    "a hash edited": (lambda lines: [*lines[:4], lines[4][:-5] + b'00"}\n', *lines[5:]], "line 5: row 5 was changed"),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_tampering_is_found_at_the_first_row_that_does_not_fit(site: Path, what: str) -> None:
    tamper, expected = TAMPERED[what]
    file = filled(site)
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(tamper(lines)))
    assert expected in verify(site).broken


@pytest.mark.parametrize("what", TAMPERED)
def test_writing_on_does_not_hide_it(site: Path, what: str) -> None:
    tamper, _ = TAMPERED[what]
    file = filled(site)
    file.write_bytes(b"".join(tamper(file.read_bytes().splitlines(keepends=True))))
    audit.append(site, "write", user="anna")
    assert verify(site).broken


def test_a_file_that_was_deleted_is_missed(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "FILE_BYTES_MAX", 1000)
    for number in range(30):
        audit.append(site, "write", number=number)
    files = audit_files(site)
    assert len(files) > 3
    assert not verify(site).broken
    content = files[1].read_bytes()
    files[1].unlink()
    assert f"{files[2].name}, line 1: row {int(files[2].stem)} follows row {int(files[1].stem) - 1}" in verify(site).broken
    files[1].write_bytes(content)
    assert not verify(site).broken
    files[0].unlink()
    assert "follows row 0" in verify(site).broken


def test_a_trail_of_which_nothing_is_left_is_missed(site: Path) -> None:
    filled(site).unlink()
    assert "rows 1 to 10 are missing at the end" in verify(site).broken
    audit.append(site, "write")
    assert verify(site).broken


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda anchor: anchor.unlink(), "missing or damaged"),
        (lambda anchor: anchor.write_text("{}"), "missing or damaged"),
        (lambda anchor: anchor.write_text(anchor.read_text().replace('"last": [10', '"last": [9')), "was not sealed"),
    ],
    ids=["deleted", "emptied", "moved back"],
)
def test_an_anchor_that_was_tampered_with_is_found(site: Path, change: Callable[[Path], object], expected: str) -> None:
    filled(site)
    change(audit_folder(site) / ANCHOR)
    assert expected in verify(site).broken


def test_an_anchor_of_another_key_or_none_is_told(site: Path) -> None:
    filled(site)
    key = (site / KEY_FILE).read_bytes()
    (site / KEY_FILE).unlink()
    assert "cannot be checked without the site's secret key" in verify(site).broken
    create_key(site)
    assert "was not sealed with the site's secret key" in verify(site).broken
    (site / KEY_FILE).write_bytes(key)
    assert not verify(site).broken


def test_a_lost_anchor_stays_to_be_seen(site: Path) -> None:
    filled(site)
    (audit_folder(site) / ANCHOR).unlink()
    audit.append(site, "write")
    report = verify(site)
    assert not report.broken
    assert ["audit-anchor-lost reached 10" in remark for remark in report.remarks] == [True]


def test_old_files_are_dropped_and_the_trail_says_so(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "FILE_BYTES_MAX", 1000)
    monkeypatch.setattr(audit, "FILES_MAX", 3)
    for number in range(60):
        audit.append(site, "write", number=number)
    report = verify(site)
    assert not report.broken
    assert len(audit_files(site)) == 3
    assert report.first > 30
    assert any("audit-dropped" in remark for remark in report.remarks)
    assert tail(site, 1)[0]["number"] == 59
    audit_files(site)[0].unlink()
    assert verify(site).broken


WRITER = """
import sys, threading
from pathlib import Path
from server.runtime.audit import AuditLog
log, number = AuditLog(Path(sys.argv[1])), 0
while True:
    number += 1
    log.write("write", {"number": number, "padding": "x" * 200})
    log.settle()
    print(number, flush=True)
"""


def test_a_writer_that_is_killed_leaves_every_row_that_was_settled(site: Path) -> None:
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(site)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        said = b""
        while said.count(b"\n") < 50:
            said += os.read(process.stdout.fileno(), 4096)
        process.send_signal(signal.SIGKILL)
        said += process.stdout.read()
        process.wait()
        process.stdout.close()
        settled = int(said.split()[-1])
        assert [r["number"] for r in tail(site, 10_000)][-1] >= settled
    audit.append(site, "after")
    assert not verify(site).broken


def test_a_torn_last_line_is_cut_off_and_kept_to_be_seen(site: Path) -> None:
    file = filled(site)
    with file.open("ab") as stream:
        stream.write(b'{"seq": 11, "time": "2026-')
    audit.append(site, "write", user="otto")
    report = verify(site)
    assert not report.broken
    assert [r["event"] for r in tail(site, 2)] == ["audit-torn", "write"]
    assert "audit-torn" in report.remarks[0]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of 64 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if subprocess.run(options, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_told_what_waits_is_bounded_and_nothing_is_lost_silently(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "PENDING_BYTES_MAX", 20_000)
    monkeypatch.setattr(audit, "RETRY_S", 0.02)
    create_key(small_disk)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(50_000))
    log = AuditLog(small_disk)
    written = 0
    while log.accepts:
        written += 1
        log.write("write", {"number": written, "padding": "x" * 100})
    log.write("write", {"number": written + 1})
    assert not log.settle(0.2)
    assert "No space left" in log.trouble
    ballast.unlink()
    assert log.settle()
    assert log.accepts
    log.write("write", {"number": written + 2})
    log.close()
    assert not log.trouble
    numbers = [(r["event"], r.get("number", r.get("count"))) for r in tail(small_disk, 10_000)]
    expected = [("write", n) for n in range(1, written + 1)]
    assert [n for n in numbers if n[0] == "write"] == [*expected, ("write", written + 2)]
    assert ("audit-lost", 1) in numbers
    assert not verify(small_disk).broken


def test_writing_a_row_waits_for_no_disk(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, go = os.fdatasync, threading.Event()
    monkeypatch.setattr(os, "fdatasync", lambda fd: go.wait(30) and slow(fd))
    log = AuditLog(site)
    for _ in range(100):
        log.write("write", {})
    assert not go.is_set(), "all rows were taken while the disk was still at the first one"
    go.set()
    log.close()
    assert len(tail(site, 1000)) == 100
