"""Who decided, and why, in an operator's words.

    ess0 discharges 3.2 kW: peak0 keeps import under 8 kW (asks ≥ 3.2 kW); self0 wanted 2.9 kW

Made from the solver's trace. Texts cost more than the decision itself, so the engine asks for them a few at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .constraint import Add, Bound, Reserve, Setting
from .solver import Claim, Grant, Range, Solution
from .topology import Kind, Topology, Unit
from .tree import EPSILON
from .words import power, render

NEAR_W: Final = 1.0
"""Powers closer than this are one and the same in words."""

UNITS_MAX: Final = 6
"""Units a site's explanation names one by one."""

TEXT_BYTES: Final = 1000
"""Longest text of a string channel."""


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


def asking(wanted: Range) -> str:
    """A range of supply in words: asks ≥ 3.2 kW."""
    low, high = wanted
    if low is not None and high is not None:
        return power(low) if high - low < NEAR_W else f"{power(low)} to {power(high)}"
    if low is not None:
        return f"≥ {power(low)}"
    return f"≤ {power(high)}" if high is not None else "nothing"


def shown(grant: Grant, supply: Range, fixed: Sequence[float]) -> Range:
    """A range of supply as people think of it: a unit's in its own sign, a connection's as what storage has to give."""
    node, (low, high) = grant.claim.constraint.node, supply
    if node.metered or node.sign > 0:
        offset = fixed[node.place] if not node.plane else 0.0
        return (None if low is None else low - offset), (None if high is None else high - offset)
    return (None if high is None else -high), (None if low is None else -low)


def decider(solution: Solution, topology: Topology, leaf: int) -> Claim | None:
    """The claim that holds a unit where it is: at its own interval's end, at its ceiling, or at the end of a group above."""
    tree, totals = solution.tree, solution.active
    if not topology.units[leaf].is_storage and solution.ceiling_by[leaf] is not None:
        return solution.ceiling_by[leaf]
    node = leaf
    while node >= 0:
        for ends, by in ((tree.low, tree.low_by), (tree.high, tree.high_by)):
            if isinstance(by[node], Claim) and abs(totals[node] - ends[node]) <= max(NEAR_W, EPSILON):
                found: Claim = by[node]
                return found
        node = topology.parents[node]
    return None


def claim_text(claim: Claim, solution: Solution) -> str:
    """peak0 keeps import under 8 kW (asks ≥ 3.2 kW)."""
    grant = next((g for g in solution.grants_of(claim.who) if g.claim is claim), None)
    words = f"{claim.who} {render(claim.constraint.why)}".strip()
    return words if grant is None else f"{words} (asks {asking(shown(grant, grant.asked, solution.fixed))})"


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
            found.append(f"{grant.claim.who} wanted {asking(shown(grant, grant.asked, solution.fixed))}")
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
        groups.setdefault(why, []).append(unit)
    sentences = []
    for why, units in groups.items():
        more = f" and {len(units) - UNITS_MAX} more" if len(units) > UNITS_MAX else ""
        names = ", ".join(action(unit, setpoints[unit.index]) for unit in units[:UNITS_MAX]) + more
        sentences.append(f"{names}: {why}" if why else names)
    text = "; ".join([*sentences, *unmet(solution, told)])
    return shorten(text or "nothing to decide")


def controller_text(grants: Sequence[Grant], fixed: Sequence[float], settings: Sequence[Setting] = ()) -> str:
    """What a controller asked for and what became of it."""
    texts = [*(_grant_text(g, fixed) for g in grants), *map(_setting_text, settings)]
    return shorten("; ".join(texts)) if texts else "asks for nothing"


def _setting_text(setting: Setting) -> str:
    wish = setting.wish
    words = f"{render(wish.why)}: sets {wish.actuator.label} to {wish.value:g}".removeprefix(": ")
    if setting.got is None:
        return f"{words}, which a trip forbids"
    return words if setting.got == wish.value else f"{words}, another holds it at {setting.got:g}"


def _grant_text(grant: Grant, fixed: Sequence[float]) -> str:
    constraint = grant.claim.constraint
    words = render(constraint.why) or constraint.node.label
    if not grant.heard:
        return f"{words}: waits, {constraint.node.label} is not measured"
    if isinstance(constraint, Add):
        return f"{words}: adds {power(constraint.value)}"
    if isinstance(constraint, Reserve):
        return f"{words}: keeps {power(constraint.up)} up and {power(constraint.down)} down"
    verb = "asks" if isinstance(constraint, Bound) else "wants"
    text = f"{words}: {verb} {asking(shown(grant, grant.asked, fixed))}"
    if not grant.limited:
        return text
    by = f"{grant.limiter.who} allows no more" if grant.limiter is not None else "the units can do no more"
    return f"{text}, gets {asking(shown(grant, grant.granted, fixed))}: {by}"


def shorten(text: str) -> str:
    """A text that fits a string channel."""
    data = text.encode()
    return text if len(data) <= TEXT_BYTES else data[: TEXT_BYTES - 3].decode(errors="ignore") + "…"
