"""What the operators of a where clause do with values (Part 4, 7.7.3): conversions, comparison, Like, three-valued logic.

A value is a Variant or None; None is the standard's NULL: what an event does not have, and what cannot be converted.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, TypeAlias

from asyncua import ua

_TYPE: Final = ua.VariantType
Value: TypeAlias = ua.Variant | None

_INTEGERS: Final = {
    _TYPE.SByte: (-(2**7), 2**7 - 1),
    _TYPE.Byte: (0, 2**8 - 1),
    _TYPE.Int16: (-(2**15), 2**15 - 1),
    _TYPE.UInt16: (0, 2**16 - 1),
    _TYPE.Int32: (-(2**31), 2**31 - 1),
    _TYPE.UInt32: (0, 2**32 - 1),
    _TYPE.Int64: (-(2**63), 2**63 - 1),
    _TYPE.UInt64: (0, 2**64 - 1),
}
_PRECEDENCE: Final = (
    _TYPE.Double,
    _TYPE.Float,
    _TYPE.Int64,
    _TYPE.UInt64,
    _TYPE.Int32,
    _TYPE.UInt32,
    _TYPE.StatusCode,
    _TYPE.Int16,
    _TYPE.UInt16,
    _TYPE.SByte,
    _TYPE.Byte,
    _TYPE.Boolean,
    _TYPE.Guid,
    _TYPE.String,
    _TYPE.ExpandedNodeId,
    _TYPE.NodeId,
    _TYPE.LocalizedText,
    _TYPE.QualifiedName,
)
"""Of two operands of different types, the later one is converted to the type of the earlier one (Part 4, table 122)."""
PATTERN_LENGTH_MAX: Final = 1_000
_TRUE, _FALSE = ("true", "1"), ("false", "0")


def plain(value: Value) -> Any:
    """What is in a value."""
    return None if value is None else value.Value


def convert(value: Value, kind: ua.VariantType) -> Value:
    """The value as another type; None where there is no such conversion or it does not fit."""
    found = plain(value)
    if value is None or found is None or value.is_array:
        return None
    if value.VariantType is kind:
        return value
    try:
        result = _CONVERSIONS[kind](found) if kind in _CONVERSIONS else None
    except (ValueError, TypeError, LookupError, OverflowError, AttributeError, ua.UaError):
        result = None
    return None if result is None else ua.Variant(result, kind)


def _integer(kind: ua.VariantType) -> Callable[[Any], int | None]:
    low, high = _INTEGERS[kind]

    def to_integer(found: Any) -> int | None:
        number = (
            found.value if isinstance(found, ua.StatusCode) else round(float(found)) if isinstance(found, float) else int(found)
        )
        return number if low <= number <= high else None

    return to_integer


def _boolean(found: Any) -> bool | None:
    if isinstance(found, str):
        return True if found.lower() in _TRUE else False if found.lower() in _FALSE else None
    return bool(found) if isinstance(found, (int, float)) else None


def _text(found: Any) -> str | None:
    match found:
        case bool():
            return str(found).lower()
        case str() | int() | float() | uuid.UUID():
            return str(found)
        case ua.LocalizedText():
            return str(found.Text or "")
        case ua.QualifiedName():
            return str(found.Name or "")
        case ua.NodeId():
            return str(found.to_string())
        case datetime():
            return found.isoformat()
    return None


def _localized(found: Any) -> ua.LocalizedText | None:
    text = _text(found) if isinstance(found, (str, ua.QualifiedName)) else None
    return None if text is None else ua.LocalizedText(text)


def _node_id(found: Any) -> ua.NodeId | None:
    if isinstance(found, str):
        return ua.NodeId.from_string(found)
    return ua.NodeId(found.Identifier, found.NamespaceIndex) if isinstance(found, ua.NodeId) else None


_CONVERSIONS: Final[dict[ua.VariantType, Callable[[Any], Any]]] = {
    **{kind: _integer(kind) for kind in _INTEGERS},
    _TYPE.Double: float,
    _TYPE.Float: float,
    _TYPE.Boolean: _boolean,
    _TYPE.String: _text,
    _TYPE.LocalizedText: _localized,
    _TYPE.QualifiedName: lambda found: ua.QualifiedName(found) if isinstance(found, str) else None,
    _TYPE.NodeId: _node_id,
    _TYPE.ExpandedNodeId: lambda found: ua.ExpandedNodeId(found.Identifier, found.NamespaceIndex),
    _TYPE.Guid: lambda found: uuid.UUID(found) if isinstance(found, str) else None,
    _TYPE.StatusCode: lambda found: ua.StatusCode(int(found)),
    _TYPE.DateTime: lambda found: datetime.fromisoformat(found) if isinstance(found, str) else None,
}


def alike(left: Value, right: Value) -> tuple[Any, Any] | None:
    """Both contents in one type, so that they may be compared; None where that cannot be."""
    if left is None or right is None or left.Value is None or right.Value is None:
        return None
    if left.VariantType is not right.VariantType:
        ranks = {kind: rank for rank, kind in enumerate(_PRECEDENCE)}
        if ranks.get(left.VariantType, 99) <= ranks.get(right.VariantType, 99):
            right = convert(right, left.VariantType)
        else:
            left = convert(left, right.VariantType)
        if left is None or right is None:
            return None
    return _comparable(left.Value), _comparable(right.Value)


def _comparable(found: Any) -> Any:
    """Texts of another locale are equal when their words are."""
    if isinstance(found, ua.LocalizedText):
        return found.Text or ""
    return found.value if isinstance(found, ua.StatusCode) else found


def compare(operator: Callable[[Any, Any], bool]) -> Callable[[Value, Value], bool | None]:
    """A comparison of values; NULL where they cannot be compared."""

    def compared(left: Value, right: Value) -> bool | None:
        both = alike(left, right)
        if both is None:
            return None
        try:
            return bool(operator(*both))
        except TypeError:
            return None

    return compared


@lru_cache(maxsize=256)
def _pattern(text: str) -> re.Pattern[str]:
    """A Like pattern as a regular expression: % any text, _ any character, [ ] a set, [^ ] its opposite, \\ takes literally.

    What is between two % is looked for once, from left to right, and never again (atomic groups): no pattern takes long.
    """
    first, *others = _segments(text)
    if not others:
        return re.compile(first, re.DOTALL)
    *middle, last = others
    return re.compile(first + "".join(f"(?>.*?{part})" for part in middle if part) + f".*{last}", re.DOTALL)


def _segments(text: str) -> list[str]:
    """The parts between the % of a pattern, each a regular expression of fixed length."""
    found, at = [""], 0
    while at < len(text):
        sign = text[at]
        end = text.find("]", at + 2) if sign == "[" else -1
        if sign == "%":
            found.append("")
        elif sign == "\\" and at + 1 < len(text):
            at += 1
            found[-1] += re.escape(text[at])
        elif end > 0:
            found[-1] += _set(text[at + 1 : end])
            at = end
        else:
            found[-1] += "." if sign == "_" else re.escape(sign)
        at += 1
    return found


def _set(inside: str) -> str:
    negated = inside.startswith("^")
    members = re.sub(r"([\\\[\]^&|~])", r"\\\1", inside[1:] if negated else inside)
    return f"[{'^' if negated else ''}{members}]"


def like(left: Value, right: Value) -> bool | None:
    """True when a text matches a pattern; NULL for what is no text."""
    text, pattern = plain(convert(left, _TYPE.String)), plain(convert(right, _TYPE.String))
    if text is None or pattern is None or len(pattern) > PATTERN_LENGTH_MAX:
        return None
    try:
        return _pattern(pattern).fullmatch(text) is not None
    except re.error:
        return None


def truth(value: Value) -> bool | None:
    """A value as a condition; NULL for what is none."""
    found = plain(convert(value, _TYPE.Boolean))
    return None if found is None else bool(found)


def both(left: bool | None, right: bool | None) -> bool | None:
    """And of three-valued logic."""
    if left is False or right is False:
        return False
    return None if left is None or right is None else True


def either(left: bool | None, right: bool | None) -> bool | None:
    """Or of three-valued logic."""
    if left or right:
        return True
    return None if left is None or right is None else False


def bits(operator: Callable[[int, int], int]) -> Callable[[Value, Value], Value]:
    """A bitwise operation on two integers; NULL for what is no integer."""

    def combined(left: Value, right: Value) -> Value:
        found = alike(left, right)
        if found is None or not all(isinstance(each, int) and not isinstance(each, bool) for each in found):
            return None
        wider = min((left, right), key=lambda v: _PRECEDENCE.index(v.VariantType) if v is not None else 99)
        return ua.Variant(operator(*found), wider.VariantType) if wider is not None else None

    return combined
