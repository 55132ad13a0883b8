"""References from a controller's parameters to the objects it works with: read their measurements, name their nodes.

A parameter such as `ess: EssRef` is an alias in the configuration. When the engine is built it is bound to the layout, once; then
`ess.soc(image)` is an array access and `ess.power` the node to constrain. All readings are None while their status is Bad.
"""

from __future__ import annotations

from typing import ClassVar, Self

from .channel import Spec
from .constraint import REACTIVE, Node
from .errors import ConfigError
from .image import Image
from .nature import Nature
from .natures import Ess, Evcs, ManagedEss, Meter, Pv
from .site import GRID_ALIAS
from .topology import Topology


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


def _read(image: Image, slot: int) -> float | None:
    return None if slot < 0 else image.get(slot)


class MeterRef(Reference):
    """A meter, to be read."""

    nature = Meter

    def __init__(self, alias: str, topology: Topology) -> None:
        super().__init__(alias, topology)
        self._power = self._slot(Meter.ActivePower)
        self._frequency = self._slot(Meter.Frequency)

    def power(self, image: Image) -> float | None:
        """Active power in the sign of the meter's role [W]."""
        return _read(image, self._power)

    def frequency(self, image: Image) -> float | None:
        """Frequency [Hz]."""
        return _read(image, self._frequency)


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


class EssRef(Reference):
    """A storage whose power the engine sets."""

    nature = ManagedEss

    def __init__(self, alias: str, topology: Topology) -> None:
        super().__init__(alias, topology)
        self.power: Node = topology.unit_node(alias)
        self.reactive_power: Node = topology.unit_node(alias, REACTIVE)
        self._soc = self._slot(Ess.Soc)
        self._capacity = self._slot(Ess.Capacity)
        self._active_power = self._slot(Ess.ActivePower)

    def soc(self, image: Image) -> float | None:
        """State of charge [%]."""
        return _read(image, self._soc)

    def capacity(self, image: Image) -> float | None:
        """Usable capacity [Wh]."""
        return _read(image, self._capacity)

    def active_power(self, image: Image) -> float | None:
        """Measured power: + discharge, - charge [W]."""
        return _read(image, self._active_power)


class PvRef(Reference):
    """A PV plant that can be limited."""

    nature = Pv

    def __init__(self, alias: str, topology: Topology) -> None:
        super().__init__(alias, topology)
        self.power: Node = topology.unit_node(alias)
        self._active_power = self._slot(Pv.ActivePower)

    def active_power(self, image: Image) -> float | None:
        """Measured production [W]."""
        return _read(image, self._active_power)


class EvcsRef(Reference):
    """A charging station whose power can be limited."""

    nature = Evcs

    def __init__(self, alias: str, topology: Topology) -> None:
        super().__init__(alias, topology)
        self.power: Node = topology.unit_node(alias)
        self._status = self._slot(Evcs.Status)

    def status(self, image: Image) -> float | None:
        """Connector status, a value of EvcsStatus."""
        return _read(image, self._status)
