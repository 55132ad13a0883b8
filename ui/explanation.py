"""What a controller wants, in words of people: why, what it asks for, what it got, and who allowed no more.

Read from its Claims, which are data; the words are the engine's own (server/core/ask.py). A controller that claims nothing says
why in its Explanation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypedDict

from server.core.ask import Ask, from_json

from .catalogue import Catalogue
from .readings import Readings

_SILENT: Final = {"asks for nothing": "It asks for nothing at the moment.", "disabled": "It is switched off."}


class Want(TypedDict):
    """One thing a controller wants. got, by: empty when it gets all it asks for."""

    why: str
    asked: str
    got: str
    by: str


def wants(alias: str, readings: Readings, catalogue: Catalogue) -> list[Want]:
    """What the controller `alias` wants. Empty while that is not known."""
    found = [_want(ask, catalogue) for ask in claims(readings[f"{alias}/Claims"].text)]
    scheduled = f"; schedule {readings[f'{alias}/Schedule'].text}"
    text = readings[f"{alias}/Explanation"].text.removesuffix(scheduled)
    return found or ([_plain(text, catalogue)] if text else [])


def claims(text: str) -> list[Ask]:
    """What a controller asks for, from its Claims; nothing where that cannot be understood."""
    try:
        return from_json(text)
    except ValueError:
        return []


def asked(record: Mapping[str, Any]) -> dict[str, str]:
    """What a journaled decision says of each who asked, in the engine's words; nothing for other records."""
    found: dict[str, str] = {}
    try:
        for ask in map(Ask.of, record.get("asks", ())):
            found[ask.who] = f"{found[ask.who]}; {ask.words}" if ask.who in found else ask.words
    except (KeyError, TypeError, ValueError):
        return {}
    return found


def _want(ask: Ask, catalogue: Catalogue) -> Want:
    why, asked, got, by = map(catalogue.speak, (ask.why or ask.node, ask.asked_words, ask.granted_words, ask.limit_words))
    return Want(why=why, asked=asked, got=got, by=by)


def _plain(text: str, catalogue: Catalogue) -> Want:
    return Want(why=_SILENT.get(text) or catalogue.speak(text), asked="", got="", by="")
