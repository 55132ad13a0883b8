"""What requests mean, remembered: SCADA systems send the same one for years."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from . import limits

P = TypeVar("P")


class Plans(Generic[P]):
    """The plans of the requests seen last; bounded by the bytes of the requests. A key names the user: a plan holds rights."""

    def __init__(self) -> None:
        self._plans: OrderedDict[Hashable, tuple[P, int]] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable) -> P | None:
        """The plan of a request, None when it was not seen lately."""
        found = self._plans.get(key)
        if found is None:
            return None
        self._plans.move_to_end(key)
        return found[0]

    def put(self, key: Hashable, made: P, size: int) -> None:
        """Remember a plan, and forget those that were not needed for longest. size: of the request."""
        _, replaced = self._plans.pop(key, (None, 0))
        self._plans[key] = made, size
        self._bytes += size - replaced
        while self._bytes > limits.PLANNED_BYTES_MAX:
            _, (_, forgotten) = self._plans.popitem(last=False)
            self._bytes -= forgotten
