"""TCP ports that are wanted, and the claims on them that keep two sites which start at once from taking the same.

Between finding a port free and listening on it lie seconds. A claim covers them: an abstract Unix socket named after the port. It
belongs to the same network namespace as the port, nobody else can have it meanwhile, and the kernel takes it back
however its owner ends.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable
from types import TracebackType
from typing import Final, Self

LOOPBACK: Final = "127.0.0.1"


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """True when nobody listens on the port."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


class PortClaims:
    """Ports this process has claimed; given back with the end of the context."""

    def __init__(self) -> None:
        self._held: dict[int, socket.socket] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for claim in self._held.values():
            claim.close()
        self._held.clear()

    def take(self, port: int, host: str = LOOPBACK) -> bool:
        """Claim a port; False when somebody listens there or has claimed it."""
        return self.take_all([port], host)

    def take_all(self, ports: Iterable[int], host: str = LOOPBACK) -> bool:
        """Claim all of these ports, or none of them and False."""
        with contextlib.ExitStack() as begun:
            claims: dict[int, socket.socket] = {}
            for port in ports:
                if not is_free(port, host):
                    return False
                if port not in self._held:
                    claims[port] = begun.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
                    try:
                        claims[port].bind(f"\0unified-ems-port-{port}")
                    except OSError:
                        return False
            begun.pop_all()
        self._held |= claims
        return True
