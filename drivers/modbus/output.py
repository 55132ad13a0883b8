"""When a set-point is written: a pure decision, one per set-point.

The engine asserts a value under a lease. While the lease holds, the value is written when it left the deadband and the
shortest interval has passed, and again when the device's watchdog wants to hear from us. When the lease ends, the fail-safe
value is written once, at once, and then held: the device's own watchdog is left to expire, because nobody steers any more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .codec import quantise
from .profile import Setpoint, quantity_limits

_RETRY_FIRST_NS = 500_000_000
_RETRY_MAX_NS = 10_000_000_000
_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Write:
    """A value to write, in the channel's unit. urgent: may not wait for the write budget."""

    value: float
    urgent: bool


class Budget:
    """Writes left for a device: refills evenly, holds at most one minute's worth (memory of devices wears)."""

    def __init__(self, per_minute: float, now_ns: int) -> None:
        self._rate = per_minute / 60.0 / _NS
        self._most = max(per_minute, 1.0)
        self._left = self._most
        self._at_ns = now_ns

    def has(self, now_ns: int) -> bool:
        """There is one write left."""
        self._left = min(self._left + (now_ns - self._at_ns) * self._rate, self._most)
        self._at_ns = now_ns
        return self._left >= 1.0

    def take(self) -> None:
        """Count a write; urgent ones may overdraw by a minute's worth at most."""
        self._left = max(self._left - 1.0, -self._most)


class Output:
    """One set-point of one device. index: its record in the driver's set-point block."""

    def __init__(self, setpoint: Setpoint, index: int, watchdog_s: float | None) -> None:
        self.setpoint = setpoint
        self.index = index
        refresh = setpoint.refresh_s if setpoint.refresh_s is not None else (watchdog_s or 0.0) / 3.0
        self._refresh_ns = int(refresh * _NS)
        self._interval_ns = int(setpoint.min_interval_s * _NS)
        self._low, self._high = quantity_limits(setpoint)
        self._held: float | None = None
        self._held_asserted = False
        self._written_ns = 0
        self._failed: float | None = None
        self._failures = 0
        self._retry_ns = 0

    @property
    def held(self) -> float | None:
        """What the device holds as far as we know; None when we do not."""
        return self._held

    def wanted(self, now_ns: int, value: float, lease_ns: int) -> tuple[float, bool]:
        """(what the device should hold, whether the engine asserts it). REQ-SAFE-022: without a lease it is the fail-safe."""
        if lease_ns > now_ns and math.isfinite(value):
            return quantise(self.setpoint, min(max(value, self._low), self._high)), True
        return self.setpoint.fail_safe, False

    def due(self, now_ns: int, value: float, lease_ns: int) -> Write | None:
        """The write that is due now, if any."""
        wanted, asserted = self.wanted(now_ns, value, lease_ns)
        if self._failed == wanted and now_ns < self._retry_ns:
            return None
        if self._held is None:
            return Write(wanted, urgent=not asserted or not self._failures)
        if not asserted:
            return Write(wanted, urgent=True) if self._held != wanted else None
        age = now_ns - self._written_ns
        if self._moved(wanted) and (age >= self._interval_ns or not self._held_asserted):
            return Write(wanted, urgent=False)
        if self._refresh_ns and age >= self._refresh_ns:
            return Write(wanted, urgent=False)
        return None

    def _moved(self, wanted: float) -> bool:
        """The value left the deadband; zero and the ends of the range are always reached exactly."""
        if wanted == self._held or self._held is None:
            return False
        exact = wanted in (0.0, self._low, self._high)
        return exact or abs(wanted - self._held) > self.setpoint.deadband

    def sent(self) -> None:
        """A value is on its way: until there is an answer, who stops now does not know what the device holds."""
        self._held = None

    def done(self, now_ns: int, value: float, asserted: bool) -> None:
        """The device took the value."""
        self._held, self._held_asserted, self._written_ns = value, asserted, now_ns
        self._failed, self._failures = None, 0

    def failed(self, now_ns: int, value: float) -> None:
        """The device refused the value or holds another one: try again later, or at once with another value."""
        self._held, self._failed = None, value
        self._retry_ns = now_ns + min(_RETRY_FIRST_NS << min(self._failures, 5), _RETRY_MAX_NS)
        self._failures += 1

    def forget(self) -> None:
        """The device was away; what it holds is unknown."""
        self._held = None
        self._failed, self._failures = None, 0
