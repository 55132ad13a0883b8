"""What a replay found, set-point by set-point, summed up while it is played."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.core.layout import Channel
from server.core.natures import ManagedEss
from server.core.units import WATT

from .replay import Difference, Matrix, Played


@dataclass(slots=True)
class Row:
    """One set-point, or one sum of the site. cycles: compared ones; same: within the tolerance; unknown: not recorded, so not
    compared. mean: of the difference, replayed less recorded. largest: difference from all that was recorded within the history's
    resolution. Both NaN while nothing was compared. energy_kwh: what is told to be given more; None for what is no power of a
    storage."""

    node: str
    unit: str
    is_setpoint: bool
    cycles: int = 0
    same: int = 0
    unknown: int = 0
    mean: float = float("nan")
    largest: float = float("nan")
    energy_kwh: float | None = None

    @property
    def differs(self) -> bool:
        """Some cycle is not the same."""
        return self.same < self.cycles

    def data(self) -> dict[str, Any]:
        """As JSON."""
        told: dict[str, Any] = {"node": self.node, "unit": self.unit, "cycles": self.cycles, "same": self.same}
        told |= {"unknown": self.unknown, "mean": _number(self.mean), "largest": _number(self.largest)}
        return told | {"energy_kwh": None if self.energy_kwh is None else _number(self.energy_kwh)}


@dataclass
class Comparison:
    """Sums of a replay. rows: in the order of the channels."""

    channels: Sequence[Channel]
    step_s: float
    tolerance: float
    differences: list[Difference] = field(default_factory=list)
    _sums: list[_Sum] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._sums = [_Sum() for _ in self.channels]

    def add(self, played: Played) -> None:
        """Take some more steps into account."""
        self.differences += played.differences
        for i, total in enumerate(self._sums):
            columns = (played.replayed[:, i], played.recorded[:, i], played.low[:, i], played.high[:, i])
            total.add(*columns, self.tolerance)

    @property
    def rows(self) -> list[Row]:
        """What was found so far."""
        return [self._row(c, total) for c, total in zip(self.channels, self._sums, strict=True)]

    def _row(self, channel: Channel, total: _Sum) -> Row:
        mean = total.sum / total.both if total.both else float("nan")
        of_storage = channel.spec is ManagedEss.SetActivePower and channel.spec.unit is WATT
        energy = total.sum * self.step_s / 3.6e6 if of_storage else None
        unit = channel.spec.unit.symbol if channel.spec.unit is not None else ""
        largest = total.largest if total.both else float("nan")
        counts = (total.cycles, total.same, total.unknown)
        return Row(channel.node, unit, channel.output >= 0, *counts, mean, largest, energy)


@dataclass(slots=True)
class _Sum:
    cycles: int = 0
    same: int = 0
    unknown: int = 0
    both: int = 0
    sum: float = 0.0
    largest: float = 0.0

    def add(self, replayed: Matrix, recorded: Matrix, low: Matrix, high: Matrix, tolerance: float) -> None:
        known: NDArray[np.bool_] = ~np.isnan(recorded)
        both = known & ~np.isnan(replayed)
        inside = both & (replayed >= low - tolerance) & (replayed <= high + tolerance)
        self.cycles += int(known.sum())
        self.same += int(inside.sum())
        self.unknown += len(known) - int(known.sum())
        self.both += int(both.sum())
        if both.any():
            self.sum += float((replayed[both] - recorded[both]).sum())
            beyond = replayed[both] - np.clip(replayed[both], low[both], high[both])
            self.largest = max(self.largest, float(beyond.max()), float(beyond.min()), key=abs)


def _number(value: float) -> float | None:
    return None if value != value else round(value, 3) + 0.0
