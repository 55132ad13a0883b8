"""Controllers of storages on a real engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import floor
from typing import Any

from .case import Case, NotMapped, Step, number
from .family import Answer, Family
from .world import Chosen, World

from control_rig import document  # isort: skip
from controllers.backup_reserve import BackupReserve  # isort: skip
from controllers.balancing_schedule import BalancingSchedule  # isort: skip
from controllers.battery_protection import BatteryProtection  # isort: skip
from controllers.delay_charge import DelayCharge  # isort: skip
from controllers.fix_active_power import FixActivePower, Relation  # isort: skip
from controllers.fix_state_of_charge import FixStateOfCharge, SocPhase  # isort: skip
from controllers.grid_limits import GridLimits  # isort: skip
from controllers.grid_optimized_charge import ChargeMode, GridOptimizedCharge  # isort: skip
from controllers.limit_total_discharge import LimitTotalDischarge  # isort: skip
from controllers.linear_power_band import LinearPowerBand  # isort: skip
from controllers.peak_shaving import PeakShaving  # isort: skip
from controllers.phase_rectification import PhaseRectification  # isort: skip
from controllers.reactive_power import ReactivePower  # isort: skip
from controllers.self_consumption import SelfConsumption  # isort: skip
from controllers.soh_cycle import SohCycle, SohPhase  # isort: skip
from controllers.time_of_use import PriceMode, TimeOfUse  # isort: skip
from controllers.volt_watt import VoltWatt  # isort: skip
from server.core.blocks import Polyline  # isort: skip
from server.core.channel import PHASES  # isort: skip
from server.core.controller import validate  # isort: skip
from server.core.document import Document  # isort: skip
from server.core.errors import ConfigError  # isort: skip
from server.core.ticks import TICKS, from_datetime  # isort: skip

AT_ONCE = {"deadband_w": 0, "rise_w_per_s": 1e9, "fall_w_per_s": 1e9}
"""A balance without calm, where cases are about its target."""

RELATIONS = {
    "EQUALS": Relation.Equals,
    "GREATER_OR_EQUALS": Relation.AtLeast,
    "LESS_OR_EQUALS": Relation.AtMost,
}


def _named(world: World, step: Step, answers: Mapping[str, Any]) -> Answer:
    """The answers by the names of the format: a set-point or a controller's channel, whatever the component is called."""
    return {key: answers[name] for key in step.expected if (name := key.partition("/")[2] or key) in answers}


def fix_active_power(case: Case) -> Iterator[Answer]:
    """A constant power as equal, least or most, inside what the storage allows."""
    for step in case.steps:
        settings = case.config | step.inputs
        relation = RELATIONS[settings["relationship"]]
        rule = (FixActivePower, "ctrl0", {"ess": "ess0", "power_w": settings["power"], "relation": relation.name})
        world = World(case, (*rule[:2], rule[2] | {"enabled": settings["mode"] == "MANUAL_ON"}))
        for name, key in (("AllowedChargePower", "minPower"), ("AllowedDischargePower", "maxPower")):
            if key in settings:
                world.put(f"ess0/{name}", settings[key])
        world.cycle()
        grants = world.rig.engine.solution.grants_of("ctrl0")
        got = next((value for g in grants for value in g.granted if value is not None), None)
        yield {f"constraint P {settings['relationship']}": got, "constraint": got}


def limit_active_power(case: Case) -> Iterator[Answer]:
    """Limits of a storage, then somebody later who wants more."""
    highest = {"ess": "ess0", "power_w": case.config["maxDischargePower"], "relation": "AtMost", "priority": 1}
    lowest = {"ess": "ess0", "power_w": -case.config["maxChargePower"], "relation": "AtLeast", "priority": 2}
    for step in case.steps:
        wanted = step.inputs.get("later controller P EQUALS")
        later = [(FixActivePower, "later", {"ess": "ess0", "power_w": wanted})] if wanted is not None else []
        world = World(case, (FixActivePower, "high", highest), (FixActivePower, "low", lowest), *later)
        world.cycle()
        yield {
            "constraint P GREATER_OR_EQUALS": world.lowest("low"),
            "constraint P LESS_OR_EQUALS": world.highest("high"),
            "ess0/P": world.read("ess0/SetActivePower"),
        }


