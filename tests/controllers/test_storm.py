"""All controllers at once where everything jumps: whatever is measured, none fails, and set-points keep their limits."""

from __future__ import annotations

import random
from math import isfinite

from control_rig import Rig, battery, charger, document, grid_meter, heat_pump, relays, switched_load, thermometer
from core_rig import device, load, pv

from server.core.natures import AnalogIo
from server.runtime.discovery import find_controllers, load_controller

CYCLES = 700
ESS, GRID, METER = {"ess": "ess0"}, {"grid": "grid"}, {"meter": "meter0"}
SETTINGS = {
    "AcIsland": ESS | {"grid_side": "io0/Output[0]", "island_side": "io0/Output[1]"},
    "AnalogSurplus": GRID | {"output": "dac0/Output"},
    "AnomalyResponse": {"unit": "ess0", "score": "temp0/Temperature"},
    "AntiIslanding": METER | {"delay_s": 5},
    "BackupReserve": ESS | {"recharge_w": 500},
    "BalancingSchedule": GRID,
    "BatteryProtection": ESS | {"force_a": 5},
    "ChannelThreshold": {"value": "ess0/Soc", "output": "io0/Output[2]", "on": 80, "off": 60},
    "ChpSoc": ESS | {"output": "io0/Output[3]"},
    "Cycle": ESS | {"power_w": 1000},
    "DelayCharge": ESS,
    "DelayedSellToGrid": GRID | {"export_max_w": 5000, "continuous_w": 1000},
    "DemandPeakShaving": GRID | {"demand_max_w": 6000},
    "DemandResponse": GRID | {"units": ["evcs0", "load1"]},
    "EvcsCluster": GRID | {"stations": ["evcs0", "evcs1"], "import_max_w": 20_000, "phase_max_a": 35},
    "FastFrequencyReserve": ESS | METER | {"power_w": 2000},
    "FixActivePower": ESS | {"power_w": 100},
    "FixStateOfCharge": ESS,
    "FollowSchedule": ESS,
    "ForeignController": {},
    "FrequencyDroop": ESS | METER | {"power_w": 2000, "hold_base": True, "recovery_w": 100, "response_s": 1},
    "FrequencyProtection": METER | {"units": ["ess0", "pv0"], "delay_s": 5},
    "GridLimits": GRID | {"import_max_w": 9000, "export_max_w": 5000},
    "GridOptimizedCharge": ESS | GRID | {"export_max_w": 7000},
    "HeatPumpSgReady": ESS | GRID | {"state": "heat0/SgReady"},
    "HeatingElement": GRID | {"relays": ["io0/Output[0]", "io0/Output[1]"], "min_h": 2},
    "IslandMode": ESS | METER | {"contactor": "io0/Output[3]", "loads": ["load0", "load1"], "island": "meter1"},
    "LimitTotalCharge": ESS,
    "LimitTotalDischarge": ESS | {"recharge_soc": 10},
    "Limiter14a": {"dim": "io0/Input[0]", "units": ["ess0", "evcs0"]},
    "LinearPowerBand": ESS,
    "LoadShedding": ESS | GRID | {"loads": ["load0", "load1"], "import_max_w": 8000},
    "ManualOverride": {},
    "MinDischargePeriod": ESS,
    "PeakShaving": GRID | {"import_max_w": 8000, "phase_max_w": 3000, "from_hour": 6, "to_hour": 22, "recharge_below_w": 3000},
    "PhaseLimits": GRID | {"import_max_w": 4600},
    "PhaseRectification": GRID,
    "PredictiveMpc": ESS | GRID,
    "PredictivePeakShaving": ESS | GRID | {"import_max_w": 5000},
    "PvLimit": GRID | {"pv": "pv0", "share": 60, "export_max_w": 3000},
    "ReactivePower": ESS | GRID | {"reference_s": 300, "response_s": 5, "active_first": True},
    "RemoteCommand": ESS,
    "RippleControlReceiver": GRID | {f"relay{i}": f"io0/Input[{i}]" for i in range(3)} | {"rated_w": 10_000},
    "SelfConsumption": GRID,
    "SmartCharging": {"evcs": "evcs0"},
    "SohCycle": ESS | {"nominal_wh": 10_000},
    "Standby": ESS | GRID,
    "SurplusCharging": ESS | GRID | {"evcs": "evcs0"},
    "TemperatureProtection": {"unit": "ess0", "temperature": "temp0/Temperature"},
    "TimeOfUse": ESS | GRID,
    "VirtualInertia": ESS | METER | {"power_w": 1000},
    "VoltWatt": METER | {"unit": "pv0"},
    "VoltageProtection": METER | {"cessation": True, "units": ["ess0", "pv0"], "delay_s": 5},
}
RANGES = {
    "Soc": (0, 100),
    "ActivePower": (-12_000, 12_000),
    "Temperature": (-20, 90),
    "GridMode": (0, 1),
    "Status": (0, 8),
    "Phases": (0, 3),
    "Capacity": (0, 20_000),
}


