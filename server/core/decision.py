"""Who decides on a set-point, as data; kept when that changes.

    {"kind": "decision", "time": "2026-11-23T07:12:04.150Z", "since": "2026-11-23T06:40:31.600Z", "cycle": 8123,
     "node": "ess0/SetActivePower", "value": 3200.0, "by": "peak0", "why": "keeps import under 8 kW",
     "asks": [{"who": "peak0", "asked": [3200, null], ...}, ...],
     "text": "ess0 discharges 3.2 kW: peak0 keeps import under 8 kW (asks ≥ 3.2 kW); self0 wanted 2.9 kW"}

Problem: set-points change twenty times a second, and nobody could store or read a reason for each. What people ask later is who
decided, and that changes seldom.

Idea: each set-point has a mark of who decides on it: who holds it where it is, and who of those that ask is limited by whom. A
few set-points are looked at after each cycle, in turn. One that somebody else holds is told at once; that somebody is limited, or
is no more, when it has stood for a second. Each is told at most once a second and at least every REPEAT_S, so that whoever looks
back need not look far, and all together SUSTAINED_PER_S. What was not told in between is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from .ask import HAND, NEAR_W, Ask, range_words, shorten
from .constraint import ACTIVE, REACTIVE, Setting, Target
from .controller import Now
from .explain import action, ask_of, ask_of_setting, decider
from .output import Output
from .solver import Claim, Grant, Outcome, Solution
from .ticks import stamp
from .topology import Topology
from .words import power, render

LOOKS_PER_CYCLE: Final = 8
"""Set-points that are looked at after one cycle, in turn."""
TOLD_PER_CYCLE: Final = 2
EVERY_NS: Final = 1_000_000_000
"""The decision on a set-point is told at most so often; and so long others that are limited must stand to be told."""
REPEAT_S: Final = 3600.0
"""An old decision is told again after so long."""
SUSTAINED_PER_S: Final = 0.2
"""Decisions told in the long run, all set-points together: at about 1 kB 17 MB a day where everything flickers."""
BURST: Final = 100
ASKS_MAX: Final = 16
"""Asks that one decision names."""

DECISION: Final = "decision"
"""Kind of the journal's records."""
NOBODY: Final = ("", "")


class Mark(NamedTuple):
    """Who decides on a set-point, comparable from cycle to cycle: no numbers. holder: who holds it. limited: who is, by whom."""

    holder: tuple[Any, ...] = ()
    limited: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """What one step decided.

    active, reactive: set-points by unit, None where nothing is asserted. rated: highest power of a charger, load or producer.
    reasons: by unit, why it can do less than it should.
    settings: what became of wishes for actuators; held: slots an operator's hand holds. forced: who decides and why while nobody
    is heard (a trip, or the site's mode), else NOBODY.
    """

    now: Now
    solution: Solution
    active: Sequence[float | None]
    reactive: Sequence[float | None]
    rated: Sequence[float]
    reasons: Sequence[str]
    settings: Sequence[Setting]
    held: Mapping[int, float]
    forced: tuple[str, str]


class Decision(NamedTuple):
    """The decision on one set-point. value: in its own sign [W, var], None where nothing is asserted. by: who holds it there, ""
    where nobody limits it; why: in words. reason: why the unit itself can do less than it should."""

    node: str
    value: float | None
    by: str
    why: str
    reason: str
    asks: tuple[Ask, ...]
    text: str

    def data(self) -> dict[str, Any]:
        """As JSON."""
        told = {"node": self.node, "value": None if self.value is None else round(self.value, 1) + 0.0, "by": self.by}
        told |= {"why": self.why} | ({"reason": self.reason} if self.reason else {})
        return told | {"asks": [ask.data() for ask in self.asks]}


@dataclass(frozen=True, slots=True)
class Subject:
    """A set-point. leaf, plane: of a unit, -1 for an actuator. path: the unit's tree node and those above it.
    stores: it is a storage."""

    node: str
    slot: int
    leaf: int = -1
    plane: int = ACTIVE
    path: frozenset[int] = frozenset()
    stores: bool = False


class Told(NamedTuple):
    """What was told of a set-point last: the mark, when (monotonic ns), and since when somebody holds it (UTC)."""

    mark: Mark
    told_ns: int
    since: str