def linear_power_band(case: Case) -> Iterator[Answer]:
    """A triangle of power."""
    config = case.config
    settings = {"low_w": config["minPower"], "high_w": config["maxPower"], "slope_w_per_s": config["adjustPower"]}
    rule = (LinearPowerBand, "ctrl0", {"ess": "ess0", "starts_down": config["startDirection"] == "CHARGE"} | settings)
    world = World(case, rule)
    before = 0.0
    for step in world.steps():
        power = world.setpoint("ctrl0") or 0.0
        moved, before = power - before, power
        yield _named(world, step, {"SetActivePowerEquals": power, "StateMachine": "DOWNWARDS" if moved < 0 else "UPWARDS"})


def limit_total_discharge(case: Case) -> Iterator[Answer]:
    """A floor of the state of charge, held for five minutes; whole percents, so half of one is hysteresis enough."""
    config = case.config
    floor_soc = config["minSoc"]
    settings = {"min_soc": floor_soc, "hysteresis": 0.5, "hold_s": 300, "recharge_soc": config["forceChargeSoc"]}
    world = World(case, (LimitTotalDischarge, "ctrl0", {"ess": "ess0", "recharge_w": config["forceChargePower"]} | settings))
    for step in world.steps():
        limit = world.highest("ctrl0")
        waits = limit is not None and step.inputs["ess0/Soc"] > floor_soc
        yield _named(world, step, {"SetActivePowerLessOrEquals": limit, "AwaitingHysteresis": waits})


def backup_reserve(case: Case) -> Iterator[Answer]:
    """A reserve whose limit ramps by 1 % of rated each cycle; a reserve that cannot be set is one outside the range."""
    settings = {"ess": "ess0", "reserve": case.config["reserveSoc"], "approach": 2, "ramp": 1}
    if "RangeOfReserveSocOutsideAllowedValue" in str(case.steps[0].expected):
        yield from _reserve_range(case, settings)
        return
    devices = [{**d, "type": "HybridEss"} if d["id"] == "ess0" else d for d in case.devices]
    world = World(case, (BackupReserve, "ctrl0", settings), devices=devices, late=("Soc",))
    for step in case.steps:
        pv = step.inputs.get("_sum/ProductionDcActualPower")
        if pv is not None:
            world.rig["ess0/ActivePower"], world.rig["ess0/DcDischargePower"] = 0, -pv
        world.step(Step(step.t_s, {k: v for k, v in step.inputs.items() if not k.startswith("_sum")}, step.expected, step.repeat))
        limit = world.highest("ctrl0")
        yield _named(world, step, {"SetActivePowerLessOrEquals": limit, "DebugSetActivePowerLessOrEquals": limit})


def _reserve_range(case: Case, settings: Mapping[str, Any]) -> Iterator[Answer]:
    try:
        validate(BackupReserve, "ctrl0", settings)
        refused = False
    except ConfigError:
        refused = True
    yield {"ctrl0/RangeOfReserveSocOutsideAllowedValue": refused}


def delay_charge(case: Case) -> Iterator[Answer]:
    """The highest charge until an hour; their 0 after it is no limit."""
    world = World(case, (DelayCharge, "ctrl0", {"ess": "ess0", "target_hour": case.config["targetHour"]}))
    for step in world.steps():
        limit = world.read("ctrl0/charge_max_w")
        yield _named(world, step, {"ChargePowerLimit": 0.0 if limit is None else limit})


