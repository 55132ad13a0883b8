"""What devices of the site measure, as the host's image has it.

Each publication of the site brings what changed: value, status, source time. Judging age is divided: the site tells by the status
that one of its devices is silent, the host by its own clock that the site is. So every publication renews the arrival of all, and
when publications stop everything ages at once, as if a driver had fallen silent. What the site told is kept beside what is shown:
when it publishes again, values that did not change are as good as it said.
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
        self._told = block.records["status"].copy()

    def again(self) -> None:
        """A new connection tells everything anew: until then what has aged stays so."""
        self._told[:] = self._block.records["status"]

    def take(self, table: Table) -> None:
        """Take what the site published."""
        records, now_ns = self._block.records, time.monotonic_ns()
        numbers = self._is_number[table.index]
        cells = self._cells[table.index[numbers]]
        records["value"][cells] = table.value[numbers]
        self._told[cells] = table.status[numbers]
        records["source"][cells] = table.source[numbers]
        for row in np.flatnonzero(~numbers).tolist():
            self._take_other(table, row)
        records["status"] = self._told
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

    def _take_other(self, table: Table, row: int) -> None:
        """A text or an array; one of which only the status is told keeps what it says. The pulse has no place here."""
        index = int(table.index[row])
        if index == len(self._channels):
            return
        channel, values = self._channels[index], table.arrays.get(row)
        first = channel.slot - self._block.owner.first
        last = first + (channel.length if values is None else min(len(values), channel.length))
        self._told[first:last] = table.status[row]
        if row in table.texts:
            self._block.set_text(channel.slot, table.texts[row])
        elif values is not None:
            part = self._block.records[first:last]
            part["value"], part["source"] = values[: last - first], table.source[row]
