"""Data between processes of a site that need not know the same files.

A layout names enumerations, which may be declared in a controller's file. By reference, whoever reads it would have to import
that file, in whatever state it is by then. So the enumerations of controllers travel with their members.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from enum import EnumType, IntEnum
from typing import Any, Final

from .code import REVISION_MARK

_OF_CONTROLLERS: Final = "controllers."


def dumps(data: Any) -> bytes:
    """`data` as bytes for `pickle.loads`."""
    target = io.BytesIO()
    _Pickler(target, pickle.HIGHEST_PROTOCOL).dump(data)
    return target.getvalue()


class _Pickler(pickle.Pickler):
    def reducer_override(self, item: Any) -> Any:
        """Enumerations of controllers' files are taken along."""
        if isinstance(item, EnumType) and issubclass(item, IntEnum) and _of_controller(item.__module__):
            return enumeration, (item.__name__, item.__doc__, {m.name: int(m) for m in item})
        return NotImplemented


def _of_controller(module: str) -> bool:
    return module.startswith(_OF_CONTROLLERS) or REVISION_MARK in module


_made: dict[tuple[str, str | None, tuple[tuple[str, int], ...]], type[IntEnum]] = {}


def enumeration(name: str, doc: str | None, members: Mapping[str, int]) -> type[IntEnum]:
    """The enumeration of these members; always the same one, so that what names it compares equal."""
    key = (name, doc, tuple(members.items()))
    if key not in _made:
        make: Any = IntEnum
        made = make(name, dict(members))
        made.__doc__, _made[key] = doc, made
    return _made[key]
