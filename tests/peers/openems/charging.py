"""Charging of vehicles on a real engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .case import Case, NotMapped, Step
from .family import Answer, Family
from .world import STATUS, World

from controllers.evcs_cluster import EvcsCluster  # isort: skip
from controllers.surplus_charging import ChargeMode, SurplusCharging  # isort: skip

NOMINAL_V = 230.0
HARDWARE_W = 22_080.0
"""Highest power of a station of which a case does not tell."""
LEAST_W = 4140.0
NO_LIMIT_W = 1e9

AT_ONCE = {"on_s": 0, "off_s": 0, "reserve_w": 0, "switch_s": 0}
"""Surplus is followed at once, to the last watt."""

CHARGE = {("EXCESS_POWER", True): ChargeMode.Pv, ("FORCE_CHARGE", True): ChargeMode.Now}
"""Our mode for each of the older controller; switched off otherwise."""


def station(world: World, alias: str, least_w: float = LEAST_W, most_w: float = HARDWARE_W, phases: float = 3) -> None:
    """A car that charges at a station."""
    given = {"Status": STATUS["CHARGING"], "ChargePower": 0, "MinHardwarePower": least_w, "MaxHardwarePower": most_w}
    for name, value in (given | {"Phases": phases}).items():
        world.rig[f"{alias}/{name}"] = value
    for phase in ("L1", "L2", "L3"):
        world.rig[f"{alias}/Current.{phase}"] = 0


def older(case: Case) -> Iterator[Answer]:
    """The older controller of one station: surplus before or after the storage, or all there is."""
    config = case.config
    mode = CHARGE.get((config["chargeMode"], config["enableCharging"]), ChargeMode.Off)
    first = 0 if config["priority"] == "CAR" else 100
    rule = (SurplusCharging, "ctrl0", {"evcs": "evcs0", "grid": "grid", "ess": "ess0", "mode": mode.name, "ess_first": first})
    rule[2].update(AT_ONCE | {"max_a": 32})
    world = World(case, rule, devices=[*case.devices, {"id": "ess0", "type": "ManagedSymmetricEss", "Soc": 50}])
    station(world, "evcs0")
    for step in case.steps:
        world.step(_watched(step, ("IsClustered", "Status")))
        answers = {"evcs0/SetChargePowerLimit": world.read("evcs0/SetChargePowerLimit"), "evcs0/MaximumPower": None}
        yield {key: answers[key] for key in step.expected}


def _watched(step: Step, ignored: Sequence[str]) -> Step:
    """A step with the stations' inputs under our names, without what is ours to decide."""
    names = {"ActivePower": "ChargePower", "MaximumHardwarePower": "MaxHardwarePower"}
    inputs = {}
    for key, value in step.inputs.items():
        alias, _, name = key.partition("/")
        if name not in ignored:
            inputs[f"{alias}/{names.get(name, name)}" if alias.startswith("evcs") else key] = value
    return Step(step.t_s, inputs, step.expected, step.repeat)


REQUEST = "SetChargePowerRequest"
ASIDE = ("ChargeState", REQUEST, "MaximumPower")


def cluster(case: Case) -> Iterator[Answer]:
    """Stations that share a connection with a limit for each phase, helped by a storage. What a car asks for is the wish of its
    own controller."""
    config = case.config
    if any("EvcsClusterStatus" in key for s in case.steps for key in s.expected):
        raise NotMapped("charging stations have no ChargeState; cuts and releases are followed by each ceiling itself")
    limit = config["hardwarePowerLimit"]
    settings: dict[str, Any] = {"stations": config["evcsIds"], "grid": "grid", "ess": "ess0", "import_max_w": 3 * limit}
    settings |= {"phase_max_a": limit / NOMINAL_V, "start_s": 0, "pause_s": 0}
    requests = {k.partition("/")[0]: v for s in case.steps for k, v in s.inputs.items() if k.endswith(REQUEST)}
    own = [(SurplusCharging, f"own_{alias}", _request(alias, watts)) for alias, watts in requests.items()]
    world = World(case, (EvcsCluster, "ctrl0", settings), *own)
    for alias in config["evcsIds"]:
        station(world, alias)
    allowed = "evcsCluster0/MaximumAllowedPowerToDistribute"
    for step in case.steps:
        watched = _watched(step, ASIDE)
        most = watched.inputs.get(allowed)
        inputs = {k: v for k, v in watched.inputs.items() if k != allowed} | _currents(step) | _car_currents(watched)
        write = [] if most is None else [("ctrl0/cars_max_w", NO_LIMIT_W if most < 0 else float(most))]
        world.step(Step(step.t_s, inputs, step.expected), *write)
        answers = {f"{alias}/SetChargePowerLimit": world.read(f"{alias}/SetChargePowerLimit") for alias in config["evcsIds"]}
        yield answers | {"evcsCluster0/MaximumPowerToDistribute": world.read("ctrl0/room_w")}


def _request(alias: str, watts: float) -> dict[str, Any]:
    return {"evcs": alias, "grid": "grid", "mode": ChargeMode.Now.name, "max_a": watts / 3 / NOMINAL_V}


def _currents(step: Step) -> dict[str, float]:
    """Currents of the meter's phases from their powers, in their unit."""
    powers = {k: v for k, v in step.inputs.items() if k.startswith("meter0/ActivePowerL")}
    return {k.replace("ActivePower", "Current"): 1e3 * v / NOMINAL_V for k, v in powers.items()}


