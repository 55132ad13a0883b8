"""What must hold after every step, as a table: each row is a check that returns what is wrong, in words, or nothing.

The believed ones judge decisions by what the engine was told, so they hold whatever devices say; the physical ones judge the
plant, while what was told was true and there was time to act.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import hypot, isfinite
from typing import Any, Final

import numpy as np

from server.core.constraint import Bound
from server.core.explain import decider
from server.core.natures import GridMode, SiteMode
from server.core.status import BAD
from server.core.step import CUT_W
from server.core.sums import ENERGIES

from .devices import Storage
from .view import Seen, Step, predicted, range_of

SLACK_W: Final = 1.0
"""What floating point and rounding may do."""
PHYSICAL_SHARE: Final = 0.02
"""Share of a limit and of all storages' power that the plant may be off: taper, losses, lag."""

Check = Callable[["Invariants", Step], str]


class Invariants:
    """Checks every step of one site; remembers what some checks compare with."""

    def __init__(self) -> None:
        self.energies: dict[str, float] = {}
        self.drawn: deque[tuple[float, list[float]]] = deque()
        self.below_s: dict[str, float] = {}
        self.ceilings: dict[int, float] = {}
        self.tripped = False
        self.seconds = 0.0
        self.checked = dict.fromkeys((name for name, _, _ in TABLE), 0)
        """How often a check had something to judge."""

    def remember(self, step: Step, flow: float) -> None:
        """Note what each charger, load and plant draws, and what the building does [W], while there was no time to act."""
        physical = step.case.physical
        own = [-physical.by_alias[s.unit.alias].power for s in step.seen if not s.unit.is_storage]
        stored = sum(d.power for d in physical.storages)
        self.drawn.append((self.seconds, [flow + stored - sum(own), *own]))
        while self.drawn[0][0] < self.seconds - step.patience_s:
            self.drawn.popleft()

    def risen(self, sign: int) -> float:
        """How much more than at some moment before is drawn by all of them [W]; sign -1: how much less."""
        rows = [row for _, row in self.drawn]
        return sum(
            max(sign * (now - before) for before in column) for now, column in zip(rows[-1], zip(*rows, strict=True), strict=True)
        )

    def check(self, step: Step) -> str:
        """What is wrong; nothing when all is well."""
        self.seconds += step.now.dt_s
        for name, _, function in TABLE:
            wrong = function(self, step)
            if wrong:
                return f"{name}: {wrong}"
        return ""


def _finite(own: Invariants, step: Step) -> str:
    out = step.out
    own.checked["finite"] += 1
    wrong = (out["status"] < BAD) & ~np.isfinite(out["value"])
    if not wrong.any():
        return ""
    first = step.case.layout.owner("control").first
    names = [
        c.node for c in step.case.layout.channels if c.slot - first in set(wrong.nonzero()[0].tolist()) and c.owner == "control"
    ]
    return f"{names} are Good and no finite number"


def _device(own: Invariants, step: Step) -> str:
    for s in step.seen:
        if s.setpoint is None:
            continue
        own.checked["device limits"] += 1
        if step.tripped or not s.unit.is_storage:
            low, high = 0.0, s.high if s.usable else s.setpoint
        else:
            low, high = s.low, s.high
        if not low - SLACK_W <= s.setpoint <= high + SLACK_W and not (step.tripped and s.setpoint == 0):
            return f"{s.unit.alias} is told {s.setpoint:.1f} W, allowed {low:.1f}..{high:.1f} W"
    return ""


def _circle(own: Invariants, step: Step) -> str:
    for s in step.seen:
        if s.setpoint is not None and s.reactive and isfinite(s.apparent):
            own.checked["circle"] += 1
            if hypot(s.setpoint, s.reactive) > s.apparent + SLACK_W:
                return f"{s.unit.alias} is told {s.setpoint:.1f} W and {s.reactive:.1f} var, S is {s.apparent:.1f} VA"
    return ""


def _phases(own: Invariants, step: Step) -> str:
    first = step.case.layout.owner("control").first
    for s in step.seen:
        if s.unit.phase_setpoints and s.setpoint is not None:
            own.checked["phases"] += 1
            parts = [step.out["value"].item(slot - first) for slot in s.unit.phase_setpoints]
            if abs(sum(parts) - s.setpoint) > SLACK_W:
                return f"{s.unit.alias} is told {s.setpoint:.1f} W, its phases {parts}"
    return ""


def _safe(own: Invariants, step: Step) -> str:
    if not step.tripped:
        return ""
    own.checked["trip"] += 1
    moving = [s.unit.alias for s in step.seen if s.setpoint != 0]
    return f"a trip is active and {moving} are not at their safe value" if moving else ""


