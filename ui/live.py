"""The Live page: what flows, how the site is, why it does what it does, and the operator's hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nicegui import ui

from . import theme, widgets
from .override import Override
from .page import BrowserTab
from .person import Person
from .settings import Settings


def show(settings: Settings, person: Person, link: Callable[[], dict[str, Any]]) -> None:
    """Build the page for one tab of a person. link: the state of the connection as data."""
    parts = person.catalogue.carriers()
    store = widgets.Store(person.values() | link(), person.chart)
    BrowserTab(ui.context.client, person, store, link).open()
    with theme.frame(settings.title, "/", person.name):
        widgets.Hint(settings.endpoint)
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
