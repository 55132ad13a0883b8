"""What happened, one JSON object a line in DIR/data/journal/<UTC date>.jsonl, and the engine's state to start from.

Control and the supervisor produce records; only the supervisor touches the disk. A record has `kind` and `time` (UTC).
`{"kind": "state", "state": {...}}` is the engine's state: the newest is kept in memory for a control process that must
be restarted, and every STATE_EVERY_S one goes to the file, for the next start of the site; at once where it is `commanded`,
which means that it holds something a client asked for. States are numbered, because dates of files say nothing when the clock
was set. A line that was cut by a power failure is skipped when read, and the next record begins a new line.

A disk that takes nothing costs nothing at first: lines wait in memory, WAITING_BYTES_MAX of them, and then the oldest are given
up and counted. A line that was written in part is taken back.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .moment import Moment

STATE_EVERY_S = 10.0
KEPT_DAYS = 400
"""Journal files older than this are removed when a new day begins."""
RECORD_BYTES_MAX = 1 << 20
WAITING_BYTES_MAX = 8 << 20
TAIL_BYTES = 1 << 22
"""How far back from a file's end the last state is looked for."""
FILES_WITH_STATE = 3
"""In how many of the newest files it is looked for first: the clock may have been set back over midnight."""


class SavedState(NamedTuple):
    """A state of the engine. number: counts the states of a site; taken: when control left it."""

    state: dict[str, Any] | None
    number: int
    taken: Moment

    @property
    def age_s(self) -> float:
        """Seconds since it was taken."""
        return self.taken.age_s()


NOTHING = SavedState(None, 0, Moment("", 0.0, 0.0))


class Journal:
    """The journal of one site. `append` never blocks on the disk; `write` hands lines to the kernel; `sync` to the disk."""

    def __init__(
        self, folder: Path, clock: Callable[[], float] = time.time, elapsed: Callable[[], float] = time.monotonic
    ) -> None:
        self.folder = folder
        self._saved = last_state(folder)
        self._clock = clock
        self._elapsed = elapsed
        self._lines: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._given_up = 0
        self._state_due = 0.0
        self._state_waits = False
        self._day = ""
        self._descriptor = -1

    @property
    def saved(self) -> SavedState:
        """The newest state of the engine."""
        return self._saved

    def event(self, kind: str, text: str, **data: Any) -> None:
        """Note something the supervisor knows."""
        self._add({"kind": kind, "time": _stamp(self._clock()), "text": text, **data})

    def take(self, record: bytes) -> None:
        """Note a record as control wrote it. What is no JSON object is noted as damaged."""
        try:
            parsed = json.loads(record)
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict):
            self.event("damaged", "a record of control is no JSON object", size=len(record))
        elif parsed.get("kind") == "state":
            self._saved = SavedState(parsed.get("state"), self._saved.number, Moment.now())
            self._state_waits = True
            if parsed.get("commanded"):
                self._state_due = 0.0
        else:
            parsed.setdefault("time", _stamp(self._clock()))
            self._add(parsed)

    def write(self, *, final: bool = False) -> bool:
        """Append what waits to today's file; True when there was anything. The state goes along when due or `final`.

        OSError when the disk does not take it; then everything waits for the next time.
        """
        self._add_state(final=final)
        if not self._lines:
            return False
        self._open(_stamp(self._clock())[:10])
        if self._given_up:
            self.event("lost", f"{self._given_up} older records were given up while the disk took none", count=self._given_up)
        _append(self._descriptor, b"".join(self._lines))
        self._lines.clear()
        self._waiting_bytes = self._given_up = 0
        return True

    def _add_state(self, *, final: bool) -> None:
        now = self._elapsed()
        if self._state_waits and (final or now >= self._state_due):
            self._saved = saved = self._saved._replace(number=self._saved.number + 1)
            stamped = {"kind": "state", "time": _stamp(self._clock()), "number": saved.number}
            self._add({**stamped, "taken": saved.taken.record(), "state": saved.state})
            self._state_due = now + STATE_EVERY_S
            self._state_waits = False

    def sync(self) -> None:
        """Wait until the disk has it. At most once a second is enough."""
        if self._descriptor >= 0:
            os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Write and sync what is left."""
        self.write(final=True)
        self.sync()
        self._close()

    def _add(self, record: dict[str, Any]) -> None:
        line = json.dumps(record, separators=(",", ":"), default=str).encode()
        if len(line) > RECORD_BYTES_MAX:
            return
        self._lines.append(line + b"\n")
        self._waiting_bytes += len(line) + 1
        while self._waiting_bytes > WAITING_BYTES_MAX:
            self._waiting_bytes -= len(self._lines.popleft())
            self._given_up += 1

    def _open(self, day: str) -> None:
        if day == self._day and os.fstat(self._descriptor).st_nlink:
            return
        self._close()
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{day}.jsonl"
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self._day = day
        size = os.fstat(self._descriptor).st_size
        if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
            os.write(self._descriptor, b"\n")
        for old in _files(self.folder)[:-KEPT_DAYS]:
            old.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1
        self._day = ""


def read(path: Path, tail: int | None = None) -> Iterator[dict[str, Any]]:
    """The whole records of a journal file in order, or those in its last `tail` bytes; damaged lines are left out."""
    with path.open("rb") as file:
        if tail is not None and path.stat().st_size > tail:
            file.seek(-tail, os.SEEK_END)
            file.readline()
        for line in file:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict):
                yield record


def last_state(folder: Path) -> SavedState:
    """The newest state of the engine in the journal; one without state when there is none."""
    newest = NOTHING
    for age, path in enumerate(reversed(_files(folder)), 1):
        newest = max((newest, *_states(path)), key=lambda saved: saved.number)
        if newest.number and age >= FILES_WITH_STATE:
            break
    return newest


def newest_time(folder: Path) -> float:
    """When the journal was last written, UTC seconds; 0 when there is none."""
    return max((path.stat().st_mtime for path in _files(folder)), default=0.0)


def _states(path: Path) -> Iterator[SavedState]:
    for record in read(path, TAIL_BYTES):
        state, number, taken = record.get("state"), record.get("number"), Moment.parse(record.get("taken"))
        if record.get("kind") == "state" and isinstance(state, dict) and isinstance(number, int) and taken is not None:
            yield SavedState(state, number, taken)


def _append(descriptor: int, data: bytes) -> None:
    """Append all of `data`, or nothing and OSError."""
    size = os.fstat(descriptor).st_size
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError:
        os.ftruncate(descriptor, size)
        raise


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("????-??-??.jsonl"))


def _stamp(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1000):03d}Z"
