"""The panel's Vue components as NiceGUI elements. Each shows keys of the store; only `Store` receives messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nicegui import ui
from nicegui.element import Element
from nicegui.elements.echart import EChart  # noqa: F401  # registers the module "nicegui-echart" the chart imports

_STORE = {"ems-store": "static/store"}


class Store(Element, component="static/ems_store.js", esm=_STORE):
    """The page's values: all of them at first, then what changed, as one message per tick. Emits `looks`, true or false, when
    the person turns to this tab or away from it."""

    def begin(self, values: dict[str, Any]) -> None:
        """The values the page is delivered with."""
        self._props["values"] = values

    def apply(self, values: dict[str, Any]) -> None:
        """Send changed values."""
        self.run_method("apply", values)

    def answer(self, deed: int, ok: bool, text: str) -> None:
        """Tell the person what became of a deed."""
        self.run_method("answer", deed, ok, text)

    def leave(self, why: str) -> None:
        """Go to the login page, which says why."""
        self.run_method("leave", why)


class _Parts(Element):
    """A component that shows some of the energy carriers."""

    def __init__(self, parts: Sequence[str]) -> None:
        super().__init__()
        self._props["parts"] = list(parts)


class Flow(_Parts, component="static/ems_flow.js"):
    """Animated energy flow. parts: `pv`, `grid`, `ess`, `ev`, as far as the site has them."""


class Balance(_Parts, component="static/ems_balance.js"):
    """The power balance as an equation."""


class Chart(Element, component="static/ems_chart.js"):
    """Power of the last ten minutes."""

    def __init__(self, shown: Sequence[str]) -> None:
        super().__init__()
        self._props["shown"] = list(shown)


class Shares(Element, component="static/ems_shares.js"):
    """State of charge, autarky and self-consumption as rings; energies of the day; the price where there is a tariff."""


class Alarms(Element, component="static/ems_alarms.js"):
    """The active alarms."""


class AlarmCount(Element, component="static/ems_alarm_count.js"):
    """How many alarms want attention, in the navigation and in the browser's tab."""


class Reason(Element, component="static/ems_reason.js"):
    """The site's one sentence: who asked, what limited it, and why."""


class Why(Element, component="static/ems_why.js"):
    """What each active controller asks for, and what limits it."""


class CycleHealth(Element, component="static/ems_cycle.js"):
    """Duration, worst case and slips of the control cycle."""


class Mode(Element, component="static/ems_mode.js"):
    """The site's mode as a pill."""


class Outage(Element, component="static/ems_outage.js"):
    """Shown while the OPC UA server is away: what the supervisor says about the site."""


class Account(Element, component="static/ems_account.js"):
    """Who is logged in, with which roles; the theme, the keys, and the way out."""

    def __init__(self, name: str, roles: Sequence[str]) -> None:
        super().__init__()
        self._props.update(name=name, roles=list(roles))


class Keys(Element, component="static/ems_keys.js"):
    """Keyboard shortcuts and the help that lists them. pages: key, title and route of each."""

    def __init__(self, pages: Sequence[dict[str, str]]) -> None:
        super().__init__()
        self._props["pages"] = list(pages)


class Toast(Element, component="static/ems_toast.js"):
    """What became of the last deed, for some seconds."""


class Hint(Element, component="static/ems_hint.js"):
    """Once per browser: that the site is open to other OPC UA clients."""


class Connect(Element, component="static/ems_connect.js"):
    """Where other OPC UA clients find the site, to copy, and how they get in. may_trust: the person may trust certificates."""

    def __init__(self, endpoint: str, *, may_trust: bool) -> None:
        super().__init__()
        self._props.update({"endpoint": endpoint, "may-trust": may_trust})


class Hand(Element, component="static/ems_hand.js"):
    """Manual override and emergency stop. Emits take, set, release, stop and reset. denied: why the person may not, or empty."""

    def __init__(self, points: Sequence[dict[str, str]], denied: str) -> None:
        super().__init__()
        self._props.update(points=list(points), denied=denied)


def group(*classes: str) -> Element:
    """A plain box; what follows goes inside."""
    return ui.element("div").classes(" ".join(classes))


def card(title: str, *classes: str) -> Element:
    """A section with a heading; what follows goes inside."""
    section = ui.element("section").classes("card").classes(" ".join(classes)).props(f'aria-label="{title}"')
    with section, ui.element("h2"):
        ui.label(title).props("role=presentation")
    return section
