"""Ports for servers under test."""

from __future__ import annotations

import socket
from contextlib import ExitStack


def free_port() -> int:
    """A TCP port nobody listens on now."""
    return free_ports(1).start


def free_ports(count: int) -> range:
    """TCP ports in a row nobody listens on now."""
    while True:
        with ExitStack() as stack:
            first = 0
            try:
                for i in range(count):
                    probe = stack.enter_context(socket.socket())
                    probe.bind(("127.0.0.1", first + i if first else 0))
                    first = first or int(probe.getsockname()[1])
            except (OSError, OverflowError):
                continue
            return range(first, first + count)
