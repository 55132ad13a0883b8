"""Columns of numbers as bytes: a small JSON head, then 8-byte integers and floats, taken over without being parsed.

4 bytes length | {"head": {...}, "columns": [["q", 96], ["d", 96]]} | 96 integers | 96 floats
"""

from __future__ import annotations

import json
import struct
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, Final

from .errors import EmsError

_LENGTH: Final = struct.Struct("<I")
_ITEM_BYTES: Final = 8


class PackingError(EmsError):
    """Bytes that are no packed columns."""


def integers(values: Sequence[int]) -> array[int]:
    """A column of integers."""
    return array("q", values)


def floats(values: Sequence[float]) -> array[float]:
    """A column of floats."""
    return array("d", values)


def pack(head: Mapping[str, Any], *columns: array[Any]) -> bytes:
    """The head and its columns as bytes."""
    text = json.dumps({"head": head, "columns": [[c.typecode, len(c)] for c in columns]}, separators=(",", ":")).encode()
    return _LENGTH.pack(len(text)) + text + b"".join(c.tobytes() for c in columns)


def unpack(data: bytes) -> tuple[Mapping[str, Any], list[tuple[Any, ...]]]:
    """What `pack` was given. PackingError when the bytes are something else."""
    try:
        (length,) = _LENGTH.unpack_from(data)
        at = _LENGTH.size + length
        told = json.loads(data[_LENGTH.size : at])
        columns = []
        for kind, count in told["columns"]:
            column = array(kind)
            column.frombytes(data[at : at + count * _ITEM_BYTES])
            if kind not in ("q", "d") or len(column) != count:
                raise PackingError(f"a column of {count} numbers has {len(column)}")
            columns.append(tuple(column))
            at += count * _ITEM_BYTES
        return told["head"], columns
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise PackingError(f"{len(data)} bytes are no packed columns: {error}") from error