def _mode(own: Invariants, step: Step) -> str:
    """An island is known in the cycle that hears of it; a trip makes the mode Fault with the next one."""
    own.checked["mode"] += 1
    late, own.tripped = step.tripped and own.tripped, step.tripped
    if late and step.mode is not SiteMode.Fault:
        return f"a trip is active in {step.mode.name}"
    image = step.records
    modes = [image[s.unit.grid_mode] for s in step.seen if s.unit.grid_mode >= 0]
    formed = any(m["status"] < BAD and m["value"] == GridMode.OffGrid for m in modes)
    return "a storage forms an island and the site is in Run" if formed and step.mode is SiteMode.Run else ""


def _promises(own: Invariants, step: Step) -> str:
    """A bound that was granted in full is kept by the set-points."""
    if step.tripped or step.mode not in (SiteMode.Run, SiteMode.Island):
        return ""
    solution, parents = step.solution, step.topology.parents
    totals = [0.0] * len(parents)
    slack = SLACK_W + sum(s.step for s in step.seen) + _released(step)
    for s in step.seen:
        value = (s.setpoint or 0.0) if s.unit.is_storage else solution.active[s.unit.index]
        place = s.unit.index
        while place >= 0:
            totals[place] += value
            place = parents[place]
    for claim, asked, granted, _ in solution.outcomes:
        node = claim.constraint.node
        if type(claim.constraint) is not Bound or node.plane or node.phase or asked != granted:
            continue
        own.checked["promises"] += 1
        low, high = granted
        total = totals[node.place]
        follower = node.place < len(step.seen) and not step.seen[node.place].unit.is_storage
        if not follower and ((low is not None and total < low - slack) or (high is not None and total > high + slack)):
            return f"{claim.who} was granted {granted} at {node.label}, which gives {total:.1f} W"
    return ""


def _fuse(own: Invariants, step: Step) -> str:
    """The fuse is kept by the decision, as far as the units can."""
    if step.mode is not SiteMode.Run or step.tripped or step.demand is None:
        return ""
    site, low, high = step.case.settings, *range_of(step.seen)
    imported = step.demand - predicted(step.seen)
    slack = SLACK_W + sum(s.step for s in step.seen) + _released(step) + _withheld(step)
    own.checked["fuse"] += 1
    if site.import_max_w is not None and imported > max(site.import_max_w, step.demand - high) + slack:
        return f"the decision imports {imported:.0f} W over {site.import_max_w:.0f} W; {step.demand - high:.0f} W were possible"
    if site.export_max_w is not None and -imported > max(site.export_max_w, low - step.demand) + slack:
        return f"the decision exports {-imported:.0f} W over {site.export_max_w:.0f} W; {low - step.demand:.0f} W were possible"
    return ""


def _released(step: Step) -> float:
    """What chargers, loads and producers are allowed beyond what they do: for a cycle they are believed to use it [W]."""
    solution, followers = step.solution, [s.unit.index for s in step.seen if not s.unit.is_storage]
    return sum(abs(solution.allowed[i] - solution.active[i]) for i in followers)


def _withheld(step: Step) -> float:
    """What the ceilings of chargers, loads and producers differ from what these are allowed: a release goes step by step, a cut
    of a watt is not made, and what one does that does more than it is rated for it may go on with, or not [W]."""
    found = 0.0
    for s in step.seen:
        if s.power is not None and s.setpoint is not None and not s.unit.is_storage:
            allowed = abs(step.solution.allowed[s.unit.index])
            above = s.power if s.power > s.high else 0.0
            spared = s.power - allowed if s.power - allowed <= CUT_W else 0.0
            found += max(allowed - s.setpoint, above - s.setpoint, spared, 0.0)
    return found


def _connection(own: Invariants, step: Step) -> str:
    """The plant keeps the fuse. What changed of demand and production since the cycle before is not held against it."""
    physical, site = step.case.physical, step.case.settings
    flow = sum(physical.grid.flow)
    own.remember(step, flow)
    if not step.trusted or step.tripped or step.meter is None or not physical.world.grid:
        return ""
    own.checked["connection"] += 1
    low, high = _reach(step)
    rest = flow + sum(d.power for d in physical.storages)
    controlled = [*physical.storages, *physical.plants, *physical.stations]
    slack = 100.0 + PHYSICAL_SHARE * sum(d.rated_w for d in controlled) + sum(s.step for s in step.seen) + _on_the_way(step)
    if site.import_max_w is not None and flow > max(site.import_max_w, rest - high) + slack + own.risen(1):
        return f"{flow:.0f} W flow in over {site.import_max_w:.0f} W, of which {own.risen(1):.0f} W are new"
    if site.export_max_w is not None and -flow > max(site.export_max_w, low - rest) + slack + own.risen(-1):
        return f"{-flow:.0f} W flow out over {site.export_max_w:.0f} W, of which {own.risen(-1):.0f} W are new"
    return ""


