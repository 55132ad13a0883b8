"""Responses encoded by hand (Part 6, 5.2), for the services whose answers are thousands of small records.

A handler may return the bytes of a whole response instead of a dataclass. What is here writes its parts.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from asyncua import ua
from asyncua.ua.ua_binary import nodeid_to_binary

from server.runtime.memory import utc_now

_PREFIX: Final = struct.Struct("<BBHqIIBiBBB")
_U32: Final = struct.Struct("<I")
_I32: Final = struct.Struct("<i")
_QUALIFIED: Final = struct.Struct("<Hi")
NULL_STRING: Final = b"\xff\xff\xff\xff"
NULL_NODE_ID: Final = b"\x00\x00"
NULL_QUALIFIED_NAME: Final = b"\x00\x00" + NULL_STRING
NULL_TEXT: Final = b"\x00"
NO_DIAGNOSTICS: Final = NULL_STRING


def response(type_id: int, request_handle: int, results: Sequence[bytes], count: int | None = None) -> bytes:
    """A Good response whose body is an array of results and no diagnostics.

    type_id: of its binary encoding, namespace 0. count: of the results, when an element of `results` may hold several.
    """
    head = _PREFIX.pack(1, 0, type_id, utc_now(), request_handle, 0, 0, -1, 0, 0, 0)
    return b"".join((head, _I32.pack(len(results) if count is None else count), *results, NO_DIAGNOSTICS))


def status(code: int) -> bytes:
    """A StatusCode."""
    return _U32.pack(code)


def count(number: int) -> bytes:
    """The length of an array or string; -1 for null."""
    return _I32.pack(number)


def string(value: str) -> bytes:
    """A String."""
    text = value.encode()
    return _I32.pack(len(text)) + text


def node_id(value: ua.NodeId) -> bytes:
    """A NodeId, which is also an ExpandedNodeId of this server."""
    identifier = value.Identifier
    if isinstance(identifier, str):
        text = identifier.encode()
        return b"\x03" + _QUALIFIED.pack(value.NamespaceIndex, len(text)) + text
    if isinstance(identifier, int):
        return _numeric(value.NamespaceIndex, identifier)
    return bytes(nodeid_to_binary(value))


@lru_cache(maxsize=4096)
def _numeric(namespace: int, identifier: int) -> bytes:
    """The shortest of the encodings of a numeric NodeId (Part 6, 5.2.2.9)."""
    if namespace == 0 and identifier <= 0xFF:
        return bytes((0, identifier))
    if namespace <= 0xFF and identifier <= 0xFFFF:
        return struct.pack("<BBH", 1, namespace, identifier)
    return struct.pack("<BHI", 2, namespace, identifier)


def qualified_name(value: ua.QualifiedName) -> bytes:
    """A QualifiedName."""
    text = (value.Name or "").encode()
    return _QUALIFIED.pack(value.NamespaceIndex, len(text)) + text


def localized_text(value: ua.LocalizedText) -> bytes:
    """A LocalizedText."""
    return _text(value.Locale or "", value.Text or "")


@lru_cache(maxsize=4096)
def _text(locale: str, text: str) -> bytes:
    """Names are few: those of channels are the same on every device."""
    parts = [locale.encode(), text.encode()]
    mask = (1 if locale else 0) | (2 if text else 0)
    return bytes([mask]) + b"".join(_I32.pack(len(part)) + part for part in parts if part)


def described(name: ua.QualifiedName, shown: ua.LocalizedText, node_class: int, type_definition: ua.NodeId) -> bytes:
    """What a ReferenceDescription tells of a node after its NodeId."""
    return b"".join((qualified_name(name), localized_text(shown), count(node_class), node_id(type_definition)))
