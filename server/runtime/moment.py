"""A moment whose age can be told later: by the monotonic clock within one boot, by the wall clock from boot to boot."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple


class Moment(NamedTuple):
    """boot: id of the machine's boot; monotonic_s: CLOCK_MONOTONIC; unix_s: UTC."""

    boot: str
    monotonic_s: float
    unix_s: float

    @classmethod
    def now(cls) -> Moment:
        """This moment."""
        return cls(boot_id(), time.monotonic(), time.time())

    @classmethod
    def parse(cls, found: Any) -> Moment | None:
        """A moment as `record` gave it; None for anything else."""
        if not isinstance(found, Mapping) or set(found) != set(cls._fields):
            return None
        boot, monotonic_s, unix_s = (found[name] for name in cls._fields)
        numbers = isinstance(monotonic_s, (int, float)) and isinstance(unix_s, (int, float))
        return cls(boot, monotonic_s, unix_s) if isinstance(boot, str) and numbers else None

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return self._asdict()

    def age_s(self) -> float:
        """Seconds since then, never negative."""
        now = Moment.now()
        same = bool(self.boot) and self.boot == now.boot
        return max(0.0, now.monotonic_s - self.monotonic_s if same else now.unix_s - self.unix_s)


@lru_cache(maxsize=1)
def boot_id() -> str:
    """The kernel's id of this boot, empty where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
