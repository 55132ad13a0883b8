"""One thing that somebody asks, and what became of it: as data, and in words made of that.

    {"who": "self0", "kind": "target", "node": "import", "why": "balances import to 0 W",
     "asked": [2900, 2900], "granted": [0, 0], "by": "peak0", "unit": "W"}

    balances import to 0 W: wants 2.9 kW, gets 0 W: peak0 allows no more

This is the one declaration: the engine's texts, the journal, the panel and the command line all ask it for its data or its words.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from .words import power

Range = tuple[float | None, float | None]
"""At least and at most, None where open."""

NEAR_W: Final = 1.0
"""Powers closer than this are one and the same in words."""
TEXT_BYTES: Final = 1000
"""Longest text of a string channel."""
TRIP: Final = "trip"
"""Who decides while outputs are forced to safe values."""
HAND: Final = "hand"
"""Who decides on an actuator that an operator holds."""
NOWHERE: Final[Range] = (None, None)

_VERBS: Final = {"bound": "asks", "target": "wants", "add": "adds", "reserve": "keeps", "set": "sets"}


class Ask(NamedTuple):
    """One thing that somebody asks, and what became of it.

    who: the controller. kind: bound, target, add, reserve or set. node: what it is about. why: in words.
    asked: at least and at most, None where open; of a reserve the room down and up; of a connection what that means for the
    units below it. None while that cannot be told, because a meter is not measured. granted: None when it got all it asked for.
    by: who allowed no more; "" for the units themselves. unit: W, var, or "" for what is no power.
    """

    who: str
    kind: str
    node: str
    why: str
    asked: Range | None
    granted: Range | None = None
    by: str = ""
    unit: str = "W"

    def data(self) -> dict[str, Any]:
        """As JSON; what it does not have is left out."""
        told: dict[str, Any] = {"who": self.who, "kind": self.kind, "node": self.node, "why": self.why}
        told["asked"] = None if self.asked is None else _rounded(self.asked)
        if self.granted is not None:
            told |= {"granted": _rounded(self.granted), "by": self.by}
        return told | {"unit": self.unit}

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Ask:
        """From what `data` gave. KeyError, TypeError or ValueError for what is no Ask."""
        asked, granted = (None if told.get(name) is None else _pair(told[name]) for name in ("asked", "granted"))
        who, kind, node, why = (str(told[name]) for name in ("who", "kind", "node", "why"))
        return cls(who, kind, node, why, asked, granted, str(told.get("by", "")), str(told.get("unit", "W")))

    @property
    def asked_words(self) -> str:
        """asks ≥ 3.2 kW."""
        if self.asked is None:
            return f"waits, {self.node} is not measured"
        verb = _VERBS[self.kind]
        if self.kind == "reserve":
            down, up = (power(x or 0.0, self.unit) for x in self.asked)
            return f"{verb} {up} up and {down} down"
        range_ = range_words(self.asked, self.unit)
        return f"{verb} {self.node} to {range_}" if self.kind == "set" else f"{verb} {range_}"

    @property
    def granted_words(self) -> str:
        """≥ 2 kW, where that is less than was asked for; else nothing."""
        return "" if self.granted is None else range_words(self.granted, self.unit)

    @property
    def limit_words(self) -> str:
        """Who allowed no more: floor0 allows no more."""
        if self.granted is None:
            return ""
        if self.kind == "set":
            return "a trip forbids it" if self.by == TRIP else f"{self.by} holds it there"
        return f"{self.by} allows no more" if self.by else "the units can do no more"

    @property
    def words(self) -> str:
        """keeps import under 8 kW: asks ≥ 3.2 kW, gets ≥ 2 kW: floor0 allows no more."""
        text = f"{self.why or self.node}: {self.asked_words}"
        return text if self.granted is None else f"{text}, gets {self.granted_words}: {self.limit_words}"


def _rounded(ends: Range) -> list[float | None]:
    return [None if x is None else round(x, 1) + 0.0 for x in ends]


def _pair(ends: Sequence[Any]) -> Range:
    low, high = (None if x is None else float(x) for x in ends)
    return low, high


def range_words(wanted: Range, unit: str = "W") -> str:
    """A range in words: ≥ 3.2 kW."""
    low, high = wanted
    if not unit:
        return "nothing" if low is None else f"{low:g}"
    if low is not None and high is not None:
        return power(low, unit) if high - low < NEAR_W else f"{power(low, unit)} to {power(high, unit)}"
    if low is not None:
        return f"≥ {power(low, unit)}"
    return f"≤ {power(high, unit)}" if high is not None else "nothing"


def controller_text(asks: Sequence[Ask]) -> str:
    """What a controller asked for and what became of it."""
    return shorten("; ".join(ask.words for ask in asks)) if asks else "asks for nothing"


def as_json(asks: Iterable[Ask]) -> str:
    """The same as data: a JSON list, of the first of them as many as fit a string channel."""
    parts: list[str] = []
    length = 2
    for ask in asks:
        part = json.dumps(ask.data(), ensure_ascii=False, separators=(",", ":"))
        length += len(part.encode()) + 1
        if length > TEXT_BYTES:
            break
        parts.append(part)
    return f"[{','.join(parts)}]"


def from_json(text: str) -> list[Ask]:
    """What `as_json` was made of. ValueError for anything else."""
    try:
        return [Ask.of(told) for told in json.loads(text or "[]")]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no list of claims: {text[:80]!r}") from error


def shorten(text: str) -> str:
    """A text that fits a string channel."""
    data = text.encode()
    return text if len(data) <= TEXT_BYTES else data[: TEXT_BYTES - 3].decode(errors="ignore") + "…"
