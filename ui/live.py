"""The Live page: what flows, how the site is, why it does what it does, and the operator's hand."""

from __future__ import annotations

from nicegui import ui

from . import theme, widgets
from .override import Override
from .page import BrowserTab, Visit
from .person import Person


def show(visit: Visit) -> None:
    """Build the page for one tab of a person."""
    person = visit.person
    parts = person.catalogue.carriers()
    store = widgets.Store(person.values() | visit.link(), person.chart)
    BrowserTab(visit, ui.context.client, store, visit.link, live=True).open()
    with theme.frame(visit.settings, "/", person.name):
        widgets.Hint()
        with ui.element("div").classes("live"):
            _cards(person, parts)


def _cards(person: Person, parts: list[str]) -> None:
    with widgets.card("Energy flow", "hero"):
        widgets.Reason()
        widgets.Flow(parts)
        widgets.Balance(parts)
    with widgets.card("Manual override", "by-hand"):
        Override(person).show()
    with widgets.card("Last ten minutes", "history"):
        widgets.Chart(["load", *(p for p in parts if p != "ev")])
    with widgets.card("Alarms", "alarm-card"):
        widgets.Alarms()
    with widgets.card("Who decides", "why-card"):
        widgets.Why()
    with widgets.card("Storage and independence", "share-card"):
        widgets.Shares()
    with widgets.card("Control cycle", "cycle-card"):
        widgets.CycleHealth()
