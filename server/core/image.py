"""The process image as the domain sees it: a read-only snapshot of every channel at one moment.

A slot is one 32-byte record; the columns are strided views of the same bytes, so a whole owner block moves with one
copy and a column still compares, gathers and reduces vectorised.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .document import Document
from .status import BAD, BAD_WAITING_FOR_INITIAL_DATA

SLOT: Final = np.dtype(
    [
        ("value", "<f8"),  # SI; booleans 0/1, enumerations and integers as floats, strings as a revision number
        ("source", "<i8"),  # source time, 100 ns since 1601-01-01 UTC
        ("arrival", "<i8"),  # CLOCK_MONOTONIC ns when the owner got it; staleness is judged by this
        ("status", "<u4"),  # OPC UA StatusCode
        ("changed", "<u4"),  # low 32 bits of the cycle in which value or status last changed
    ]
)
"""One slot of the image, 32 bytes."""

SETPOINT: Final = np.dtype(
    [
        ("value", "<f8"),  # SI
        ("lease", "<i8"),  # CLOCK_MONOTONIC ns until which the set-point holds; 0 before the first
        ("cycle", "<u8"),  # cycle that asserted it
        ("changed", "<u8"),  # cycle in which the value last changed
    ]
)
"""One set-point of a driver, 32 bytes."""


NO_DOCUMENTS: Final[Mapping[str, Document]] = MappingProxyType({})


class Image:
    """One frozen frame. All arrays are read-only views of length `slots`.

    cycle: number of the control cycle; frozen_at: CLOCK_MONOTONIC ns; time: 100 ns since 1601 UTC. documents: schedules,
    forecasts and prices by name, each in its newest revision.
    """

    __slots__ = (
        "_statuses",
        "_values",
        "arrival",
        "changed",
        "cycle",
        "documents",
        "frozen_at",
        "generation",
        "records",
        "source",
        "status",
        "time",
        "value",
    )

    def __init__(
        self,
        records: NDArray[Any],
        *,
        cycle: int = 0,
        generation: int = 1,
        frozen_at: int = 0,
        time: int = 0,
        documents: Mapping[str, Document] = NO_DOCUMENTS,
    ) -> None:
        self.records = records
        self.value: NDArray[np.float64] = records["value"]
        self.status: NDArray[np.uint32] = records["status"]
        self.source: NDArray[np.int64] = records["source"]
        self.arrival: NDArray[np.int64] = records["arrival"]
        self.changed: NDArray[np.uint32] = records["changed"]
        self._values: Any = self.value.data  # one number comes out of it in half the time
        self._statuses: Any = self.status.data
        self.cycle = cycle
        self.generation = generation
        self.frozen_at = frozen_at
        self.time = time
        self.documents = documents

    def document(self, name: str) -> Document | None:
        """The newest revision of a document, such as `schedule/ess0`; None when nobody handed it in."""
        return self.documents.get(name)

    def get(self, slot: int) -> float | None:
        """The value of a slot, or None while its status is Bad or it is no finite number: no data, no opinion. Nor is there any
        at -1, the slot of what an object does not have."""
        if slot < 0:
            return None
        value: float = self._values[slot]
        return value if self._statuses[slot] < BAD and isfinite(value) else None


def blank_records(slots: int) -> NDArray[Any]:
    """Records before anything was heard: NaN with BadWaitingForInitialData."""
    records = np.zeros(slots, SLOT)
    records["value"] = np.nan
    records["status"] = BAD_WAITING_FOR_INITIAL_DATA
    return records
