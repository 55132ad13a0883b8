"""[[alarm]] of site.toml: limits on numbers, and other manners for the alarms there are anyway.

A table whose channel is a number makes an alarm with limits; one whose channel raises an alarm by itself changes how that alarm
behaves. A wrong table is left out with a reason, and the alarm that is there anyway stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from math import isfinite
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from server.core.alarms import (
    SEVERITY,
    AlarmSpec,
    Limits,
    LimitZone,
    Zone,
    alarm_node,
    certificate_alarms,
    quantity,
    silencer_of,
    standing_alarms,
)
from server.core.channel import DataType, Level
from server.core.errors import ConfigError
from server.core.layout import Channel, Layout

from .config import NAME_OF_ALARM, SITE_FILE
from .explain import InvalidFile, validate

_ZONES: Final = {
    "high": (LimitZone.High, "above"),
    "high_high": (LimitZone.HighHigh, "above"),
    "low": (LimitZone.Low, "below"),
    "low_low": (LimitZone.LowLow, "below"),
}
_ASCENDING: Final = ("low_low", "low", "high", "high_high")
_OUTER: Final = ("low_low", "high_high")
Limit = Annotated[float, Field(allow_inf_nan=False)]
Delay = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]


class AlarmTable(BaseModel):
    """[[alarm]]: when a value is wrong, and how that is told."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    channel: str = Field(description="What is watched, as in its NodeId: `ess0/Soc`.")
    name: str = Field("", pattern=NAME_OF_ALARM, description="Name of the alarm; by default the channel's, with `Limit`.")
    low_low: Limit | None = Field(None, description="Below this it is a fault; in the channel's unit.")
    low: Limit | None = Field(None, description="Below this it is a warning.")
    high: Limit | None = Field(None, description="Above this it is a warning.")
    high_high: Limit | None = Field(None, description="Above this it is a fault.")
    hysteresis: float = Field(0.0, ge=0, allow_inf_nan=False, description="How far inside a limit the alarm ends.")
    severity: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="1 to 1000, of a warning; a fault has 300 more. By default 500 and 800.",
    )
    on_delay_s: Delay | None = Field(None, description="How long the value must be wrong before the alarm comes, in s.")
    off_delay_s: Delay | None = Field(None, description="How long the value must be right before the alarm goes, in s.")
    latch: bool = Field(False, description="The alarm stays until somebody resets it.")
    confirm: bool = Field(False, description="After the acknowledgement the alarm wants a confirmation that it was dealt with.")
    text: str = Field("", max_length=200, description="What operators read; `{value}` stands for the value with its unit.")


def plan_alarms(
    tables: Sequence[Mapping[str, Any]], layout: Layout, certificates: Iterable[str] = ()
) -> tuple[tuple[AlarmSpec, ...], list[ConfigError]]:
    """All alarms of a site, and what is wrong with the tables that were left out. certificates: names of the site's own."""
    standing = [*standing_alarms(layout), *certificate_alarms(certificates)]
    alarms = {alarm.node: alarm for alarm in standing}
    errors: list[ConfigError] = []
    for number, content in enumerate(tables):
        where = f"alarm[{number}]"
        try:
            for alarm in _alarms(content, where, layout, alarms):
                alarms[alarm.node] = alarm
        except InvalidFile as error:
            errors += [ConfigError(SITE_FILE, f"{where}.{e.field}".rstrip("."), e.problem) for e in error.errors]
        except ConfigError as error:
            errors.append(error)
    return tuple(alarms.values()), errors


def _alarms(content: Mapping[str, Any], where: str, layout: Layout, standing: Mapping[str, AlarmSpec]) -> Iterable[AlarmSpec]:
    """The alarms that a table makes or changes."""
    table = validate(AlarmTable, content, SITE_FILE)
    channel = layout.by_node.get(table.channel)
    if channel is None:
        raise ConfigError(SITE_FILE, f"{where}.channel", f"there is no channel {table.channel}")
    raised = [alarm for alarm in standing.values() if alarm.channel == channel.node and alarm.limits is None]
    if raised:
        return [_changed(alarm, table, where) for alarm in raised]
    return [_limit_alarm(table, channel, where, layout, standing)]


