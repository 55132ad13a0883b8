"""Values of variables that are not in the process image: fixed, or computed when read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from asyncua import ua

if TYPE_CHECKING:
    from .server import UaServer


def fixed(value: Any, kind: ua.VariantType) -> ua.DataValue:
    """A value that never changes."""
    return ua.DataValue(ua.Variant(value, kind, is_array=isinstance(value, list)))


def computed(kind: ua.VariantType, function: Callable[[UaServer], Any]) -> Callable[[UaServer], ua.DataValue]:
    """A value that is as old as the look at it."""

    def read(server: UaServer) -> ua.DataValue:
        value = function(server)
        return ua.DataValue(ua.Variant(value, kind, is_array=isinstance(value, list)), SourceTimestamp=datetime.now(UTC))

    return read
