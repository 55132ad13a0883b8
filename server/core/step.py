"""One step of the control engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

from .controller import Controller, Now
from .image import Image
from .layout import Layout
from .site import SiteSettings
from .topology import Topology

__all__ = ["Engine", "Guard", "Now", "Output", "OverBudget", "Write"]


class OverBudget(BaseException):
    """Raised by the guard inside a controller that takes too long. Not an Exception, so that no controller swallows it."""


class Write(NamedTuple):
    """A value a client wants written: the slot, the value in SI, the index of the user."""

    slot: int
    value: float
    user: int


class Output(Protocol):
    """Where a step leaves its results: the staged records of control's block (index = slot - first)."""

    @property
    def records(self) -> NDArray[Any]: ...

    def set_text(self, slot: int, text: str) -> None: ...

    def event(self, kind: str, text: str, data: dict[str, Any]) -> None: ...


class Guard(Protocol):
    """The runtime's clock and its alarm against controllers that loop."""

    def clock_ns(self) -> int:
        """Time for measuring durations."""
        ...

    def arm(self, seconds: float) -> None:
        """Raise OverBudget in this thread after so long, once, unless disarmed before."""
        ...

    def disarm(self) -> None:
        """Raise nothing from now on."""
        ...


class Engine:
    """The control engine of one site."""

    def __init__(self, layout: Layout, site: SiteSettings, classes: Mapping[str, type[Controller]], guard: Guard) -> None:
        self.topology = Topology(layout, site)
        self.guard = guard

    def step(self, image: Image, now: Now, writes: Sequence[Write], out: Output) -> None:
        """Decide one cycle."""

    def state(self) -> dict[str, Any]:
        """What must survive a restart, as JSON."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave."""
