"""Ports for servers under test, none given twice by a process, and none the kernel gives to clients that connect meanwhile.

Workers that share the tests of a run have ports of their own."""

from __future__ import annotations

import os
import random
import socket
from contextlib import ExitStack

FIRST, END = 10_240, 32_768
"""Below the ports that outgoing connections take by default."""
if WORKER := os.environ.get("PYTEST_XDIST_WORKER"):
    SHARE = (END - FIRST) // 8
    FIRST += int(WORKER.removeprefix("gw")) % 8 * SHARE
    END = FIRST + SHARE

_given: set[int] = set()


def free_port() -> int:
    """A TCP port nobody listens on now."""
    return free_ports(1).start


def free_ports(count: int) -> range:
    """TCP ports in a row nobody listens on now."""
    dice = random.SystemRandom()
    while True:
        first = dice.randrange(FIRST, END - count)
        found = range(first, first + count)
        with ExitStack() as stack:
            try:
                for port in found:
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
        if _given.isdisjoint(found):
            _given.update(found)
            return found
