"""The site as a whole: sums, the order of controllers, production, the measured capacity of a storage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .case import Case, Step
from .family import Answer, Family
from .world import World, channel_name

from controllers.fix_active_power import FixActivePower  # isort: skip
from controllers.phase_limits import PhaseLimits  # isort: skip
from controllers.pv_limit import PvLimit  # isort: skip
from control_rig import charger, grid_meter  # isort: skip
from core_rig import Rig  # isort: skip
from drivers.plant.battery import Battery  # isort: skip
from server.core.natures import Site  # isort: skip

SUMS = {
    "GridActivePower": Site.GridPower,
    "ProductionActivePower": Site.ProductionPower,
    "UnmanagedProductionActivePower": Site.ProductionPower,
    "EssActivePower": Site.EssPower,
    "EssDischargePower": Site.EssPower,
    "ConsumptionActivePower": Site.ConsumptionPower,
    "UnmanagedConsumptionActivePower": Site.UnmanagedConsumptionPower,
}


def sums(case: Case) -> Iterator[Answer]:
    """Sums and the split of flows. A sum over no storage is nothing there, and 0 here."""
    rig = Rig([grid_meter("meter0"), grid_meter("meter1", MeterRole="Production"), charger("evcs0")])
    for step in case.steps:
        for key, value in step.inputs.items():
            alias, _, name = key.partition("/")
            rig[f"{alias}/{'ChargePower' if alias == 'evcs0' else channel_name(name)}"] = value
        rig.step(dt_s=1)
        found: dict[str, Any] = {}
        for key in step.expected:
            name = key.partition("/")[2]
            node = SUMS[name].name if name in SUMS else name.removesuffix("Power")
            found[key] = rig[f"site/{node}"] if f"site/{node}" in rig.layout.by_node else "no such channel"
            if name.startswith("Ess") and "To" not in name and found[key] == 0:
                found[key] = None
        yield found


def order(case: Case) -> Iterator[Answer]:
    """The order of controllers: those listed have priorities in this order; others come after them, or are switched off."""
    listed = [name for name in case.config["controllersIds"] if name]
    others = sorted(name for name in case.config["existing"] if name not in listed)
    every = case.controller == "Scheduler.AllAlphabetically"
    rules = [(FixActivePower, name, {"ess": "ess0", "power_w": 0, "priority": 100, "enabled": every}) for name in others]
    rules += [(FixActivePower, name, {"ess": "ess0", "power_w": 0, "priority": i}) for i, name in enumerate(listed)]
    world = World(case, *rules, devices=[{"id": "ess0", "type": "ManagedSymmetricEss"}])
    world.cycle()
    solution = world.rig.engine.solution
    yield {"order": [] if solution is None else [g.claim.who for g in solution.grants]}


def fixed_limit(case: Case) -> Iterator[Answer]:
    """A plant's highest power, and nothing once the controller is switched off."""
    devices = [{"id": "pv0", "type": "ManagedSymmetricPvInverter", "MaxActivePower": 20_000}]
    world = World(case, (PvLimit, "ctrl0", {"pv": "pv0", "power_w": case.config["powerLimit"]}), devices=devices)
    world.rig["pv0/ActivePower"] = 15_000
    for step in case.steps:
        world.cycle(step.t_s, *([("ctrl0/Enabled", 0.0)] if "event" in step.inputs else []))
        limit = world.highest("ctrl0")
        yield {"pvInverter0/ActivePowerLimit": limit if limit is None else world.read("pv0/ActivePowerLimit")}


def export_limit(case: Case) -> Iterator[Answer]:
    """A limit of export on each phase, kept by a three-phase plant."""
    devices: list[dict[str, Any]] = [{"id": "meter0", "type": "ElectricityMeter"}]
    devices += [{"id": "pvInverter0", "type": "ManagedSymmetricPvInverter", "MaxActivePower": 20_000}]
    world = World(
        case, (PhaseLimits, "ctrl0", {"grid": "grid", "export_max_w": case.config["maximumSellToGridPower"]}), devices=devices
    )
    for step in case.steps:
        total = sum(v for k, v in step.inputs.items() if k.startswith("meter0"))
        world.step(Step(step.t_s, {**step.inputs, "meter0/ActivePower": total}, step.expected))
        yield {"pvInverter0/ActivePowerLimit": world.read("pvInverter0/ActivePowerLimit")}


def simulated(case: Case) -> Iterator[Answer]:
    """The battery of the simulated plant, without its losses; state of charge in whole percents."""
    rated, capacity = float(case.config["maxApparentPower"]), float(case.config["capacity"])
    model = Battery(rated, capacity, case.config["initialSoc"] / 100, resistance_ohm=1e-9, standby_w=0.0, loss_share=0.0)
    before_s = 0.0
    for step in case.steps:
        for _ in range(round(step.t_s - before_s)):
            model.step(1.0, 1.0, model.temperature)
        before_s = step.t_s
        yield {"ess0/Soc": round(100 * model.soc)}
        model.command(step.inputs.get("ess0/SetActivePowerEquals"))


FAMILIES = {
    "Core Sum / Meta": Family(sums),
    "Scheduler.AllAlphabetically": Family(order),
    "Scheduler.FixedOrder": Family(order),
    "PvInverter.FixPowerLimit": Family(fixed_limit),
    "PvInverter.SellToGridLimit": Family(export_limit),
    "Simulator.EssSymmetric.Reacting": Family(simulated, tolerance=0.0),
}
