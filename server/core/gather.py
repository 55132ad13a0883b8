"""Many slots read in one go, as plain numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .image import Image
from .status import BAD


class Gather:
    """Values of some slots of every image; a slot of -1 is one that is missing."""

    def __init__(self, slots: Sequence[int]) -> None:
        wanted = np.array(slots, np.int64)
        self._absent = wanted < 0
        self._slots = np.maximum(wanted, 0)

    def read(self, image: Image) -> list[float | None]:
        """The values in the order of the slots; None where a value is missing, Bad or no finite number."""
        return known(self.column(image))

    def column(self, image: Image) -> NDArray[np.float64]:
        """The values in the order of the slots; NaN where a value is missing, Bad or no finite number."""
        value = image.value[self._slots]
        value[(image.status[self._slots] >= BAD) | self._absent | ~np.isfinite(value)] = np.nan
        return value

    def source(self, image: Image) -> list[int]:
        """The source times of the slots [100 ns since 1601 UTC], whatever their values."""
        times: list[int] = image.source[self._slots].tolist()
        return times


def known(column: NDArray[np.float64]) -> list[float | None]:
    """Numbers with None for NaN."""
    numbers: list[float | None] = column.tolist()
    for i in np.isnan(column).nonzero()[0].tolist():
        numbers[i] = None
    return numbers
