"""A history that a test fills, with times in seconds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from server.core.series import Series
from server.core.ticks import TICKS
from server.history import HistoryReader, HistoryWriter

NODE = "meter0/ActivePower"
GOOD, BAD, STALE = 0, 0x80310000, 0x40900000
HOUR_S = 3600
BEGIN = 133_000_000_000_000_000 // (HOUR_S * TICKS) * (HOUR_S * TICKS)
"""The start of an hour, in ticks."""
NAN = float("nan")

Row = tuple[float, float, int]


def ticks(seconds: float) -> int:
    return BEGIN + round(seconds * TICKS)


def seconds(times: np.ndarray) -> list[float]:
    return ((times - BEGIN) / TICKS).tolist()


def series(rows: Sequence[Row]) -> Series:
    times, values, status = zip(*rows, strict=True) if rows else ((), (), ())
    return Series(np.array([ticks(t) for t in times], np.int64), np.array(values, np.float64), np.array(status, np.uint32))


def store(writer: HistoryWriter, rows: Sequence[Row], node: str = NODE, alive: float = 0) -> None:
    found = series(rows)
    ids = np.repeat(writer.ensure([node]), len(rows))
    writer.append(ids, found.times, found.values, found.status, alive=ticks(alive) if alive else 0)


def rows_of(reader: HistoryReader, node: str = NODE) -> list[Row]:
    found = reader.raw(node, 0, 1 << 62, 1_000_000)
    return list(zip(seconds(found.times), found.values.tolist(), found.status.tolist(), strict=True))


def edges(*at: float) -> np.ndarray:
    return np.array([ticks(second) for second in at], np.int64)