def _changed(alarm: AlarmSpec, table: AlarmTable, where: str) -> AlarmSpec:
    """An alarm that is there anyway, with the manners of a table."""
    given = next((name for name in (*_ASCENDING, "name") if getattr(table, name)), None)
    if given is not None:
        raise ConfigError(SITE_FILE, f"{where}.{given}", f"{table.channel} is a state and raises {alarm.name} by itself")
    zones = {zone: Zone(table.severity or z.severity, table.text or z.text) for zone, z in alarm.zones.items()}
    return replace(_mannered(alarm, table), zones=zones, words=() if table.text else alarm.words)


def _mannered(alarm: AlarmSpec, table: AlarmTable) -> AlarmSpec:
    on_delay_s = alarm.on_delay_s if table.on_delay_s is None else table.on_delay_s
    off_delay_s = alarm.off_delay_s if table.off_delay_s is None else table.off_delay_s
    return replace(alarm, on_delay_s=on_delay_s, off_delay_s=off_delay_s, latch=table.latch, confirm=table.confirm)


def _limit_alarm(table: AlarmTable, channel: Channel, where: str, layout: Layout, others: Mapping[str, AlarmSpec]) -> AlarmSpec:
    _check_number(channel, where)
    limits = Limits(table.low_low, table.low, table.high, table.high_high, table.hysteresis)
    _check_limits(limits, where)
    name = table.name or f"{channel.spec.name}Limit"
    node = alarm_node(channel.alias, name)
    if node in others or node in layout.by_node:
        raise ConfigError(SITE_FILE, f"{where}.name", f"{channel.alias} has an alarm {name} already; give this one another name")
    unit = channel.spec.unit.symbol if channel.spec.unit is not None else ""
    what = channel.spec.doc.partition(":")[0].rstrip(".").lower()
    zones = dict(_limit_zones(table, limits, what, unit))
    over = f"{what} is {{value}} again"
    alarm = AlarmSpec(node, channel.alias, name, channel.node, zones, limits, over=over, unit=unit)
    return replace(_mannered(alarm, table), silencer=silencer_of(layout, alarm))


def _check_number(channel: Channel, where: str) -> None:
    spec = channel.spec
    numeric = spec.data_type in (DataType.DOUBLE, DataType.INT32, DataType.INT64) and spec.states is None and not spec.array
    if not numeric:
        raise ConfigError(SITE_FILE, f"{where}.channel", f"{channel.node} is no number and raises no alarm by itself")


def _check_limits(limits: Limits, where: str) -> None:
    given = [(name, value) for name in _ASCENDING if (value := getattr(limits, name)) is not None]
    if not given:
        raise ConfigError(SITE_FILE, where, f"one of {', '.join(_ASCENDING)} is missing")
    for (lower, low), (upper, high) in pairwise(given):
        if not low < high:
            raise ConfigError(SITE_FILE, f"{where}.{upper}", f"{high:g} is not above {lower}, which is {low:g}")
    if limits.low is not None and limits.high is not None and limits.low + limits.hysteresis > limits.high - limits.hysteresis:
        raise ConfigError(SITE_FILE, f"{where}.hysteresis", f"{limits.hysteresis:g} leaves nothing normal between low and high")


def _limit_zones(table: AlarmTable, limits: Limits, what: str, unit: str) -> Iterator[tuple[int, Zone]]:
    for name, (zone, side) in _ZONES.items():
        limit = getattr(limits, name)
        if limit is not None and isfinite(limit):
            text = table.text or f"{what} is {{value}}, {side} {quantity(limit, unit)}"
            yield int(zone), Zone(_severity(table, name), text)


def _severity(table: AlarmTable, limit: str) -> int:
    """Severity at a limit: warnings at the inner ones, faults at the outer ones."""
    warning, fault = SEVERITY[Level.Warning], SEVERITY[Level.Fault]
    base = table.severity or warning
    return min(base + fault - warning, 1000) if limit in _OUTER else base