SOC_PHASES = {
    SocPhase.NotStarted: ("NOT_STARTED", "NOT_STARTED"),
    SocPhase.Below: ("BELOW_TARGET_SOC", "BELOW_TARGET_SOC"),
    SocPhase.Above: ("ABOVE_TARGET_SOC", "ABOVE_TARGET_SOC"),
    SocPhase.Within: ("WITHIN_LOWER_TARGET_SOC_BOUNDARIES", "WITHIN_UPPER_TARGET_SOC_BOUNDARIES"),
    SocPhase.AtTarget: ("AT_TARGET_SOC", "AT_TARGET_SOC"),
    SocPhase.Reference: ("REFERENCE_CYCLE", "REFERENCE_CYCLE"),
}
"""Names of a phase below and above the target."""

BEGINNING = ("IDLE", "NOT_STARTED")
"""Their machine takes a cycle for each transition before it acts; ours is switched on when theirs acts."""


REST_S = 1800.0 - 3
"""Their rest of half an hour, less the cycles that take no time by their clock."""


def fix_state_of_charge(case: Case) -> Iterator[Answer]:
    """A target of the state of charge, with the storage's rating as power on the way."""
    config = case.config
    if config.get("conditionalTermination") and any("EssCapacity" in str(s.expected) for s in case.steps):
        raise NotMapped("a controller does not end itself when the capacity changes")
    settings = {"ess": "ess0", "target": config["targetSoc"], "power_w": 10_000, "band": 2, "ramp": 5, "enabled": False}
    settings |= {"reference": "PrepareBatteryExtension" in case.id, "rest_s": REST_S}
    if config["specifyTargetTime"] and case.t0.year == 2022:
        settings |= {"just_in_time": True, "target_hour": 9.5, "buffer_h": 0}
    world = World(case, (FixStateOfCharge, "ctrl0", settings), late=("Soc",), split=True)
    idle = _beginning(case)
    for i, step in enumerate(case.steps):
        starts = i == idle and config["running"]
        world.step(step, *([("ctrl0/Enabled", 1.0)] if starts else []))
        power = world.setpoint("ctrl0")
        phase = world.read("ctrl0/phase")
        soc = world.rig.records[world.rig.layout.by_node["ess0/Soc"].slot]["value"]
        state = BEGINNING[i >= 2] if phase is None else SOC_PHASES[SocPhase(int(phase))][bool(soc > config["targetSoc"])]
        names = ("SetActivePowerEquals", "DebugSetActivePower", "DebugSetActivePowerRaw")
        yield _named(world, step, {"StateMachine": state} | dict.fromkeys(names, power))


def _beginning(case: Case) -> int:
    """The step in which their machine has left its first states."""
    for i, step in enumerate(case.steps):
        state = next((v for k, v in step.expected.items() if k.endswith("StateMachine")), None)
        if state is not None and state not in BEGINNING:
            return i
    return 3


def balancing(case: Case) -> Iterator[Answer]:
    """A connection held at a target."""
    meter, ess = case.config["meterId"], case.config["essId"]
    world = World(case, (SelfConsumption, "ctrl0", {"grid": meter, "target_w": case.config["targetGridSetpoint"]} | AT_ONCE))
    for step in world.steps():
        yield _named(world, step, {"SetActivePowerEquals": world.setpoint("ctrl0", ess)})


def balancing_schedule(case: Case) -> Iterator[Answer]:
    """A connection held at what a schedule says; a set-point by channel is a new revision of the schedule."""
    world = World(case, (BalancingSchedule, "ctrl0", {"grid": "grid", "deadband_w": 0, "ramp_w_per_s": 1e9}))
    rows = [(r["startTimestamp"], r["duration"], float(r["activePowerSetPoint"])) for r in case.config["schedule"]]
    _schedule(world, rows, 1)
    for step in case.steps:
        asked = step.inputs.get("ctrl0/GridActivePowerSetPoint")
        if asked is not None:
            _schedule(world, [(case.t0.timestamp() + step.t_s, 60, float(asked))], 2)
        world.step(Step(step.t_s, {k: v for k, v in step.inputs.items() if not k.startswith("ctrl0/")}, step.expected))
        answers = {"SetActivePowerEquals": world.setpoint("ctrl0"), "NoActiveSetpoint": world.read("ctrl0/target_w") is None}
        if asked is not None:
            _schedule(world, rows, 3)
        yield _named(world, step, answers)


