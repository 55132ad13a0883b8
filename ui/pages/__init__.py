"""The panel's pages: every module of this folder declares one as `PAGE`."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from ..page import Page


@cache
def pages() -> tuple[Page, ...]:
    """All pages in the order of the navigation."""
    found = [import_module(f"{__name__}.{module.name}").PAGE for module in iter_modules(__path__)]
    return tuple(sorted(found, key=lambda page: page.place))
