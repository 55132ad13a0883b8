"""What the journal knows of a moment in the past: who decided on each set-point, the engine's state, what clients wrote.

Read from its files, newest first, whether the site runs or not. Times are UTC as the journal has them,
`2026-11-23T07:12:04.150Z`, which sort as texts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

from server.core.decision import DECISION, REPEAT_S
from server.core.ticks import from_datetime, stamp

from .tail import ROWS_MAX, read_page

HORIZON_S: Final = 2 * REPEAT_S
"""How far back from its last decision a site is looked through for those on other set-points: each is told again in that time."""
STATE_HORIZON_S: Final = 86_400.0
"""How far back a state of the engine is looked for: it is kept every 10 s while the site runs."""

_DECISION: Final = f'"kind":"{DECISION}"'.encode()
_STATE: Final = b'{"kind":"state"'
_WRITE: Final = b'"kind":"write"'

Record = Mapping[str, Any]


class Written(NamedTuple):
    """A value that a client wrote and the engine took. time: ticks at which it was journaled."""

    time: int
    node: str
    value: float
    user: int


class Decided:
    """The decisions on every set-point in a period, and those that held when it began."""

    def __init__(self, folder: Path, start: int, end: int) -> None:
        self._by_node: dict[str, list[Record]] = {}
        for record in records_back(folder, start, end, _DECISION, HORIZON_S):
            if _is_decision(record):
                self._by_node.setdefault(record["node"], []).append(record)
        for records in self._by_node.values():
            records.reverse()

    def at(self, node: str, time: int) -> Record | None:
        """The decision that held at a time (ticks); None where none was journaled."""
        records = self._by_node.get(node, [])
        place = bisect_right(records, stamp(time), key=lambda record: str(record["time"]))
        return records[place - 1] if place else None


def decisions_at(folder: Path, time: int) -> dict[str, Record]:
    """The newest decision on each set-point at a time (ticks), by its name."""
    found: dict[str, Record] = {}
    for record in records_back(folder, time, time, _DECISION, HORIZON_S):
        if _is_decision(record):
            found.setdefault(record["node"], record)
    return dict(sorted(found.items()))


def state_at(folder: Path, time: int) -> tuple[dict[str, Any], float] | None:
    """The engine's state at a time (ticks), and its age [s]; None where none was journaled on the day before."""
    for record in records_back(folder, time, time, _STATE, STATE_HORIZON_S):
        if isinstance(record.get("state"), dict):
            age = (time - ticks(record["time"])) / 1e7
            return (record["state"], age) if age <= STATE_HORIZON_S else None
    return None


def written(folder: Path, start: int, end: int) -> list[Written]:
    """What clients wrote with start <= time < end (ticks), in order."""
    found = [
        Written(ticks(r["time"]), str(r["node"]), float(r["value"]), int(r.get("user", 0)))
        for r in records_back(folder, start, end - 1, _WRITE, 0.0)
        if r.get("kind") == "write" and isinstance(r.get("value"), (int, float)) and "node" in r and ticks(r["time"]) >= start
    ]
    return found[::-1]


def holder(record: Record) -> str:
    """Who held a set-point where it was, and why, without the numbers of the moment at which that was told."""
    who = f"{record.get('by', '')} {record.get('why', '')}".strip()
    return ", but ".join(part for part in (who, str(record.get("reason", ""))) if part) or "nobody limits it"


def ticks(text: str) -> int:
    """A time of the journal in ticks; 0 for what is none."""
    try:
        return from_datetime(datetime.fromisoformat(text))
    except ValueError:
        return 0


def _is_decision(record: Record) -> bool:
    return record.get("kind") == DECISION and all(isinstance(record.get(name), str) for name in ("node", "since"))


def records_back(folder: Path, start: int, end: int, words: bytes, horizon_s: float) -> Iterator[Record]:
    """Records with these words up to `end`, newest first, back to `start` and, from the newest before it, so many s further."""
    begin, last = stamp(start), stamp(end)
    for record in _newest_first(folder, last, words):
        time = str(record.get("time", ""))
        if time > last:
            continue
        if not horizon_s and time < begin:
            return
        if horizon_s and time <= begin:
            begin, horizon_s = stamp(ticks(time) - round(horizon_s * 1e7)), 0.0
        yield record


def _newest_first(folder: Path, last: str, words: bytes) -> Iterator[Record]:
    """Records of the files of that day, the day after, and before, newest first."""
    until = datetime.fromisoformat(last) + timedelta(days=1) if last else None
    files = [f for f in sorted(folder.glob("????-??-??.jsonl")) if until is not None and f.stem <= f"{until:%Y-%m-%d}"]
    before, more = "", bool(files)
    while more:
        page = read_page(files, ROWS_MAX, before, lambda line: words in line)
        yield from page.rows
        before, more = page.before, bool(page.before)
