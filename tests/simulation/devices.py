"""Devices of a simulated site: set-points in, physics, measurements out. The physics is that of the demo's plant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan, sqrt
from typing import ClassVar

from drivers.plant.battery import Battery as BatteryModel
from drivers.plant.battery import cell_voltage
from drivers.plant.charger import Charger as ChargerModel
from drivers.plant.charger import ChargerState
from drivers.plant.model import PvPlant
from drivers.plant.noise import uniform
from server.core.channel import PHASES, Level, Spec
from server.core.layout import DEVICE, ChannelUse, ObjectSpec
from server.core.nature import Nature
from server.core.natures import (
    AnalogIo,
    Battery,
    Device,
    DigitalIo,
    Ess,
    Evcs,
    EvcsStatus,
    GridMode,
    HeatPump,
    Load,
    ManagedEss,
    Meter,
    Pv,
    Tariff,
    Thermometer,
)

from .world import NOMINAL_V, World

PERIOD_S = 1.0
"""How often devices are polled."""
Phased = tuple[float, float, float]
NOTHING: Phased = (0.0, 0.0, 0.0)


def on(phase: str, power: float) -> Phased:
    """Power on one phase, or on all alike for ""."""
    if not phase:
        return (power / 3, power / 3, power / 3)
    return tuple(power if p == phase else 0.0 for p in PHASES)  # type: ignore[return-value]


def phased(nature: type[Nature], *names: str) -> tuple[Spec, ...]:
    """The phase variants of channels."""
    channels = nature.channels()
    return tuple(channels[f"{name}.{p}"] for name in names for p in PHASES)


class Simulated:
    """A device. connected: the feeder's meter it hangs on, "" for the grid. supply: what it gives on each phase [W]; reactive
    [var]. sample_s: it is asked so seldom. state: what it says of itself."""

    natures: ClassVar[tuple[type[Nature], ...]] = (Device,)
    rated_w = 0.0

    def __init__(self, alias: str, connected: str = "", sample_s: float = 0.0) -> None:
        self.alias, self.connected, self.sample_s = alias, connected, sample_s
        self.supply: Phased = NOTHING
        self.reactive = 0.0
        self.state = Level.Ok

    @property
    def measures(self) -> Sequence[Spec]:
        """The channels it tells, besides its state."""
        return ()

    @property
    def takes(self) -> Sequence[tuple[Spec, int]]:
        """The set-points it takes, with their length (1 for a plain one)."""
        return ()

    @property
    def properties(self) -> Mapping[str, str]:
        """What of it does not change."""
        return {}

    def tell(self) -> list[float]:
        """The values of what it measures, in the order of `measures`."""
        return []

    def obey(self, wished: Mapping[str, float]) -> None:
        """Take set-points by name."""

    def advance(self, step_s: float, world: World) -> None:
        """Go on by one step."""

    @property
    def power(self) -> float:
        """What it gives, all phases together [W]."""
        return sum(self.supply)

    def object(self) -> ObjectSpec:
        """What the engine knows of it."""
        period_s = max(self.sample_s, PERIOD_S)
        uses = [ChannelUse(Device.State, period_s=period_s)]
        uses += [ChannelUse(spec, period_s=period_s) for spec in self.measures]
        uses += [ChannelUse(spec, length) for spec, length in self.takes]
        own = {k: v for k, v in {"ConnectedTo": self.connected, **self.properties}.items() if v}
        return ObjectSpec(self.alias, DEVICE, "plant", (Device, *self.natures), tuple(uses), properties=own)


class Storage(Simulated):
    """A battery with its inverter: three-phase, on one phase, or with a set-point for each ("each")."""

    natures = (ManagedEss, Battery)
    _CHANNELS = (
        Ess.Soc, Ess.Capacity, Ess.GridMode, Ess.ActivePower, Ess.ReactivePower, Ess.MaxApparentPower,
        ManagedEss.AllowedChargePower, ManagedEss.AllowedDischargePower, ManagedEss.PowerPrecision,
        Ess.MinCellVoltage, Ess.MaxCellVoltage, Ess.MinCellTemperature, Ess.MaxCellTemperature,
        Battery.Voltage, Battery.ChargeMaxCurrent, Battery.DischargeMaxCurrent,
    )  # fmt: skip

    def __init__(
        self, alias: str, rated_w: float, hours: float, soc: float, phase: str = "", precision_w: float = 0.0,
        connected: str = "", sample_s: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(alias, connected, sample_s)
        self.rated_w, self.phase, self.precision_w = rated_w, phase, precision_w
        self.model = BatteryModel(
            rated_w=rated_w, capacity_wh=rated_w * hours, soc=soc, resistance_ohm=1200 / rated_w, ramp_w_per_s=2 * rated_w,
            standby_w=rated_w * 0.003, watchdog_s=60.0,
        )  # fmt: skip
        self.shares: Phased = (1 / 3, 1 / 3, 1 / 3)
        self.parts: Phased = NOTHING
        self.forming = False
        self.derated, self.forced_w = 1.0, 0.0

    @property
    def measures(self) -> Sequence[Spec]:
        return (*self._CHANNELS, *(phased(Ess, "ActivePower") if self.phase == "each" else ()))

    @property
    def takes(self) -> Sequence[tuple[Spec, int]]:
        each = [(s, 1) for s in phased(ManagedEss, "SetActivePower")] if self.phase == "each" else []
        return [(ManagedEss.SetActivePower, 1), (ManagedEss.SetReactivePower, 1), *each]

    @property
    def properties(self) -> Mapping[str, str]:
        return {"Phase": self.phase if self.phase in PHASES else ""}

    @property
    def allowed(self) -> tuple[float, float]:
        """Powers allowed now, as it tells them [W]; the BMS may force."""
        if self.state is Level.Fault:
            return 0.0, 0.0
        low, high = self.model.allowed_charge_w * self.derated, self.model.allowed_discharge_w * self.derated
        if self.forced_w > 0:
            return min(self.forced_w, high), high
        return (low, max(self.forced_w, low)) if self.forced_w < 0 else (low, high)

    def tell(self) -> list[float]:
        model, (low, high) = self.model, self.allowed
        volts = cell_voltage(model.soc)
        told = [
            model.soc * 100, model.capacity_wh, float(GridMode.OffGrid if self.forming else GridMode.OnGrid),
            self.power, self.reactive, self.rated_w, low, high, self.precision_w,
            volts - 0.01, volts + 0.01, model.temperature - 1, model.temperature + 2,
            model.voltage, -low / 380, high / 380,
        ]  # fmt: skip
        return [*told, *self.supply] if self.phase == "each" else told

    def obey(self, wished: Mapping[str, float]) -> None:
        self.model.command(wished.get("SetActivePower"), wished.get("SetReactivePower"))
        if self.phase == "each" and f"SetActivePower.{PHASES[0]}" in wished:
            self.parts = tuple(wished[f"SetActivePower.{p}"] for p in PHASES)  # type: ignore[assignment]

    def advance(self, step_s: float, world: World) -> None:
        model, (low, high) = self.model, self.allowed
        model.set_power = min(max(model.set_power, low), high)
        if not world.supplied:
            model.power = model.ramped = model.set_power = 0.0
        model.step(step_s, step_s, world.air * 0.3 + 15)
        self._spread()

    def form(self, power_w: float, step_s: float) -> None:
        """Give an island what it needs."""
        model = self.model
        model.set_power = model.ramped = model.power = power_w
        model.set_age_s = -step_s
        self._spread()

    def _spread(self) -> None:
        power, total = self.model.power, sum(self.parts)
        self.reactive = self.model.reactive
        if self.phase != "each":
            self.supply = on(self.phase, power)
        else:
            rest = (power - total) / 3
            self.supply = tuple(part + rest for part in self.parts)  # type: ignore[assignment]


class Plant(Simulated):
    """PV with its inverter."""

    natures = (Pv,)

    def __init__(self, alias: str, rated_w: float, phase: str = "", connected: str = "") -> None:
        super().__init__(alias, connected)
        self.rated_w, self.phase = rated_w, phase
        self.model = PvPlant(peak_w=rated_w, limit_w=rated_w, watchdog_s=60.0)

    @property
    def measures(self) -> Sequence[Spec]:
        return (Pv.ActivePower, Pv.MaxActivePower)

    @property
    def takes(self) -> Sequence[tuple[Spec, int]]:
        return [(Pv.ActivePowerLimit, 1)]

    @property
    def properties(self) -> Mapping[str, str]:
        return {"Phase": self.phase, "MeterRole": "Production"}

    def tell(self) -> list[float]:
        return [self.model.power, self.rated_w]

    def obey(self, wished: Mapping[str, float]) -> None:
        if "ActivePowerLimit" in wished:
            self.model.command(wished["ActivePowerLimit"])

    def advance(self, step_s: float, world: World) -> None:
        self.model.step(step_s, 0.0 if world.calm else step_s, world.irradiance, world.air)
        if not world.supplied:
            self.model.power = 0.0
        self.supply = on(self.phase, self.model.power)


_STATUS = {
    ChargerState.Available: EvcsStatus.Available,
    ChargerState.Charging: EvcsStatus.Charging,
    ChargerState.SuspendedByStation: EvcsStatus.SuspendedEVSE,
    ChargerState.SuspendedByCar: EvcsStatus.SuspendedEV,
}


class Station(Simulated):
    """A charging station on three phases or one: the model's third."""

    natures = (Evcs,)

    def __init__(self, alias: str, seed: int, begin_s: float, phase: str = "", connected: str = "") -> None:
        super().__init__(alias, connected)
        self.phase = phase
        self.model = ChargerModel(seed, begin_s + 3600 * (seed % 5), watchdog_s=60.0)
        self.share = 1 / 3 if phase else 1.0
        self.rated_w, self.least_w = 11_040.0 * self.share, 4_140.0 * self.share

    @property
    def measures(self) -> Sequence[Spec]:
        own = (
            Evcs.ChargePower,
            Evcs.Status,
            Evcs.MinHardwarePower,
            Evcs.MaxHardwarePower,
            Evcs.SessionEnergy,
            Evcs.Phases,
            Evcs.Soc,
        )
        return (*own, *phased(Evcs, "Current"))

    @property
    def takes(self) -> Sequence[tuple[Spec, int]]:
        return [(Evcs.SetChargePowerLimit, 1)]

    @property
    def properties(self) -> Mapping[str, str]:
        return {"Phase": self.phase}

    def tell(self) -> list[float]:
        model = self.model
        soc = nan if model.car is None else model.car.soc * 100
        phases = 1.0 if self.phase else 3.0
        own = [-self.power, float(_STATUS[model.state]), self.least_w, self.rated_w, model.session_wh * self.share, phases, soc]
        return [*own, *(-p / NOMINAL_V for p in self.supply)]

    def obey(self, wished: Mapping[str, float]) -> None:
        if "SetChargePowerLimit" in wished:
            self.model.command(wished["SetChargePowerLimit"] / self.share + 1e-6)

    def advance(self, step_s: float, world: World) -> None:
        self.model.step(step_s, 0.0 if world.calm else step_s, 0.0 if world.calm else world.unix_s)
        if not world.supplied:
            self.model.power = 0.0
        self.supply = on(self.phase, -self.model.power * self.share)


