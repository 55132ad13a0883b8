"""How long a login must wait after failed ones.

Two counts, and the longer wait holds. One is of the name that was tried, whether there is such a user or not: guessing one
password is slow from however many places it is tried. The other is of the address: guessing many names from one place is slow
too, and one good login in between does not help. Nobody is locked out for ever, so that nobody can lock others out for ever.
An address of this machine is not counted: the panel logs everybody in from there, and counts browsers itself.
"""

from __future__ import annotations

import ipaddress

from server.core.pace import Failures, Pace

from . import limits


class LoginBackoff:
    """Counts failed logins. Times are monotonic seconds."""

    def __init__(self) -> None:
        first_s, most_s = limits.LOGIN_BACKOFF_FIRST_S, limits.LOGIN_BACKOFF_MAX_S
        self._names = Failures(Pace(limits.LOGIN_FAILURES_OF_NAME, first_s, most_s), limits.LOGIN_BACKOFFS_KEPT)
        self._addresses = Failures(Pace(limits.LOGIN_FAILURES_OF_ADDRESS, first_s, most_s), limits.LOGIN_BACKOFFS_KEPT)

    def __len__(self) -> int:
        return len(self._names) + len(self._addresses)

    def wait_s(self, name: str, address: str, now: float) -> float:
        """Seconds until a login may be tried; 0 when it may."""
        return max(self._names.wait_s(name, now), self._addresses.wait_s(address, now))

    def failed(self, name: str, address: str, now: float) -> None:
        """A login failed."""
        self._names.failed(name, now)
        if not _is_this_machine(address):
            self._addresses.failed(address, now)

    def succeeded(self, name: str) -> None:
        """A login succeeded; earlier failures of the name are forgotten."""
        self._names.succeeded(name)

    def locked(self, name: str, now: float) -> bool:
        """True while nobody may try this name."""
        return self._names.wait_s(name, now) > 0.0


def _is_this_machine(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == ""
