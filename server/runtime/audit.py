"""The audit trail: who did what, with which result. Append-only, hash-chained, one JSON object per line.

    DIR/data/audit/000000000001.jsonl     rows, named by the first one; a full file is followed by another
    DIR/data/audit/anchor.json            how far the trail reaches, sealed with the site's key

    {"seq": 57, "time": "...", "event": "write", "user": "anna", ..., "hash": "<SHA-256 of the hash before and of this line>"}

Problem: whoever can write the files can also mend them. Idea: a row's hash covers the hash of the row before, so a row that was
changed, taken out, put in or moved breaks the chain from there on; and the anchor says which row is the last one and which
the first one kept, so that cutting off an end shows as well. The anchor carries a MAC under the site's key, which is not
where the trail is. A trail that was cut is continued behind the gap, which stays to be seen.

Rows are written by a thread: nobody waits for the disk. What the disk does not take waits in memory, PENDING_BYTES_MAX at most;
above that `accepts` is False, the server refuses what must be audited, and what happens all the same is counted as lost.
What was done in the moment before a kill -9, while the disk was being waited for, may be missing; what is there is whole.
A process that is killed leaves what was handed to the kernel; a half written last line is cut off and noted by the next writer.
Several processes may write (the server, the supervisor, the command line): each batch is one flock.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from .audit_chain import (
    Anchor,
    Tail,
    audit_files,
    audit_folder,
    hash_at,
    link,
    members,
    read_anchor,
    read_tail,
    seal_keys,
    write_anchor,
)
from .tail import read_page

FILE_BYTES_MAX: Final = 16 << 20
FILES_MAX: Final = 32
PENDING_BYTES_MAX: Final = 8 << 20
RETRY_S: Final = 1.0
SYNC_S: Final = 0.5
"""Rows are with the kernel at once, and on the disk after this time at the latest."""
TORN_SHOWN_MAX: Final = 200
CLOSE_WITHIN_S: Final = 5.0

log = logging.getLogger("ems.audit")


class AuditLog:
    """Appends rows to the trail of one site. `write` may be called from any thread and never waits."""

    def __init__(self, directory: Path) -> None:
        self.trouble = ""
        """Why rows cannot be written now; empty while they can."""
        self._directory = directory
        self._writer = Writer(directory)
        self._rows: deque[str] = deque()
        self._bytes = 0
        self._lost = 0
        self._ending = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    @property
    def accepts(self) -> bool:
        """False while so much waits for the disk that nothing more must happen that has to be audited."""
        return self._bytes < PENDING_BYTES_MAX

    def write(self, event: str, fields: Mapping[str, Any]) -> None:
        """Append one row with the present time (UTC). A row that finds no room is counted and told later."""
        row = _row(event, fields)
        with self._changed:
            if not self.accepts:
                self._lost += 1
                return
            self._rows.append(row)
            self._bytes += len(row)
            self._changed.notify_all()

    def settle(self, within_s: float = CLOSE_WITHIN_S) -> bool:
        """Wait until all rows are with the kernel; False when that takes longer."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._rows, within_s)

    def close(self) -> None:
        """Write and sync what waits, as far as the disk takes it, and end."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        self._thread.join(CLOSE_WITHIN_S)

    def _run(self) -> None:
        while not self._ending or (self._rows and not self.trouble):
            with self._changed:
                self._changed.wait_for(lambda: self._rows or self._ending, SYNC_S if self._writer.unsynced else None)
            self._write_all()
        with contextlib.suppress(OSError):
            self._writer.close()

    def _write_all(self) -> None:
        """Write what waits, and sync when it is time. On trouble what is not written stays, and is tried again later."""
        with self._changed:
            batch, lost = list(self._rows), self._lost
        rows = batch + ([_row("audit-lost", {"count": lost})] if lost else [])
        try:
            if rows:
                self._writer.append(rows)
                self._written(len(batch), lost)
            self._writer.sync_when_due()
        except OSError as error:
            self._tell(f"cannot be written: {error.strerror or error}")
            with self._changed:
                self._changed.wait_for(lambda: self._ending, RETRY_S)
        else:
            self._tell("")

    def _written(self, count: int, lost: int) -> None:
        with self._changed:
            self._lost -= lost
            for _ in range(count):
                self._bytes -= len(self._rows.popleft())
            self._changed.notify_all()

    def _tell(self, trouble: str) -> None:
        if trouble and trouble != self.trouble:
            log.error("audit trail %s", trouble)
        elif self.trouble and not trouble:
            log.warning("audit trail is written again")
        self.trouble = trouble


class Writer:
    """The file work: chain, rotation, anchor. Used by one thread; other processes are kept out while it writes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._folder = audit_folder(directory)
        self._fd = -1
        self._file = Path()
        self._size = -1
        self._tail = Tail(0, "")
        self._first = Tail(0, "")
        self._notes: list[str] = []
        self._synced_at = 0.0
        self.unsynced = False

    def append(self, rows: list[str]) -> None:
        """Append rows (`audit_chain.members`) as one batch. Raises OSError; then nothing of the batch is in the file."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _alone(self._folder):
            if self._fd < 0 or not _is_at(self._file, self._fd, self._size):
                self._open()
            if self._size >= FILE_BYTES_MAX:
                self._rotate()
            self._put(rows)

    def sync_when_due(self) -> None:
        """Bring rows and anchor to the disk, when something is unsynced and the last time is SYNC_S ago."""
        now = time.monotonic()
        if self.unsynced and now - self._synced_at >= SYNC_S:
            self._synced_at = now
            self._sync()

    def close(self) -> None:
        """Sync and close."""
        if self.unsynced:
            self._sync()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _put(self, rows: list[str]) -> None:
        lines, tail = bytearray(), self._tail
        for row in (*self._notes, *rows):
            tail = link(tail, row, lines)
        _write_whole(self._fd, lines, self._size)
        self._notes.clear()
        self._size += len(lines)
        self._tail = tail
        self.unsynced = True

    def _sync(self) -> None:
        os.fdatasync(self._fd)
        with _alone(self._folder):
            anchor = read_anchor(self._folder)
            if anchor is None or anchor.last.seq <= self._tail.seq:
                write_anchor(self._folder, Anchor(self._first, self._tail), seal_keys(self._directory))
        self.unsynced = False

    # What others, or the last life of this process, have left.

    def _open(self) -> None:
        """Find the end of the trail; what is not as it should be becomes rows before the next ones."""
        files, anchor = audit_files(self._directory), read_anchor(self._folder)
        self._use(files[-1] if files else self._folder / _name(1))
        self._cut_torn_line()
        found = next((t for f in reversed(files) if (t := read_tail(f)).seq), Tail(0, ""))
        self._first = anchor.first if anchor is not None else Tail(0, "")
        self._tail = found
        if anchor is None and found.seq:
            self._notes.append(_row("audit-anchor-lost", {"reached": found.seq}))
        elif anchor is not None and hash_at(files, anchor.last.seq) != anchor.last.hash:
            self._notes.append(_row("audit-damaged", {"reached": found.seq, "anchored": anchor.last.seq}))
            self._tail = anchor.last

    def _use(self, file: Path) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._file, self._size = file, os.fstat(self._fd).st_size

    def _cut_torn_line(self) -> None:
        """Cut off a last line that was never finished; what it had is kept in a row of its own."""
        start = max(self._size - (1 << 20), 0)
        end = os.pread(self._fd, self._size - start, start)
        torn = end[end.rfind(b"\n") + 1 :]
        if torn:
            self._size -= len(torn)
            os.ftruncate(self._fd, self._size)
            self._notes.append(_row("audit-torn", {"text": torn[:TORN_SHOWN_MAX].decode(errors="replace")}))

    # Rotation.

    def _rotate(self) -> None:
        """Begin another file. The oldest ones beyond FILES_MAX are dropped, which the trail says and the anchor knows."""
        os.fdatasync(self._fd)
        self._use(self._folder / _name(self._tail.seq + 1))
        files = audit_files(self._directory)
        for dropped in files[: max(len(files) - FILES_MAX, 0)]:
            self._first = read_tail(dropped)
            told = {"file": dropped.name, "up_to": self._first.seq, "hash_there": self._first.hash}
            self._put([_row("audit-dropped", told)])
            os.fdatasync(self._fd)
            write_anchor(self._folder, Anchor(self._first, self._tail), seal_keys(self._directory))
            dropped.unlink()


def append(directory: Path, event: str, **fields: Any) -> None:
    """Append one row and bring it to the disk, for a command that ends. Raises OSError."""
    writer = Writer(directory)
    writer.append([_row(event, fields)])
    writer.close()


def tail(directory: Path, limit: int) -> list[dict[str, Any]]:
    """The newest `limit` rows, oldest of them first. A line that is no row is left out; `ems audit verify` tells of it."""
    rows: list[dict[str, Any]] = []
    before, files = "", audit_files(directory)
    while len(rows) < limit:
        page = read_page(files, limit - len(rows), before)
        rows += page.rows
        before = page.before
        if not before:
            break
    return rows[::-1]


def _row(event: str, fields: Mapping[str, Any]) -> str:
    """What happened, now."""
    return members({"time": datetime.now(UTC).isoformat(), "event": event, **fields})


def _name(seq: int) -> str:
    return f"{seq:012d}.jsonl"


def _is_at(file: Path, fd: int, size: int) -> bool:
    """True when nobody wrote to the file, replaced it or followed it with another since."""
    try:
        found, ours = file.stat(), os.fstat(fd)
    except OSError:
        return False
    newest = max(file.parent.glob("*.jsonl"), default=file)
    return os.path.samestat(found, ours) and found.st_size == size and newest == file


def _write_whole(fd: int, data: bytearray, size: int) -> None:
    """Append all of `data`, or nothing. OSError when the disk does not take it. size: of the file before."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(fd, size)
        raise


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other process writes to the trail meanwhile."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
