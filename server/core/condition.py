"""The life of one alarm as Part 9 of OPC UA has it: active, acknowledged, confirmed, shelved, suppressed, out of use. Pure.

                 ┌────────── comes ──────────┐
    normal, acknowledged                active, unacknowledged ── Acknowledge ──► active, acknowledged
                 └──── Acknowledge ◄──── normal, unacknowledged ◄── goes ──┘             │
                                                                                  goes ──► normal, acknowledged

A condition is *retained*, that is of interest to an operator, while it is active, unacknowledged, unconfirmed or latched.
Methods change the state or raise `ConditionError` with the name of the StatusCode that Part 9 gives for the case.
Times are 100 ns ticks since 1601 UTC, 0 for never.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from enum import IntEnum
from typing import Any, Final

from .alarms import NORMAL, AlarmSpec
from .errors import EmsError
from .status import GOOD
from .ticks import TICKS

SHELVED_S_MAX: Final = 7 * 86_400.0
"""Longest time an alarm may be shelved for."""
EVENTS_KEPT: Final = 16
"""Event ids of one condition by which it may be acknowledged or commented."""


class ConditionError(EmsError):
    """A condition cannot do what was asked. status: name of the StatusCode."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


class Shelving(IntEnum):
    """Whether an operator put the alarm aside."""

    Unshelved = 0
    TimedShelved = 1
    OneShotShelved = 2


@dataclass(slots=True)
class Remark:
    """What somebody said about a condition."""

    text: str = ""
    user: str = ""
    time: int = 0


@dataclass(slots=True)
class Moments:
    """When each part of the state last changed."""

    enabled: int = 0
    active: int = 0
    acked: int = 0
    confirmed: int = 0
    latched: int = 0
    suppressed: int = 0
    shelved: int = 0
    severity: int = 0


