"""References from a controller's parameters to the objects it works with: read their measurements, name their nodes.

A parameter such as `ess: EssRef` is an alias in the configuration. When the engine is built it is bound to the layout, once; then
`ess.soc(image)` is an array access and `ess.power` the node to constrain. All readings are None while their status is Bad.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar, Final, Self

from .channel import PHASES, DataType, Spec
from .cluster import MEMBERS, storages_of
from .constraint import REACTIVE, Actuator, Bound, Node, Set, Target
from .errors import ConfigError
from .image import Image
from .layout import Channel
from .nature import Nature
from .natures import Battery, Device, Ess, Evcs, GridMode, HybridEss, Load, ManagedEss, MetaEss, Meter, Pv, Tariff
from .site import GRID_ALIAS
from .sums import mean_soc
from .topology import Topology
from .words import Why


class Reference:
    """A bound object: its alias and the slots of its channels. Equal when the alias is."""

    nature: ClassVar[type[Nature]] = Nature

    def __init__(self, alias: str, topology: Topology) -> None:
        self.alias = alias
        self._topology = topology

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.alias!r})"

    @classmethod
    def bind(cls, alias: str, topology: Topology, field: str) -> Self:
        """Look the alias up. ConfigError when it is unknown or is not of this nature."""
        obj = topology.layout.by_alias.get(alias)
        if obj is None:
            raise ConfigError("site.toml", field, f"{alias!r} is not in this site")
        if not any(issubclass(n, cls.nature) for n in obj.natures):
            has = ", ".join(n.__name__ for n in obj.natures)
            raise ConfigError("site.toml", field, f"{alias!r} is no {cls.nature.__name__} (it is: {has})")
        try:
            return cls(alias, topology)
        except ConfigError as error:
            raise ConfigError("site.toml", field, f"{alias!r} {error.problem}") from error

    def _slot(self, spec: Spec) -> int:
        return self._topology.slot(self.alias, spec)

    def _phases(self, spec: Spec) -> tuple[int, ...]:
        """Slots of the phase variants that the object has."""
        found = (self._topology.layout.by_node.get(f"{self.alias}/{spec.name}.{phase}") for phase in PHASES)
        return tuple(c.slot for c in found if c is not None)


def _read_all(image: Image, slots: Sequence[int]) -> list[float]:
    """Values of some slots; none at all while one is missing or Bad."""
    values = [image.get(slot) for slot in slots]
    known = [v for v in values if v is not None]
    return known if len(known) == len(values) else []


_INDEXED: Final = re.compile(r"(?P<node>[^\[\]]+)(\[(?P<index>\d+)\])?")


def _channel(text: str, topology: Topology, field: str) -> tuple[Channel, int]:
    """The channel and the slot of `meter0/Frequency` or `io0/Input[1]`. ConfigError when there is none."""
    match = _INDEXED.fullmatch(text)
    channel = topology.layout.by_node.get(match["node"]) if match else None
    if match is None or channel is None:
        raise ConfigError(
            "site.toml", field, f"{text!r} is no channel of this site, expected alias/Channel or alias/Channel[index]"
        )
    index = int(match["index"] or 0)
    if index >= channel.length:
        raise ConfigError("site.toml", field, f"{text!r}: the channel has {channel.length} values, counted from 0")
    return channel, channel.slot + index


class ChannelRef(Reference):
    """A channel to be read, written `meter0/Frequency` or `io0/Input[1]`."""

    def __init__(self, alias: str, topology: Topology) -> None:
        super().__init__(alias, topology)
        _, self._place = _channel(alias, topology, "")

    @classmethod
    def bind(cls, alias: str, topology: Topology, field: str) -> Self:
        """Look the channel up. ConfigError when it is unknown, or a text."""
        channel, _ = _channel(alias, topology, field)
        if channel.spec.data_type is DataType.STRING:
            raise ConfigError("site.toml", field, f"{alias!r} is a text")
        return cls(alias, topology)

    def read(self, image: Image) -> float | None:
        """The value; switches are 0 and 1."""
        return image.get(self._place)

    def is_on(self, image: Image) -> bool | None:
        """The value as a switch."""
        value = image.get(self._place)
        return None if value is None else value >= 0.5


class ActuatorRef(Reference):
    """A set-point that is no power, written `io0/Output[1]` or `heatpump0/SgReady`."""

    def __init__(self, alias: str, topology: Topology) -> None:
        super().__init__(alias, topology)
        channel, slot = _channel(alias, topology, "")
        self.actuator = _actuator(alias, channel, slot)

    @classmethod
    def bind(cls, alias: str, topology: Topology, field: str) -> Self:
        """Look the set-point up. ConfigError when it is unknown, is measured, or is a power that is arbitrated."""
        channel, slot = _channel(alias, topology, field)
        if channel.output < 0:
            raise ConfigError("site.toml", field, f"{alias!r} is no set-point")
        if slot in topology.setpoint_nodes:
            raise ConfigError("site.toml", field, f"{alias!r} is a power that controllers share; name its unit instead")
        return cls(alias, topology)

    def set(self, value: float, *, why: Why = "") -> Set:
        """Ask for a value; switches are 0 and 1."""
        return Set(self.actuator, value, why=why)


def _actuator(label: str, channel: Channel, slot: int) -> Actuator:
    spec = channel.spec
    if spec.data_type is DataType.BOOLEAN:
        return Actuator(label, slot, 0.0, 1.0, switches=True)
    if spec.states is not None:
        return Actuator(label, slot, min(spec.states), max(spec.states))
    low, high = (default if end is None else end for end, default in ((spec.low, -1e12), (spec.high, 1e12)))
    return Actuator(label, slot, low, high)


class MeterRef(Reference):
    """A meter, to be read."""

    nature = Meter

    def __init__(self, alias: str, topology: Topology) -> None:
        super().__init__(alias, topology)
        self._power = self._slot(Meter.ActivePower)
        self._reactive = self._slot(Meter.ReactivePower)
        self._frequency = self._slot(Meter.Frequency)
        self._voltage = self._slot(Meter.Voltage)
        self._phase_powers = self._phases(Meter.ActivePower)
        self._phase_voltages = self._phases(Meter.Voltage)
        self._phase_currents = self._phases(Meter.Current)

    def power(self, image: Image) -> float | None:
        """Active power in the sign of the meter's role [W]."""
        return image.get(self._power)

    def reactive_power(self, image: Image) -> float | None:
        """Reactive power in the sign of the active power [var]."""
        return image.get(self._reactive)

    def frequency(self, image: Image) -> float | None:
        """Frequency [Hz]."""
        return image.get(self._frequency)

    def voltage(self, image: Image) -> float | None:
        """Voltage, phase to neutral; the mean of the phases where the meter tells no other [V]."""
        if self._voltage >= 0:
            return image.get(self._voltage)
        phases = self.phase_voltages(image)
        return sum(phases) / len(phases) if phases else None

    def phase_voltages(self, image: Image) -> list[float]:
        """Voltage of each phase [V]; the one voltage of a meter without phases; empty while unknown."""
        return _read_all(image, self._phase_voltages or [s for s in (self._voltage,) if s >= 0])

    def phase_powers(self, image: Image) -> list[float]:
        """Active power of each phase [W]; empty while unknown."""
        return _read_all(image, self._phase_powers)

    def phase_currents(self, image: Image) -> list[float]:
        """Current of each phase [A]; empty while unknown."""
        return _read_all(image, self._phase_currents)

    def unbalance(self, image: Image, *, low: bool = False) -> float | None:
        """How far three times the most (low: the least) loaded phase is from the sum [W]; None while phases are unknown.

        It does not change when three-phase units below change their power, so `import <= 3·limit - unbalance` keeps each phase.
        """
        phases = self.phase_powers(image)
        if not phases:
            return None
        return len(phases) * (min(phases) if low else max(phases)) - sum(phases)