class Decisions:
    """The decisions on all set-points of a site: `of` one of them now, `tell` those that changed."""

    def __init__(self, topology: Topology, plain: Sequence[int]) -> None:
        self._topology = topology
        name = _node_names(topology).__getitem__
        self._turns = [*_unit_subjects(topology, name), *(Subject(name(slot), slot) for slot in plain)]
        self._by_node = {s.node: s for s in self._turns}
        self._turn = 0
        self._told: dict[int, Told] = {}
        """By slot."""
        self._seen: dict[int, tuple[Mark, int]] = {}
        """By slot: the mark of the last look, and since when."""
        self._changes: dict[int, int] = {}
        """By slot: how often its mark changed since it was told."""
        self._budget = self._full = float(max(BURST, 2 * len(self._turns)))
        self._budget_ns = 0

    @property
    def nodes(self) -> list[str]:
        """Every set-point."""
        return list(self._by_node)

    def of(self, node: str, step: Step) -> Decision:
        """The decision on a set-point. KeyError for what is none."""
        return self._decision(self._by_node[node], step)

    def tell(self, step: Step, out: Output) -> None:
        """Tell those whose turn it is and whose decision changed, as far as the budget goes."""
        now_ns = step.now.monotonic_ns
        self._budget = min(self._full, self._budget + (now_ns - self._budget_ns) * 1e-9 * SUSTAINED_PER_S)
        self._budget_ns = now_ns
        limited = [o for o in step.solution.outcomes if o[1] != o[2]]
        told = 0
        for _ in range(min(LOOKS_PER_CYCLE, len(self._turns))):
            subject = self._turns[self._turn]
            mark = self._mark(subject, step, limited)
            if self._due(subject, mark, now_ns):
                if told == TOLD_PER_CYCLE or self._budget < 1:
                    return
                self._tell(subject, mark, step, out)
                told += 1
            self._turn = (self._turn + 1) % len(self._turns)

    def _due(self, subject: Subject, mark: Mark, now_ns: int) -> bool:
        """Whether a set-point's decision is to be told; notes that it changed."""
        slot = subject.slot
        seen = self._seen.get(slot)
        if seen is None or seen[0] != mark:
            self._seen[slot] = seen = mark, now_ns
            self._changes[slot] = self._changes.get(slot, 0) + 1
        before = self._told.get(slot) or Told(_SILENT, now_ns - EVERY_NS, "")
        if mark.holder != before.mark.holder:
            return now_ns - before.told_ns >= EVERY_NS
        if mark.limited != before.mark.limited:
            return now_ns - max(before.told_ns, seen[1]) >= EVERY_NS
        return mark != _SILENT and now_ns - before.told_ns >= REPEAT_S * 1e9

    def _tell(self, subject: Subject, mark: Mark, step: Step, out: Output) -> None:
        time = stamp(step.now.time)
        before = self._told.get(subject.slot)
        since = before.since if before is not None and before.mark.holder == mark.holder else time
        self._told[subject.slot] = Told(mark, step.now.monotonic_ns, since)
        self._budget -= 1
        decision = self._decision(subject, step)
        data = {"time": time, "since": since, "cycle": step.now.cycle} | decision.data()
        if (untold := self._changes.pop(subject.slot, 0) - 1) > 0:
            data["untold"] = untold
        out.event(DECISION, decision.text, data)

    def _mark(self, subject: Subject, step: Step, limited: Sequence[Outcome]) -> Mark:
        if subject.leaf < 0:
            found = _holder(subject.slot, step)
            return Mark((step.forced, found[0]), tuple(s.who for s in _settings(subject, step))) if found else _SILENT
        if step.forced[0]:
            return Mark(step.forced)
        claim = self._claim(subject, step)
        fights = [(o[0][0], "" if o[3] is None else o[3][0]) for o in limited if _on(subject, o[0]) and Grant._make(o).limited]
        if claim is None and not fights and subject.plane == REACTIVE:
            return _SILENT
        return Mark((*_identity(claim), step.reasons[subject.leaf], self._value(subject, step) is None), tuple(fights))

    def _claim(self, subject: Subject, step: Step) -> Claim | None:
        """The claim that holds a unit's set-point where it is."""
        if subject.plane == ACTIVE:
            if self._is_free(subject, step):
                return None
            return decider(step.solution, self._topology, subject.leaf)
        if not any(_on(subject, o[0]) for o in step.solution.outcomes):
            return None
        found: Claim | None = step.solution.reactive_tree.holder(subject.leaf, step.solution.reactive)
        return found

    def _is_free(self, subject: Subject, step: Step) -> bool:
        """A charger, load or producer that may do all it can."""
        ceiling = step.active[subject.leaf]
        is_storage = self._topology.units[subject.leaf].is_storage
        return not is_storage and ceiling is not None and ceiling >= step.rated[subject.leaf] - NEAR_W

    def _value(self, subject: Subject, step: Step) -> float | None:
        if subject.leaf < 0:
            found = _holder(subject.slot, step)
            return found[1] if found else None
        return (step.active if subject.plane == ACTIVE else step.reactive)[subject.leaf]

    def _decision(self, subject: Subject, step: Step) -> Decision:
        value, (by, why) = self._value(subject, step), step.forced
        reason = step.reasons[subject.leaf] if subject.leaf >= 0 else ""
        asks: list[Ask] = []
        binding: Ask | None = None
        if not by and subject.leaf < 0:
            by = (_holder(subject.slot, step) or NOBODY)[0]
            settings = _settings(subject, step)
            asks = [ask_of_setting(s, settings[0].who) for s in settings]
            binding = next((ask for ask in asks if ask.who == by), None)
        elif not by:
            claim = self._claim(subject, step)
            for claimed, ask in self._asks(subject, step, claim):
                asks.append(ask)
                if claimed is claim:
                    binding = ask
            if claim is not None:
                by, why = claim.who, render(claim.constraint.why)
        why = why or (binding.why if binding is not None else "")
        text = "; ".join([f"{self._head(subject, value)}{_cause(by, why, binding, reason)}", *_unmet(asks, by)])
        return Decision(subject.node, value, by, why, reason, tuple(asks), shorten(text))

    def _asks(self, subject: Subject, step: Step, claim: Claim | None) -> list[tuple[Claim, Ask]]:
        """What was asked of the unit and of what is above it, in order of arbitration; the one that binds in any case."""
        found = [o for o in step.solution.outcomes if _on(subject, o[0])]
        kept = found[:ASKS_MAX]
        kept += [o for o in found[ASKS_MAX:] if o[0] is claim]
        return [(o[0], ask_of(Grant._make(o), step.solution.fixed)) for o in kept]

    def _head(self, subject: Subject, value: float | None) -> str:
        if value is None:
            return f"{subject.node} is not asserted"
        if subject.leaf < 0:
            return f"{subject.node} is {value:g}"
        if subject.plane == REACTIVE:
            return f"{subject.node} is {power(value, 'var')}"
        return action(self._topology.units[subject.leaf], value)


