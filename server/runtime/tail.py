"""Files of JSON lines read backwards, a page at a time: the newest records first, however long the files are.

A page costs a bounded number of bytes. Where it ends is a place, `<file name>:<offset>`, from which the next page goes on; it
stays valid while the files grow.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from server.core.errors import EmsError

CHUNK_BYTES: Final = 1 << 16
PAGE_BYTES_MAX: Final = 4 << 20
"""Bytes read for one page; a page that finds little in so many ends early."""
ROWS_MAX: Final = 500

_PLACE: Final = re.compile(r"([\w.-]+):(\d{1,15})")

Wanted = Callable[[bytes], bool]


class PlaceError(EmsError):
    """A place that is not one of these files."""


class Page(NamedTuple):
    """rows: newest first. before: the place of the next older page, empty when there is none."""

    rows: list[dict[str, Any]]
    before: str


def read_page(files: Sequence[Path], rows: int, before: str = "", wanted: Wanted = bool) -> Page:
    """The newest records of `files` (oldest file first) that lie before a place.

    rows: at most so many, themselves at most ROWS_MAX. wanted: looks at a line before it is parsed. Damaged lines are left out.
    Raises PlaceError for a place that is none.
    """
    found: list[dict[str, Any]] = []
    read = 0
    at = ""
    for file, offset, line in _backwards(files, before):
        at = f"{file.name}:{offset}"
        read += len(line) + 1
        if wanted(line) and (record := _parsed(line)) is not None:
            found.append(record)
        if len(found) >= min(rows, ROWS_MAX) or read >= PAGE_BYTES_MAX:
            return Page(found, at)
    return Page(found, "")


def _backwards(files: Sequence[Path], before: str) -> Iterator[tuple[Path, int, bytes]]:
    """Every line with its file and offset, the last one first."""
    waiting = list(files)
    end = None
    if before:
        name, end = _place(before)
        if name not in {f.name for f in files}:
            raise PlaceError(f"before: there is no {name} any more")
        while waiting[-1].name != name:
            waiting.pop()
    for file in reversed(waiting):
        for offset, line in _lines_backwards(file, end):
            yield file, offset, line
        end = None


def _place(text: str) -> tuple[str, int]:
    match = _PLACE.fullmatch(text)
    if match is None:
        raise PlaceError(f"before: {text[:80]!r} is no place; <file name>:<offset> is")
    return match[1], int(match[2])


def _lines_backwards(file: Path, end: int | None) -> Iterator[tuple[int, bytes]]:
    """Lines that end at or before `end`. A line still being written, at the end of the file, counts as damaged later on."""
    with file.open("rb") as stream:
        size = stream.seek(0, 2)
        at = size if end is None else min(end, size)
        rest = b""
        while at > 0:
            start = max(0, at - CHUNK_BYTES)
            stream.seek(start)
            lines = (stream.read(at - start) + rest).split(b"\n")
            rest = lines[0] if start else b""
            offset = start + sum(len(line) + 1 for line in lines)
            for line in reversed(lines[1:] if start else lines):
                offset -= len(line) + 1
                if line:
                    yield offset, line
            at = start


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
