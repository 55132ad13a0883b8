"""NumericRange (Part 4, 7.27): the part of an array, of its elements, or of a string that a client wants."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from asyncua import ua

Selection = tuple[tuple[int, int], ...]
"""First and last index of each dimension, both included."""

_PART: Final = re.compile(r"([0-9]{1,10})(?::([0-9]{1,10}))?\Z")
_DIMENSIONS_MAX: Final = 8
_TEXTS: Final = (ua.VariantType.String, ua.VariantType.ByteString)


def parse(text: str) -> Selection | int:
    """The ranges of a text such as `3`, `0:9` or `1:2,0`; the StatusCode BadIndexRangeInvalid for anything else."""
    parts = text.split(",")
    if len(parts) > _DIMENSIONS_MAX:
        return int(ua.StatusCodes.BadIndexRangeInvalid)
    found = []
    for part in parts:
        match = _PART.match(part)
        if match is None:
            return int(ua.StatusCodes.BadIndexRangeInvalid)
        first = int(match[1])
        last = int(match[2]) if match[2] is not None else first
        if match[2] is not None and last <= first:
            return int(ua.StatusCodes.BadIndexRangeInvalid)
        found.append((first, last))
    return tuple(found)


def select(value: ua.Variant, selection: Selection) -> ua.Variant | None:
    """The selected part, as far as it exists; None when there is nothing, or the value has no such dimensions."""
    if value.Value is None:
        return None
    found = _select(value.Value, selection, value.VariantType) if value.is_array or value.VariantType in _TEXTS else None
    return None if found is None else ua.Variant(found, value.VariantType, is_array=value.is_array)


def _select(value: Any, selection: Sequence[tuple[int, int]], kind: ua.VariantType) -> Any:
    if not isinstance(value, (list, str, bytes)) or (isinstance(value, (str, bytes)) and kind not in _TEXTS):
        return None
    (first, last), deeper = selection[0], selection[1:]
    part = value[first : last + 1]
    if not part or not deeper:
        return part or None
    if not isinstance(part, list):
        return None
    below = [_select(element, deeper, kind) for element in part]
    return None if all(element is None for element in below) else [_blank(e, kind) for e in below]


def _blank(element: Any, kind: ua.VariantType) -> Any:
    if element is not None:
        return element
    return "" if kind is ua.VariantType.String else b""
