"""Emergency stops at digital inputs: a push-button that opens its contact, or the relay of a safety circuit.

REQ-SAFE-034: an input that is Bad for a while counts as pressed, and one that was never heard is waited for. A contact is
normally closed unless it is said to be otherwise, so that a broken wire is a pressed button.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import ConfigError
from .image import Image
from .reference import ChannelRef
from .site import StopInput
from .topology import Topology


@dataclass(slots=True)
class _Input:
    """An input and how it is. ref: None when the site has no such channel. bad_s: how long it has been Bad."""

    setting: StopInput
    ref: ChannelRef | None
    heard: bool = False
    bad_s: float = 0.0

    def step(self, image: Image, dt_s: float) -> str:
        """Why it counts as pressed, or nothing."""
        closed = None if self.ref is None else self.ref.is_on(image)
        if closed is None:
            self.bad_s += dt_s
            lost = self.heard and self.bad_s > self.setting.bad_after_s
            return f"{self.setting.channel} is not heard" if lost else ""
        self.heard, self.bad_s = True, 0.0
        return "" if closed is self.setting.normally_closed else f"{self.setting.channel} is pressed"


class StopInputs:
    """The inputs of a site. problems: of those that lead nowhere, which are waited for all the same."""

    def __init__(self, topology: Topology) -> None:
        self.problems: list[ConfigError] = []
        self._inputs = [self._bound(number, s, topology) for number, s in enumerate(topology.site.emergency_stops)]

    def _bound(self, number: int, setting: StopInput, topology: Topology) -> _Input:
        try:
            return _Input(setting, ChannelRef.bind(setting.channel, topology, f"emergency_stop[{number}].channel"))
        except ConfigError as error:
            self.problems.append(error)
            return _Input(setting, None)

    def __bool__(self) -> bool:
        return bool(self._inputs)

    @property
    def waiting(self) -> str:
        """The inputs that were never heard, in words; empty when all were."""
        missing = [i.setting.channel for i in self._inputs if not i.heard]
        return f"{' and '.join(missing)} to be heard, where the emergency stop is" if missing else ""

    def step(self, image: Image, dt_s: float) -> str:
        """Why the site must stand still now, or nothing."""
        return ", ".join(filter(None, [i.step(image, dt_s) for i in self._inputs]))
