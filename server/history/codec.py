"""Columns of numbers as bytes, and back.

Neighbours in a column are alike: times go up by nearly the same, values repeat their high bits, statuses are all Good. So each
column is written as the difference to the number before (times) or what differs in its bits (everything else), its bytes
are put plane by plane, all first bytes, all second bytes, ..., and the whole goes through zlib, whose checksum also
tells a damaged block. Exact: what comes back has the same bits.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .database import DamagedError

_LEVEL: Final = 1
"""Higher ones take several times as long to save a few per cent."""
_WORDS: Final[dict[int, np.dtype[Any]]] = {1: np.dtype("<u1"), 2: np.dtype("<u2"), 4: np.dtype("<u4"), 8: np.dtype("<u8")}

RECORD: Final = np.dtype([("series", "<u4"), ("status", "<u4"), ("time", "<i8"), ("value", "<f8")])
"""A value in `recent`, where nothing is packed: it is read back within minutes."""

SAMPLES: Final = (np.dtype("<i8"), np.dtype("<f8"), np.dtype("<u4"))
"""Columns of a block: time, value, status."""


def pack(columns: Sequence[NDArray[Any]]) -> bytes:
    """Columns of equal length as bytes. Integers of 8 bytes are written as differences."""
    return zlib.compress(b"".join(_planes(column) for column in columns), _LEVEL)


def unpack(body: bytes, count: int, kinds: Sequence[np.dtype[Any]]) -> list[NDArray[Any]]:
    """The columns of `pack`. Raises DamagedError when these are not the bytes that were packed."""
    try:
        data = zlib.decompress(body)
    except zlib.error as error:
        raise DamagedError(f"a packed part of the history is damaged: {error}") from error
    if len(data) != count * sum(kind.itemsize for kind in kinds):
        raise DamagedError(f"a packed part of the history has {len(data)} bytes for {count} rows")
    columns, offset = [], 0
    for kind in kinds:
        size = count * kind.itemsize
        columns.append(_column(data[offset : offset + size], count, kind))
        offset += size
    return columns


def _planes(column: NDArray[Any]) -> bytes:
    words = np.ascontiguousarray(column).view(_WORDS[column.dtype.itemsize])
    changes = words.copy()
    if column.dtype.kind == "i":
        changes[1:] -= words[:-1]
    else:
        changes[1:] ^= words[:-1]
    planes: NDArray[np.uint8] = changes.view(np.uint8).reshape(-1, column.dtype.itemsize).T
    return planes.tobytes()


def _column(data: bytes, count: int, kind: np.dtype[Any]) -> NDArray[Any]:
    planes = np.frombuffer(data, np.uint8).reshape(kind.itemsize, count)
    changes = np.ascontiguousarray(planes.T).reshape(-1).view(_WORDS[kind.itemsize])
    words: NDArray[Any] = np.add.accumulate(changes) if kind.kind == "i" else np.bitwise_xor.accumulate(changes)
    return words.astype(_WORDS[kind.itemsize], copy=False).view(kind)
