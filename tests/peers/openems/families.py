"""All families of cases, by the name of their controller in the format."""

from __future__ import annotations

from . import charging, filters, managing, solving, storing, switching
from .family import Family

FAMILIES: dict[str, Family] = {}
for module in (solving, filters, storing, charging, switching, managing):
    FAMILIES |= module.FAMILIES
