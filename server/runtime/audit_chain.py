"""The form of the audit trail on disk: lines, the chain through them, the anchor at both ends; and its verification.

A line is the row's JSON with `"hash"` as its last member, always as long, so that what is hashed is the line's own bytes before
it, whatever wrote them:

    {"seq": 57, ...,                       "hash": "<64 hex digits>"}
    |<---- hashed, after the last hash --->|
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final, NamedTuple

from .files import write_atomically
from .keys import KeyUnusable, SiteKey

FOLDER: Final = "data/audit"
ANCHOR: Final = "anchor.json"
PURPOSE: Final = "audit anchor"
TAIL_BYTES: Final = 1 << 20
REMARKABLE: Final = ("audit-torn", "audit-lost", "audit-damaged", "audit-anchor-lost", "audit-dropped")
"""Events that tell of the trail itself."""

_SUFFIX: Final = re.compile(rb', "hash": "([0-9a-f]{64})"\}\Z')


class Tail(NamedTuple):
    """A row's place: its number from 1 on, and its hash. (0, "") is before the first one."""

    seq: int
    hash: str


class Anchor(NamedTuple):
    """first: the row before the first one that is kept. last: the newest row on disk. sealed: MAC, empty without a key."""

    first: Tail
    last: Tail
    seal: str = ""


@dataclass
class Report:
    """What verification found. rows: that fit. broken: the first thing that does not, with its place; empty when all is well.

    remarks: what is worth knowing but no sign of tampering by itself.
    """

    rows: int = 0
    first: int = 0
    last: int = 0
    broken: str = ""
    remarks: list[str] = field(default_factory=list)


def audit_folder(directory: Path) -> Path:
    """Where the trail of the site in DIR lies."""
    return directory / FOLDER


def audit_files(directory: Path) -> list[Path]:
    """The files of the trail, oldest first."""
    return sorted(audit_folder(directory).glob("[0-9]*.jsonl"))


def members(row: Mapping[str, Any]) -> str:
    """A row as it stands in its line, between number and hash."""
    return json.dumps(row, default=str)[1:-1]


def link(tail: Tail, row: str, lines: bytearray) -> Tail:
    """Append the line of a row (`members`) that follows `tail`; the new tail."""
    body = f'{{"seq": {tail.seq + 1}, {row}'.encode()
    digest = _digest(tail.hash, body)
    lines += body + f', "hash": "{digest}"}}\n'.encode()
    return Tail(tail.seq + 1, digest)


def _digest(before: str, body: bytes) -> str:
    return sha256(before.encode() + body).hexdigest()


def read_tail(file: Path) -> Tail:
    """The last row of a file, (0, "") when there is none that can be read."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        stream.seek(max(size - TAIL_BYTES, 0))
        lines = stream.read().splitlines()
    return next((t for line in reversed(lines) if (t := _tail_of(line)) is not None), Tail(0, ""))


def hash_at(files: list[Path], seq: int) -> str:
    """The hash of a row, empty when it is not there."""
    holds = next((file for file in reversed(files) if int(file.stem) <= seq), None)
    lines = holds.read_bytes().splitlines() if holds is not None else []
    return next((t.hash for line in reversed(lines) if (t := _tail_of(line)) is not None and t.seq == seq), "")


def _tail_of(line: bytes) -> Tail | None:
    found = _SUFFIX.search(line)
    try:
        return Tail(int(json.loads(line)["seq"]), found[1].decode()) if found else None
    except (ValueError, KeyError, TypeError):
        return None


# The anchor.


def seal_keys(directory: Path) -> tuple[bytes, ...]:
    """The keys an anchor may be sealed with, the one in use first; none when the site's key cannot be read."""
    try:
        return SiteKey.load(directory).derived(PURPOSE)
    except KeyUnusable:
        return ()


