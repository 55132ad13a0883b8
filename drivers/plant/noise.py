"""Smooth random fields of time that need no state.

Problem: clouds, wind and appliances must look random, must be the same for the same seed, and must not depend on how
often or from where the clock is read. Idea: hash the number of a time cell to a uniform number and blend neighbouring
cells smoothly (value noise); any moment of any day can then be evaluated on its own, as an array or as a number.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_INCREMENT = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def uniform(seed: int, cell: ArrayLike) -> Floats:
    """A number in [0, 1) for each integer cell: the splitmix64 generator (Steele et al. 2014, doi:10.1145/2660193.2660195)."""
    with np.errstate(over="ignore"):
        z = np.asarray(cell).astype(np.int64).astype(np.uint64) + np.uint64(seed & 0xFFFFFFFF) * _INCREMENT
        z = (z + _INCREMENT) * _MIX_2
        z = (z ^ (z >> np.uint64(30))) * _MIX_1
        z = (z ^ (z >> np.uint64(27))) * _MIX_2
        z = z ^ (z >> np.uint64(31))
    return np.asarray((z >> np.uint64(11)) / float(1 << 53), np.float64)


def smooth(seed: int, time_s: ArrayLike, period_s: float) -> Floats:
    """Value noise in [0, 1] that changes over about `period_s`; continuous with a continuous slope."""
    position = np.asarray(time_s, np.float64) / period_s
    cell = np.floor(position)
    fraction = position - cell
    weight = fraction * fraction * (3.0 - 2.0 * fraction)
    return uniform(seed, cell) * (1.0 - weight) + uniform(seed, cell + 1) * weight


def octaves(seed: int, time_s: ArrayLike, periods_s: tuple[float, ...]) -> Floats:
    """Sum of value noises, each of half the weight of the one before, scaled to [0, 1]."""
    weights = [0.5**n for n in range(len(periods_s))]
    parts = [w * smooth(seed + n, time_s, p) for n, (w, p) in enumerate(zip(weights, periods_s, strict=True))]
    return np.asarray(np.sum(parts, axis=0) / sum(weights), np.float64)
