"""Who runs, and in which order: priority, then the order in site.toml, then id. Lower runs, and is heard, first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeVar


class Rank(NamedTuple):
    """The place of a controller or of a claim in arbitration."""

    priority: int
    position: int
    alias: str


class Ranked:
    """Anything that has a rank and may be switched off."""

    rank: Rank
    enabled: bool


T = TypeVar("T", bound=Ranked)


def ordered(items: Iterable[T]) -> list[T]:
    """Items in the order of arbitration."""
    return sorted(items, key=lambda item: item.rank)


def due(items: Iterable[T]) -> list[T]:
    """Of ordered items those that take part now."""
    return [item for item in items if item.enabled]
