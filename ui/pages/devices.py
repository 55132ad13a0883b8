"""The Devices page: every device with its channels, their quality and age; set-points and parameters can be written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from nicegui.element import Element

from server.client import ChannelInfo

from .. import inventory, machine, numbers, quality, setpoints, view
from ..catalogue import Catalogue, label, words
from ..override import MAY_STEER
from ..page import Page
from ..parameters import ends, shown
from ..readings import Reading, Readings, unix_time
from ..refusal import Refused
from ..visit import Visit

TAKE_S_MAX = 3600.0
DENIED = "Your role may look but not start and stop devices."


class Devices(Element, component="../static/ems_devices.js"):
    """Tree, detail and search. Emits `watch` (the nodes on show), `write` (node, value, take: s of override, or 0) and `operate`
    (alias, method). denied: why the person may not start and stop devices, or empty."""

    def __init__(self, things: Sequence[dict[str, Any]], denied: str) -> None:
        super().__init__()
        self._props.update(things=list(things), denied=denied)


async def show(visit: Visit) -> None:
    """Build the page for one tab of a person."""
    catalogue = visit.person.catalogue
    await visit.follow(inventory.followed(catalogue))
    await visit.follow(["site/OverrideRemaining", "site/EmergencyStopActive"])
    watched = visit.watched()
    visit.values(lambda: inventory.conditions(catalogue, visit.readings) | {"hand": view.hand(visit.readings)})
    visit.values(lambda: rows(catalogue, watched.nodes, visit.readings))
    page = Devices(inventory.things(catalogue), "" if visit.may(*MAY_STEER) else DENIED)
    page.on("watch", lambda event: watched.choose(_with_limits(catalogue, event.args)))
    visit.on(page, "write", lambda wish: write(visit, wish))
    visit.on(page, "operate", lambda wish: machine.operate(visit.person.client, catalogue, wish))


def _with_limits(catalogue: Catalogue, nodes: Sequence[str]) -> list[str]:
    """The nodes, and those that bound the set-points among them now."""
    bounds = [n for n in setpoints.nodes(catalogue) if n.partition("/")[0] in {node.partition("/")[0] for node in nodes}]
    return [*nodes, *bounds]


def rows(catalogue: Catalogue, nodes: Sequence[str], readings: Readings) -> dict[str, Any]:
    """Channels as (text, unit, grade, quality in words, s since 1970, number), by `v.<node>`; what limits a set-point now, by
    `limits.<node>`."""
    limits = {p.channel.node: p.limits(readings) for p in setpoints.setpoints(catalogue) if p.channel.node in nodes}
    found: dict[str, Any] = {f"v.{n}": _row(catalogue.channels[n], readings[n]) for n in nodes}
    return found | {f"limits.{node}": list(limit) for node, limit in limits.items()}


def _row(channel: ChannelInfo, reading: Reading) -> list[Any]:
    text, unit = text_of(channel, reading)
    value = reading.value if math.isfinite(reading.value) and quality.rank(reading.status) < 2 else None
    said = quality.words(reading.status) or "good"
    return [text, unit, quality.grade(reading.status), said, round(unix_time(reading.source)), value]


def text_of(channel: ChannelInfo, reading: Reading) -> tuple[str, str]:
    """A reading as a person reads it, and its unit."""
    if reading.text or channel.data_type in ("String", "LocalizedText"):
        return reading.text or numbers.DASH, ""
    if reading.value != reading.value:
        return numbers.DASH, channel.unit
    if channel.states and 0 <= reading.value < len(channel.states):
        return words(channel.states[int(reading.value)]), ""
    if channel.data_type == "Boolean":
        return ("yes" if reading.value else "no"), ""
    if channel.data_type in ("DateTime", "UtcTime"):
        return numbers.clock(unix_time(round(reading.value))), ""
    if channel.name == machine.LAST:
        return machine.transition(channel.node.partition("/")[0], reading.value), ""
    if channel.data_type in ("Int32", "Int64") and not channel.unit:
        return numbers.signed(reading.value, 0), ""
    return numbers.quantity(reading.value, channel.unit)


async def write(visit: Visit, wish: dict[str, Any]) -> str:
    """Write a set-point or parameter, under an override taken for it where that was asked. Raises Refused and ClientError."""
    catalogue = visit.person.catalogue
    channel = catalogue.channels.get(str(wish["node"]))
    if channel is None or not channel.writable:
        raise Refused("Your role may not write this.")
    value = checked(catalogue, channel, wish["value"], visit.readings)
    if seconds := min(TAKE_S_MAX, max(0.0, float(wish.get("take") or 0))):
        await visit.person.client.call("site", "AcquireManualOverride", seconds)
    await visit.person.client.write(channel.node, value)
    thing = catalogue.model.objects[channel.node.partition("/")[0]]
    return f"{label(thing)}: {words(channel.name).lower()} is asked to be {shown(channel, value)}."


def checked(catalogue: Catalogue, channel: ChannelInfo, value: Any, readings: Readings) -> float:
    """A value a person typed, inside the range of the channel and inside what its device allows now. Raises Refused."""
    name = words(channel.name)
    number = float(value) if isinstance(value, (bool, int, float)) else math.nan
    if not math.isfinite(number):
        raise Refused(f"{name}: a number is expected.")
    point = next((p for p in setpoints.setpoints(catalogue) if p.channel.node == channel.node), None)
    low, high = point.limits(readings) if point else ends(channel)
    if (low is not None and number < low) or (high is not None and number > high):
        limits = " to ".join("any" if v is None else f"{v:,.6g}" for v in (low, high))
        raise Refused(f"{name}: {number:,.6g} is outside what is allowed now, {limits} {channel.unit}".rstrip() + ".")
    return number


PAGE = Page("/devices", "Devices", icon="devices", key="d", place=20, show=show)