class GridRef(MeterRef):
    """The grid connection (`grid`), or a feeder by the alias of its meter. Its nodes protect that meter."""

    def __init__(self, alias: str, topology: Topology) -> None:
        super().__init__(topology.connection(alias).alias, topology)
        self.import_power: Node = topology.import_node(alias)
        self.import_reactive_power: Node = topology.import_node(alias, REACTIVE)

    @classmethod
    def bind(cls, alias: str, topology: Topology, field: str) -> Self:
        """As Reference.bind; `grid` stands for the site's grid meter."""
        meter = topology.site.grid_meter if alias == GRID_ALIAS else alias
        if not meter:
            raise ConfigError("site.toml", field, "the site has no grid meter")
        return super().bind(meter, topology, field)


class PhasedGridRef(GridRef):
    """A connection whose meter measures each phase. phase_imports: the nodes of what is imported on L1, L2, L3."""

    def __init__(self, alias: str, topology: Topology) -> None:
        super().__init__(alias, topology)
        self.phase_imports: tuple[Node, ...] = topology.phase_import_nodes(alias)


class UnitRef(Reference):
    """Any unit whose power the engine sets: storage, producer, charger or load."""

    nature: ClassVar[type[Nature]] = Device

    def __init__(self, alias: str, topology: Topology) -> None:
        super().__init__(alias, topology)
        self.power: Node = topology.unit_node(alias)
        self.unit = topology.by_alias[alias]
        self._active_power = self.unit.power
        self._rating = self.unit.apparent if self.unit.is_storage else self.unit.rating

    def active_power(self, image: Image) -> float | None:
        """Measured power: storage and producers + out, chargers and loads + in [W]."""
        return image.get(self._active_power)

    def rating(self, image: Image) -> float | None:
        """Rated power [W], of a storage its apparent power [VA]; None while unknown. Nothing is rated below zero."""
        rated = image.get(self._rating)
        return rated if rated is not None and rated >= 0 else self.unit.rating_w or None

    def draw(self, most_w: float, *, why: Why = "") -> Bound:
        """A charger or load draws no more than this, nor does a storage, whose draw is negative [W]."""
        storage = self.unit.is_storage
        return Bound(self.power, at_least=-most_w, why=why) if storage else Bound(self.power, at_most=most_w, why=why)