def _schedule(world: World, rows: list[tuple[float, float, float]], revision: int) -> None:
    epoch = from_datetime(world.case.t0) - round(world.case.t0.timestamp() * TICKS)
    starts = tuple(epoch + round(start * TICKS) for start, _, _ in rows)
    end = epoch + round((rows[-1][0] + rows[-1][1]) * TICKS)
    name = f"schedule/{world.meter}"
    columns = {"power_w": tuple(power for _, _, power in rows)}
    world.rig.documents[name] = Document(name, revision, starts[0], end, starts, columns)


def asymmetric_peak_shaving(case: Case) -> Iterator[Answer]:
    """The most loaded phase held under a limit, by a storage on all three."""
    limit = case.config["peakShavingPower"]
    settings = {"grid": "grid", "import_max_w": 1e9, "phase_max_w": limit, "hysteresis_w": 0}
    world = World(case, (PeakShaving, "ctrl0", settings))
    for step in case.steps:
        total = sum(v for k, v in step.inputs.items() if "meter0" in k)
        world.step(Step(step.t_s, {**step.inputs, "meter0/ActivePower": total}, step.expected))
        yield _named(world, step, {"SetActivePowerEquals": world.setpoint("ctrl0")})


def volt_watt(case: Case) -> Iterator[Answer]:
    """Power by voltage, in shares of the highest power of the characteristic."""
    rows = case.config["powerVoltConfig"]
    rated = max(abs(r["power"]) for r in rows)
    curve = Polyline(tuple((r["voltageRatio"], r["power"] / rated) for r in rows))
    settings = {
        "unit": "ess1",
        "meter": "meter0",
        "nominal_v": case.config["nominalVoltage"],
        "curve": curve.points,
        "rated_w": rated,
    }
    world = World(case, (VoltWatt, "ctrl0", settings))
    for step in world.steps():
        yield _named(world, step, {"SetActivePowerEquals": world.setpoint("ctrl0", "ess1")})


def cos_phi(case: Case) -> Iterator[Answer]:
    """Reactive power that keeps a connection's power factor."""
    rule = (ReactivePower, "ctrl0", {"ess": "ess0", "grid": "grid", "mode": "BalancingCosPhi", "cos_phi": case.config["cosPhi"]})
    world = World(case, rule, devices=[{"id": "ess0", "type": "ManagedSymmetricEss"}])
    for step in case.steps:
        inputs = {
            "meter0/ActivePower": "grid P without ess",
            "meter0/ReactivePower": "grid Q without ess",
            "ess0/ActivePower": "ess P",
        }
        for node, key in inputs.items():
            world.put(node, step.inputs[key])
        world.cycle()
        found = abs(step.inputs["grid Q without ess"] - (world.read("ess0/SetReactivePower") or 0.0))
        yield dict.fromkeys(step.expected, found)


def phase_rectification(case: Case) -> Iterator[Answer]:
    """Equal phases: the differences between those of the storage. Its sum is left free there; here it stays as it is."""
    devices = [{"id": "ess0", "type": "ManagedAsymmetricEss"}, {"id": "meter0", "type": "ElectricityMeter"}]
    for step in case.steps:
        total = sum(v for k, v in step.inputs.items() if k.startswith("meter0"))
        own = sum(v for k, v in step.inputs.items() if k.startswith("ess0"))
        holds = (FixActivePower, "sum0", {"ess": "ess0", "power_w": own})
        world = World(case, (PhaseRectification, "ctrl0", {"grid": "grid", "band_w": 0}), holds, devices=devices)
        world.step(Step(step.t_s, {**step.inputs, "meter0/ActivePower": total, "ess0/ActivePower": own}, step.expected))
        l1, l2, l3 = (world.read(f"ess0/SetActivePower.{p}") or 0.0 for p in PHASES)
        yield {"constraint L1-L2 EQUALS": l1 - l2, "constraint L1-L3 EQUALS": l1 - l3}


