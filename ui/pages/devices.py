"""The Devices page: every object with its channels, value, unit, quality and age."""

from __future__ import annotations

from typing import Any

from server.client import ChannelInfo, ObjectInfo

from .. import numbers, quality, widgets
from ..catalogue import Catalogue, kind, label
from ..page import Page
from ..readings import Reading, Readings, unix_time
from ..visit import Visit


async def show(visit: Visit) -> None:
    """Build the page for one tab of a person."""
    catalogue = visit.person.catalogue
    await visit.follow(list(catalogue.channels), interval_ms=1000)
    visit.values(lambda: rows(catalogue, visit.readings))
    widgets.Devices([_thing(t) for t in catalogue if t.channels])


def rows(catalogue: Catalogue, readings: Readings) -> dict[str, Any]:
    """All channels as (text, unit, quality class, quality words, source time in s since 1970), by `v.<node>`."""
    return {f"v.{c.node}": _row(c, readings[c.node]) for c in catalogue.channels.values()}


def _row(channel: ChannelInfo, reading: Reading) -> list[Any]:
    text, unit = _shown(channel, reading)
    return [text, unit, quality.grade(reading.status), quality.words(reading.status), round(unix_time(reading.source))]


def _shown(channel: ChannelInfo, reading: Reading) -> tuple[str, str]:
    if reading.text or channel.data_type == "String":
        return reading.text or numbers.DASH, ""
    if reading.value != reading.value:
        return numbers.DASH, channel.unit
    if channel.states and 0 <= reading.value < len(channel.states):
        return channel.states[int(reading.value)], ""
    if channel.data_type == "Boolean":
        return ("yes" if reading.value else "no"), ""
    if channel.data_type == "DateTime":
        return numbers.clock(unix_time(round(reading.value))), ""
    return numbers.quantity(reading.value, channel.unit)


def _thing(thing: ObjectInfo) -> dict[str, Any]:
    channels = [{"node": c.node, "name": c.name, "doc": c.description, "writable": c.writable} for c in thing.channels.values()]
    return {"alias": thing.alias, "label": label(thing), "type": kind(thing), "kind": thing.kind, "channels": channels}


PAGE = Page("/devices", "Devices", icon="devices", key="d", place=20, show=show)
