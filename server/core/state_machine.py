"""States of the site and of devices, as transition tables with guards; docs and the OPC UA state machine are drawn from them.

The first row whose guard holds is taken; one transition a step. Guards are pure functions of what is seen now, so a table can be
tested row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Generic, TypeVar

from .natures import SiteMode

State = TypeVar("State", bound=IntEnum)
Seen = TypeVar("Seen")


@dataclass(frozen=True, slots=True)
class Transition(Generic[State, Seen]):
    """From one state (None: from any other) to another while the guard holds; `why` in words."""

    source: State | None
    target: State
    guard: Callable[[Seen], bool]
    why: str


def follow(table: Sequence[Transition[State, Seen]], state: State, seen: Seen) -> tuple[State, str]:
    """The next state, and why; the same state and "" when no guard holds."""
    for row in table:
        if (row.source is state or (row.source is None and row.target is not state)) and row.guard(seen):
            return row.target, row.why
    return state, ""


@dataclass(frozen=True, slots=True)
class SiteSeen:
    """What the site's state depends on. wish: the operator's mode. tripped: any trip is active. usable: the grid meter (where
    one is configured) and at least one unit are measured. lost_s: how long they are not. off_grid: a storage forms the grid."""

    wish: SiteMode
    tripped: bool
    usable: bool
    lost_s: float
    off_grid: bool


LOST_S: Final = 30.0
"""A running site whose meter or units stay unmeasured this long goes back to Init."""

Mode = SiteMode

SITE: Final[tuple[Transition[SiteMode, SiteSeen], ...]] = (
    Transition(None, Mode.Fault, lambda s: s.tripped, "a trip is active"),
    Transition(Mode.Fault, Mode.Init, lambda s: not s.tripped, "the trip was reset"),
    Transition(None, Mode.Shutdown, lambda s: s.wish is Mode.Shutdown and not s.tripped, "shutdown is wished"),
    Transition(Mode.Shutdown, Mode.Init, lambda s: s.wish is not Mode.Shutdown, "operation is wished"),
    Transition(Mode.Init, Mode.Standby, lambda s: s.wish is Mode.Standby, "standby is wished"),
    Transition(Mode.Init, Mode.Run, lambda s: s.usable, "meter and units are measured"),
    Transition(Mode.Standby, Mode.Init, lambda s: s.wish is not Mode.Standby, "operation is wished"),
    Transition(Mode.Run, Mode.Standby, lambda s: s.wish is Mode.Standby, "standby is wished"),
    Transition(Mode.Run, Mode.Island, lambda s: s.off_grid, "a storage forms the grid"),
    Transition(Mode.Run, Mode.Init, lambda s: s.lost_s > LOST_S, "the meter or all units are lost"),
    Transition(Mode.Island, Mode.Standby, lambda s: s.wish is Mode.Standby, "standby is wished"),
    Transition(Mode.Island, Mode.Run, lambda s: not s.off_grid, "the grid is back"),
)
"""The site. Fault and Shutdown first: they are reached from every state."""

WISHES: Final = frozenset({Mode.Standby, Mode.Run, Mode.Shutdown})
"""Modes that a person may wish; the others come about."""


class DeviceMode(IntEnum):
    """State of a device that is started and stopped."""

    Stopped = 0
    Starting = 1
    Running = 2
    Stopping = 3
    Failed = 4


@dataclass(frozen=True, slots=True)
class DeviceSeen:
    """What a device's state depends on. wanted: it shall run. running: it says it runs. here_s: time in the present state.
    start_s, stop_s: longest time to start and to stop. reset: its failure was acknowledged."""

    wanted: bool
    running: bool
    here_s: float
    start_s: float
    stop_s: float
    reset: bool = False


DEVICE: Final[tuple[Transition[DeviceMode, DeviceSeen], ...]] = (
    Transition(DeviceMode.Stopped, DeviceMode.Starting, lambda d: d.wanted and not d.running, "it is wanted"),
    Transition(DeviceMode.Stopped, DeviceMode.Running, lambda d: d.wanted and d.running, "it runs already"),
    Transition(DeviceMode.Stopped, DeviceMode.Stopping, lambda d: d.running, "it runs and is not wanted"),
    Transition(DeviceMode.Starting, DeviceMode.Stopping, lambda d: not d.wanted, "it is not wanted any more"),
    Transition(DeviceMode.Starting, DeviceMode.Running, lambda d: d.running, "it runs"),
    Transition(DeviceMode.Starting, DeviceMode.Failed, lambda d: d.here_s > d.start_s, "it did not start in time"),
    Transition(DeviceMode.Running, DeviceMode.Stopping, lambda d: not d.wanted, "it is not wanted any more"),
    Transition(DeviceMode.Running, DeviceMode.Failed, lambda d: not d.running, "it stopped by itself"),
    Transition(DeviceMode.Stopping, DeviceMode.Stopped, lambda d: not d.running, "it stands"),
    Transition(DeviceMode.Stopping, DeviceMode.Failed, lambda d: d.here_s > d.stop_s, "it did not stop in time"),
    Transition(DeviceMode.Failed, DeviceMode.Stopped, lambda d: d.reset, "its failure was acknowledged"),
)
"""A device that is started and stopped, with timeouts."""