class EssRef(UnitRef):
    """A storage whose power the engine sets, or a cluster. dc_power: what its battery gives, in a hybrid without its PV."""

    nature = ManagedEss

    @classmethod
    def bind(cls, alias: str, topology: Topology, field: str) -> Self:
        """As Reference.bind; the alias of a cluster gives a ClusterRef."""
        obj = topology.layout.by_alias.get(alias)
        clustered = cls is EssRef and obj is not None and MEMBERS in obj.settings and MetaEss in obj.natures
        if clustered:
            return ClusterRef.bind(alias, topology, field)  # type: ignore[return-value]  # it is an EssRef
        return super().bind(alias, topology, field)

    def __init__(self, alias: str, topology: Topology) -> None:
        super().__init__(alias, topology)
        self.reactive_power: Node = topology.unit_node(alias, REACTIVE)
        self.dc_power: Node = topology.dc_node(alias)
        self._soc = self._slot(Ess.Soc)
        self._capacity = self._slot(Ess.Capacity)
        self._grid_mode = self._slot(Ess.GridMode)
        self._lowest, self._highest = self._slot(ManagedEss.AllowedChargePower), self._slot(ManagedEss.AllowedDischargePower)
        self._cells = tuple(
            map(self._slot, (Ess.MinCellVoltage, Ess.MaxCellVoltage, Ess.MinCellTemperature, Ess.MaxCellTemperature))
        )
        self._dc_discharge = self._slot(HybridEss.DcDischargePower)
        self._dc = tuple(map(self._slot, (Battery.Voltage, Battery.ChargeMaxCurrent, Battery.DischargeMaxCurrent)))

    def soc(self, image: Image) -> float | None:
        """State of charge [%]."""
        return image.get(self._soc)

    def capacity(self, image: Image) -> float | None:
        """Usable capacity [Wh]."""
        return image.get(self._capacity)

    def islanded(self, image: Image) -> bool:
        """The storage is known to form a grid of its own."""
        return self.forms_grid(image) is True

    @property
    def tells_grid_mode(self) -> bool:
        """The storage tells whether it forms a grid of its own."""
        return self._grid_mode >= 0

    def forms_grid(self, image: Image) -> bool | None:
        """Whether the storage forms a grid of its own; None while unknown. One that does not tell does not."""
        mode = image.get(self._grid_mode)
        if mode is None and self.tells_grid_mode:
            return None
        return mode == GridMode.OffGrid

    def on_grid(self, image: Image) -> bool:
        """The storage is known to be on the grid, neither on one of its own nor on a genset's."""
        return image.get(self._grid_mode) == GridMode.OnGrid

    def allowed(self, image: Image) -> tuple[float, float]:
        """The powers allowed now, charge (not positive) and discharge (not negative); 0 while unknown [W]."""
        return min(image.get(self._lowest) or 0.0, 0.0), max(image.get(self._highest) or 0.0, 0.0)

    def exhausted(self, image: Image) -> tuple[bool, bool]:
        """Whether the battery allows no charge now, and no discharge; False while it is not known."""
        lowest, highest = image.get(self._lowest), image.get(self._highest)
        return lowest is not None and lowest >= 0, highest is not None and highest <= 0

    def cells(self, image: Image) -> tuple[float | None, ...]:
        """Lowest and highest cell voltage [V], lowest and highest cell temperature [°C]."""
        return tuple(map(image.get, self._cells))

    def battery(self, image: Image) -> tuple[float | None, ...]:
        """Voltage [V], highest charge current and highest discharge current the battery allows [A]."""
        return tuple(map(image.get, self._dc))

    def dc_production(self, image: Image) -> float:
        """What PV gives on the DC side of a hybrid [W]; 0 for other storages, and while it is not known."""
        power, battery = self.active_power(image), image.get(self._dc_discharge)
        return 0.0 if power is None or battery is None else max(power - battery, 0.0)


