"""Trips: what forces safe outputs whatever was asked. They are outside arbitration.

A trip latches: it stays until it is reset, also over a restart; one that a controller claims, until that controller ends it.
While any trip is active every unit gets its safe value in the
same cycle: storage neither charges nor discharges, chargers and loads draw nothing, producers produce nothing.

REQ-SAFE-032: `state` and `restore` carry trips over a restart.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

EMERGENCY_STOP: Final = "emergency stop"

SAFE_W: Final = 0.0
"""Safe set-point of every unit, active [W] and reactive [var]."""


class Trips:
    """Active trips by name, with the reason."""

    def __init__(self) -> None:
        self._active: dict[str, str] = {}
        self._held: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._active)

    def __contains__(self, name: str) -> bool:
        return name in self._active

    @property
    def reason(self) -> str:
        """Why outputs are forced, in words; empty while they are not."""
        return "; ".join(self._active.values())

    def set(self, name: str, reason: str) -> bool:
        """Trip; True when it was not tripped before."""
        fresh = name not in self._active
        self._active.setdefault(name, reason)
        return fresh

    def reset(self, name: str) -> bool:
        """End a trip; True when it was active."""
        return self._active.pop(name, None) is not None

    def hold(self, name: str, why: str) -> None:
        """Say why a trip cannot be reset now; with an empty text it can."""
        self._held[name] = why

    def held(self, name: str) -> str:
        """Why a trip cannot be reset now, or nothing."""
        return self._held.get(name, "")

    def keep(self, names: Collection[str]) -> None:
        """Drop trips of others: nobody is left who could end them."""
        self._active = {name: reason for name, reason in self._active.items() if name in names}

    def imitate(self, other: Trips) -> None:
        """Take over the trips of another engine of the same site."""
        self._active, self._held = other._active.copy(), other._held.copy()

    def state(self) -> dict[str, str]:
        """Active trips, as JSON."""
        return dict(self._active)

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Take up what `state` gave. Trips of now stay."""
        self._active |= {str(k): str(v) for k, v in saved.items()}
