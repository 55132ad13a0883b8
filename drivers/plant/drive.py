"""How an inverter starts and stops: precharge, contactor, synchronisation; each takes its time, and may fail.

    Off --start--> Starting --start_s--> Running --stop--> Stopping --stop_s--> Off
                   Starting --stop-----> Stopping            a failing start stays in Starting
    any --trip--> Error --clear--> Off

A command is taken when it is written, as by most inverters; one that does not fit the state does nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Operation(IntEnum):
    """State of the inverter; the numbers stand in its register. Bit 1 is set while it is on the grid."""

    Off = 0
    Starting = 1
    Running = 2
    Stopping = 3
    Error = 4


START, STOP = 1, 2


@dataclass(slots=True)
class Drive:
    """Runs when the plant begins, as it was left. start_s, stop_s: how long it takes; failing: starts that will not succeed."""

    state: Operation = Operation.Running
    start_s: float = 3.0
    stop_s: float = 1.0
    failing: int = 0
    here_s: float = 0.0
    _fails: bool = False

    @property
    def runs(self) -> bool:
        """It follows its set-points."""
        return self.state is Operation.Running

    def command(self, value: float) -> None:
        """START or STOP; everything else is no command."""
        if value == START and self.state is Operation.Off:
            self._fails = self.failing > 0
            self.failing = max(self.failing - 1, 0)
            self._enter(Operation.Starting)
        elif value == STOP and self.state in (Operation.Starting, Operation.Running):
            self._enter(Operation.Stopping)

    def trip(self) -> None:
        """Something broke: off at once, and stays so until it is cleared."""
        self._enter(Operation.Error)

    def clear(self) -> None:
        """The error is cleared."""
        if self.state is Operation.Error:
            self._enter(Operation.Off)

    def step(self, real_s: float) -> None:
        """Time passes."""
        self.here_s += real_s
        if self.state is Operation.Starting and not self._fails and self.here_s >= self.start_s:
            self._enter(Operation.Running)
        elif self.state is Operation.Stopping and self.here_s >= self.stop_s:
            self._enter(Operation.Off)

    def _enter(self, state: Operation) -> None:
        self.state, self.here_s = state, 0.0
