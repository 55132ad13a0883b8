"""The set-points an operator may take by hand: which units there are, and in which range."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from server.client import ChannelInfo, ObjectInfo

from .catalogue import Catalogue
from .readings import Readings


@dataclass(frozen=True)
class Kind:
    """A kind of power set-point. low, high: channels that bound it now; rated: fallback of both; actual: the reaction."""

    name: str
    title: str
    low: str
    high: str
    rated: str
    actual: tuple[str, ...]
    minus: str
    plus: str


KINDS = (
    Kind("SetActivePower", "Battery power", "AllowedChargePower", "AllowedDischargePower", "MaxApparentPower",
         ("ActivePower",), "charge", "discharge"),
    Kind("SetChargePowerLimit", "Charging limit", "", "MaxHardwarePower", "", ("ChargePower", "ActivePower"), "", "at most"),
    Kind("ActivePowerLimit", "Production limit", "", "MaxActivePower", "", ("ActivePower",), "", "at most"),
    Kind("SetPower", "Load power", "", "", "", ("ActivePower",), "", "at most"),
)  # fmt: skip

_RANGE_UNKNOWN_W = 10_000.0


@dataclass(frozen=True)
class Setpoint:
    """A set-point of one unit. Powers in W with the sign of the channel."""

    kind: Kind
    thing: ObjectInfo
    channel: ChannelInfo
    actual: str

    def limits(self, readings: Readings) -> tuple[float, float]:
        """The range the device allows now; without one its rating, without that ±10 kW."""
        rated = self._number(self.kind.rated, readings) or self.channel.high or _RANGE_UNKNOWN_W
        low, high = self._number(self.kind.low, readings), self._number(self.kind.high, readings)
        if low is None:
            low = -rated if self.kind.low else 0.0
        return low, rated if high is None else high

    def _number(self, name: str, readings: Readings) -> float | None:
        return readings.number(f"{self.thing.alias}/{name}") if name else None


def setpoints(catalogue: Catalogue) -> Iterator[Setpoint]:
    """All power set-points of the site, storages first."""
    for kind in KINDS:
        for thing in catalogue.having(kind.name):
            actual = next((n for n in kind.actual if n in thing.channels), "")
            yield Setpoint(kind, thing, thing.channels[kind.name], f"{thing.alias}/{actual}" if actual else "")


def nodes(catalogue: Catalogue) -> list[str]:
    """The nodes the override card needs: set-points, their bounds and the reaction."""
    found: dict[str, None] = {}
    for point in setpoints(catalogue):
        names = (point.kind.name, point.kind.low, point.kind.high, point.kind.rated, *point.kind.actual)
        found |= {point.thing.channels[n].node: None for n in names if n in point.thing.channels}
    return list(found)
