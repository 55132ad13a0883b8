"""How long a login must wait after failed ones: nothing at first, then twice as long each time.

Two counts, and the longer wait holds. One is of the name that was tried, whether there is such a user or not: guessing one
password is slow from however many places it is tried. The other is of the address: guessing many names from one place is slow
too. Nobody is locked out for ever, so that nobody can lock others out for ever. An address of this machine is not counted:
the panel logs everybody in from there, and counts browsers itself.

Both memories are bounded; the counts that were idle longest are forgotten.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from . import limits


@dataclass(frozen=True, slots=True)
class Pace:
    """after: failures in a row after which one must wait; first_s: the first wait; most_s: the longest."""

    after: int
    first_s: float
    most_s: float

    def wait_s(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row."""
        beyond = failures - self.after
        return 0.0 if beyond < 0 else min(self.first_s * 2.0 ** min(beyond, 32), self.most_s)


OF_NAME: Final = Pace(limits.LOGIN_FAILURES_OF_NAME, limits.LOGIN_BACKOFF_FIRST_S, limits.LOGIN_BACKOFF_MAX_S)
OF_ADDRESS: Final = Pace(limits.LOGIN_FAILURES_OF_ADDRESS, limits.LOGIN_BACKOFF_FIRST_S, limits.LOGIN_BACKOFF_MAX_S)

Key = tuple[Pace, str]


class LoginBackoff:
    """Counts failed logins. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._failed: OrderedDict[Key, tuple[int, float]] = OrderedDict()

    def wait_s(self, name: str, address: str, now: float) -> float:
        """Seconds until a login may be tried; 0 when it may."""
        return max(0.0, *(self._failed.get(key, (0, now))[1] - now for key in _keys(name, address)))

    def failed(self, name: str, address: str, now: float) -> None:
        """A login failed."""
        for key in _keys(name, address):
            failures = self._failed.pop(key, (0, 0.0))[0] + 1
            self._failed[key] = (failures, now + key[0].wait_s(failures))
        while len(self._failed) > limits.LOGIN_BACKOFFS_KEPT:
            self._failed.popitem(last=False)

    def succeeded(self, name: str) -> None:
        """A login succeeded; earlier failures of the name are forgotten, those of the address are not."""
        self._failed.pop((OF_NAME, name), None)

    def locked(self, name: str, now: float) -> bool:
        """True while nobody may try this name."""
        return self._failed.get((OF_NAME, name), (0, now))[1] > now


def _keys(name: str, address: str) -> Iterator[Key]:
    yield OF_NAME, name
    if not _is_this_machine(address):
        yield OF_ADDRESS, address


def _is_this_machine(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == ""
