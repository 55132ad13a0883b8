"""The driver's block as seen by one device: channels by name, written into the staging, published together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from server.core.driver import DriverIo
from server.core.status import GOOD
from server.core.ticks import from_unix_ns


def utc_ticks() -> int:
    """Wall clock, 100 ns since 1601-01-01 UTC."""
    return from_unix_ns(time.time_ns())


class Publisher:
    """Publishes the block once for everything that was staged in one turn of the event loop."""

    def __init__(self, io: DriverIo) -> None:
        self._block = io.block
        self._pending = False

    def changed(self) -> None:
        """Something was staged."""
        if not self._pending:
            self._pending = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Publish now."""
        self._pending = False
        self._block.publish()


class DeviceView:
    """Slots of one device."""

    def __init__(self, io: DriverIo, alias: str, publisher: Publisher) -> None:
        channels = [c for c in io.layout.channels_of(alias) if c.output < 0]
        self._index = {c.spec.name: c.slot - io.layout.owner(c.owner).first for c in channels}
        self._publisher = publisher
        records = io.block.records
        self._value: NDArray[np.float64] = records["value"]
        self._status: NDArray[np.uint32] = records["status"]
        self._source: NDArray[np.int64] = records["source"]
        self._arrival: NDArray[np.int64] = records["arrival"]

    def slots(self, names: Sequence[str], elements: Sequence[int] | None = None) -> NDArray[np.intp]:
        """Staging indices of channels, or of elements of array channels."""
        offsets = elements if elements is not None else [0] * len(names)
        return np.array([self._index[name] + n for name, n in zip(names, offsets, strict=True)], np.intp)

    def put(self, name: str, value: float, status: int = GOOD) -> None:
        """Set one channel as of now; without effect when the device does not have it or nothing would change."""
        slot = self._index.get(name)
        if slot is None or (self._value.item(slot) == value and self._status.item(slot) == status):
            return
        self.store(np.array([slot]), np.array([value]), np.array([status], np.uint32), utc_ticks(), time.monotonic_ns())

    def store(
        self, slots: NDArray[np.intp], values: NDArray[np.float64], status: NDArray[np.uint32], source: int, arrival: int
    ) -> None:
        """Set many channels. source: 100 ns since 1601; arrival: CLOCK_MONOTONIC ns."""
        self._value[slots] = values
        self._status[slots] = status
        self._source[slots] = source
        self._arrival[slots] = arrival
        self._publisher.changed()

    def mark(self, slots: NDArray[np.intp], status: int) -> None:
        """Change the status of channels and leave their last values."""
        self._status[slots] = status
        self._source[slots] = utc_ticks()
        self._arrival[slots] = time.monotonic_ns()
        self._publisher.changed()