@dataclass(slots=True)
class Condition:
    """One alarm with its state.

    zone: 0 while normal; it stays that of the last alarm's words when the alarm is gone. time: of the last change.
    active_since: when the alarm came, 0 while normal. suppressed: by its group; withheld: by an operator.
    severity: of the present or last zone. event_ids: of the notifications of this alarm, newest last.
    """

    spec: AlarmSpec
    enabled: bool = True
    zone: int = NORMAL
    acked: bool = True
    confirmed: bool = True
    latched: bool = False
    suppressed: bool = False
    withheld: bool = False
    shelving: Shelving = Shelving.Unshelved
    shelved_until: int = 0
    severity: int = 0
    last_severity: int = 0
    message: str = "Normal"
    status: int = GOOD
    time: int = 0
    active_since: int = 0
    remark: Remark = field(default_factory=Remark)
    moments: Moments = field(default_factory=Moments)
    event_ids: list[bytes] = field(default_factory=list)

    @property
    def active(self) -> bool:
        """True while the watched value is not normal."""
        return self.zone != NORMAL

    @property
    def retain(self) -> bool:
        """True while the condition is of interest to an operator."""
        return self.enabled and (self.active or not self.acked or not self.confirmed or self.latched)

    @property
    def aside(self) -> bool:
        """SuppressedOrShelved: not to be shown among the alarms that want attention."""
        return self.suppressed or self.withheld or self.shelving is not Shelving.Unshelved

    # The watched value.

    def turn(self, zone: int, message: str, time: int) -> None:
        """The watched value is in another zone now. message: in an operator's words."""
        came, went = not self.active and zone != NORMAL, self.active and zone == NORMAL
        self.zone, self.message, self.time = zone, message, time
        if zone != NORMAL:
            self._set_severity(self.spec.zones[zone].severity, time)
        if came:
            self._come(time)
        if went:
            self._go(time)

    def _set_severity(self, severity: int, time: int) -> None:
        if severity != self.severity:
            self.last_severity, self.severity, self.moments.severity = self.severity, severity, time

    def _come(self, time: int) -> None:
        self.active_since = self.moments.active = time
        self.acked, self.moments.acked = False, time
        self.event_ids.clear()
        if self.spec.confirm:
            self.confirmed, self.moments.confirmed = False, time
        if self.spec.latch:
            self.latched, self.moments.latched = True, time

    def _go(self, time: int) -> None:
        self.active_since, self.moments.active = 0, time
        if self.shelving is Shelving.OneShotShelved:
            self._shelve(Shelving.Unshelved, 0, time)

    def announced(self, event_id: bytes) -> None:
        """A notification with this id told the state."""
        self.event_ids.append(event_id)
        del self.event_ids[:-EVENTS_KEPT]

    @property
    def event_id(self) -> bytes:
        """Id of the newest notification, empty before the first."""
        return self.event_ids[-1] if self.event_ids else b""

    # What operators do.

    def acknowledge(self, event_id: bytes, remark: Remark) -> None:
        """Somebody takes note of the alarm."""
        self._check_known(event_id)
        if self.acked:
            raise ConditionError("BadConditionBranchAlreadyAcked")
        self.acked, self.moments.acked = True, remark.time
        self._say(remark)

    def confirm(self, event_id: bytes, remark: Remark) -> None:
        """Somebody says that what was to be done is done."""
        self._check_known(event_id)
        if self.confirmed:
            raise ConditionError("BadConditionBranchAlreadyConfirmed")
        if not self.acked:
            raise ConditionError("BadInvalidState")
        self.confirmed, self.moments.confirmed = True, remark.time
        self._say(remark)

    def comment(self, event_id: bytes, remark: Remark) -> None:
        """Somebody says something."""
        self._check_known(event_id)
        self._say(remark, keep=False)

    def enable(self, time: int) -> None:
        """Take the alarm into use."""
        if self.enabled:
            raise ConditionError("BadConditionAlreadyEnabled")
        self.enabled, self.moments.enabled, self.time = True, time, time

    def disable(self, time: int) -> None:
        """Take the alarm out of use: it tells nothing until it is enabled."""
        if not self.enabled:
            raise ConditionError("BadConditionAlreadyDisabled")
        self.enabled, self.moments.enabled, self.time = False, time, time

    def shelve(self, time: int, duration_s: float | None = None) -> None:
        """Put the alarm aside for a while; None: until it has gone, or for the longest time there is."""
        self._check_enabled()
        wanted = Shelving.OneShotShelved if duration_s is None else Shelving.TimedShelved
        if self.shelving is wanted is Shelving.OneShotShelved:
            raise ConditionError("BadConditionAlreadyShelved")
        if duration_s is not None and not 0 < duration_s <= SHELVED_S_MAX:
            raise ConditionError("BadShelvingTimeOutOfRange")
        length_s = SHELVED_S_MAX if duration_s is None else duration_s
        self._shelve(wanted, time + round(length_s * TICKS), time)

    def unshelve(self, time: int) -> None:
        """Take the alarm back."""
        self._check_enabled()
        if self.shelving is Shelving.Unshelved:
            raise ConditionError("BadConditionNotShelved")
        self._shelve(Shelving.Unshelved, 0, time)

    def expire(self, now: int) -> bool:
        """End the shelving whose time is over; True when it did."""
        over = self.shelving is not Shelving.Unshelved and now >= self.shelved_until
        if over:
            self._shelve(Shelving.Unshelved, 0, now)
        return over

    def withhold(self, withheld: bool, time: int) -> None:
        """Suppress the alarm, or end that, on behalf of a system or an operator."""
        self._check_enabled()
        if withheld == self.withheld:
            raise ConditionError("BadInvalidState")
        self.withheld, self.moments.suppressed, self.time = withheld, time, time

    def reset(self, time: int) -> None:
        """Let go of a latched alarm that is over and taken note of."""
        self._check_enabled()
        if not self.latched or self.active or not self.acked or not self.confirmed:
            raise ConditionError("BadInvalidState")
        self.latched, self.moments.latched, self.time = False, time, time

    def suppress(self, suppressed: bool, time: int) -> bool:
        """The group's alarm tells enough, or no longer does; True when that is new."""
        if suppressed == self.suppressed:
            return False
        self.suppressed, self.moments.suppressed, self.time = suppressed, time, time
        return True

    def _shelve(self, shelving: Shelving, until: int, time: int) -> None:
        self.shelving, self.shelved_until, self.moments.shelved, self.time = shelving, until, time, time

    def _say(self, remark: Remark, keep: bool = True) -> None:
        """Note a remark; an empty one given with another action leaves the last comment and takes over who it was."""
        text = remark.text or (self.remark.text if keep else "")
        self.remark = Remark(text, remark.user, remark.time)
        self.time = remark.time

    def _check_enabled(self) -> None:
        if not self.enabled:
            raise ConditionError("BadConditionDisabled")

    def _check_known(self, event_id: bytes) -> None:
        self._check_enabled()
        if event_id not in self.event_ids:
            raise ConditionError("BadEventIdUnknown")

    # What survives a restart.

    def dump(self) -> dict[str, Any]:
        """The state as JSON can hold it, without the declaration."""
        kept: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "spec"}
        return kept | {
            "remark": asdict(self.remark),
            "moments": asdict(self.moments),
            "event_ids": [event_id.hex() for event_id in self.event_ids],
        }

    def load(self, kept: dict[str, Any]) -> None:
        """Take a state over. ValueError, TypeError or KeyError when it is none of ours."""
        values = {name: _READ.get(name, type(getattr(self, name)))(value) for name, value in kept.items()}
        zone = values.get("zone", NORMAL)
        if zone != NORMAL and zone not in self.spec.zones:
            raise ValueError(f"{self.spec.node} has no zone {zone}")
        for name, value in values.items():
            setattr(self, name, value)


_READ: Final[dict[str, Callable[[Any], Any]]] = {
    "shelving": Shelving,
    "remark": lambda kept: Remark(**kept),
    "moments": lambda kept: Moments(**kept),
    "event_ids": lambda kept: [bytes.fromhex(each) for each in kept],
}