def _car_currents(step: Step) -> dict[str, float]:
    """Currents of cars on three phases, from their powers."""
    powers = {k.partition("/")[0]: v for k, v in step.inputs.items() if k.endswith("/ChargePower")}
    return {f"{a}/CurrentL{i}": 1e3 * watts / 3 / NOMINAL_V for a, watts in powers.items() for i in (1, 2, 3)}


MODES = {"ZERO": ChargeMode.Off, "MINIMUM": ChargeMode.MinPv, "SURPLUS": ChargeMode.Pv, "FORCE": ChargeMode.Now}
UNITS = {"mA": 1e-3, "A": 1.0}


def points(case: Case) -> Iterator[Answer]:
    """Charge points with a mode each; set-points in their own units. Theirs are solved for at once; here each station follows its
    part of what the meter shows, so cars draw what they may until nothing changes any more."""
    for step in case.steps:
        modes = step.inputs["mode"]
        modes = dict.fromkeys((f"evse{i}" for i in range(5)), "FORCE") if isinstance(modes, str) else modes
        names = sorted(modes)
        kinds = {name: _kind(case, step, name) for name in names}
        sharing = max(sum(modes[n] in ("SURPLUS", "MINIMUM") for n in names), 1)
        rules = [(SurplusCharging, f"own_{n}", {**_point(n, modes[n], *kinds[n]), "sharing": sharing}) for n in names]
        world = World(case, *rules, devices=[{"id": n, "type": "ManagedEvcs"} for n in names])
        for name, (unit, least, most, phases) in kinds.items():
            station(world, name, _watts(least, unit, phases), _watts(most, unit, phases), phases)
            if name in step.inputs.get("notReadyForCharging", ()):
                world.rig[f"{name}/Status"] = STATUS["NOT_READY_FOR_CHARGING"]
        charged = {f"own_{n}": {"state": {"on": True}} for n in names if case.config["evse*"]["history"]}
        world.rig.engine.restore({"controllers": charged})
        _settle(world, names, step.inputs.get("_sum/GridActivePower", 0))
        yield {"setPoints": [_own_unit(world.read(f"{n}/SetChargePowerLimit") or 0.0, *kinds[n]) for n in names]}


HELD = {"off_s": 180, "switch_s": 3600}
"""A car that charges is held at its least power for a while, on the phases it has."""

SETTLED = 120
"""Cycles until nothing changes any more."""


def _settle(world: World, names: Sequence[str], other_w: float) -> None:
    """Let the cars draw what they may, and the meter show it."""
    for _ in range(SETTLED):
        drawn = {n: world.read(f"{n}/SetChargePowerLimit") or 0.0 for n in names}
        for name, watts in drawn.items():
            world.rig[f"{name}/ChargePower"] = watts
        world.rig["meter0/ActivePower"] = other_w + sum(drawn.values())
        world.cycle()


def _kind(case: Case, step: Step, name: str) -> tuple[str, float, float, int]:
    """Unit, least and highest set-point, and phases of a charge point."""
    text = {**case.config, **step.inputs}.get(f"{name}/setPoint", case.config["evse*"]["setPoint"] + " 3ph")
    unit, span, phases = text.split()[:3]
    least, _, most = span.partition("..")
    return unit, float(least), float(most), int(phases[0])


def _watts(value: float, unit: str, phases: int) -> float:
    return value if unit == "W" else round(value * UNITS[unit] * NOMINAL_V * phases, 3)


def _own_unit(watts: float, unit: str, least: float, most: float, phases: int) -> float:
    return round(watts if unit == "W" else watts / UNITS[unit] / NOMINAL_V / phases)


def _point(alias: str, mode: str, unit: str, least: float, most: float, phases: int) -> Mapping[str, Any]:
    amperes = _watts(most, unit, phases) / phases / NOMINAL_V
    return {"evcs": alias, "grid": "grid", "mode": MODES[mode].name, "max_a": amperes} | AT_ONCE | HELD


def ceiling(case: Case) -> Iterator[Answer]:
    """A station that is told ceilings: cuts act at once, releases step by step."""
    alias = case.devices[0]["id"]
    rule = (SurplusCharging, "ctrl0", {"evcs": alias, "grid": "grid", "mode": ChargeMode.Now.name, "max_a": 32})
    world = World(case, rule)
    station(world, alias)
    for step in case.steps:
        watts = step.inputs.get(f"{alias}/SetChargePowerLimit")
        power = {f"{alias}/ChargePower": step.inputs.get(f"{alias}/ActivePower", 0)}
        world.step(Step(step.t_s, power, step.expected), *_asks(watts))
        found = world.read(f"{alias}/SetChargePowerLimit")
        yield {f"{alias}/ActivePower": found, f"{alias}/SetChargePowerLimit(next)": found}


def _asks(watts: float | None) -> list[tuple[str, float]]:
    """Writes of a client that make the limit so many watts."""
    if watts is None:
        return []
    off = ("ctrl0/mode", float(ChargeMode.Off if watts == 0 else ChargeMode.Now))
    return [off] if watts == 0 else [off, ("ctrl0/max_a", watts / 3 / NOMINAL_V)]


FAMILIES = {
    "Evcs (legacy EVCS controller)": Family(older),
    "Evcs.Cluster.PeakShaving": Family(cluster),
    "Evse.Cluster.EQUAL_POWER": Family(points),
    "AbstractManagedEvcs (limit write handler)": Family(ceiling, without=("*/ChargeState", "*/Status")),
}