def time_of_use(case: Case) -> Iterator[Answer]:
    """A scheduled mode, with the grid's limit kept by GridLimits as everywhere."""
    for step in case.steps:
        given = step.inputs
        rules: list[Chosen] = [
            (GridLimits, "limits0", {"grid": "grid", "import_max_w": given["gridBuySoftLimit"], "hysteresis_w": 0})
        ]
        charge = {"charge_w": given["essChargePowerInChargeGrid"], "import_max_w": given["gridBuySoftLimit"]}
        rules.append((TimeOfUse, "ctrl0", {"ess": "ess0", "grid": "grid", "deadband_w": 0} | charge))
        world = World(case, *rules, devices=[{"id": "ess0", "type": given["ess0/type"]}])
        kinds = {"DELAY_DISCHARGE": PriceMode.DelayDischarge, "CHARGE_GRID": PriceMode.ChargeGrid}
        world.rig.at(case.t0)
        document(world.rig, "schedule/ess0", 3600, starts_s=-60, power_w=[0.0], mode=[float(kinds[given["scheduledMode"]])])
        for key in ("_sum/GridActivePower", "ess0/ActivePower", "ess0/DcDischargePower"):
            if key in given:
                world.put(key, given[key])
        for _ in range(5):
            world.cycle()
        power = world.read("ess0/SetActivePower") or 0.0
        yield {"setPoint": power, "mode": _effective(given, power)}


def _effective(given: Mapping[str, Any], power: float) -> str:
    """The mode that decides on a set-point: what binds is the grid's limit, the balance, or the scheduled mode."""
    demand = given["_sum/GridActivePower"] + given["ess0/ActivePower"]
    if abs(demand - given["gridBuySoftLimit"] - power) < 1:
        return "PEAK_SHAVING"
    return "BALANCING" if abs(demand - power) < 1 else str(given["scheduledMode"])


def _forecasts(world: World, case: Case) -> None:
    """Forecasts of production and consumption as documents."""
    given = case.config.get("_predictions")
    if not isinstance(given, Mapping):
        return
    start = case.t0
    if "midnight" in given["startsAt"]:
        start = start.replace(hour=0)
    for name in ("production", "consumption"):
        _forecast(world, name, case.fixture(given[name]), from_datetime(start), given["resolution_s"])


def _forecast(world: World, name: str, values: list[float], first: int, step_s: float = 900) -> None:
    columns = {"power_w": [float(v) for v in values]}
    name = f"forecast/{name}"
    world.rig.documents[name] = Document.regular(name, first, step_s, columns, issued=world.rig.time)


CHARGE_MODES = {"OFF": ChargeMode.Off, "MANUAL": ChargeMode.Manual, "AUTOMATIC": ChargeMode.Automatic}
SELL_BUFFER = 0.95
"""They keep 5 % below the limit of export."""
AVOIDED = 8.1
"""They charge with no less than this share of capacity an hour [%]."""
QUARTER_H = 0.25
CAUTION_H = 2.0
"""What the risk level MEDIUM stands for; counted from the start of the last quarter with a surplus, here from its end."""

UNTIL_FULL = {"buffer": -1, "least": AVOIDED, "caution_h": CAUTION_H + QUARTER_H}
"""Their state of charge is in whole percents: one more is charged to be full for certain."""