class Consumer(Simulated):
    """A load that comes and goes, and may be limited ("power"), switched ("state"), or both."""

    natures = (Load,)

    def __init__(self, alias: str, seed: int, rated_w: float, kinds: Sequence[str], phase: str = "", connected: str = "") -> None:
        super().__init__(alias, connected)
        self.seed, self.rated_w, self.phase, self._kinds = seed, rated_w, phase, tuple(kinds)
        self.limit_w, self.switched = rated_w, True
        self._wanted = 0.0

    @property
    def measures(self) -> Sequence[Spec]:
        return (Load.ActivePower,)

    @property
    def takes(self) -> Sequence[tuple[Spec, int]]:
        return [({"power": Load.SetPower, "state": Load.SetState}[kind], 1) for kind in self._kinds]

    @property
    def properties(self) -> Mapping[str, str]:
        return {"Phase": self.phase, "RatedPower": f"{self.rated_w:g}"}

    def tell(self) -> list[float]:
        return [-self.power]

    def obey(self, wished: Mapping[str, float]) -> None:
        self.limit_w = wished.get("SetPower", self.limit_w)
        self.switched = wished.get("SetState", float(self.switched)) >= 0.5

    def advance(self, step_s: float, world: World) -> None:
        if not world.calm:
            slot = world.unix_s // 1200
            self._wanted = self.rated_w * float(uniform(self.seed + 1, slot)) if uniform(self.seed, slot) < 0.5 else 0.0
        power = min(self._wanted, self.limit_w) if self.switched and world.supplied else 0.0
        self.supply = on(self.phase, -power)


