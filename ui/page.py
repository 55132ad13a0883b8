"""What a page of the panel is. Each file of `ui/pages` declares one as `PAGE`; that is all it takes to add it.

async def show(visit: Visit) -> None:
    await visit.follow(["site/Mode"])                                   # read now, kept current while the tab is open
    visit.values(lambda: {"mode": visit.readings.number("site/Mode")})  # keys of the browser's store
    ModeCard()                                                          # what the page is made of

PAGE = Page("/mode", "Mode", icon="mode", key="m", place=35, show=show)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.core.roles import Role

if TYPE_CHECKING:
    from .person import Person
    from .visit import Visit

Show = Callable[["Visit"], Awaitable[None]]


@dataclass(frozen=True)
class Page:
    """One page.

    route: its path. title: in the navigation and the browser's tab. icon: symbol `i-<icon>` of static/icons.svg.
    key: the letter that opens it after `g`. place: order in the navigation. show: builds it for one tab of a person.
    roles: who is offered the page; nobody in particular means everybody. The server decides what they may do there.
    """

    route: str
    title: str
    icon: str
    key: str
    place: int
    show: Show
    roles: frozenset[Role] = frozenset()

    def offered_to(self, person: Person) -> bool:
        """Whether the page is in this person's navigation."""
        return not self.roles or bool(self.roles & person.roles)
