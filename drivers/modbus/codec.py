"""Registers to numbers and back.

Problem: a site reads thousands of registers per second; decoding them one by one in Python costs more than the network.
Idea: everything about a block that can be known beforehand is computed once: for each type the indices that bring its words
into one contiguous run, in the right word order. A decode is then one gather and one cast per type, one multiply-add
and one comparison for the whole block.

A number that cannot be right never leaves this module as Good: a sentinel or NaN becomes BadSensorFailure, a number
outside its plausible range or an unknown state BadOutOfRange.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from server.core.channel import Spec
from server.core.status import BAD_OUT_OF_RANGE, BAD_SENSOR_FAILURE, GOOD

from .profile import Block, Kind, Point, Quantity

Floats = NDArray[np.float64]

_TOLERANCE = 0.05
"""A value may leave the channel's own range by this part of it before it counts as nonsense."""


def encode(number: Quantity, quantity: float, word_order: str) -> list[int]:
    """Registers of a quantity, rounded to the nearest step. OverflowError when they cannot hold it."""
    raw = (quantity - number.offset) / number.scale
    value: float = raw if number.type.is_float else round(raw)
    try:
        packed = struct.pack(">" + number.type.code, value)
    except struct.error as error:
        raise OverflowError(f"{quantity:g} does not fit {number.type} with scale {number.scale:g}") from error
    words = list(struct.unpack(f">{number.type.words}H", packed))
    return words if word_order == "big" else words[::-1]


def quantise(number: Quantity, quantity: float) -> float:
    """The quantity the registers will really hold."""
    if number.type.is_float:
        return quantity
    return round((quantity - number.offset) / number.scale) * number.scale + number.offset


def text(registers: Sequence[int]) -> str:
    """Text in registers, two characters each, up to the first zero."""
    data = struct.pack(f">{len(registers)}H", *registers)
    return data.split(b"\0", 1)[0].decode("ascii", "replace").strip()


class BlockDecoder:
    """Decodes one block. Elements are grouped by type; `names` and `elements` say which channel and index each is."""

    def __init__(self, block: Block, specs: Mapping[str, Spec], word_order: str) -> None:
        rows = [(p, n) for kind in Kind for p in block.channels if p.type is kind for n in range(p.length)]
        self.names = [p.channel for p, _ in rows]
        self.elements = [n for _, n in rows]
        self._runs = _runs(rows, block.address, word_order)
        self._raw: Floats = np.empty(len(rows))
        self._scale = np.array([p.scale for p, _ in rows])
        self._offset = np.array([p.offset for p, _ in rows])
        self._invalid = _invalid(rows)
        limits = [_limits(p, specs[p.channel]) for p, _ in rows]
        self._low = np.array([low for low, _ in limits])
        self._high = np.array([high for _, high in limits])
        self._special = [(i, _Meaning(p, specs[p.channel])) for i, (p, _) in enumerate(rows) if _is_special(p)]

    def decode(self, registers: Sequence[int]) -> tuple[Floats, NDArray[np.uint32]]:
        """Quantities and their status codes; what is not Good is NaN."""
        words = np.array(registers, ">u2")
        raw = self._raw
        for first, last, gather, dtype in self._runs:
            with np.errstate(invalid="ignore"):  # a signalling NaN on the wire is data, not a fault of ours
                raw[first:last] = words[gather].view(dtype)
        values = raw * self._scale + self._offset
        for index, meaning in self._special:
            values[index] = meaning(raw.item(index))
        status = np.full(len(values), GOOD, np.uint32)
        plausible = (values >= self._low) & (values <= self._high)
        absent = np.isnan(raw)
        for column in self._invalid:
            absent |= raw == column
        if absent.any() or not plausible.all():
            status[~plausible] = BAD_OUT_OF_RANGE
            status[absent] = BAD_SENSOR_FAILURE
            values[status != GOOD] = np.nan
        return values, status


def _runs(rows: list[tuple[Point, int]], start: int, word_order: str) -> list[tuple[int, int, NDArray[np.intp], str]]:
    """Per type: its range of elements, the word indices that line up its numbers, and their dtype."""
    runs = []
    for kind in dict.fromkeys(p.type for p, _ in rows):
        members = [i for i, (p, _) in enumerate(rows) if p.type is kind]
        order = range(kind.words) if word_order == "big" else range(kind.words - 1, -1, -1)
        gather = [p.address - start + n * kind.words + w for p, n in (rows[i] for i in members) for w in order]
        runs.append((members[0], members[-1] + 1, np.array(gather, np.intp), ">" + _NUMPY[kind.code]))
    return runs


_NUMPY = {"h": "i2", "H": "u2", "i": "i4", "I": "u4", "q": "i8", "Q": "u8", "f": "f4", "d": "f8"}


def _invalid(rows: list[tuple[Point, int]]) -> list[Floats]:
    """One column per sentinel; NaN where a point has fewer."""
    depth = max((len(p.invalid) for p, _ in rows), default=0)
    return [np.array([p.invalid[d] if d < len(p.invalid) else math.nan for p, _ in rows]) for d in range(depth)]


def _limits(point: Point, spec: Spec) -> tuple[float, float]:
    """Plausible range: the profile's, else the channel's own with some tolerance when both its ends are known."""
    low, high = -1.7e308, 1.7e308
    if spec.low is not None and spec.high is not None:
        slack = _TOLERANCE * (spec.high - spec.low)
        low, high = spec.low - slack, spec.high + slack
    return low if point.low is None else point.low, high if point.high is None else point.high


def _is_special(point: Point) -> bool:
    return point.states is not None or point.bit is not None or point.bits is not None


class _Meaning:
    """A register number that stands for a state or carries bits; NaN for one that is unknown."""

    def __init__(self, point: Point, spec: Spec) -> None:
        known = spec.states.__members__ if spec.states else {}
        self._states = None if point.states is None else {k: float(known[v]) for k, v in point.states.items()}
        self._bits = {k: float(known[v]) for k, v in (point.bits or {}).items()}
        self._bit = point.bit

    def __call__(self, raw: float) -> float:
        if not math.isfinite(raw):
            return math.nan
        number = int(raw)
        if self._states is not None:
            return self._states.get(number, math.nan)
        if self._bit is not None:
            return float(number >> self._bit & 1)
        return max((level for bit, level in self._bits.items() if number >> bit & 1), default=0.0)
