"""The frame around every page: navigation, the site's name and mode, the endpoint, the theme, the account."""

from __future__ import annotations

import html
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nicegui import ui

from server.core.natures import SiteMode
from server.core.roles import Role

from . import widgets
from .page import Page
from .pages import pages
from .readings import Readings
from .theme import icon
from .visit import Visit

NODES = ("site/Mode", "site/EmergencyStopActive", "site/WorstState")

_MODES = {
    SiteMode.Init: ("Starting", "calm"), SiteMode.Standby: ("Standby", "calm"), SiteMode.Run: ("Running", "good"),
    SiteMode.Island: ("Island", "warn"), SiteMode.Fault: ("Fault", "bad"), SiteMode.Shutdown: ("Shut down", "bad"),
}  # fmt: skip


def mode(readings: Readings) -> dict[str, Any]:
    """The site's mode as words and a tone; the emergency stop outranks it."""
    if readings.number("site/EmergencyStopActive"):
        return {"text": "Emergency stop", "tone": "bad"}
    value = readings.number("site/Mode")
    if value is None or not 0 <= value < len(SiteMode):
        return {"text": "Unknown", "tone": "calm"}
    text, tone = _MODES[SiteMode(int(value))]
    return {"text": text, "tone": tone}


@contextmanager
def frame(visit: Visit, page: Page) -> Iterator[None]:
    """The frame; the page goes inside."""
    ui.context.client.content.classes("shell")
    offered = [p for p in pages() if p.offered_to(visit.person)]
    _navigation(page, offered)
    with ui.element("header").classes("top"):
        ui.html(f"<h1>{html.escape(visit.settings.title)}</h1>", sanitize=False)
        widgets.Mode()
        ui.element("span").classes("space")
        widgets.Connect(visit.settings.endpoint, may_trust=visit.may(Role.SECURITY_ADMIN))
        widgets.Account(visit.person.name, sorted(visit.person.roles))
    with ui.element("div").props('id="main" tabindex="-1"'):
        ui.html(f'<h2 class="sr">{page.title}</h2>', sanitize=False)
        widgets.Outage()
        yield
    widgets.Keys([{"key": p.key, "title": p.title, "route": p.route} for p in offered])
    widgets.AlarmCount()
    widgets.Toast()


def _navigation(here: Page, offered: list[Page]) -> None:
    links = "".join(
        f'<a href="{p.route}"{" aria-current=page" if p is here else ""} title="{p.title} (g {p.key})">'
        f"{icon(p.icon)}<span>{p.title}</span></a>"
        for p in offered
    )
    ui.html(
        '<a class="skip" href="#main">Skip to content</a>'
        f'<nav aria-label="Pages"><span class="mark">{icon("mark")}</span>{links}</nav>',
        sanitize=False,
    ).classes("side")
