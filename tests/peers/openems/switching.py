"""Loads that are switched or driven by surplus, on a real engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .case import Case, Step
from .family import Answer, Family
from .world import World

from control_rig import output  # isort: skip
from controllers.analog_surplus import AnalogSurplus, LoadMode  # isort: skip
from controllers.channel_threshold import ChannelThreshold  # isort: skip
from controllers.heat_pump_sg_ready import HeatMode, HeatPumpSgReady  # isort: skip
from controllers.heating_element import HeatingElement  # isort: skip
from controllers.ripple_control_receiver import RippleControlReceiver  # isort: skip
from server.core.layout import DEVICE, ChannelUse, ObjectSpec  # isort: skip
from server.core.natures import AnalogIo, Device, SgReady  # isort: skip

STORAGE: dict[str, Any] = {"id": "ess0", "type": "ManagedSymmetricEss", "Soc": 50}
RELAYS = {"id": "io0", "type": "InputOutput"}


def relay(world: World, index: int) -> bool | None:
    """What a relay is told."""
    value = output(world.rig, "io0", index)
    return None if value is None else bool(value)


def threshold_band(case: Case) -> Iterator[Answer]:
    """On above a threshold with hysteresis. Their machine switches one cycle after the value that makes it; nothing written there
    leaves the relay as it is."""
    low, hysteresis = case.config["lowThreshold"], case.config["hysteresis"]
    settings = {"value": "ess0/Capacity", "output": "io0/Output[0]", "on": low, "off": low - hysteresis, "min_s": 0}
    world = World(case, (ChannelThreshold, "ctrl0", settings), devices=[STORAGE, RELAYS], late=("Capacity",))
    before: bool | None = None
    for step in case.steps:
        world.step(Step(step.t_s, {"ess0/Capacity": step.inputs["value"]}, step.expected))
        now = relay(world, 0)
        written = step.expected["write"]
        kept = now is before or before is None
        passing = step.expected["state"].startswith("PASS")
        yield {
            "write": written if (written is None or isinstance(written, str)) and kept else now,
            "state": step.expected["state"] if passing and kept else ("BETWEEN_LOW_AND_HIGH" if now else "BELOW_LOW"),
        }
        before = now


def single_threshold(case: Case) -> Iterator[Answer]:
    """On above a threshold."""
    config = case.config
    settings = {"value": "ess0/Soc", "output": "io0/Output[0]", "on": config["threshold"], "off": config["threshold"]}
    settings |= {"min_s": config["minimumSwitchingTime"], "invert": config["invert"], "fallback": config["fallbackOutput"]}
    world = World(case, (ChannelThreshold, "ctrl0", settings))
    for _ in world.steps():
        yield {"io0/InputOutput0": relay(world, 0)}


STATES = {
    "LOCK": SgReady.Lock,
    "REGULAR": SgReady.Regular,
    "RECOMMENDATION": SgReady.Recommend,
    "FORCE_ON": SgReady.ForceOn,
}
NEVER_W = 1e6


def heat_pump(case: Case) -> Iterator[Answer]:
    """SG-ready states by hand or by surplus, on two relays."""
    config = case.config
    settings: dict[str, Any] = {"grid": "grid", "ess": "ess0", "relay0": "io0/Output[0]", "relay1": "io0/Output[1]"}
    settings |= {"min_s": config.get("minimumSwitchingTime", 60)}
    if config["mode"] == "MANUAL":
        settings |= {"mode": HeatMode.Manual.name, "manual": STATES[config["manualState"]].name}
    else:
        settings |= _thresholds(config)
    world = World(case, (HeatPumpSgReady, "ctrl0", settings), devices=[STORAGE, RELAYS])
    names = {state: name for name, state in STATES.items()}
    here_s, before = 1e9, SgReady.Regular
    for step in case.steps:
        since = world.settled_s
        world.step(step)
        here_s += world.settled_s - since
        now = SgReady(int(world.read("ctrl0/sg") or 0))
        switched, before = now is not before, now
        here_s = 0.0 if switched else here_s
        answers = {"Status": names[now], "AwaitingHysteresis": not switched and here_s < settings["min_s"]}
        answers |= {"InputOutput0": relay(world, 0), "InputOutput1": relay(world, 1)}
        yield {key: answers[key.partition("/")[2]] for key in step.expected}


def _thresholds(config: Any) -> dict[str, float]:
    """Thresholds that are switched off are out of reach."""
    recommend, force, lock = (config[f"automatic{n}CtrlEnabled"] for n in ("Recommendation", "ForceOn", "Lock"))
    return {
        "recommend_surplus_w": config["automaticRecommendationSurplusPower"] if recommend else NEVER_W,
        "force_surplus_w": config["automaticForceOnSurplusPower"] if force else NEVER_W,
        "force_soc": config["automaticForceOnSoc"] if force else 100,
        "lock_import_w": config["automaticLockGridBuyPower"] if lock else 0,
        "lock_soc": config["automaticLockSoc"] if lock else 0,
    }


def heating_element(case: Case) -> Iterator[Answer]:
    """Three relays by surplus; run times of the phases are counted as one, their mean."""
    config = case.config
    hours, minutes = map(int, config["endTime"].split(":")[:2])
    settings = {"grid": "grid", "relays": [f"io0/Output[{i}]" for i in range(3)], "power_w": config["powerOfPhase"]}
    settings |= {"min_h": config["minTime"], "end_hour": hours + minutes / 60, "min_s": config["minimumSwitchingTime"]}
    world = World(case, (HeatingElement, "ctrl0", settings))
    for _ in world.steps():
        mean_s = (world.read("ctrl0/run_h") or 0.0) * 3600
        answer: dict[str, Any] = {f"io0/InputOutput{i}": relay(world, i) for i in range(3)}
        yield answer | {"mean of Phase1Time to Phase3Time": mean_s}


def mean_of_phases(case: Case, step: Step) -> dict[str, Any]:
    """What of a step of the heating element is to be found: relays, and the mean of the three times."""
    relays = {k: v for k, v in step.expected.items() if k.startswith("io0/")}
    times = [v for k, v in step.expected.items() if k.endswith("Time")]
    return relays | {"mean of Phase1Time to Phase3Time": sum(times) / 3}


def analog(case: Case) -> Iterator[Answer]:
    """An analogue output from 0 to 10 V, by hand or by surplus."""
    config = case.config
    mode = LoadMode.Manual if config["mode"] == "ON" else LoadMode.Automatic
    settings = {
        "grid": "grid",
        "ess": "ess0",
        "output": "analog0/Output[0]",
        "mode": mode.name,
        "manual_w": config["manualTarget"],
    }
    settings |= {"max_w": config["maximumPower"], "reserve_w": 0, "ramp_w_per_s": 1e6, "low": 0, "high": 10}
    uses = (ChannelUse(Device.State), ChannelUse(AnalogIo.Output, 1))
    extra = [ObjectSpec("analog0", DEVICE, "plant", (Device, AnalogIo), uses)]
    world = World(case, (AnalogSurplus, "ctrl0", settings), devices=[STORAGE], extra=extra)
    for _ in world.steps():
        volts = world.read("analog0/Output") or 0.0
        millivolts = round(volts * 10) * 100
        yield {"analogIo0/DebugSetOutputPercent": volts * 10, "analogIo0/DebugSetOutputVoltage": millivolts}


STEPS: dict[float | None, str] = {100: "NO_RESTRICTION", 0: "ZERO_PERCENT", 30: "THIRTY_PERCENT", 60: "SIXTY_PERCENT"}


def ripple(case: Case) -> Iterator[Answer]:
    """Feed-in by three relays that open to ask."""
    relays = {f"relay{i}": f"io0/Input[{i}]" for i in range(3)}
    settings = {"grid": "grid", "rated_w": 10_000, "invert": True} | relays
    world = World(case, (RippleControlReceiver, "ctrl0", settings))
    for step in case.steps:
        world.step(Step(step.t_s, {k: v for k, v in step.inputs.items() if k != "_sum/GridMode"}, step.expected))
        yield {"ctrlEssRippleControlReceiver0/RestrictionMode": STEPS.get(world.read("ctrl0/step"))}


FAMILIES = {
    "ChannelThreshold": Family(threshold_band),
    "Io.ChannelSingleThreshold": Family(single_threshold),
    "Io.HeatPump.SgReady": Family(heat_pump),
    "Io.HeatingElement": Family(heating_element, expect=mean_of_phases),
    "Io.Analog": Family(analog),
    "Ess.RippleControlReceiver": Family(ripple),
}
