"""Who runs, and in which order: priority, then the order in site.toml, then id. Lower runs, and is heard, first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple, TypeVar

PRIORITY_MAX: Final = 1000


class Rank(NamedTuple):
    """The place of a controller or of a claim in arbitration."""

    priority: int
    position: int
    alias: str


class Ranked:
    """Anything that has a rank."""

    rank: Rank


T = TypeVar("T", bound=Ranked)


def ordered(items: Iterable[T]) -> list[T]:
    """Items in the order of arbitration."""
    return sorted(items, key=lambda item: item.rank)