def _on_the_way(step: Step) -> float:
    """What chargers, loads and producers still do above their ceiling: they need a second to come down [W]."""
    followers = [s for s in step.seen if not s.unit.is_storage and s.power is not None and s.setpoint is not None]
    return sum(max((s.power or 0.0) - (s.setpoint or 0.0), 0.0) for s in followers)


def _reach(step: Step) -> tuple[float, float]:
    """Least and most supply that storages can give, and others beside what they do now [W]."""
    low, high = range_of(step.seen)
    now = sum((s.power or 0.0) * s.unit.sign for s in step.seen if not s.unit.is_storage)
    return low - now, high - now


def _soc(own: Invariants, step: Step) -> str:
    """Below its floor a storage is not discharged, above its ceiling not charged, but for the fuse or when its BMS forces."""
    for c in step.case.controllers:
        sign = {"LimitTotalDischarge": 1, "LimitTotalCharge": -1}.get(c.cls.__name__, 0)
        device = step.case.physical.by_alias.get(str(c.settings.get("ess", "")))
        if not sign or not isinstance(device, Storage):
            continue
        limit = step.parameter(c.alias, "min_soc" if sign > 0 else "max_soc")
        seen = next(s for s in step.seen if s.unit.alias == device.alias)
        soc = device.model.soc * 100
        heard = seen.usable  # one that is silent cannot be told either, and goes on until its watchdog stops it
        judged = step.trusted and not step.tripped and heard and (limit - soc) * sign > 0.5 and step.runs(c.alias)
        if not judged or _outranked(step, seen, c.alias, sign):
            own.below_s[c.alias] = 0.0
            continue
        own.checked["state of charge"] += 1
        own.below_s[c.alias] = own.below_s.get(c.alias, 0.0) + step.now.dt_s
        allowed = 20 + PHYSICAL_SHARE * device.rated_w + seen.step
        if own.below_s[c.alias] > step.patience_s and device.power * sign > allowed:
            return f"{device.alias} gives {device.power:.0f} W at {soc:.2f} %, {c.alias} has its limit at {limit:.1f} %"
    return ""


def _outranked(step: Step, seen: Seen, who: str, sign: int) -> bool:
    """The BMS forces, or a claim that comes first does."""
    forced = seen.low > 0 if sign > 0 else seen.high < 0
    moved = (seen.setpoint or 0.0) * sign > 1 + seen.step
    return forced or (moved and any(grant.limited for grant in step.solution.grants_of(who)))


def _explained(own: Invariants, step: Step) -> str:
    """Somebody is named for every set-point that differs from rest; a ceiling that nobody holds is on its way up."""
    heard = step.mode in (SiteMode.Run, SiteMode.Island) and not step.tripped
    for s in step.seen:
        before = own.ceilings.get(s.unit.index, 0.0)
        own.ceilings[s.unit.index] = s.setpoint or 0.0
        if s.setpoint is None or not s.usable or not heard:
            continue
        own.checked["explained"] += 1
        if s.unit.is_storage:
            free = abs(s.setpoint) <= SLACK_W + s.step or s.low > 0 or s.high < 0
        else:
            free = s.setpoint >= min(s.high, before) - SLACK_W
        if not free and decider(step.solution, step.topology, s.unit.index) is None:
            return f"nobody is named for {s.unit.alias} at {s.setpoint:.1f} W (allowed {s.low:.0f}..{s.high:.0f} W)"
    return ""


def _counters(own: Invariants, step: Step) -> str:
    layout, first = step.case.layout, step.case.layout.owner("control").first
    for name in ENERGIES:
        record: Any = step.out[layout.by_node[f"site/{name}"].slot - first]
        if record["status"] >= BAD:
            continue
        own.checked["counters"] += 1
        before, now = own.energies.get(name, 0.0), float(record["value"])
        if now < before - 1e-6:
            return f"{name} stepped back from {before:.3f} to {now:.3f} Wh"
        own.energies[name] = now
    return ""


TABLE: Final[tuple[tuple[str, str, Check], ...]] = (
    ("finite", "What control says is Good is a finite number.", _finite),
    ("device limits", "No set-point leaves what the device allowed in this image, or its rating.", _device),
    ("circle", "P² + Q² <= S².", _circle),
    ("phases", "The set-points of the phases are together that of the unit.", _phases),
    ("trip", "While a trip is active every unit is at its safe value, from the cycle that hears of it.", _safe),
    ("mode", "An island is known in the cycle that hears of it; a trip makes the mode Fault with the next one.", _mode),
    ("promises", "A bound that was granted in full is kept by the set-points.", _promises),
    ("fuse", "The decision keeps the fuse, or comes as near as the units can.", _fuse),
    ("connection", "The plant keeps the fuse beyond one cycle, as far as its units can.", _connection),
    ("state of charge", "A storage beyond the limit of its protection is not moved further.", _soc),
    ("explained", "Somebody is named for every set-point that is not at rest.", _explained),
    ("counters", "Energy counters never step back.", _counters),
)
"""Name, meaning, check."""
