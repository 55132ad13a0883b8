"""Who asked what, and what became of it: as data, and in an operator's words.

    {"who": "self0", "kind": "target", "node": "import", "why": "balances import to 0 W",
     "asked": [2900, 2900], "granted": [0, 0], "by": "peak0", "unit": "W"}

    ess0 discharges 3.2 kW: peak0 keeps import under 8 kW (asks ≥ 3.2 kW); self0 wanted 2.9 kW

Made from the solver's trace. An `Ask` is the one declaration: whoever shows it, here or in the panel, asks it for its words.
Explanations cost more than the decision itself, so the engine asks for them a few at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from .constraint import REACTIVE, Add, Bound, Reserve, Setting
from .solver import Claim, Grant, Range, Solution
from .topology import Kind, Topology, Unit
from .tree import EPSILON, Tree
from .words import power, render

NEAR_W: Final = 1.0
"""Powers closer than this are one and the same in words."""

UNITS_MAX: Final = 6
"""Units a site's explanation names one by one."""

TEXT_BYTES: Final = 1000
"""Longest text of a string channel."""

TRIP: Final = "trip"
"""Who decides while outputs are forced to safe values."""
HAND: Final = "hand"
"""Who decides on an actuator that an operator holds."""

NOWHERE: Final[Range] = (None, None)

_VERBS: Final = {"bound": "asks", "target": "wants", "add": "adds", "reserve": "keeps", "set": "sets"}
_KINDS: Final = {Bound: "bound", Add: "add", Reserve: "reserve"}


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


def ask_of(grant: Grant, fixed: Sequence[float]) -> Ask:
    """What a claim asked, and what became of it. fixed: of the solution."""
    who, constraint = grant.claim
    kind, node, why = _KINDS.get(type(constraint), "target"), constraint.node, render(constraint.why)
    unit = "var" if node.plane == REACTIVE else "W"
    if not grant.heard:
        return Ask(who, kind, node.label, why, None, unit=unit)
    if isinstance(constraint, Reserve):
        return Ask(who, kind, node.label, why, (constraint.down, constraint.up))
    if isinstance(constraint, Add):
        return Ask(who, kind, node.label, why, (constraint.value, constraint.value), unit=unit)
    asked = shown(grant, grant.asked, fixed)
    if not grant.limited:
        return Ask(who, kind, node.label, why, asked, unit=unit)
    by = grant.limiter.who if grant.limiter is not None else ""
    return Ask(who, kind, node.label, why, asked, shown(grant, grant.granted, fixed), by, unit)


def ask_of_setting(setting: Setting, first: str) -> Ask:
    """What was asked of an actuator, and what became of it. first: who was first to ask for this actuator."""
    wish, got = setting.wish, setting.got
    asked = (wish.value, wish.value)
    granted = None if got == wish.value else NOWHERE if got is None else (got, got)
    by = TRIP if got is None else HAND if first == setting.who else first
    return Ask(setting.who, "set", wish.actuator.label, render(wish.why), asked, granted, by, "")


def action(unit: Unit, setpoint: float) -> str:
    """What a unit is told to do, in words. setpoint: in the unit's own sign [W]."""
    if unit.kind is Kind.Storage:
        if abs(setpoint) < NEAR_W:
            return f"{unit.alias} rests"
        return f"{unit.alias} {'discharges' if setpoint > 0 else 'charges'} {power(abs(setpoint))}"
    verb = {Kind.Charger: "charge", Kind.Load: "draw", Kind.Production: "produce"}[unit.kind]
    if setpoint < NEAR_W:
        return f"{unit.alias} may not {verb}"
    return f"{unit.alias} may {verb} up to {power(setpoint)}"


def shown(grant: Grant, supply: Range, fixed: Sequence[float]) -> Range:
    """A range of supply as people think of it: a unit's in its own sign, a connection's as what storage has to give."""
    node, (low, high) = grant.claim.constraint.node, supply
    if node.metered or node.sign > 0:
        offset = fixed[node.place] if not node.plane else 0.0
        return (None if low is None else low - offset), (None if high is None else high - offset)
    return (None if high is None else -high), (None if low is None else -low)


