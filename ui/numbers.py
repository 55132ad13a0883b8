"""Numbers as a person reads them: calm digits, one unit per place, a real minus sign.

Power is always shown in kW so that a value crossing 1 kW does not change its unit; the digits behind the point depend
on the size, so that a number keeps three to four figures and does not jump.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

DASH = "–"
_MINUS = "−"
_KILO = {"W": ("kW", 10_000), "var": ("kvar", 10_000), "V·A": ("kVA", 10_000), "Wh": ("kWh", 1000)}
_DIGITS = {
    "W": 0, "var": 0, "V·A": 0, "Wh": 0, "kW": 2, "kvar": 2, "kVA": 2, "kWh": 1, "V": 1, "A": 2, "Hz": 2, "%": 1, "°C": 1,
    "W/m²": 0, "s": 0, "ms": 2, "m/s": 1,
}  # fmt: skip
"""Digits behind the point by unit."""
_FINE_DIGITS = _DIGITS | {"V": 3, "kWh": 2}
"""The same for values below 10: the voltage of a cell needs more than that of the grid."""


def signed(value: float, digits: int) -> str:
    """`value` with fixed digits, a typographic minus and never a minus before a zero."""
    text = f"{abs(value):.{digits}f}"
    return _MINUS + text if value < 0 and float(text) != 0 else text


def kilowatts(watts: float | None) -> str:
    """Power in kW without its unit; watts: W. Two digits below 10 kW, one below 100 kW, none above."""
    if watts is None or not math.isfinite(watts):
        return DASH
    kilo = watts / 1000
    return signed(kilo, 2 if abs(kilo) < 9.995 else 1 if abs(kilo) < 99.95 else 0)


def percent(value: float | None) -> str:
    """A share in % without its sign of unit, rounded to a whole number."""
    return DASH if value is None or not math.isfinite(value) else signed(value, 0)


def quantity(value: float, unit: str) -> tuple[str, str]:
    """A value of any unit as (text, unit), with as many digits behind the point as the unit deserves, so that it does not jump.

    Power becomes kilo from 10,000 on, energy from 1,000 on; seconds below 1 become ms.
    """
    if unit in _KILO and math.isfinite(value) and abs(value) >= _KILO[unit][1]:
        value, unit = value / 1000, _KILO[unit][0]
    elif unit == "s" and 0 < abs(value) < 1:
        value, unit = value * 1000, "ms"
    if not math.isfinite(value):
        return DASH, unit
    return signed(value, _FINE_DIGITS.get(unit, 3) if abs(value) < 10 else _DIGITS.get(unit, 2)), unit


def duration(seconds: float) -> str:
    """A time left as `4:05` or `1:04:05`."""
    minutes, rest = divmod(max(0, math.ceil(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def age(seconds: float) -> str:
    """How long ago, in one unit: `8 s`, `3 min`, `2 h`, `5 d`."""
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {name}"
    return f"{max(0, int(seconds))} s"


def clock(unix_s: float) -> str:
    """A point in time as UTC date and time; a dash for the unknown one."""
    return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%d %H:%M:%S}" if unix_s > 0 else DASH


def clock_of(iso: str) -> str:
    """The time of day (UTC) of a time in ISO 8601."""
    return f"{datetime.fromisoformat(iso):%H:%M:%S} UTC"


def spaced(name: str) -> str:
    """`SetupRetry` as `setup retry`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower()
