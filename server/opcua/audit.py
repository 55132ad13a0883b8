"""The audit trail: who did what, with which result, one JSON object per line of DIR/data/audit.jsonl.

Append-only, readable by its owner only. When the file reaches its bound it becomes audit.1.jsonl and a new one begins: the
newest AUDIT_BYTES_MAX are always there, and a flood of refused logins cannot fill the disk.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

AUDIT_BYTES_MAX: Final = 64 << 20


class AuditLog:
    """Appends lines; each is complete in the file when `write` returns."""

    def __init__(self, file: Path) -> None:
        self._file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        self._open()

    def write(self, event: str, fields: dict[str, Any]) -> None:
        """Append one event with its time (UTC)."""
        line = json.dumps({"time": datetime.now(UTC).isoformat(), "event": event, **fields}, default=str) + "\n"
        data = line.encode()
        if self._size + len(data) > AUDIT_BYTES_MAX:
            os.close(self._fd)
            self._file.replace(self._file.with_suffix(".1.jsonl"))
            self._open()
        os.write(self._fd, data)
        self._size += len(data)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def _open(self) -> None:
        self._fd = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._fd).st_size
