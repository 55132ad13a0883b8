"""Tables and curves of grid codes, as data and pure functions.

IEEE 1547-2018: tables 11-13 (voltage trips), 14-16 (voltage ride-through), 18 (frequency trips), 8 (volt-var), 9 (watt-var),
10 (volt-watt), 4 (enter service). Regulation (EU) 2017/1485, Annex V: frequency containment reserve. Voltages and powers are per
unit of nominal. The functions of one variable take arrays too.
"""

from __future__ import annotations

from cmath import rect
from collections.abc import Mapping, Sequence
from enum import IntEnum
from math import pi, sqrt
from typing import Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from .blocks import Polyline

Number = TypeVar("Number", float, NDArray[np.float64])


class Category(IntEnum):
    """Abnormal operating performance category of IEEE 1547; Custom for values of one's own."""

    Custom = 0
    CategoryI = 1
    CategoryII = 2
    CategoryIII = 3


class Element(NamedTuple):
    """A protection element: beyond the threshold for clear_s, outputs are safe. over: above it, else below it."""

    name: str
    threshold: float
    clear_s: float
    over: bool

    def beyond(self, low: float, high: float) -> bool:
        """Whether the lowest or highest measured value is beyond the threshold."""
        return high > self.threshold if self.over else low < self.threshold


def elements(
    ov2: tuple[float, float], ov1: tuple[float, float], uv1: tuple[float, float], uv2: tuple[float, float]
) -> tuple[Element, ...]:
    """Four elements from (threshold, clearing time), the most urgent first."""
    return (
        Element("over 2", *ov2, True),
        Element("under 2", *uv2, False),
        Element("over 1", *ov1, True),
        Element("under 1", *uv1, False),
    )


VOLTAGE_TRIPS: Final[Mapping[Category, tuple[Element, ...]]] = {
    Category.CategoryI: elements((1.2, 0.16), (1.1, 2.0), (0.7, 2.0), (0.45, 0.16)),
    Category.CategoryII: elements((1.2, 0.16), (1.1, 2.0), (0.7, 10.0), (0.45, 0.16)),
    Category.CategoryIII: elements((1.2, 0.16), (1.1, 13.0), (0.88, 21.0), (0.5, 2.0)),
}
"""IEEE 1547-2018, tables 11, 12, 13: default settings."""

FREQUENCY_TRIPS_60HZ: Final = elements((62.0, 0.16), (61.2, 300.0), (58.5, 300.0), (56.5, 0.16))
"""IEEE 1547-2018, table 18: default settings, all categories."""


class Operation(IntEnum):
    """What a plant does at a voltage, IEEE 1547-2018, 6.4.2; a higher number gives way to no lower one."""

    Continuous = 0
    Mandatory = 1
    Permissive = 2
    MomentaryCessation = 3
    CeaseToEnergize = 4


_CEASE_ABOVE: Final = 1.2
_HIGH: Final[Mapping[Category, Operation]] = {
    Category.CategoryI: Operation.Permissive,
    Category.CategoryII: Operation.Permissive,
    Category.CategoryIII: Operation.Mandatory,
}
_LOW: Final[Mapping[Category, tuple[tuple[float, Operation], ...]]] = {
    Category.CategoryI: ((0.5, Operation.CeaseToEnergize), (0.7, Operation.Permissive), (0.88, Operation.Mandatory)),
    Category.CategoryII: ((0.3, Operation.CeaseToEnergize), (0.65, Operation.Permissive), (0.88, Operation.Mandatory)),
    Category.CategoryIII: ((0.88, Operation.Mandatory),),
}


class Cessation(NamedTuple):
    """Voltages below and above which a plant ceases for the moment and resumes without delay, tables 15 and 16."""

    below: float = 0.5
    above: float = 1.1


def ride_through(category: Category, voltages: Sequence[float], cessation: Cessation | None = None) -> Operation:
    """What a plant does at once at the voltages of its phases; the worst phase decides. IEEE 1547-2018, tables 14 to 16."""
    return max(_ride_through(category, v, cessation) for v in voltages)


