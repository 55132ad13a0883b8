"""Parameters of controllers as a person sees and sets them: title, range, what was configured, and words for a wrong value."""

from __future__ import annotations

import math
from typing import Any, Final

from server.client import ChannelInfo, ObjectInfo
from server.core.natures import ControllerStatus

from . import numbers
from .refusal import Refused

_STATUS: Final = frozenset(ControllerStatus.channels())
_WORDS: Final = {"soc": "SoC", "ev": "EV", "pv": "PV", "ess": "ESS"}
_ENDLESS: Final = 1e9
"""Where a range has no end, OPC UA is told this one."""
_RATES: Final = {"_w_per_s": "W/s", "_a_per_s": "A/s", "_hz_per_s": "Hz/s"}
"""Units of parameters whose name alone tells them."""
_SUFFIXES: Final = {"%": "pct", "°C": "c"}
"""Units whose suffix in a name is another than the symbol."""


def parameters(thing: ObjectInfo) -> list[ChannelInfo]:
    """What of a controller is set, in the order it is declared."""
    return [c for name, c in thing.channels.items() if name not in _STATUS]


def field(channel: ChannelInfo) -> dict[str, Any]:
    """What the browser needs to know of a parameter to let a person set it."""
    return {
        "node": channel.node,
        "name": channel.name,
        "label": title(channel),
        "doc": channel.description,
        "unit": unit(channel),
        "low": ends(channel)[0],
        "high": ends(channel)[1],
        "span": span(channel),
        "whole": _is_whole(channel),
        "switch": channel.data_type == "Boolean",
        "states": list(channel.states),
        "configured": None if channel.configured is None else float(channel.configured),
    }


def title(channel: ChannelInfo) -> str:
    """`import_max_w` as `Import max`: the unit stands beside the field."""
    rate = next((suffix for suffix in _RATES if channel.name.endswith(suffix)), "")
    parts = channel.name.removesuffix(rate).split("_")
    if len(parts) > 1 and parts[-1] == _SUFFIXES.get(channel.unit, channel.unit.lower()):
        parts.pop()
    text = " ".join(_WORDS.get(part, part) for part in parts)
    return text[:1].upper() + text[1:]


def ends(channel: ChannelInfo) -> tuple[float | None, float | None]:
    """Lowest and highest value, None for no limit."""
    low, high = channel.low, channel.high
    return None if low is None or low <= -_ENDLESS else low, None if high is None or high >= _ENDLESS else high


def unit(channel: ChannelInfo) -> str:
    """The symbol of the unit, empty where there is none."""
    return channel.unit or next((symbol for suffix, symbol in _RATES.items() if channel.name.endswith(suffix)), "")


def span(channel: ChannelInfo) -> str:
    """The range in words, empty where there is none."""
    low, high = ends(channel)
    symbol = f" {unit(channel)}".rstrip()
    if low is not None and high is not None:
        return f"{low:,.10g} to {high:,.10g}{symbol}"
    if low is not None:
        return f"{low:,.10g}{symbol} or more"
    return "" if high is None else f"at most {high:,.10g}{symbol}"


def shown(channel: ChannelInfo, value: float | None) -> str:
    """A value with its unit, or in words."""
    if value is None:
        return numbers.DASH
    if channel.states and 0 <= value < len(channel.states):
        return channel.states[int(value)]
    return ("on" if value else "off") if channel.data_type == "Boolean" else f"{value:,.10g} {unit(channel)}".rstrip()


def checked(channel: ChannelInfo, value: Any) -> float:
    """A value a person typed, checked as the server will, so that the refusal has words. Raises Refused."""
    name = title(channel)
    number = float(value) if isinstance(value, (bool, int, float)) else math.nan
    if not math.isfinite(number):
        raise Refused(f"{name}: a number is expected.")
    low, high = ends(channel)
    if (low is not None and number < low) or (high is not None and number > high):
        raise Refused(f"{name}: {shown(channel, number)} is not in the range, {span(channel)}.")
    if _is_whole(channel) and number != int(number):
        raise Refused(f"{name}: {number:,.10g} is not a whole number.")
    return number


def change(channel: ChannelInfo, before: float | None, after: float) -> str:
    """What a person changed, in words."""
    return f"{title(channel)} is {shown(channel, after)} (was {shown(channel, before)})"


def _is_whole(channel: ChannelInfo) -> bool:
    return channel.data_type in ("Int32", "Int64")
