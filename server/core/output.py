"""Where a step of the engine leaves its results."""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import NDArray


class Output(Protocol):
    """The runtime's side of a step's results."""

    @property
    def records(self) -> NDArray[Any]:
        """The staged SLOT records of control's block; index = slot - first."""
        ...

    def set_text(self, slot: int, text: str) -> None:
        """Set a string channel."""
        ...

    def event(self, kind: str, text: str, data: dict[str, Any]) -> None:
        """Something to be journaled."""
        ...
