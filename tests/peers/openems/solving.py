"""Distribution of power among storages: the solver on the real topology and sensing, one answer for each step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import hypot
from typing import Any

from .case import Case, NotMapped, Step
from .family import Answer, Family
from .world import World

from server.core.cluster import common_mode  # isort: skip
from server.core.constraint import ACTIVE, REACTIVE, Bound  # isort: skip
from server.core.follower import Followers  # isort: skip
from server.core.image import Image  # isort: skip
from server.core.sensing import Sensing  # isort: skip
from server.core.solver import Ability, Claim, Solution, Solver, sort_calmly  # isort: skip

DISTRIBUTION = {
    "OPTIMIZE_BY_KEEPING_ALL_EQUAL": "equal",
    "OPTIMIZE_BY_KEEPING_ALL_NEAR_EQUAL": "soc",
    "OPTIMIZE_BY_MOVING_TOWARDS_TARGET": "fewest",
}
"""Our rule for each strategy; all others share in proportion to capability."""

PLANES = {"ACTIVE": ACTIVE, "REACTIVE": REACTIVE}
SIDES = {"EQUALS": "equals", "LESS_OR_EQUALS": "at_most", "GREATER_OR_EQUALS": "at_least"}
LEVELS = {"OK": 0.0, "INFO": 1.0, "WARNING": 2.0, "FAULT": 3.0}


class Bench:
    """A solver on the storages and clusters of a case."""

    def __init__(self, case: Case) -> None:
        distribution = DISTRIBUTION.get(case.config.get("strategy", ""), "proportional")
        self.world = World(case, distribution=distribution)
        self.topology = self.world.rig.engine.topology
        self.solver = Solver(self.topology)
        self.sensing = Sensing(self.topology, Followers(len(self.topology.units)))

    def solve(self, step: Step) -> tuple[Ability, Solution]:
        """The answer to the constraints of a step, in their order."""
        rig = self.world.rig
        for alias, values in step.inputs.get("set", {}).items():
            for name, value in values.items():
                self.world.put(f"{alias}/{name}", LEVELS.get(value, value))
        claims = [Claim(f"c{i}", self._bound(c)) for i, c in enumerate(step.inputs["constraints"])]
        ability = self.sensing.read(Image(rig.records, time=rig.time), {})
        return ability, self.solver.solve(ability, claims, 1.0)

    def _bound(self, constraint: Mapping[str, Any]) -> Bound:
        if constraint["phase"] != "ALL":
            raise NotMapped("constraints on single phases of a storage")
        node = self.topology.unit_node(constraint["ess"], PLANES[constraint["pwr"]])
        return Bound(node, **{SIDES[constraint["rel"]]: constraint["value"]})

    def units(self, solution: Solution) -> dict[str, dict[str, float]]:
        """Active and reactive power of each storage."""
        return {u.alias: {"P": solution.active[u.index], "Q": solution.reactive[u.index]} for u in self.topology.units}


def exact(case: Case) -> Iterator[Answer]:
    """The v2 solver: each storage's power is a target."""
    bench = Bench(case)
    for step in case.steps:
        _, solution = bench.solve(step)
        answer: dict[str, Any] = dict(bench.units(solution))
        answer["total_P"] = sum(u["P"] for u in answer.values())
        for key in (k for k in step.expected if k.startswith(("minPower", "maxPower"))):
            which, alias, _, plane = key.split(":")
            node = bench.topology.unit_node(alias, PLANES[plane])
            tree = solution.reactive_tree if node.plane else solution.tree
            answer[key] = tree.room(node.place)[which == "maxPower"]
        yield answer


def invariants(case: Case) -> Iterator[Answer]:
    """The v1 solver: totals, and that nobody leaves its limits."""
    bench = Bench(case)
    for step in case.steps:
        ability, solution = bench.solve(step)
        units = bench.units(solution)
        inside = all(
            ability.low[i] - 1e-6 <= u["P"] <= ability.high[i] + 1e-6 and hypot(u["P"], u["Q"]) <= ability.apparent[i] + 1e-6
            for i, u in enumerate(units.values())
        )
        yield _totals(units) | {"inside limits": inside}