class Relays(Simulated):
    """Digital inputs, and outputs that switch heating elements."""

    natures = (DigitalIo,)
    count = 8

    def __init__(self, alias: str, element_w: float) -> None:
        super().__init__(alias)
        self.element_w = element_w
        self.inputs = [0.0] * self.count
        self._on = [0.0] * self.count

    @property
    def takes(self) -> Sequence[tuple[Spec, int]]:
        return [(DigitalIo.Output, self.count)]

    def object(self) -> ObjectSpec:
        plain = super().object()
        uses = (plain.channels[0], ChannelUse(DigitalIo.Input, self.count, PERIOD_S), *plain.channels[1:])
        return ObjectSpec(self.alias, DEVICE, "plant", plain.natures, uses)

    def tell(self) -> list[float]:
        return self.inputs

    def obey(self, wished: Mapping[str, float]) -> None:
        self._on = [wished.get(f"Output[{i}]", 0.0) for i in range(self.count)]

    def advance(self, step_s: float, world: World) -> None:
        self.supply = on("", -self.element_w * sum(self._on[:4]) if world.supplied else 0.0)


class Heat(Simulated):
    """A heat pump with SG-ready states."""

    natures = (HeatPump,)
    _POWER = (0.0, 1000.0, 1800.0, 2600.0)

    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        self._ready = 1

    @property
    def measures(self) -> Sequence[Spec]:
        return (HeatPump.ActivePower,)

    @property
    def takes(self) -> Sequence[tuple[Spec, int]]:
        return [(HeatPump.SgReady, 1)]

    def tell(self) -> list[float]:
        return [-self.power]

    def obey(self, wished: Mapping[str, float]) -> None:
        self._ready = int(wished.get("SgReady", 1))

    def advance(self, step_s: float, world: World) -> None:
        wanted = -self._POWER[self._ready] if world.supplied else 0.0
        self.supply = on("", self.power + (wanted - self.power) * min(step_s / 30, 1.0))


