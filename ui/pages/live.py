"""The Live page: what flows, how the site is, why it does what it does, and the operator's hand."""

from __future__ import annotations

from .. import today, view, widgets
from ..alarms import rows
from ..override import Override
from ..page import Page
from ..visit import Visit


async def show(visit: Visit) -> None:
    """Build the page for one tab of a person."""
    catalogue = visit.person.catalogue
    await visit.follow(view.FLOW_NODES, interval_ms=250)
    await visit.follow([*view.slow_nodes(catalogue), *today.METERS])
    visit.values(view.Live(catalogue, visit.readings).values)
    visit.values(lambda: {"alarms": [row for row in rows(visit.person.alarms.rows.values(), catalogue) if row["active"]]})
    visit.values(today.Today(visit).values)
    widgets.Hint()
    with widgets.group("live"):
        _cards(visit, catalogue.carriers())


def _cards(visit: Visit, parts: list[str]) -> None:
    with widgets.card("Energy flow", "hero"):
        widgets.Reason()
        widgets.Flow(parts)
        widgets.Balance(parts)
    with widgets.card("Manual override", "by-hand"):
        Override(visit).show()
    with widgets.card("Alarms", "alarm-card"):
        widgets.Alarms()
    with widgets.card("Last ten minutes", "history"):
        widgets.Chart(["load", *(p for p in parts if p != "ev")])
    with widgets.card("Who decides", "why-card"):
        widgets.Why()
    with widgets.card("Today", "share-card"):
        widgets.Shares()
    with widgets.card("Control cycle", "cycle-card"):
        widgets.CycleHealth()


PAGE = Page("/", "Live", icon="live", key="l", place=10, show=show)
