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
_SCALED = {"W": "kW", "Wh": "kWh", "var": "kvar", "V·A": "kVA"}


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
    """A value of any unit as (text, unit); W, Wh, var and V·A become kilo from 1,000 on, seconds below 1 become ms."""
    if not math.isfinite(value):
        return DASH, unit
    if unit in _SCALED and abs(value) >= 1000:
        return significant(value / 1000), _SCALED[unit]
    if unit == "s" and 0 < abs(value) < 1:
        return significant(value * 1000), "ms"
    return significant(value), unit


def significant(value: float) -> str:
    """About four significant figures without an exponent, at most three behind the point."""
    if value == int(value) and abs(value) < 1e15:
        return signed(value, 0)
    size = abs(value)
    return signed(value, 3 if size < 10 else 2 if size < 100 else 1)


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
