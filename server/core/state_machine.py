"""States of the site and of devices, as transition tables with guards; docs and the OPC UA state machine are drawn from them.

The first row whose guard holds is taken; one transition a step. Guards are pure functions of what is seen now, so a table can be
tested row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Generic, TypeVar

from .natures import OperatingState, SiteMode, StartStop

State = TypeVar("State", bound=IntEnum)
Seen = TypeVar("Seen")


@dataclass(frozen=True, slots=True)
class Transition(Generic[State, Seen]):
    """From one state (None: from any other) to another while the guard holds; `why` in words."""

    source: State | None
    target: State
    guard: Callable[[Seen], bool]
    why: str


def number_of(source: int, target: int) -> int:
    """Number of the transition between two states, in nodes and events."""
    return 10 * source + target


def states_of(number: int) -> tuple[int, int]:
    """From which state to which a numbered transition leads."""
    return divmod(number, 10)


def edges(table: Sequence[Transition[State, Seen]]) -> list[tuple[State, State]]:
    """From which states to which a table leads, each once, in the order of their numbers."""
    states = {row.target for row in table} | {row.source for row in table if row.source is not None}
    found = {
        (source, row.target)
        for row in table
        for source in (states if row.source is None else (row.source,))
        if source is not row.target
    }
    return sorted(found)


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


@dataclass(frozen=True, slots=True)
class DeviceSeen:
    """What a device's state depends on.

    wish: what is wished; Undefined leaves the device as it is. running, fault: what it says of itself. here_s: time in the
    present state. start_s, stop_s: longest time to start and to stop. retry: a failed start is tried again. acknowledged: an
    operator took note of the failure.
    """

    wish: StartStop
    running: bool
    fault: bool
    here_s: float
    start_s: float
    stop_s: float
    retry: bool
    acknowledged: bool = False


STAND_S: Final = 1.0
"""A command to stop stands at least so long before the next start, so that the device sees it."""

_S = OperatingState
_FAULT = "it is in fault"

DEVICE: Final[tuple[Transition[OperatingState, DeviceSeen], ...]] = (
    Transition(_S.Stopped, _S.Failed, lambda d: d.fault, _FAULT),
    Transition(_S.Stopped, _S.Stopping, lambda d: d.running and d.wish is StartStop.Stop, "it runs, and shall not"),
    Transition(_S.Stopped, _S.Running, lambda d: d.running, "it runs"),
    Transition(_S.Stopped, _S.Starting, lambda d: d.wish is StartStop.Start, "it shall run"),
    Transition(_S.Starting, _S.Failed, lambda d: d.fault, _FAULT),
    Transition(_S.Starting, _S.Stopping, lambda d: d.wish is StartStop.Stop, "it shall not run any more"),
    Transition(_S.Starting, _S.Running, lambda d: d.running, "it runs"),
    Transition(_S.Starting, _S.Stopping, lambda d: d.here_s > d.start_s and d.retry, "it did not start in time, is tried again"),
    Transition(_S.Starting, _S.Failed, lambda d: d.here_s > d.start_s, "it did not start in time"),
    Transition(_S.Running, _S.Failed, lambda d: d.fault, _FAULT),
    Transition(_S.Running, _S.Stopping, lambda d: d.wish is StartStop.Stop, "it shall not run any more"),
    Transition(_S.Running, _S.Stopped, lambda d: not d.running and d.wish is StartStop.Undefined, "it stopped by itself"),
    Transition(_S.Running, _S.Stopping, lambda d: not d.running and d.retry, "it stopped by itself, is started again"),
    Transition(_S.Running, _S.Failed, lambda d: not d.running, "it stopped by itself"),
    Transition(_S.Stopping, _S.Failed, lambda d: d.fault, _FAULT),
    Transition(_S.Stopping, _S.Stopped, lambda d: not d.running and d.here_s >= STAND_S, "it stands"),
    Transition(_S.Stopping, _S.Failed, lambda d: d.here_s > d.stop_s, "it did not stop in time"),
    Transition(_S.Failed, _S.Stopped, lambda d: d.acknowledged and not d.fault, "its failure was acknowledged"),
)
"""A device that is started and stopped. Its own fault, then what is wished, outrank all else."""


def command_of(state: OperatingState, wish: StartStop) -> StartStop | None:
    """What a device is told in a state; None leaves it alone."""
    if state in (_S.Stopping, _S.Failed):
        return StartStop.Stop
    if state is _S.Starting:
        return StartStop.Start
    return None if wish is StartStop.Undefined else wish
