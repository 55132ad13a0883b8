"""The rows that site and host exchange, and how both number what control decides on.

Numbers are positions in `decided`: all channels of control but its own figures, by name. So they do not depend on where a value
lies in either image; that both mean the same is made sure by the digest of the site's description, sent with each exchange.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.core.layout import CONTROL, CYCLE, DEVICE, PROCESS, Channel, Layout

BRIDGE: Final = "bridge"
"""The object of the two methods, the host's process, and the owner of all devices there."""
DESCRIBE: Final = "Describe"
EXCHANGE: Final = "Exchange"

SETPOINT_ROW: Final = np.dtype([("index", "<u4"), ("lease_ms", "<u4"), ("value", "<f8")])
"""A set-point: the value, and for how long from its arrival it holds; 0 ends it."""
VALUE_ROW: Final = np.dtype([("index", "<u4"), ("status", "<u4"), ("value", "<f8")])
"""Another result of control: a sum, a controller's state, a parameter."""
WRITE_ROW: Final = np.dtype([("number", "<u8"), ("index", "<u4"), ("user", "<u4"), ("value", "<f8")])
"""What a client wrote at the site, and by which number it is heard. Index TOGETHER says that so many rows after it, of the same
number, count together or not at all."""
_WRITE: Final = struct.Struct("<QIId")

LEASE_MS_MAX: Final = 10_000
"""Longest lease of a set-point that a site takes."""


class Heard(NamedTuple):
    """Up to which number the host found room for what waits at the site; 0 before the first. Each of the three is heard by
    itself: none waits for another. urgent: stops and resets of the site; writes: all others; proposals: of controllers."""

    urgent: int = 0
    writes: int = 0
    proposals: int = 0


def write_row(number: int, index: int, user: int, value: float) -> bytes:
    """A WRITE_ROW."""
    return _WRITE.pack(number, index, user, value)


def decided(layout: Layout) -> list[tuple[Channel, int]]:
    """What control decides on, in the order of the rows' numbers: the channel and the slot of each value."""
    kinds = {o.alias: o.kind for o in layout.objects}
    found = [c for c in layout.channels if c.owner == CONTROL and kinds[c.alias] not in (CYCLE, PROCESS)]
    return [(c, c.slot + i) for c in sorted(found, key=lambda c: c.node) for i in range(c.length)]


def measured(layout: Layout) -> list[Channel]:
    """What devices measure, and their drivers tell."""
    kinds = {o.alias: o.kind for o in layout.objects}
    return [c for c in layout.channels if c.owner != CONTROL and kinds[c.alias] == DEVICE]


# One exchange on its way from the site's server to its receiver.

_HEADER: Final = struct.Struct("<qII")
Texts = Sequence[tuple[int, str]]


def pack(arrived_ns: int, setpoints: bytes, values: bytes, texts: Texts) -> bytes:
    """A record of SETPOINT_ROWs, VALUE_ROWs, and texts by row number. arrived_ns: CLOCK_MONOTONIC."""
    return _HEADER.pack(arrived_ns, len(setpoints), len(values)) + setpoints + values + json.dumps(texts).encode()


def unpack(record: bytes) -> tuple[int, NDArray[Any], NDArray[Any], Texts]:
    """What `pack` was given."""
    arrived_ns, first, second = _HEADER.unpack_from(record)
    body = record[_HEADER.size :]
    setpoints, values = body[:first], body[first : first + second]
    texts: Texts = json.loads(body[first + second :])
    return arrived_ns, np.frombuffer(setpoints, SETPOINT_ROW), np.frombuffer(values, VALUE_ROW), texts
