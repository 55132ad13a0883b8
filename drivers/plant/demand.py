"""What the building uses: a base with the rhythm of the day, and appliances that switch on and off.

Small workshop with a flat: a little at night, more in working hours, kettles, ovens and a compressor as steps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .noise import Floats, octaves, uniform

PHASE_SHARES = (0.42, 0.33, 0.25)
"""Part of the load on L1, L2, L3: real buildings are not balanced."""

TAN_PHI = 0.25
"""Reactive over active power of the load (power factor 0.97)."""

_HOUR_S = 3600.0
_BASE_HOURS = np.array([0, 5, 6.5, 8, 9, 12, 13, 17, 18.5, 21, 23, 24]) * _HOUR_S
_BASE_W = np.array([450, 450, 1400, 1700, 2200, 2600, 2200, 2000, 2400, 1500, 600, 450], np.float64)

_APPLIANCES = (
    # slot s, chance, power W, shortest s, longest s
    (600.0, 0.55, 2000.0, 120.0, 240.0),  # kettles and small heaters
    (1500.0, 0.40, 3500.0, 300.0, 900.0),  # oven, dryer
    (2400.0, 0.35, 5500.0, 240.0, 600.0),  # compressor
)


def appliance_power(unix_s: ArrayLike, seed: int) -> Floats:
    """Power of all appliances in W: in each time slot one may run once, all of it inside the slot."""
    moment = np.asarray(unix_s, np.float64)
    total = np.zeros_like(moment)
    for kind, (slot_s, chance, power_w, short_s, long_s) in enumerate(_APPLIANCES):
        slot = np.floor(moment / slot_s)
        base = seed + 1000 + 10 * kind
        length = short_s + (long_s - short_s) * uniform(base, slot)
        start = slot * slot_s + (slot_s - length) * uniform(base + 1, slot)
        runs = (uniform(base + 2, slot) < chance) & (moment >= start) & (moment < start + length)
        total += np.where(runs, power_w * (0.8 + 0.4 * uniform(base + 3, slot)), 0.0)
    return total


def base_power(unix_s: ArrayLike, solar_s: ArrayLike, seed: int) -> Floats:
    """Power of everything that runs all day in W; `solar_s` is the second of the local day."""
    rhythm = np.interp(np.asarray(solar_s, np.float64), _BASE_HOURS, _BASE_W)
    return rhythm * (0.75 + 0.5 * octaves(seed + 500, unix_s, (300.0, 60.0, 7.0)))


def load_power(unix_s: ArrayLike, solar_s: ArrayLike, seed: int) -> Floats:
    """Power of the building in W, + consumption, car not included."""
    return base_power(unix_s, solar_s, seed) + appliance_power(unix_s, seed)
