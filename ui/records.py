"""Journal and audit trail as lines for people, read in pages: the newest follow by themselves, older ones on request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from .explanation import asked
from .supervision import Poll, ask

ROWS: Final = 100
OLDER_MAX: Final = 2000
"""Older lines that a tab holds at most."""
EVERY_S: Final = 2.0
DEEDS: Final = 3
"""Values of one request that are named."""

_BAD: Final = ("alarm", "failed", "damaged", "write_refused", "identity")
_WARN: Final = ("left-out", "down", "override_ended")
_SAID: Final = ("time", "kind", "text", "asks")


class Records:
    """One kind of records in one tab. op: of the bus; line: a record as the page shows it; kind: only records of this one."""

    def __init__(
        self,
        directory: Path,
        op: str,
        line: Callable[[Mapping[str, Any]], dict[str, Any]],
        news: Callable[[], None],
        every_s: float = EVERY_S,
        kind: str = "",
    ) -> None:
        self.poll = Poll(directory, op, every_s, news, rows=ROWS, text="", kind=kind)
        self._directory = directory
        self._op = op
        self._line = line
        self._news = news
        self._older: list[dict[str, Any]] = []
        self._before = ""

    def value(self) -> dict[str, Any]:
        """Lines, newest first; whether there are more; whether the newest follow."""
        answer = self.poll.answer
        if self._older:
            return {"known": True, "rows": self._older, "more": bool(self._before), "follows": False}
        if answer is None:
            return {"known": False, "rows": [], "more": False, "follows": True}
        return {"known": True, "rows": [self._line(r) for r in answer["rows"]], "more": bool(answer["before"]), "follows": True}

    async def look_for(self, text: str) -> None:
        """Show only lines with `text` in them, from the newest on."""
        self.poll.arguments["text"] = text
        await self.newest()

    async def newest(self) -> None:
        """Follow the newest lines again."""
        self._older, self._before = [], ""
        await self.poll.read()
        self._news()

    async def older(self) -> None:
        """Show the next older page too; the lines then stand still. Raises BusError."""
        answer = self.poll.answer
        if answer is None or len(self._older) >= OLDER_MAX:
            return
        if not self._older:
            self._older, self._before = [self._line(r) for r in answer["rows"]], answer["before"]
        found = await ask(self._directory, self._op, **self.poll.arguments, before=self._before)
        self._older = [*self._older, *map(self._line, found["rows"])]
        self._before = found["before"] if len(self._older) < OLDER_MAX else ""
        self._news()


def journal_line(record: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the journal."""
    kind = str(record.get("kind", ""))
    tone = "bad" if kind in _BAD else "warn" if kind in _WARN else ""
    more = {k: v for k, v in record.items() if k not in _SAID} | asked(record)
    return {
        "time": _unix(record),
        "kind": kind.replace("_", " "),
        "who": "",
        "text": str(record.get("text", "")),
        "tone": tone,
        "more": _pairs(more),
    }


def audit_line(record: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the audit trail: who, what, on what, with which result."""
    event, status = str(record.get("event", "")), _outcome(record.get("status", ""))
    said = ("time", "event", "user", "status", "nodes", "values", "previous", "hash")
    more = {k: v for k, v in record.items() if k not in said and v not in ("", None)}
    refused = status not in ("", "Good") or "refused" in event or "failed" in event
    return {
        "time": _unix(record),
        "kind": event.replace("-", " "),
        "who": str(record.get("user") or ""),
        "text": _deed(record) + (f": {status}" if status and status != "Good" else ""),
        "tone": "warn" if refused else "",
        "more": _pairs(more),
    }


def _outcome(status: Any) -> str:
    """A StatusCode, or how many values of a request were refused."""
    if not isinstance(status, list):
        return str(status)
    return f"{sum(each != 'Good' for each in status)} of {len(status)} refused"


def _deed(record: Mapping[str, Any]) -> str:
    if "method" in record:
        arguments = ", ".join(map(str, record.get("arguments") or ()))
        return f"{_name(record['method'])}({arguments})"
    if "node" in record:
        value = record.get("value")
        return f"{_name(record['node'])} = {value}" if "value" in record else _name(record["node"])
    if "nodes" in record:
        return _deeds(record["nodes"], record["values"])
    return str(record.get("reason") or record.get("text") or record.get("application") or "")


def _deeds(nodes: Sequence[str], values: Sequence[Any]) -> str:
    """`ess0/SetActivePower = 5.0, ess1/SetActivePower = 5.0 and 998 more`."""
    first = [f"{_name(node)} = {value}" for node, value in zip(nodes[:DEEDS], values, strict=False)]
    return ", ".join(first) + (f" and {len(nodes) - DEEDS} more" if len(nodes) > DEEDS else "")


def _name(node: Any) -> str:
    """`ess0/Soc` of `ns=4;s=ess0/Soc`."""
    return str(node).rpartition(";s=")[2]


def _pairs(more: Mapping[str, Any]) -> str:
    return "  ".join(f"{k}={v}" for k, v in more.items())


def _unix(record: Mapping[str, Any]) -> float:
    """Seconds since 1970 of a record, 0 when it does not say."""
    try:
        return datetime.fromisoformat(str(record["time"])).timestamp()
    except (KeyError, ValueError):
        return 0.0