def stormy_site() -> Rig:
    found = find_controllers().classes
    assert set(SETTINGS) == set(found), "a new controller has to stand the storm"
    devices = [grid_meter(), grid_meter("meter1"), battery(), pv(), charger("evcs0"), charger("evcs1"), relays()]
    devices += [thermometer(), heat_pump(), switched_load("load0"), load("load1", RatedPower="3000")]
    devices.append(device("dac0", AnalogIo, (AnalogIo.Output,)))
    controllers = [(load_controller(found[name]), name.lower(), settings) for name, settings in SETTINGS.items()]
    return Rig(devices, controllers, timezone="Europe/Vienna")


def measure(rig: Rig, rng: random.Random) -> None:
    """A seventh of all channels jumps; some turn Bad, a few are no number."""
    for channel in rig.layout.channels:
        name = channel.spec.name.partition(".")[0]
        if channel.owner != "plant" or name == "State" or rng.random() > 0.15:
            continue
        spec, luck = channel.spec, rng.random()
        low, high = RANGES.get(name, (-10_000 if spec.low is None else spec.low, 10_000 if spec.high is None else spec.high))
        value = rng.uniform(low, high)
        if name == "Frequency" and rng.random() < 0.9:
            value = 50 + rng.gauss(0, 0.05)
        if name == "Voltage" and rng.random() < 0.95:
            value = 230 + rng.gauss(0, 5)
        records = rig.records[channel.slot : channel.slot + channel.length]
        records["status"] = 0x80000000 if luck < 0.05 else 0
        records["value"] = float("nan") if luck > 0.997 else round(value) if spec.states or name == "Phases" else value


def test_a_storm_of_measurements_makes_no_controller_fail_and_no_set_point_leave_its_limits():
    rng = random.Random(5)
    rig = stormy_site()

    def rows(mean: float, spread: float) -> list[float]:
        return [rng.gauss(mean, spread) for _ in range(192)]

    document(rig, "forecast/consumption", 900, power_w=rows(4000, 2000))
    document(rig, "forecast/production", 900, power_w=rows(3000, 2000))
    document(rig, "price/buy", 900, buy=rows(0.3, 0.1))
    document(rig, "schedule/ess0", 900, power_w=rows(0, 2000), mode=[float(rng.randrange(4)) for _ in range(192)])
    document(rig, "schedule/meter0", 900, power_w=rows(0, 2000))
    document(rig, "plan/ess0", 900, power_w=rows(0, 2000), import_w=rows(0, 500))
    document(rig, "event/meter0", 900, level=[float(rng.randrange(4)) for _ in range(192)])
    for _ in range(CYCLES):
        measure(rig, rng)
        rig.step(dt_s=rng.choice((0.05, 0.05, 1.0, 30.0)))
        power = rig["ess0/SetActivePower"]
        apparent = rig.records[rig.layout.by_node["ess0/MaxApparentPower"].slot]
        if power is not None and apparent["status"] == 0 and isfinite(apparent["value"]):
            assert abs(power) <= apparent["value"] + 1
        limit = rig["pv0/ActivePowerLimit"]
        assert limit is None or limit >= 0
    faults = [text for kind, text, _ in rig.out.events if kind == "controller_fault"]
    assert faults == []
    assert {"trip", "trip_over", "mode"} <= set(rig.kinds())