class Steered(Simulated):
    """A heater that follows an analogue output of 0 to 100 % [12 kW]."""

    natures = (AnalogIo,)

    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        self._share = 0.0

    @property
    def takes(self) -> Sequence[tuple[Spec, int]]:
        return [(AnalogIo.Output, 1)]

    def obey(self, wished: Mapping[str, float]) -> None:
        self._share = min(max(wished.get("Output", 0.0) / 100, 0.0), 1.0)

    def advance(self, step_s: float, world: World) -> None:
        self.supply = on("", -12_000 * self._share if world.supplied else 0.0)


class Sensor(Simulated):
    """A thermometer in the cabinet; what it says is also taken for a score."""

    natures = (Thermometer,)

    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        self.temperature = 20.0
        self.excess = 0.0

    @property
    def measures(self) -> Sequence[Spec]:
        return (Thermometer.Temperature,)

    def tell(self) -> list[float]:
        return [self.temperature + self.excess]

    def advance(self, step_s: float, world: World) -> None:
        self.temperature = world.air * 0.5 + 12


class Prices(Simulated):
    """What energy costs now."""

    natures = (Tariff,)

    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        self.buy, self.sell = 0.3, 0.08

    @property
    def measures(self) -> Sequence[Spec]:
        return (Tariff.BuyPrice, Tariff.SellPrice)

    def tell(self) -> list[float]:
        return [self.buy, self.sell]


class PowerMeter(Simulated):
    """The meter of the connection or of a feeder. flow: what it carries on each phase, + import [W]."""

    natures = (Meter,)

    def __init__(self, alias: str, line_ohm: float, connected: str = "") -> None:
        super().__init__(alias, connected)
        self.line_ohm = line_ohm
        self.flow: Phased = NOTHING
        self.flow_q = 0.0
        self.volts: Phased = (NOMINAL_V, NOMINAL_V, NOMINAL_V)
        self.frequency = 50.0

    @property
    def measures(self) -> Sequence[Spec]:
        own = (Meter.ActivePower, Meter.ReactivePower, Meter.Frequency, Meter.Voltage)
        return (*own, *phased(Meter, "ActivePower", "Voltage", "Current"))

    def tell(self) -> list[float]:
        amperes = [p / v if v > 1 else 0.0 for p, v in zip(self.flow, self.volts, strict=True)]
        return [sum(self.flow), self.flow_q, self.frequency, sum(self.volts) / 3, *self.flow, *self.volts, *amperes]

    def carry(self, flow: Phased, reactive: float, world: World, *, live: bool) -> None:
        """Measure what flows; without a grid there is neither voltage nor frequency."""
        self.flow, self.flow_q = flow, reactive
        self.frequency = world.frequency if live else nan
        drop = self.line_ohm / NOMINAL_V
        rise = drop * reactive / 3 * 0.5
        self.volts = (
            tuple(max(NOMINAL_V * world.voltage_pu - drop * p - rise, 0.0) for p in flow)  # type: ignore[assignment]
            if live
            else NOTHING
        )


def circle(active: float, apparent: float) -> float:
    """Highest reactive power beside an active one."""
    return sqrt(max(apparent**2 - active**2, 0.0))
