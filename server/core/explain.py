"""Who decided, and why: what controllers asked, made from the solver's trace, and the site's explanation in an operator's words.

    ess0 discharges 3.2 kW: peak0 keeps import under 8 kW (asks ≥ 3.2 kW); self0 wanted 2.9 kW

What a controller asked is an `Ask` (ask.py), which has its own words. Explanations cost more than the decision itself, so the
engine asks for them a few at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from .ask import HAND, NEAR_W, NOWHERE, TEXT_BYTES, TRIP, Ask, range_words, shorten
from .constraint import REACTIVE, Add, Bound, Reserve, Setting
from .solver import Claim, Grant, Range, Solution
from .topology import Kind, Topology, Unit
from .words import power, render

UNITS_MAX: Final = 6
"""Units a site's explanation names one by one."""

_KINDS: Final = {Bound: "bound", Add: "add", Reserve: "reserve"}


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
    """The claim that holds a unit where it is: at its own interval's end, at its ceiling, or at the end of a group above; else
    the service that moves it."""
    if not topology.units[leaf].is_storage and solution.ceiling_by[leaf] is not None:
        return solution.ceiling_by[leaf]
    found: Claim | None = solution.tree.holder(leaf, solution.base)
    return found or _service(solution, topology.parents, leaf)


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
