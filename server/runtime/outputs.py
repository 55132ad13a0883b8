"""From set-point slots to the drivers: leases, and the bell.

Each cycle the engine leaves a value and a status in every set-point slot. A slot that is not Bad is *asserted*: its lease is
renewed. A slot that is Bad, or holds no finite number, is not: its last value stays, the lease runs out, and the driver takes
the device to its fail-safe (REQ-SAFE-022). So silence of the engine, of control or of the machine all end the same way.

Values, leases and cycle go out together, in one bank per driver. The driver's eventfd is rung last, and only where something
changed that the driver should not wait for: another value, or an assertion after a lapse. Renewals need no bell.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from server.core.image import SETPOINT
from server.core.layout import CONTROL, Layout, Owner
from server.core.status import BAD, BAD_WAITING_FOR_INITIAL_DATA

from .memory import SetpointWriter, SharedImage, drivers

LEASE_S: Final = 3.0
"""How long a driver holds a set-point that nobody renews."""


class _Port:
    """The part of all outputs that belongs to one driver."""

    def __init__(self, writer: SetpointWriter, records: NDArray[Any], changed: NDArray[np.bool_]) -> None:
        self.writer = writer
        self.changed = changed
        self.bytes = records.view(np.uint8).data
        writer.last(self.bytes)


class Outputs:
    """The set-points of all drivers. Memory is allocated here; `write` allocates nothing per set-point.

    slots: for every output, driver by driver, the index of its slot in control's block.
    """

    def __init__(self, image: SharedImage, lease_s: float = LEASE_S) -> None:
        owners = [d for d in drivers(image.layout) if d.outputs]
        self._lease_ns = round(lease_s * 1e9)
        self.slots = output_slots(image.layout, owners)
        count = len(self.slots)
        self._records = np.zeros(count, SETPOINT)
        self._bits = self._records["value"].view(np.int64)
        self._value = np.empty(count)
        self._status = np.empty(count, np.uint32)
        self._asserted = np.empty(count, np.bool_)
        self._changed = np.empty(count, np.bool_)
        self._scratch = np.empty(count, np.bool_)
        self._ports = self._make_ports(image, owners)

    def _make_ports(self, image: SharedImage, owners: list[Owner]) -> list[_Port]:
        ends = np.cumsum([o.outputs for o in owners], dtype=np.int64).tolist()
        parts = [slice(end - o.outputs, end) for o, end in zip(owners, ends, strict=True)]
        return [_Port(image.setpoint_writer(o), self._records[p], self._changed[p]) for o, p in zip(owners, parts, strict=True)]

    def forget(self, block: NDArray[Any]) -> None:
        """Assert nothing in control's `block`: what a predecessor left there is not this engine's decision."""
        block["status"][self.slots] = BAD_WAITING_FOR_INITIAL_DATA

    def write(self, block: NDArray[Any], cycle: int, now_ns: int) -> None:
        """Send what the engine left in control's `block`. now_ns: CLOCK_MONOTONIC, from which leases run."""
        self.rehearse(block, now_ns)
        np.copyto(self._records["value"], self._value, where=self._asserted)
        np.copyto(self._records["lease"], now_ns + self._lease_ns, where=self._asserted)
        np.copyto(self._records["cycle"], cycle, where=self._asserted)
        np.copyto(self._records["changed"], cycle, where=self._changed)
        self._publish()

    def rehearse(self, block: NDArray[Any], now_ns: int) -> None:
        """The part of `write` that drivers do not see: which set-points are asserted, and which changed."""
        np.take(block["value"], self.slots, out=self._value, mode="clip")
        np.take(block["status"], self.slots, out=self._status, mode="clip")
        self._find_asserted()
        self._find_changed(now_ns)

    def withdraw(self) -> None:
        """End every lease now: each driver takes its devices to their fail-safe."""
        self._records["lease"] = 0
        self._changed[:] = True
        self._publish()

    def _find_asserted(self) -> None:
        np.less(self._status, BAD, out=self._asserted)
        np.isfinite(self._value, out=self._scratch)
        np.logical_and(self._asserted, self._scratch, out=self._asserted)

    def _find_changed(self, now_ns: int) -> None:
        np.not_equal(self._value.view(np.int64), self._bits, out=self._changed)
        np.less(self._records["lease"], now_ns, out=self._scratch)
        np.logical_or(self._changed, self._scratch, out=self._changed)
        np.logical_and(self._changed, self._asserted, out=self._changed)

    def _publish(self) -> None:
        for port in self._ports:
            port.writer.publish(port.bytes)
        if self._changed.any():
            for port in self._ports:
                if port.changed.any():
                    port.writer.ring()


def output_slots(layout: Layout, owners: list[Owner]) -> NDArray[np.intp]:
    """For every output, driver by driver, the index of its slot in control's block."""
    first = layout.owner(CONTROL).first
    found: dict[tuple[str, int], int] = {}
    for channel in layout.channels:
        if channel.output >= 0:
            for i in range(channel.length):
                found[channel.driver, channel.output + i] = channel.slot + i - first
    return np.array([found[o.name, i] for o in owners for i in range(o.outputs)], np.intp)
