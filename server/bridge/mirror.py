"""What devices of the site measure, as the host's image has it.

Each publication of the site brings what changed: value, status, source time. Judging age is divided: the site tells by the status
that one of its devices is silent, the host by its own clock that the site is. So every publication renews the arrival of all, and
when publications stop everything ages at once, as if a driver had fallen silent.
"""

from __future__ import annotations

import time
from typing import Final

import numpy as np

from server.client import Table
from server.core.channel import DataType
from server.core.image import blank_records
from server.core.layout import CYCLE, Layout
from server.core.natures import Cycle
from server.core.status import BAD, BAD_NO_COMMUNICATION, UNCERTAIN, UNCERTAIN_LAST_USABLE_VALUE
from server.runtime.freezer import DEAD_NS, SILENT_NS
from server.runtime.memory import OwnerBlock

from .protocol import measured

PULSE: Final = f"{CYCLE}/{Cycle.Counter.name}"
"""Changes with every cycle of the site: its image is alive."""


_AGES: Final = ((SILENT_NS, UNCERTAIN, UNCERTAIN_LAST_USABLE_VALUE), (DEAD_NS, BAD, BAD_NO_COMMUNICATION))


class Mirror:
    """Fills the bridge's block. nodes: what to subscribe; the last one is the site's pulse."""

    def __init__(self, layout: Layout, block: OwnerBlock) -> None:
        self._block = block
        channels = measured(layout)
        self.nodes = [*(c.node for c in channels), PULSE]
        self._channels = channels
        first = block.owner.first
        single = [c.slot - first if c.length == 1 and not c.spec.array else -1 for c in channels]
        texts = [c.spec.data_type is DataType.STRING for c in channels]
        self._cells = np.array([*single, -1], np.int64)
        self._is_number = np.array([*(cell >= 0 and not text for cell, text in zip(single, texts, strict=True)), False], np.bool_)
        self._heard_ns = 0
        block.records[:] = blank_records(block.owner.count)

    def take(self, table: Table) -> None:
        """Take what the site published."""
        records, now_ns = self._block.records, time.monotonic_ns()
        numbers = self._is_number[table.index]
        cells = self._cells[table.index[numbers]]
        records["value"][cells] = table.value[numbers]
        records["status"][cells] = table.status[numbers]
        records["source"][cells] = table.source[numbers]
        for row, text in table.texts.items():
            self._take_text(int(table.index[row]), text)
        for row, values in table.arrays.items():
            self._take_array(int(table.index[row]), values, table, row)
        records["arrival"] = self._heard_ns = now_ns
        self._block.publish()

    def age(self, now_ns: int) -> None:
        """Let values turn Uncertain, then Bad, while the site is silent. now_ns: CLOCK_MONOTONIC."""
        for silent_ns, limit, code in _AGES:
            status = self._block.records["status"]
            fresh = status < limit
            if now_ns - self._heard_ns > silent_ns and fresh.any():
                status[fresh] = code
                self._block.publish()

    def _take_text(self, index: int, text: str) -> None:
        if index < len(self._channels):
            self._block.set_text(self._channels[index].slot, text)

    def _take_array(self, index: int, values: np.ndarray[tuple[int], np.dtype[np.float64]], table: Table, row: int) -> None:
        if index >= len(self._channels) or table.status[row] >= BAD:
            return
        channel = self._channels[index]
        first = channel.slot - self._block.owner.first
        count = min(len(values), channel.length)
        part = self._block.records[first : first + count]
        part["value"], part["status"], part["source"] = values[:count], table.status[row], table.source[row]
