"""Memory ordering between processes, in one place.

Every shared structure here is "write the payload, then a word that says so" on one side and "read the word, copy the
payload, read the word again" on the other. That needs two orders to hold: stores stay in program order, and loads
stay in program order. Nothing here needs a store to be seen before a later load.

x86-64 keeps both orders by itself (Intel SDM vol. 3A, 8.2.2: loads are not reordered with loads, stores not with
stores). The exceptions are non-temporal and string stores inside `memcpy`; glibc closes the former with `sfence`, and
the latter are ordered before any later store (8.2.4). So `fence()` does nothing there.

ARM64 keeps neither. `fence()` there releases and takes again a lock that this process always holds: a store-release
followed by a load-acquire. Accesses before a release are observed before it, accesses after an acquire after it,
and a load-acquire is not reordered with an earlier store-release (Arm ARM, B2.3.7 "barrier-ordered-before": [L]; po; [A]),
so everything before `fence()` is ordered before everything after it. It needs no library, no machine code, no rights.
A machine of any other kind gets the same lock.

`tests/runtime/test_hammer.py` checks the claim on the machine at hand: real processes rewrite whole blocks as fast as they can
while others copy them and compare checksums.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Callable

_gate = threading.Lock()
_gate.acquire()


def _nothing() -> None:
    """Ordering is a property of the machine."""


def _release_then_acquire() -> None:
    """A full barrier made of a store-release and a load-acquire."""
    _gate.release()
    _gate.acquire()


def barrier_for(machine: str) -> Callable[[], None]:
    """The barrier that a machine (`platform.machine()`) needs between payload and word."""
    return _nothing if machine in ("x86_64", "AMD64", "i686") else _release_then_acquire


fence: Callable[[], None] = barrier_for(platform.machine())
"""Orders every load and store before the call with those after it, as far as this module's users need."""