def decider(solution: Solution, topology: Topology, leaf: int) -> Claim | None:
    """The claim that holds a unit where it is: at its own interval's end, at its ceiling, or at the end of a group above; else the
    service that moves it."""
    if not topology.units[leaf].is_storage and solution.ceiling_by[leaf] is not None:
        return solution.ceiling_by[leaf]
    return holder(solution.tree, solution.base, topology.parents, leaf) or _service(solution, topology.parents, leaf)


def _service(solution: Solution, parents: Sequence[int], leaf: int) -> Claim | None:
    """The first service on a unit, or on a group above it."""
    path = set(_path(parents, leaf))
    for claim, _, done, _ in solution.outcomes:
        if isinstance(claim.constraint, Add) and claim.constraint.node.place in path and done[0]:
            return claim
    return None


def _path(parents: Sequence[int], node: int) -> Iterable[int]:
    while node >= 0:
        yield node
        node = parents[node]


def holder(tree: Tree, totals: Sequence[float], parents: Sequence[int], leaf: int) -> Claim | None:
    """The claim at whose end of an interval a unit is, or a group above it; totals: supply of each node."""
    for node in _path(parents, leaf):
        for ends, by in ((tree.low, tree.low_by), (tree.high, tree.high_by)):
            if isinstance(by[node], Claim) and abs(totals[node] - ends[node]) <= max(NEAR_W, EPSILON):
                found: Claim = by[node]
                return found
    return None


def claim_text(claim: Claim, solution: Solution) -> str:
    """peak0 keeps import under 8 kW (asks ≥ 3.2 kW)."""
    grant = next((g for g in solution.grants_of(claim.who) if g.claim is claim), None)
    words = f"{claim.who} {render(claim.constraint.why)}".strip()
    return words if grant is None else f"{words} (asks {range_words(shown(grant, grant.asked, solution.fixed))})"


def unmet(solution: Solution, told: set[str]) -> list[str]:
    """Wants and limits that did not get what they asked for, one each for who is not told of already, as many as fit a text."""
    found: list[str] = []
    length = 0
    totals = solution.active
    for grant in solution.grants:
        if grant.claim.who in told or not grant.heard or isinstance(grant.claim.constraint, (Add, Reserve)):
            continue
        node = grant.claim.constraint.node
        got = totals[node.place] if not node.plane and not node.phase else None
        if grant.limited or (got is not None and _misses(grant.asked, got)):
            told.add(grant.claim.who)
            found.append(f"{grant.claim.who} wanted {range_words(shown(grant, grant.asked, solution.fixed))}")
            length += len(found[-1])
            if length > TEXT_BYTES:
                break
    return found


def _misses(asked: Range, got: float) -> bool:
    low, high = asked
    return (low is not None and got < low - 50) or (high is not None and got > high + 50)


def site_text(
    solution: Solution, topology: Topology, setpoints: Sequence[float], rated: Sequence[float], reasons: Sequence[str]
) -> str:
    """The site's explanation: units grouped by who decided on them. Chargers, loads and producers that are free go unsaid."""
    groups: dict[str, list[Unit]] = {}
    told: set[str] = set()
    texts: dict[int, str] = {}
    for unit in topology.units:
        why = reasons[unit.index]
        if not unit.is_storage and not why and setpoints[unit.index] >= rated[unit.index] - NEAR_W:
            continue
        claim = decider(solution, topology, unit.index)
        if claim is not None:
            if id(claim) not in texts:
                texts[id(claim)] = claim_text(claim, solution)
                told.add(claim.who)
            why = f"{texts[id(claim)]}, but {why}" if why else texts[id(claim)]
        elif not unit.is_storage and not why:
            why = "released step by step"
        groups.setdefault(why, []).append(unit)
    sentences = []
    for why, units in groups.items():
        more = f" and {len(units) - UNITS_MAX} more" if len(units) > UNITS_MAX else ""
        names = ", ".join(action(unit, setpoints[unit.index]) for unit in units[:UNITS_MAX]) + more
        sentences.append(f"{names}: {why}" if why else names)
    text = "; ".join([*sentences, *unmet(solution, told)])
    return shorten(text or "nothing to decide")


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
