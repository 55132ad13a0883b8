"""A step before the step: played by a twin, heard by nobody, so that the real one finds the caches warm.

Problem: between two cycles other processes use the core. What a step touches, a few hundred kilobytes of code and
objects, is then no longer in the caches, and the same step takes twice as long.

Idea: a second engine of the same site plays the coming step on the last frame, shortly before it is due. It shares with the real
one only what never changes: code, controllers' parameters, the frame. Its controllers, its solver and all memory are its own, and
its results go nowhere. So a rehearsal has no effect by construction; what of it may differ from the real step, like the state of
a controller, costs a little warmth and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from .commands import Write
from .controller import Now
from .image import Image, blank_records
from .layout import CONTROL, Layout
from .output import Output


class Twin(Protocol):
    """What a rehearsal needs of an engine."""

    def imitate(self, other: Any) -> None:
        """Take over switches, parameters and wishes of another engine of the same site."""
        ...

    def step(self, image: Image, now: Now, writes: Sequence[Write], out: Output) -> None:
        """Decide one cycle."""
        ...


class Nowhere:
    """An output nobody reads."""

    def __init__(self, layout: Layout) -> None:
        self.records: NDArray[Any] = blank_records(layout.owner(CONTROL).count)

    def set_text(self, slot: int, text: str) -> None:
        """Not heard."""

    def event(self, kind: str, text: str, data: dict[str, Any]) -> None:
        """Not heard."""


class Rehearsal:
    """Rehearses the steps of `engine` with `twin`, another engine for the same layout that is used for nothing else."""

    def __init__(self, layout: Layout, engine: Twin, twin: Twin) -> None:
        self._engine, self._twin = engine, twin
        self._out = Nowhere(layout)

    def play(self, image: Image, now: Now) -> None:
        """Play the step that is due at `now` on the last frame."""
        self._twin.imitate(self._engine)
        self._twin.step(image, now, (), self._out)