def _totals(units: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Sums of P and of Q, phases included."""
    found = {"total P": 0.0, "total Q": 0.0}
    for powers in units.values():
        for name, value in powers.items():
            found[f"total {name[0]}"] += value
    return found


def expected_invariants(case: Case, step: Step) -> Mapping[str, Any]:
    """What of a step of the v1 solver has to hold."""
    return _totals(step.expected) | {"inside limits": True}


def by_charge(case: Case) -> Iterator[Answer]:
    """Distribution by state of charge."""
    columns = zip(case.config["lower_W"], case.config["upper_W"], case.config["soc_percent"], strict=True)
    devices = [
        {"id": f"ess{i}", "type": "ManagedSymmetricEss", "AllowedChargePower": low, "AllowedDischargePower": high, "Soc": soc}
        for i, (low, high, soc) in enumerate(columns, 1)
    ]
    whole = {"id": "all", "type": "MetaEss", "members": [d["id"] for d in devices]}
    bench = Bench(_with(case, [*devices, whole], "OPTIMIZE_BY_KEEPING_ALL_NEAR_EQUAL"))
    for step in case.steps:
        units = _share(bench, step.inputs["powerSetPoint_W"])
        total = sum(units.values())
        yield units | {"sum": total, "sum_abs_max": _reach(case, step)}


def _reach(case: Case, step: Step) -> float:
    """What all can give or take together, in the direction of the set-point."""
    return abs(sum(case.config["lower_W" if step.inputs["powerSetPoint_W"] < 0 else "upper_W"]))


def _with(case: Case, devices: list[dict[str, Any]], strategy: str) -> Case:
    return Case(case.id, case.controller, {"strategy": strategy}, devices, case.steps, case.fixtures)


def _share(bench: Bench, power: float) -> dict[str, float]:
    constraint = {"ess": "all", "phase": "ALL", "pwr": "ACTIVE", "rel": "EQUALS", "value": power}
    _, solution = bench.solve(Step(0.0, {"constraints": [constraint]}, {}))
    return {alias: u["P"] for alias, u in bench.units(solution).items()}


EACH_W = 10_000.0
"""Power of one inverter where only their number counts."""


def fewest(case: Case) -> Iterator[Answer]:
    """Which inverters are used when so many of them are needed."""
    devices: list[dict[str, Any]] = [
        {"id": alias, "type": "ManagedSymmetricEss", "Soc": soc, "AllowedChargePower": -EACH_W, "AllowedDischargePower": EACH_W}
        for alias, soc in case.config["soc"].items()
    ]
    whole = {"id": "all", "type": "MetaEss", "members": [d["id"] for d in devices]}
    for step in case.steps:
        bench = Bench(_with(case, [*devices, whole], "OPTIMIZE_BY_MOVING_TOWARDS_TARGET"))
        sign = 1 if step.inputs["direction"] == "DISCHARGE" else -1
        units = _share(bench, sign * step.inputs["minRequired"] * EACH_W)
        used = [alias for alias, power in units.items() if abs(power) > 1]
        used.sort(key=lambda alias: -sign * case.config["soc"][alias])
        yield {"used": used, "usedCount": len(used)}


def order_of_use(case: Case) -> Iterator[Answer]:
    """The order of use, kept while weights change little."""
    names, weights = list(case.config["soc"]), dict(case.config["soc"])
    order = list(range(len(names)))
    for step in case.steps:
        weights |= {key.removeprefix("weight_"): value for key, value in step.inputs.items()}
        sort_calmly(order, [weights[name] for name in names])
        yield {"order": [names[i] for i in order]}


MODES = {"ON_GRID": 0.0, "OFF_GRID": 1.0, "OFF_GRID_GENSET": 2.0, "UNDEFINED": None}


def grid_mode(case: Case) -> Iterable[Answer]:
    """The grid mode of several storages."""
    names = {value: name for name, value in MODES.items()}
    for step in case.steps:
        found = common_mode([MODES[mode] for mode in step.inputs["modes"]])
        yield {"GridMode": names[None if found is None else float(found)]}


def cluster(case: Case) -> Iterator[Answer]:
    """What a cluster shows."""
    alias = case.config["id"]
    devices = [*case.devices, {"id": alias, "type": "MetaEss", "members": case.config["essIds"]}]
    world = World(case, devices=devices)
    names = {"ActiveChargeEnergy": "ChargeEnergy", "ActivePowerL1": "ActivePower.L1"}
    for step in world.steps():
        found: dict[str, Any] = {
            key: world.read(f"{alias}/{names.get(n, n)}") for key in step.expected if (n := key.partition("/")[2])
        }
        if (mode := f"{alias}/GridMode") in found:
            found[mode] = {value: name for name, value in MODES.items()}[found[mode]]
        yield found


FAMILIES = {
    "Ess.Power.v2": Family(exact),
    "Ess.Power.v1": Family(invariants, expect=expected_invariants, tolerance=lambda case: float(len(case.devices))),
    "Ess.Power.solver.nearEqualBySoc": Family(by_charge, tolerance=1e-3),
    "Ess.Power.reduceInverters": Family(fewest),
    "Ess.Power.weights": Family(order_of_use),
    "Ess.Cluster (aggregation)": Family(cluster, tolerance=0.5),
    "aggregate.gridMode": Family(grid_mode),
}