def grid_optimized_charge(case: Case) -> Iterator[Answer]:
    """Delayed charge and export limit; the pure functions of their tests by the same controller."""
    if not case.devices:
        yield from _planned(case)
        return
    config = case.config
    settings = {"ess": "ess0", "grid": "grid", "mode": CHARGE_MODES[config["mode"]].name} | UNTIL_FULL
    settings |= {
        "export_max_w": SELL_BUFFER * config["meta"]["gridSellHardLimit"],
        "ramp": config["sellToGridLimitRampPercentage"],
    }
    if config["manualTargetTime"]:
        settings["manual_hour"] = float(config["manualTargetTime"].split(":")[0])
    own = "ctrlGridOptimizedCharge0/"
    devices = [d for d in case.devices if d["id"] in ("ess0", "meter0")]
    world = World(case, (GridOptimizedCharge, "ctrl0", settings), devices=devices)
    world.rig["meter0/ActivePower"] = world.rig["ess0/ActivePower"] = None
    world.rig.at(case.t0)
    _forecasts(world, case)
    for step in case.steps:
        inputs = {k: v for k, v in step.inputs.items() if not k.startswith((own, "_sum/"))}
        world.step(Step(step.t_s, inputs, step.expected))
        yield {key: value for key, value in _charge_answers(world, case, own).items() if key in step.expected}


def _charge_answers(world: World, case: Case, own: str) -> dict[str, Any]:
    highest, least = world.read("ctrl0/charge_max_w"), world.read("ctrl0/charge_min_w")
    left = world.read("ctrl0/target_in_s")
    minute = None if left is None else (world.settled_s + left + _seconds(case)) / 60
    delay = "NOT_STARTED" if case.config["mode"] == "OFF" else "TARGET_MINUTE_NOT_CALCULATED"
    if highest is not None:
        delay = "ACTIVE_LIMIT" if highest > 0 else "AVOID_LOW_CHARGING"
    limits = {
        "DelayChargeState": delay,
        "DelayChargeMaximumChargeLimit": highest,
        "RawDelayChargeMaximumChargeLimit": highest,
        "SellToGridLimitMinimumChargeLimit": least,
        "RawSellToGridLimitChargeLimit": None if least is None else -least,
        "SellToGridLimitState": "NOT_STARTED" if least is None else "ACTIVE_LIMIT_CONSTRAINT",
        "PredictedTargetMinute": None if minute is None else minute + 60 * CAUTION_H,
        "PredictedTargetMinuteAdjusted": minute,
        "TargetMinute": minute,
        "StartEpochSeconds": None,
    }
    return {own + name: value for name, value in limits.items()} | {"ess0/SetActivePowerLessOrEquals": world.highest("ctrl0")}


def _seconds(case: Case) -> float:
    return case.t0.hour * 3600.0 + case.t0.minute * 60


def _planned(case: Case) -> Iterator[Answer]:
    """When charging starts, what is left over until an hour, and the highest charge until another."""
    for step in case.steps:
        given = step.inputs
        clock = given["now"].rpartition("T")[2].rstrip("Z")
        moment = case.t0.replace(hour=int(clock[:2]), minute=int(clock[3:]))
        if "targetMinute" in given:
            yield {"energy_Wh": _surplus(case, moment, given["targetMinute"])}
            continue
        settings = {"ess": "ess0", "grid": "grid", "mode": "Manual", "manual_hour": float(given["targetTime"][:2])}
        settings |= {"buffer": -1} if "minimumPower" in given else {"least": AVOIDED}
        devices = [{"id": "ess0", "type": "ManagedSymmetricEss", "Soc": given["soc"], "Capacity": given["capacity"]}]
        world = World(case, (GridOptimizedCharge, "ctrl0", settings), devices=devices)
        world.settled_s = (moment - case.t0).total_seconds() - 1
        world.cycle((moment - case.t0).total_seconds())
        starts = None
        if (waits := _starts_in(world, given)) is not None:
            minutes = 5 * -floor(-(moment.hour * 60 + moment.minute + waits / 60) / 5)
            starts = f"{minutes // 60:02d}:{minutes % 60:02d}"
        yield {"maxChargePower_W": world.read("ctrl0/charge_max_w"), "chargeStart": starts}


def _starts_in(world: World, given: Mapping[str, Any]) -> float | None:
    """Seconds until charging starts, negative when it should have."""
    left = world.read("ctrl0/target_in_s")
    if left is None:
        return None
    shown = world.read("ctrl0/starts_in_s")
    return shown if shown else left - (100 - given["soc"]) / AVOIDED * 3600


