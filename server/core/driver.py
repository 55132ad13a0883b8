"""What a driver sees of the runtime, and what a driver must offer.

A driver is a folder `drivers/<domain>/` with a `driver.py` that has two functions:

    def describe(alias: str, config: Config) -> tuple[ObjectSpec, ...]        pure: the objects this entry brings
    async def run(io: DriverIo, entries: Sequence[Entry]) -> None             until cancelled

and a `config.py` with `class Config(pydantic.BaseModel)`, the settings of an entry. A relative path among them lies in the
folder of the site, which validators find as `info.context["directory"]`.

`run` stages what it measures in `io.block.records` and publishes; it reads set-points from `io.setpoints`, applies those
whose lease holds, and takes its devices to their fail-safe set-point when a lease ends or when it is cancelled. It never decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from .layout import Layout, ObjectSpec


class Block(Protocol):
    """The slots of one owner, staged in private memory until published as a whole."""

    @property
    def records(self) -> NDArray[Any]:
        """SLOT records; index = slot - owner.first."""
        ...

    def publish(self) -> None:
        """Make the staged records the owner's newest bank."""
        ...

    def set_text(self, slot: int, text: str) -> None:
        """Set a string channel (at most 1000 bytes of UTF-8); its slot then holds a new revision."""
        ...


class SetpointSource(Protocol):
    """The set-points the engine asserts for one driver."""

    @property
    def wake_fd(self) -> int:
        """An eventfd that is rung when a set-point changed."""
        ...

    def read(self) -> NDArray[Any]:
        """A consistent copy of all SETPOINT records, indexed by `Channel.output`."""
        ...


class Clock(Protocol):
    """The control cycle's rhythm, on CLOCK_MONOTONIC, for polls that end just before the next freeze."""

    @property
    def cycle_ns(self) -> int:
        """Period of the control cycle."""
        ...

    def next_freeze_ns(self) -> int:
        """When the engine freezes the image next."""
        ...


class DriverIo(Protocol):
    """Everything a driver gets from the runtime."""

    name: str
    layout: Layout
    block: Block
    setpoints: SetpointSource
    clock: Clock

    def event(self, kind: str, text: str, **data: Any) -> None:
        """Report something a person should know: once when a device goes down, once when it is back."""
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """One configured entry of a driver: its alias, its validated configuration, and the objects `describe` made of it."""

    alias: str
    config: Any
    objects: tuple[ObjectSpec, ...]
