"""The Trends page: channels over time, chosen, zoomed and moved by hand; the address holds what is shown, so it can be shared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from nicegui.element import Element

from server.client import ChannelInfo, ObjectInfo

from .. import history, quality
from ..catalogue import Catalogue, kind, label, words
from ..page import Page
from ..readings import Reading, Readings, unix_time
from ..visit import Visit

BEGIN_WITH = ("site/ProductionPower", "site/ConsumptionPower", "site/EssPower", "site/GridPower", "site/EssSoc")
CARRIERS = {
    "site/ProductionPower": "pv", "site/ConsumptionPower": "load", "site/EssPower": "ess", "site/GridPower": "grid",
    "site/EvPower": "ev", "site/EssSoc": "soc",
}  # fmt: skip
"""The site's sums have the colours they have everywhere."""


class Trends(Element, component="../static/ems_trends.js"):
    """Chart and picker. things: objects with channels; start: nodes shown when the address names none. Emits `watch`."""

    def __init__(self, things: Sequence[dict[str, Any]], start: Sequence[str]) -> None:
        super().__init__()
        self._props.update(things=list(things), start=list(start), most=history.NODES_MAX)


async def show(visit: Visit) -> None:
    """Build the page for one tab of a person."""
    catalogue = visit.person.catalogue
    watched = visit.watched(interval_ms=1000)
    visit.values(lambda: tail(watched.nodes, visit.readings))
    page = Trends(things(catalogue), catalogue.known(*BEGIN_WITH))
    page.on("watch", lambda event: watched.choose(event.args))


def tail(nodes: Sequence[str], readings: Readings) -> dict[str, Any]:
    """The present value of each chosen channel as (value, grade, ms since 1970), by `t.<node>`."""
    return {f"t.{node}": _tail(readings[node]) for node in nodes}


def _tail(reading: Reading) -> list[Any]:
    grade = quality.rank(reading.status)
    value = reading.value if grade < 2 and math.isfinite(reading.value) else None
    return [value, grade, round(unix_time(reading.source) * 1000)]


def things(catalogue: Catalogue) -> list[dict[str, Any]]:
    """All objects that have history, with the channels that have it."""
    rows = [(t, [_channel(c) for c in t.channels.values() if c.historized]) for t in catalogue]
    return [_thing(t, channels) for t, channels in rows if channels]


def _thing(thing: ObjectInfo, channels: list[dict[str, Any]]) -> dict[str, Any]:
    return {"alias": thing.alias, "label": label(thing), "type": kind(thing), "kind": thing.kind, "channels": channels}


def _channel(channel: ChannelInfo) -> dict[str, Any]:
    states = channel.states or (("no", "yes") if channel.data_type == "Boolean" else ())
    return {
        "node": channel.node, "name": words(channel.name), "doc": channel.description, "unit": channel.unit,
        "states": list(states), "carrier": CARRIERS.get(channel.node, ""),
    }  # fmt: skip


PAGE = Page("/trends", "Trends", icon="trends", key="t", place=40, show=show)