def _surplus(case: Case, moment: Any, minute: int) -> float:
    """Energy that is left over until a minute of the day [Wh]."""
    midnight = from_datetime(moment.replace(hour=0, minute=0))
    start, end = from_datetime(moment), midnight + minute * 60 * TICKS
    energies = []
    for name in ("production", "consumption"):
        columns = {"power_w": [float(v) for v in case.fixture(case.config[name])]}
        energies.append(Document.regular(name, midnight, 900, columns).energy_wh(start, end))
    return energies[0] - energies[1]


SOH = {"id": "ess0", "type": "ManagedSymmetricEss", "Soc": 0, "Capacity": 10_000}


def soh(case: Case) -> Iterator[Answer]:
    """State of health from a measured capacity."""
    if case.config.get("referenceCycleEnabled"):
        raise NotMapped("their machine of fourteen states; here one slow cycle is measured, by integrating power")
    for step in case.steps:
        measured, nominal = step.inputs["measuredCapacity_Wh"], step.inputs["capacity_Wh"]
        found = _measured(case, measured, nominal) if measured and nominal else None
        yield {"SohPercent": None if found is None else found[1], "SohRaw": None if found is None else 100 * found[0] / nominal}


def _measured(case: Case, measured: float, nominal: float) -> tuple[float, float]:
    """Measured capacity [Wh] and state of health [%] that the controller shows at the end of its measurement."""
    world = World(case, (SohCycle, "ctrl0", {"ess": "ess0", "nominal_wh": nominal}), devices=[SOH])
    world.rig.at(case.t0)
    state = {"phase": int(SohPhase.Measure), "energy_wh": measured, "counted_at": world.rig.time}
    world.put("ess0/ActivePower", 0)
    world.rig.engine.restore({"controllers": {"ctrl0": {"state": state}}})
    world.cycle()
    shown = [world.read(f"ctrl0/{name}") for name in ("measured_wh", "soh")]
    return float(shown[0] or 0.0), float(shown[1] or 0.0)


def battery_protection(case: Case) -> Iterator[Answer]:
    """Limits of current; they start at nothing and recover by half an ampere a second."""
    curves = case.fixture(case.config["fixture"])
    settings = {"ess": "ess0", "max_a": curves["INITIAL_BMS_MAX_EVER_CURRENT_A"], "latch": True}
    settings |= {"recovery_a_per_s": curves["MAX_INCREASE_A_PER_S"], "force_a": case.config["forceChargeDischargeCurrent"]}
    settings |= {
        "force_wait_s": case.config["forceModeWait_s"],
        "by_temperature": _points(curves["CHARGE_TEMPERATURE_TO_PERCENT"]),
    }
    settings |= {
        f"{way}_by_voltage": _points(curves[f"{way.upper()}_VOLTAGE_TO_PERCENT"], 1e-3) for way in ("charge", "discharge")
    }
    up, down = curves["FORCE_CHARGE"], curves["FORCE_DISCHARGE"]
    settings |= {"force_charge_below_v": up["start_mV"] / 1e3, "force_charge_until_v": up["stop_mV"] / 1e3}
    settings |= {"force_charge_free_v": up["blockUntilAbove_mV"] / 1e3, "force_discharge_above_v": down["start_mV"] / 1e3}
    settings |= {"force_discharge_until_v": down["stop_mV"] / 1e3, "force_discharge_free_v": down["blockUntilBelow_mV"] / 1e3}
    devices = [{"id": "ess0", "type": "ManagedSymmetricEss"}]
    world = World(case, (BatteryProtection, "ctrl0", settings), devices=devices, first_s=1e-6)
    world.rig.engine.restore({"controllers": {"ctrl0": {"state": {"charge_a": 0.0, "discharge_a": 0.0}}}})
    names = {"BpChargeBms": "ChargeMaxCurrent", "BpDischargeBms": "DischargeMaxCurrent"}
    for step in case.steps:
        given = {k.partition("/")[2]: v for k, v in step.inputs.items()}
        inputs = {f"ess0/{names.get(k, k)}": v for k, v in given.items() if k != "StartStop"}
        world.step(Step(step.t_s, inputs, step.expected))
        limits = {"ChargeMaxCurrent": "charge_max_a", "DischargeMaxCurrent": "discharge_max_a"}
        yield _named(world, step, {name: floor((world.read(f"ctrl0/{own}") or 0.0) + 0.5) for name, own in limits.items()})


