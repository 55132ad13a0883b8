"""A controller's explanation taken apart: why, what it asks for, what it got, and who allowed no more.

    keep import under 8 kW: asks ≥ 3.2 kW, gets ≥ 2 kW: floor0 allows no more
    why                     asked          got          by

The engine says one such sentence for each thing the controller wants, separated by semicolons. What has another form is shown as
it is.
"""

from __future__ import annotations

import re
from typing import Final, TypedDict

from .catalogue import Catalogue

_WANT: Final = re.compile(
    r"(?P<why>.+?): (?P<asked>(?:asks|wants|adds|keeps|sets|waits)\b.+?)(?:, gets (?P<got>.+?): (?P<by>.+))?", re.DOTALL
)
_SILENT: Final = {"asks for nothing": "It asks for nothing at the moment.", "disabled": "It is switched off."}


class Want(TypedDict):
    """One thing a controller wants. got, by: empty when it gets all it asks for."""

    why: str
    asked: str
    got: str
    by: str


def wants(text: str, catalogue: Catalogue) -> list[Want]:
    """The explanation of a controller, in words of people. Empty while there is none."""
    return [_want(sentence, catalogue) for sentence in text.split("; ") if sentence]


def _want(sentence: str, catalogue: Catalogue) -> Want:
    found = _WANT.fullmatch(sentence)
    if found is None:
        return Want(why=_SILENT.get(sentence) or catalogue.speak(sentence), asked="", got="", by="")
    why, asked, got, by = (catalogue.speak(found[name] or "") for name in ("why", "asked", "got", "by"))
    return Want(why=why, asked=asked, got=got, by=by)
