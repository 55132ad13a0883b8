"""Numbers and reasons in an operator's words."""

from __future__ import annotations

from typing import Any, Final

Why = str | tuple[Any, ...]
"""A reason: a text, or a template followed by the values it names."""

_STEPS: Final = ((1e6, "M"), (1e3, "k"))


def power(value: float, unit: str = "W") -> str:
    """A power with two or three digits that matter: 3.2 kW, 850 W, 0 W."""
    for size, prefix in _STEPS:
        if abs(value) >= 0.9995 * size:
            scaled = value / size
            return f"{scaled:.0f} {prefix}{unit}" if abs(scaled) >= 100 else f"{round(scaled, 1):g} {prefix}{unit}"
    return f"{round(value) + 0:d} {unit}"


def percent(value: float) -> str:
    """A percentage: 15 %, 7.5 %."""
    return f"{round(value, 1):g} %"


def duration(seconds: float) -> str:
    """A duration: 45 s, 12 min, 3.5 h."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


class _Number(float):
    """A number that knows the format specifications of a reason's template."""

    def __format__(self, spec: str) -> str:
        style = _STYLES.get(spec)
        return style(float(self)) if style else format(float(self), spec)


_STYLES: Final = {"W": power, "%": percent, "s": duration}


def render(why: Why) -> str:
    """Put a reason into words."""
    if isinstance(why, str):
        return why
    template, *values = why
    return str(template).format(*(_Number(v) if isinstance(v, (int, float)) else v for v in values))
