"""Writing channels of one's own block by name: a value that is known now, or a text."""

from __future__ import annotations

import time
from typing import Final

from server.core.channel import Spec
from server.core.layout import Layout
from server.core.status import GOOD

from .memory import OwnerBlock, utc_now

TEXT_MAX: Final = 1_000


class Staging:
    """A block and where its channels are. What is staged is seen when the block is published."""

    def __init__(self, block: OwnerBlock, layout: Layout) -> None:
        self._block = block
        self._layout = layout

    def value(self, alias: str, spec: Spec, value: float) -> None:
        """Stage a number."""
        record = self._block.records[self._slot(alias, spec) - self._block.owner.first]
        record["value"], record["source"] = value, utc_now()
        record["arrival"], record["status"] = time.monotonic_ns(), GOOD

    def text(self, alias: str, spec: Spec, text: str) -> None:
        """Stage a text, cut to what a channel holds."""
        self._block.set_text(self._slot(alias, spec), text[:TEXT_MAX])

    def _slot(self, alias: str, spec: Spec) -> int:
        return self._layout.by_node[f"{alias}/{spec.name}"].slot