def read_anchor(folder: Path) -> Anchor | None:
    """The anchor, None when it is missing or no anchor."""
    try:
        data = json.loads((folder / ANCHOR).read_bytes())
        return Anchor(Tail(*data["first"]), Tail(*data["last"]), data["seal"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_anchor(folder: Path, anchor: Anchor, keys: tuple[bytes, ...]) -> None:
    """Replace the anchor, sealed with the first key."""
    seal = _seal(anchor, keys[0]) if keys else ""
    content = json.dumps({"first": anchor.first, "last": anchor.last, "seal": seal})
    write_atomically(folder / ANCHOR, content.encode(), 0o600)


def _seal(anchor: Anchor, key: bytes) -> str:
    return hmac.new(key, json.dumps([anchor.first, anchor.last]).encode(), "sha256").hexdigest()


# Verification.


def verify(directory: Path) -> Report:
    """Check the whole trail of the site in DIR."""
    report = Report()
    anchor = read_anchor(audit_folder(directory))
    files = audit_files(directory)
    if anchor is None:
        report.broken = f"{FOLDER}/{ANCHOR}: missing or damaged; rows may have been cut off" if files else ""
        report.remarks += [] if files else ["nothing was audited yet"]
    else:
        report.broken = _check_seal(anchor, seal_keys(directory))
    tail = anchor.first if anchor is not None else Tail(0, "")
    report.first = tail.seq + 1
    for name, number, line in _lines(files, tail.seq):
        problem = _check_line(tail, line)
        if problem:
            report.broken = report.broken or f"{FOLDER}/{name}, line {number}: {problem}"
            return report
        tail = _take(report, tail, line)
        if anchor is not None and tail.seq == anchor.last.seq and tail.hash != anchor.last.hash:
            report.broken = report.broken or f"{FOLDER}/{name}, line {number}: row {tail.seq} is not the one the anchor knows"
            return report
    _check_end(report, tail, anchor)
    return report


def _check_seal(anchor: Anchor, keys: tuple[bytes, ...]) -> str:
    if not keys:
        return f"{FOLDER}/{ANCHOR}: cannot be checked without the site's secret key"
    if not any(hmac.compare_digest(_seal(anchor, key), anchor.seal) for key in keys):
        return f"{FOLDER}/{ANCHOR}: was not sealed with the site's secret key"
    return ""


def _lines(files: list[Path], after: int) -> Iterator[tuple[str, int, bytes]]:
    """(file, line number, line) of every line but those of files that only hold rows up to `after`."""
    for file, following in zip_longest(files, files[1:]):
        if following is not None and int(following.stem) <= after + 1:
            continue
        for number, line in enumerate(file.read_bytes().splitlines(keepends=True), 1):
            yield file.name, number, line


def _check_line(tail: Tail, line: bytes) -> str:
    """What is wrong with a line that should follow `tail`; empty when nothing is."""
    if not line.endswith(b"\n"):
        return f"row {tail.seq + 1} was never finished: its writer was ended; the next one will cut it off"
    line = line[:-1]
    found, place = _SUFFIX.search(line), _tail_of(line)
    if found is None or place is None:
        return f"is no row of the trail; row {tail.seq + 1} is expected"
    if place.seq != tail.seq + 1:
        return f"row {place.seq} follows row {tail.seq}: rows were taken out, put in or moved"
    if _digest(tail.hash, line[: found.start()]) != place.hash:
        return f"row {place.seq} was changed, or does not follow the row before it"
    return ""


def _take(report: Report, tail: Tail, line: bytes) -> Tail:
    row = json.loads(line)
    report.rows += 1
    report.last = row["seq"]
    if row["event"] in REMARKABLE:
        facts = ", ".join(f"{k} {v}" for k, v in row.items() if k not in ("seq", "time", "event", "hash"))
        report.remarks.append(f"row {row['seq']}, {row['time'][:19]}: {row['event']} {facts}")
    return Tail(row["seq"], row["hash"])


def _check_end(report: Report, tail: Tail, anchor: Anchor | None) -> None:
    if anchor is not None and tail.seq < anchor.last.seq:
        report.broken = report.broken or f"rows {tail.seq + 1} to {anchor.last.seq} are missing at the end"
    elif anchor is not None and tail.seq > anchor.last.seq:
        report.remarks.append(f"{tail.seq - anchor.last.seq} rows are newer than the anchor: the writer was ended just then")