class ClusterRef(EssRef):
    """Storages that act as one: `power` is what they give together, and readings are those of all of them."""

    nature = MetaEss

    def __init__(self, alias: str, topology: Topology) -> None:
        Reference.__init__(self, alias, topology)
        self.members: Final = tuple(EssRef(storage, topology) for storage in storages_of(topology.layout, alias))
        self.power = self.dc_power = topology.unit_node(alias)
        self.reactive_power = topology.unit_node(alias, REACTIVE)
        self.unit = self.members[0].unit

    def active_power(self, image: Image) -> float | None:
        return _sum([m.active_power(image) for m in self.members])

    def rating(self, image: Image) -> float | None:
        return _sum([m.rating(image) for m in self.members])

    def soc(self, image: Image) -> float | None:
        return mean_soc([m.soc(image) for m in self.members], [m.capacity(image) for m in self.members])

    def capacity(self, image: Image) -> float | None:
        return _sum([m.capacity(image) for m in self.members])

    @property
    def tells_grid_mode(self) -> bool:
        return all(m.tells_grid_mode for m in self.members)

    def forms_grid(self, image: Image) -> bool | None:
        each = [m.forms_grid(image) for m in self.members]
        return True if True in each else None if None in each else False

    def on_grid(self, image: Image) -> bool:
        return all(m.on_grid(image) for m in self.members)

    def allowed(self, image: Image) -> tuple[float, float]:
        each = [m.allowed(image) for m in self.members]
        return sum(low for low, _ in each), sum(high for _, high in each)

    def exhausted(self, image: Image) -> tuple[bool, bool]:
        each = [m.exhausted(image) for m in self.members]
        return all(full for full, _ in each), all(empty for _, empty in each)

    def cells(self, image: Image) -> tuple[float | None, ...]:
        columns = zip(*(m.cells(image) for m in self.members), strict=True)
        known = [[v for v in column if v is not None] for column in columns]
        return tuple(pick(v) if v else None for pick, v in zip((min, max, min, max), known, strict=True))

    def battery(self, image: Image) -> tuple[float | None, ...]:
        """Not one battery: nothing is known."""
        return None, None, None

    def dc_production(self, image: Image) -> float:
        return sum(m.dc_production(image) for m in self.members)


