"""What control decided, as rows for the site: set-points with what is left of their leases, and results that changed."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.core.channel import DataType
from server.core.image import SLOT
from server.core.layout import CONTROL, Layout
from server.runtime.memory import SharedImage
from server.runtime.outputs import output_slots

from .protocol import BRIDGE, LEASE_MS_MAX, SETPOINT_ROW, VALUE_ROW, decided

REPEAT_NS: Final = 1_000_000_000
"""Everything is sent again so often, changed or not: the receiver may have been started anew."""


class Rows(NamedTuple):
    """Of one exchange."""

    setpoints: bytes
    values: bytes
    texts: dict[int, str]


class Decisions:
    """Reads control's block and the bridge's set-points."""

    def __init__(self, image: SharedImage) -> None:
        layout = image.layout
        owner = layout.owner(CONTROL)
        self._reader = image.owner_reader(owner)
        self._setpoints = image.setpoints()
        self._records = np.zeros(owner.count, SLOT)
        self._bytes = self._records.view(np.uint8).data
        rows = decided(layout)
        cells = [slot - owner.first for _, slot in rows]
        number = {cell: i for i, cell in enumerate(cells)}
        outputs = output_slots(layout, [layout.owner(BRIDGE)])
        self._rows = np.zeros(len(outputs), SETPOINT_ROW)
        self._rows["index"] = [number[cell] for cell in outputs.tolist()]
        plain = [i for i, (c, _) in enumerate(rows) if c.output < 0 and c.spec.data_type is not DataType.STRING]
        self._values = np.zeros(len(plain), VALUE_ROW)
        self._values["index"] = plain
        self._cells = np.array([cells[i] for i in plain], np.int64)
        self._texts = {i: slot for i, (c, slot) in enumerate(rows) if c.spec.data_type is DataType.STRING}
        self._said: dict[int, str] = {}
        self._repeat_at = 0

    @property
    def wake_fd(self) -> int:
        """Readable when a set-point changed."""
        return self._setpoints.wake_fd

    def rows(self, now_ns: int) -> Rows:
        """What the site must be told now. now_ns: CLOCK_MONOTONIC."""
        given = self._setpoints.read()
        left_ms = np.clip((given["lease"] - now_ns) // 1_000_000, 0, LEASE_MS_MAX)
        self._rows["lease_ms"], self._rows["value"] = left_ms, np.where(left_ms > 0, given["value"], 0.0)
        repeat = now_ns >= self._repeat_at
        if repeat:
            self._repeat_at = now_ns + REPEAT_NS
        return Rows(self._rows.tobytes(), self._changed(repeat).tobytes(), self._new_texts(repeat))

    def again(self) -> None:
        """Send everything next time: nobody knows what arrived."""
        self._repeat_at = 0

    def withdrawn(self) -> Rows:
        """The end of all leases."""
        self._rows["lease_ms"] = 0
        return Rows(self._rows.tobytes(), b"", {})

    def _changed(self, everything: bool) -> NDArray[Any]:
        self._reader.banks.read(self._bytes)
        value, status = self._records["value"][self._cells], self._records["status"][self._cells]
        changed = value.view(np.int64) != self._values["value"].view(np.int64)
        changed |= (status != self._values["status"]) | everything
        self._values["value"], self._values["status"] = value, status
        rows: NDArray[Any] = self._values[changed]
        return rows

    def _new_texts(self, everything: bool) -> dict[int, str]:
        found = {row: self._reader.texts.read(slot) for row, slot in self._texts.items()}
        new = {row: text for row, text in found.items() if everything or self._said.get(row) != text}
        self._said = found
        return new


def control_cells(layout: Layout) -> NDArray[np.int64]:
    """By row number, the slot of what control decides on in this host's image."""
    return np.array([slot for _, slot in decided(layout)], np.int64)