_SILENT: Final = Mark()
"""Mark of a set-point about which nobody has anything to say."""


def _on(subject: Subject, claim: Claim) -> bool:
    """Whether a claim is about a unit: what is wanted of a connection moves storage only."""
    node = claim[1].node
    if node.plane != subject.plane or node.place not in subject.path:
        return False
    return subject.stores or node.place == subject.leaf or type(claim[1]) is not Target


def _identity(claim: Claim | None) -> tuple[str, ...]:
    """What a claim is whatever its numbers are."""
    if claim is None:
        return ()
    why = claim.constraint.why
    return claim.who, type(claim.constraint).__name__, claim.constraint.node.label, "" if isinstance(why, str) else str(why[0])


def _holder(slot: int, step: Step) -> tuple[str, float | None] | None:
    """Who decides on an actuator, and what it is; None where nobody says anything."""
    if slot in step.held:
        return HAND, step.held[slot]
    return next(((s.who, s.got) for s in step.settings if s.wish.actuator.slot == slot), None)


def _settings(subject: Subject, step: Step) -> list[Setting]:
    """What became of the wishes for an actuator."""
    return [s for s in step.settings if s.wish.actuator.slot == subject.slot]


def _cause(by: str, why: str, binding: Ask | None, reason: str) -> str:
    """: peak0 keeps import under 8 kW (asks ≥ 3.2 kW), but ess0 is in fault."""
    cause = f"{by} {why}".strip() if by else ""
    if binding is not None and binding.asked is not None and binding.unit:
        got = f", gets {binding.granted_words}: {binding.limit_words}" if binding.granted is not None else ""
        cause += f" (asks {range_words(binding.asked, binding.unit)}{got})"
    parts = [part for part in (cause, reason) if part]
    return f": {', but '.join(parts)}" if parts else ""


def _unmet(asks: Sequence[Ask], by: str) -> Iterator[str]:
    """Who wanted something else, one each."""
    told = {by}
    for ask in asks:
        if ask.granted is not None and ask.asked is not None and ask.who not in told:
            told.add(ask.who)
            yield f"{ask.who} wanted {range_words(ask.asked, ask.unit)}"


def _unit_subjects(topology: Topology, name: Callable[[int], str]) -> Iterator[Subject]:
    for unit in topology.units:
        path, place = set(), unit.index
        while place >= 0:
            path.add(place)
            place = topology.parents[place]
        for plane, slot in ((ACTIVE, unit.setpoint), (REACTIVE, unit.setpoint_q)):
            if slot >= 0:
                yield Subject(name(slot), slot, unit.index, plane, frozenset(path), unit.is_storage)


def _node_names(topology: Topology) -> dict[int, str]:
    """Name of each slot: its channel, for an element of an array with its index."""
    channels = topology.layout.channels
    return {c.slot + i: c.node if c.length == 1 else f"{c.node}[{i}]" for c in channels for i in range(c.length)}