def _ride_through(category: Category, v: float, cessation: Cessation | None) -> Operation:
    if v > _CEASE_ABOVE:
        return Operation.CeaseToEnergize
    if cessation is not None and (v < cessation.below or v > cessation.above):
        return Operation.MomentaryCessation
    if v > 1.1:
        return _HIGH[category]
    return next((operation for edge, operation in _LOW[category] if v < edge), Operation.Continuous)


VOLT_VAR: Final[Mapping[str, Polyline]] = {
    "A": Polyline(((0.9, 0.25), (1.0, 0.0), (1.1, -0.25))),
    "B": Polyline(((0.92, 0.44), (0.98, 0.0), (1.02, 0.0), (1.08, -0.44))),
}
"""IEEE 1547-2018, table 8: default characteristic by normal operating category; injection is positive."""

WATT_VAR: Final[Mapping[str, Polyline]] = {
    "A": Polyline(((-1.0, 0.25), (-0.5, 0.0), (0.5, 0.0), (1.0, -0.25))),
    "B": Polyline(((-1.0, 0.44), (-0.5, 0.0), (0.5, 0.0), (1.0, -0.44))),
}
"""IEEE 1547-2018, table 9."""

FCR_FULL_HZ: Final[Mapping[str, float]] = {"CE": 0.2, "GB": 0.5, "IE-NI": 0.5, "Nordic": 0.5}
"""Regulation (EU) 2017/1485, Annex V: deviation of full activation by synchronous area [Hz]."""


EXACT_HZ: Final = 1e-12
"""Rounding of a difference of frequencies."""


def activation(deviation_hz: Number, full_hz: float, deadband_hz: float = 0.0, *, from_deadband: bool = False) -> Number:
    """Share of full power, -1 to 1, that answers a deviation f - f_nominal: discharge (+) at under-frequency.

    Nothing inside the deadband. from_deadband: the slope starts at its edge (droop of IEEE 1547-2018, 6.5.2.7), else at nominal
    frequency (FCR). At full_hz and beyond all of it is active.
    """
    if isinstance(deviation_hz, float):
        return _activation(deviation_hz, full_hz, deadband_hz, deadband_hz if from_deadband else 0.0)
    size = np.abs(deviation_hz)
    start = deadband_hz if from_deadband else 0.0
    share = np.clip((size - start) / (full_hz - start), 0.0, 1.0)
    return np.where(size <= deadband_hz + EXACT_HZ, 0.0, -np.sign(deviation_hz) * share)


def _activation(deviation_hz: float, full_hz: float, deadband_hz: float, start_hz: float) -> float:
    """The same for one number, which every cycle asks for."""
    size = abs(deviation_hz)
    if size <= deadband_hz + EXACT_HZ:
        return 0.0
    share = min((size - start_hz) / (full_hz - start_hz), 1.0)
    return -share if deviation_hz > 0 else share


def phasors(volts: Sequence[float], angles: Sequence[float]) -> list[complex]:
    """Phase voltages as complex numbers; angles in rad."""
    return [rect(v, a) for v, a in zip(volts, angles, strict=True)]


def positive_sequence(volts: Sequence[float], angles: Sequence[float]) -> float:
    """Magnitude of the positive sequence of three phase voltages (C. L. Fortescue, Trans. AIEE 37, 1918)."""
    a, b, c = phasors(volts, angles)
    turn = rect(1.0, 2 * pi / 3)
    return abs(a + turn * b + turn**2 * c) / 3


def line_to_line(volts: Sequence[float], angles: Sequence[float]) -> list[float]:
    """Voltages between the phases, per unit of their own nominal value (sqrt 3 of the phase's)."""
    a, b, c = phasors(volts, angles)
    return [abs(x - y) / sqrt(3) for x, y in ((a, b), (b, c), (c, a))]
