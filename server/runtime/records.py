"""What the supervisor lets the panel read besides the status: journal, audit trail and whether it is whole, machine.

    {"op": "journal", "rows": 100, "before": "2025-11-23.jsonl:81234", "text": "ess0"}
    ->  {"ok": true, "rows": [{"kind": "write", "time": "...", "text": "...", ...}, ...], "before": "2025-11-23.jsonl:64110"}
    {"op": "verify"}   ->  {"ok": true, "whole": true, "count": 512, "broken": "", "remarks": []}
    {"op": "machine"}  ->  {"ok": true, "version": "...", "disk": {...}, "memory": {...}, "certificates": [...], ...}

Rows come newest first, at most tail.ROWS_MAX of them; `before` is where the next older page begins, empty at the beginning of
all records. `text` must be in a record, A to Z in any case; a record's kind must begin with `kind`. Nothing here changes
anything, and all of it is done beside the supervisor's loop, so that a slow disk delays nobody else. Whom a record may be
shown is decided by who asks: the socket is its owner's only.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from certs import CertificateError, list_certificates
from server.core.errors import EmsError

from .audit_chain import audit_files, verify
from .bus import Operation
from .tail import ROWS_MAX, read_page

ROWS: Final = 100
TEXT_LENGTH_MAX: Final = 200
_FOR_REPLAY: Final = (b'{"kind":"state"', b'{"kind":"document_content"')
"""How records begin that are large, and nothing for people: states of the engine, contents of documents."""


class RecordsError(EmsError):
    """A request for records that makes no sense."""


def operations(directory: Path) -> dict[str, Operation]:
    """The ops `journal`, `audit` and `machine` of the site in DIR."""
    data = directory / "data"

    def journal(asked: Mapping[str, Any]) -> Mapping[str, Any]:
        return _page(sorted((data / "journal").glob("????-??-??.jsonl")), asked)

    def audit(asked: Mapping[str, Any]) -> Mapping[str, Any]:
        return _page(audit_files(directory), asked)

    return {
        "journal": _beside(journal),
        "audit": _beside(audit),
        "verify": _beside(lambda _: verified(directory)),
        "machine": _beside(lambda _: machine(directory)),
    }


def _beside(work: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Operation:
    """An operation that runs in a thread."""

    async def perform(asked: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            return await asyncio.to_thread(work, asked)
        except (OSError, CertificateError) as error:
            raise RecordsError(f"cannot be read: {error}") from error

    return perform


def _page(files: Sequence[Path], asked: Mapping[str, Any]) -> dict[str, Any]:
    rows, before = asked.get("rows", ROWS), asked.get("before", "")
    text, kind = asked.get("text", ""), asked.get("kind", "")
    if not isinstance(rows, int) or not 1 <= rows <= ROWS_MAX:
        raise RecordsError(f"rows: {rows!r} is not in 1..{ROWS_MAX}")
    if not all(isinstance(word, str) and len(word) <= TEXT_LENGTH_MAX for word in (before, text, kind)):
        raise RecordsError(f"before, text and kind are texts of {TEXT_LENGTH_MAX} characters at most")
    words, begins = _written(text).lower(), b'"kind":"' + _written(kind) if kind else b""

    def wanted(line: bytes) -> bool:
        return not line.startswith(_FOR_REPLAY) and begins in line and words in line.lower()

    page = read_page(files, rows, before, wanted)
    return {"rows": page.rows, "before": page.before}


def _written(text: str) -> bytes:
    """A text as it stands in a line of JSON."""
    return json.dumps(text)[1:-1].encode()


def verified(directory: Path) -> dict[str, Any]:
    """Whether the whole audit trail is as it was written: how many rows fit, and the first thing that does not."""
    report = verify(directory)
    return {"whole": not report.broken, "count": report.rows, "broken": report.broken, "remarks": report.remarks}


def machine(directory: Path) -> dict[str, Any]:
    """The machine and what the site takes of it. Sizes in bytes, times in s; certificates: name, state, end of validity (UTC)."""
    disk = shutil.disk_usage(directory)
    memory = _memory()
    return {
        "version": version("unified-ems"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} ({platform.machine()})",
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "uptime_s": time.clock_gettime(time.CLOCK_BOOTTIME),
        "disk": {"total": disk.total, "free": disk.free},
        "memory": {"total": memory.get("MemTotal"), "available": memory.get("MemAvailable")},
        "stored": _stored(directory / "data"),
        "certificates": _certificates(directory),
    }


def _memory() -> dict[str, int]:
    """/proc/meminfo in bytes."""
    with open("/proc/meminfo") as file:
        return {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in file)}


def _stored(data: Path) -> dict[str, int]:
    """Bytes on disk of each kind of records."""
    kinds = {"history": "history.*", "journal": "journal/*", "audit": "audit/*", "logs": "log/*"}
    return {kind: sum(f.stat().st_size for f in data.glob(pattern) if f.is_file()) for kind, pattern in kinds.items()}


def _certificates(directory: Path) -> list[dict[str, Any]]:
    """The site's own certificates and those of authorities, the next to expire first."""
    found = sorted((c for c in list_certificates(directory) if c.state in ("own", "issuer")), key=lambda c: c.not_after)
    return [
        {"name": c.file.stem, "state": c.state, "thumbprint": c.thumbprint, "not_after": f"{c.not_after:%Y-%m-%dT%H:%M:%SZ}"}
        for c in found
    ]
