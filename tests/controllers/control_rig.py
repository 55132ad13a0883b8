"""Sites for the tests of controllers: devices with the channels that strategies read, on the rig of the core's tests."""

from __future__ import annotations

from core_rig import ESS, ESS_DEFAULTS, METER, Rig, device

from server.core.channel import PHASES, Spec
from server.core.document import Document
from server.core.layout import DEVICE, ChannelUse, ObjectSpec
from server.core.natures import Battery, Device, DigitalIo, Ess, Evcs, HeatPump, Load, ManagedEss, Meter, Tariff, Thermometer
from server.core.ticks import TICKS

NOMINAL_V = 230.0


def phases(spec: Spec) -> tuple[Spec, ...]:
    """The phase variants of a channel."""
    return tuple(Spec(f"{spec.name}.{p}", spec.doc, spec.data_type, spec.unit, access=spec.access) for p in PHASES)


def grid_meter(alias: str = "meter0", **properties: str) -> ObjectSpec:
    """A meter that knows frequency, voltage, and all of it in each phase."""
    of_phases = (*phases(Meter.ActivePower), *phases(Meter.Voltage), *phases(Meter.Current))
    return device(alias, Meter, (*METER, Meter.Voltage, *of_phases), **properties)


def battery(alias: str = "ess0", **properties: str) -> ObjectSpec:
    """A storage with cells, a battery behind it, and a set-point for each phase."""
    cells = (Ess.MinCellVoltage, Ess.MaxCellVoltage, Ess.MinCellTemperature, Ess.MaxCellTemperature)
    dc = (Battery.Voltage, Battery.ChargeMaxCurrent, Battery.DischargeMaxCurrent)
    by_phase = (*phases(Ess.ActivePower), *phases(ManagedEss.SetActivePower))
    return device(alias, ManagedEss, (*ESS, *cells, *dc, *by_phase), **properties)


def relays(alias: str = "io0", count: int = 4) -> ObjectSpec:
    """Digital inputs and outputs."""
    uses = (ChannelUse(Device.State), ChannelUse(DigitalIo.Input, count, 0.05), ChannelUse(DigitalIo.Output, count))
    return ObjectSpec(alias, DEVICE, "plant", (Device, DigitalIo), uses)


def thermometer(alias: str = "temp0") -> ObjectSpec:
    return device(alias, Thermometer, (Thermometer.Temperature,))


def heat_pump(alias: str = "heat0") -> ObjectSpec:
    return device(alias, HeatPump, (HeatPump.ActivePower, HeatPump.SgReady))


def tariff(alias: str = "tariff0") -> ObjectSpec:
    return device(alias, Tariff, (Tariff.BuyPrice, Tariff.SellPrice))


def switched_load(alias: str = "load0") -> ObjectSpec:
    return device(alias, Load, (Load.ActivePower, Load.SetState))


def charger(alias: str = "evcs0", **properties: str) -> ObjectSpec:
    """A charging station that tells phases, currents and energy, and takes a number of phases."""
    own = (Evcs.ChargePower, Evcs.Status, Evcs.MinHardwarePower, Evcs.MaxHardwarePower, Evcs.SetChargePowerLimit)
    more = (Evcs.SessionEnergy, Evcs.Phases, Evcs.Soc, Evcs.SetPhases, *phases(Evcs.Current))
    return device(alias, Evcs, (*own, *more), **properties)


def volts(rig: Rig, *values: float, meter: str = "meter0", nominal: float = NOMINAL_V) -> None:
    """Set the voltage of a meter [pu]: one for all phases, or one for each."""
    each = values * 3 if len(values) == 1 else values
    for phase, value in zip(PHASES, each, strict=True):
        rig[f"{meter}/Voltage.{phase}"] = value * nominal
    rig[f"{meter}/Voltage"] = sum(each) / 3 * nominal


def output(rig: Rig, alias: str, index: int) -> float | None:
    """What a relay was told; None while nothing is asserted."""
    slot = rig.layout.by_node[f"{alias}/Output"].slot + index - rig.layout.owner("control").first
    record = rig.out.records[slot]
    return None if record["status"] >= 0x80000000 else float(record["value"])


def switch_input(rig: Rig, alias: str, index: int, value: bool) -> None:
    """Set a digital input."""
    slot = rig.layout.by_node[f"{alias}/Input"].slot + index
    rig.records[slot]["value"], rig.records[slot]["status"] = float(value), 0
    rig.records[slot]["source"], rig.records[slot]["arrival"] = rig.time, rig.ns


def document(rig: Rig, name: str, step_s: float, *, starts_s: float = 0.0, **columns: list[float]) -> None:
    """Hand in a document whose rows follow each other, the first from now (or starts_s later)."""
    first = rig.time + round(starts_s * TICKS)
    revision = rig.documents[name].revision + 1 if name in rig.documents else 1
    rig.documents[name] = Document.regular(name, first, step_s, columns, revision=revision, issued=rig.time)


def follow(rig: Rig, alias: str = "ess0") -> None:
    """The storage does what it was told."""
    rig[f"{alias}/ActivePower"] = rig[f"{alias}/SetActivePower"] or 0.0
    rig[f"{alias}/ReactivePower"] = rig[f"{alias}/SetReactivePower"] or 0.0


__all__ = ["ESS_DEFAULTS", "Rig"]
