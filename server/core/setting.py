"""Values for switches and parameters of controllers, checked by what the layout says of them, wherever they come from."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from .channel import Access, DataType, Spec
from .errors import ConfigError
from .layout import CONTROLLER, Layout


def settings_of(layout: Layout, alias: str) -> dict[str, Spec]:
    """What can be set on a controller, by name: its switch and its parameters; empty when there is no such controller."""
    obj = layout.by_alias.get(alias)
    if obj is None or obj.kind != CONTROLLER:
        return {}
    return {use.spec.name: use.spec for use in obj.channels if use.spec.access is Access.PROPOSE}


def check_settings(layout: Layout, alias: str, values: Mapping[str, Any], where: str) -> dict[str, float]:
    """All values for one controller as numbers. ConfigError names the first that is wrong, and what was expected.

    where: what the values are part of, such as `calendar/night`.
    """
    known = settings_of(layout, alias)
    if not known:
        names = ", ".join(o.alias for o in layout.objects if o.kind == CONTROLLER) or "none"
        raise ConfigError(where, alias, f"there is no such controller; known: {names}")
    return {name: _number(known, f"{alias}.{name}", name, value, where) for name, value in values.items()}


def _number(known: Mapping[str, Spec], field: str, name: str, value: Any, where: str) -> float:
    spec = known.get(name)
    if spec is None:
        raise ConfigError(where, field, f"there is no such parameter; known: {', '.join(known)}")
    if isinstance(value, str) and spec.states is not None and value in spec.states.__members__:
        return float(spec.states[value])
    if isinstance(value, bool) and spec.data_type is not DataType.BOOLEAN:
        raise ConfigError(where, field, f"{value} is not a number")
    if not isinstance(value, (bool, int, float)) or not isfinite(value):
        raise ConfigError(where, field, f"{value!r:.60} is not a number")
    if problem := _problem(spec, float(value)):
        raise ConfigError(where, field, problem)
    return float(value)


def _problem(spec: Spec, value: float) -> str:
    """What is wrong with a number, in words; empty when it fits."""
    if spec.data_type is DataType.BOOLEAN:
        return "" if value in (0, 1) else f"{value:g} is neither 1 (on) nor 0 (off)"
    if spec.states is not None:
        names = ", ".join(f"{m.value} {m.name}" for m in spec.states)
        return "" if value in tuple(map(int, spec.states)) else f"{value:g} is none of {names}"
    if (spec.low is not None and value < spec.low) or (spec.high is not None and value > spec.high):
        return f"{value:g} is not in {_end(spec.low)}..{_end(spec.high)}"
    whole = spec.data_type in (DataType.INT32, DataType.INT64)
    return f"{value:g} is not a whole number" if whole and value != int(value) else ""


def _end(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