def _sum(parts: Sequence[float | None]) -> float | None:
    """The sum; None while a part is not known."""
    known = [p for p in parts if p is not None]
    return sum(known) if len(known) == len(parts) else None


class PvRef(UnitRef):
    """A PV plant that can be limited."""

    nature = Pv


class EvcsRef(UnitRef):
    """A charging station whose power can be limited. One that is a storage too (`bidirectional`) can discharge the vehicle."""

    nature = Evcs

    def __init__(self, alias: str, topology: Topology) -> None:
        super().__init__(alias, topology)
        self.bidirectional = self.power.sign > 0
        self._status = self._slot(Evcs.Status)
        self._energy = self._slot(Evcs.SessionEnergy)
        self._soc = self._slot(Evcs.Soc)
        self._phases_used = self._slot(Evcs.Phases)
        self._least, self._most = self._slot(Evcs.MinHardwarePower), self._slot(Evcs.MaxHardwarePower)
        self._currents = self._phases(Evcs.Current)
        channel = topology.layout.find(alias, Evcs.SetPhases)
        self._set_phases = None if channel is None else _actuator(f"{alias} phases", channel, channel.slot)

    def status(self, image: Image) -> float | None:
        """Connector status, a value of EvcsStatus."""
        return image.get(self._status)

    def charge_power(self, image: Image) -> float | None:
        """Power into the vehicle, negative while it discharges [W]."""
        power = self.active_power(image)
        return None if power is None else -power if self.bidirectional else power

    def session_energy(self, image: Image) -> float | None:
        """Energy of the running session [Wh]."""
        return image.get(self._energy)

    def soc(self, image: Image) -> float | None:
        """State of charge of the vehicle, where it tells [%]."""
        return image.get(self._soc)

    def phases(self, image: Image) -> int:
        """Phases in use; 3 where the station does not tell."""
        return int(image.get(self._phases_used) or 3)

    def currents(self, image: Image) -> list[float]:
        """Current of each phase [A]; empty while unknown."""
        return _read_all(image, self._currents)

    def limits(self, image: Image) -> tuple[float, float]:
        """Least and highest charging power of the station [W]; 0 while unknown."""
        return image.get(self._least) or 0.0, image.get(self._most) or 0.0

    def charge(self, watts: float, *, why: Why = "") -> Target:
        """Charge: a ceiling for a station, whose vehicle takes what it may, and a set-point for one that is a storage [W]."""
        both = self.bidirectional
        return Target(self.power, equals=-watts, why=why) if both else Target(self.power, at_most=watts, why=why)

    @property
    def switches_phases(self) -> bool:
        """The station can be told how many phases to use."""
        return self._set_phases is not None

    def set_phases(self, phases: int, *, why: Why = "") -> list[Set]:
        """Ask for a number of phases; empty where the station takes none."""
        return [] if self._set_phases is None else [Set(self._set_phases, phases, why=why)]


class LoadRef(Reference):
    """A load that can be limited (`power`), switched (`switch`), or both; None where it cannot."""

    nature = Load

    def __init__(self, alias: str, topology: Topology) -> None:
        super().__init__(alias, topology)
        self.power: Node | None = topology.unit_node(alias) if alias in topology.by_alias else None
        channel = topology.layout.find(alias, Load.SetState)
        self.switch: Actuator | None = None if channel is None else _actuator(alias, channel, channel.slot)
        if self.power is None and self.switch is None:
            raise ConfigError("site.toml", alias, "takes no set-points")
        self._active_power = self._slot(Load.ActivePower)

    def active_power(self, image: Image) -> float | None:
        """Measured consumption [W]."""
        return image.get(self._active_power)


class TariffRef(Reference):
    """What energy costs now, in currency per kWh."""

    nature = Tariff

    def __init__(self, alias: str, topology: Topology) -> None:
        super().__init__(alias, topology)
        self._buy, self._sell = self._slot(Tariff.BuyPrice), self._slot(Tariff.SellPrice)

    def buy(self, image: Image) -> float | None:
        """Price of imported energy."""
        return image.get(self._buy)

    def sell(self, image: Image) -> float | None:
        """Price of exported energy."""
        return image.get(self._sell)
