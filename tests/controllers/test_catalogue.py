"""The catalogue: every controller says what it does, by which equation, from which source, in which units."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import asdict

import pytest

from server.core.controller import Controller, outputs, parameters
from server.runtime.discovery import find_controllers, load_controller

FOUND = find_controllers()
CLASSES = {name: load_controller(target) for name, target in FOUND.classes.items()}

UNITS = {
    "_w": "W",
    "_var": "var",
    "_va": "V·A",
    "_wh": "Wh",
    "_v": "V",
    "_a": "A",
    "_hz": "Hz",
    "_s": "s",
    "_h": "h",
    "_hour": "h",
}
PER_UNIT = {"return_low_v", "return_high_v", "low_v", "high_v", "sync_v"}
"""Voltages per unit of nominal, as their documentation says."""

WANTED = """
AcIsland AnalogSurplus AnomalyResponse AntiIslanding BackupReserve BalancingSchedule BatteryProtection ChannelThreshold
ChpSoc Cycle DelayCharge DelayedSellToGrid DemandPeakShaving DemandResponse EvcsCluster FastFrequencyReserve
FixActivePower FixStateOfCharge FollowSchedule FrequencyDroop FrequencyProtection GridLimits GridOptimizedCharge
HeatPumpSgReady HeatingElement IslandMode LimitTotalCharge LimitTotalDischarge Limiter14a LinearPowerBand LoadShedding
ManualOverride MinDischargePeriod PeakShaving PhaseRectification PredictiveMpc PredictivePeakShaving PvLimit
ReactivePower RemoteCommand RippleControlReceiver SelfConsumption SmartCharging SohCycle Standby SurplusCharging
TemperatureProtection TimeOfUse VirtualInertia VoltWatt VoltageProtection
"""


def test_all_strategies_of_the_model_are_here():
    assert not FOUND.failures
    assert set(WANTED.split()) <= set(CLASSES)


@pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)
def test_a_controller_says_its_equation_and_its_source(cls: type[Controller]):
    text = inspect.cleandoc(cls.__doc__ or "")
    assert re.search(r"^    .*(=|->|rests|open)", text, re.M), "an indented equation is missing"
    assert "Source:" in text or cls.__name__ == "ManualOverride", "its source is missing"
    assert 0 <= cls.priority <= 100


@pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)
def test_parameters_have_units_ranges_and_documentation(cls: type[Controller]):
    for name, spec in parameters(cls).items():
        assert spec.doc.endswith("."), name
        if spec.data_type.value == "Double":
            assert spec.low is not None, f"{name} has no lower end"
            assert spec.high is not None, f"{name} has no upper end"
        suffix = next((s for s in sorted(UNITS, key=len, reverse=True) if name.endswith(s)), None)
        if suffix is not None and name not in PER_UNIT and not name.endswith("_per_s"):
            assert spec.unit is not None, f"{name} has no unit"
            assert spec.unit.symbol == UNITS[suffix], name


@pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)
def test_outputs_are_documented_and_the_memory_survives_the_journal(cls: type[Controller]):
    assert all(spec.doc.endswith(".") for spec in outputs(cls).values())
    if cls.State is not None:
        assert cls.State.__doc__, "its memory is not documented"
        assert json.loads(json.dumps(asdict(cls.State()), allow_nan=False)) == asdict(cls.State())