def _points(rows: list[list[Any]], scale: float = 1.0) -> list[list[float]]:
    """A characteristic; a neighbouring number of a scaled one is a neighbour still."""
    return [[number(x) * scale, float(y)] for x, y in rows]


def current_limit(case: Case) -> Iterator[Answer]:
    """One characteristic over cell voltage, latched."""
    if "maxIncrease_A_per_s" in case.config:
        yield from _max_increase(case)
        return
    way = case.config["direction"]
    full = [[0.0, 1.0]]
    settings: dict[str, Any] = {
        "ess": "ess0",
        "max_a": case.config["bmsMaxEverCurrent_A"],
        "latch": True,
        "recovery_a_per_s": 1e5,
    }
    settings |= {"charge_by_voltage": full, "discharge_by_voltage": full}
    settings[f"{way}_by_voltage"] = _points(case.fixture(case.config["polyline"]), 1e-3)
    world = World(case, (BatteryProtection, "ctrl0", settings), devices=[{"id": "ess0", "type": "ManagedSymmetricEss"}])
    for step in case.steps:
        world.put("ess0/MinCellVoltage", step.inputs["MinCellVoltage"])
        world.cycle()
        yield {"limit_A": world.read(f"ctrl0/{way}_max_a")}


def _max_increase(case: Case) -> Iterator[Answer]:
    settings = {"ess": "ess0", "recovery_a_per_s": case.config["maxIncrease_A_per_s"]}
    world = World(case, (BatteryProtection, "ctrl0", settings), devices=[{"id": "ess0", "type": "ManagedSymmetricEss"}])
    world.rig.engine.restore({"controllers": {"ctrl0": {"state": {"charge_a": case.steps[0].inputs["lastLimit_A"]}}}})
    for step in case.steps:
        world.cycle(step.t_s)
        yield {"limit_A": world.read("ctrl0/charge_max_a")}


FAMILIES = {
    "Ess.FixActivePower": Family(fix_active_power),
    "Symmetric.LimitActivePower": Family(limit_active_power),
    "Ess.LinearPowerBand": Family(linear_power_band),
    "Ess.LimitTotalDischarge": Family(limit_total_discharge),
    "Ess.EmergencyCapacityReserve": Family(backup_reserve, without=("*/StateMachine", "*/DebugTargetPower", "*/DebugRampPower")),
    "Ess.DelayCharge": Family(delay_charge),
    "Ess.FixStateOfCharge / PrepareBatteryExtension": Family(fix_state_of_charge),
    "Symmetric.Balancing (self-consumption)": Family(balancing),
    "Symmetric.BalancingSchedule": Family(balancing_schedule),
    "PeakShaving.Asymmetric": Family(asymmetric_peak_shaving),
    "Ess.ActivePowerVoltageCharacteristic (Volt-Watt)": Family(volt_watt),
    "Asymmetric.BalancingCosPhi": Family(cos_phi, tolerance=0.1),
    "Asymmetric.PhaseRectification": Family(phase_rectification),
    "Ess.SohCycle": Family(soh),
    "Ess.TimeOfUseTariff": Family(time_of_use),
    "Ess.GridOptimizedCharge": Family(grid_optimized_charge),
    "BatteryProtection": Family(battery_protection, tolerance=0.0),
    "BatteryProtection.MaxCurrentHandler": Family(current_limit, tolerance=0.1),
    "BatteryProtection.MaxIncrease": Family(current_limit),
}
