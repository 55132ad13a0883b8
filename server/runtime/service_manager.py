"""What systemd is told (sd_notify): that the site is up, how it is, and that control ends cycles.

The watchdog is a deadman's handle on control itself: it is stroked only when control has completed a cycle since the last
stroke. So neither a supervisor that hangs nor one that cannot bring control back goes unnoticed; systemd then ends the whole
site, its devices go to fail-safe, and it is started anew. Without systemd (no NOTIFY_SOCKET) all of this does nothing.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, MutableMapping
from typing import Final

_STROKES_PER_TIMEOUT: Final = 4


class ServiceManager:
    """The way to the service manager. environment: where it says how to reach it; the variables are taken out of it.

    They are for this process alone: a child must not speak for the site.
    """

    def __init__(self, environment: MutableMapping[str, str] = os.environ, clock: Callable[[], float] = time.monotonic) -> None:
        self._address = environment.pop("NOTIFY_SOCKET", "")
        timeout_s = int(environment.pop("WATCHDOG_USEC", "0") or 0) * 1e-6
        meant = environment.pop("WATCHDOG_PID", "") in ("", str(os.getpid()))
        self._every_s = timeout_s / _STROKES_PER_TIMEOUT if meant else 0.0
        self._clock = clock
        self._due = 0.0
        self._heartbeat = 0
        self._told = ""

    def ready(self) -> None:
        """Everything listens."""
        self._send("READY=1")

    def stopping(self) -> None:
        """The site is being ended."""
        self._send("STOPPING=1")

    def tell(self, text: str) -> None:
        """One line for `systemctl status`; sent when it changes."""
        if text != self._told:
            self._told = text
            self._send(f"STATUS={text}")

    def stroke(self, heartbeat: int) -> None:
        """Feed the watchdog if control has completed a cycle since (REQ-SAFE-024). heartbeat: when it did, CLOCK_MONOTONIC ns."""
        if not self._every_s or heartbeat == self._heartbeat or self._clock() < self._due:
            return
        self._heartbeat = heartbeat
        self._due = self._clock() + self._every_s
        self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as peer, contextlib.suppress(OSError):
            peer.setblocking(False)
            peer.sendto(message.encode(), address)
