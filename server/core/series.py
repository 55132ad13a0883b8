"""Values of one channel over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Series:
    """Values in the order asked for. times: 100 ns ticks since 1601 UTC; values: SI, NaN where none; status: StatusCodes."""

    times: NDArray[np.int64]
    values: NDArray[np.float64]
    status: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.times)

    def first(self, count: int) -> Series:
        """The first `count` values; all when there are no more."""
        return self if len(self) <= count else Series(self.times[:count], self.values[:count], self.status[:count])


def join(parts: Sequence[Series]) -> Series:
    """All values of the parts, in order."""
    if len(parts) == 1:
        return parts[0]
    columns = zip(*((p.times, p.values, p.status) for p in parts), strict=True)
    return Series(*(np.concatenate(column) for column in columns))
