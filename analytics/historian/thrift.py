"""Memory of large, short-lived arrays goes back to the system, as far as the C library can be told so (glibc)."""

from __future__ import annotations

import contextlib
import ctypes
from typing import Final

LARGE: Final = 1 << 17
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def give_memory_back() -> None:
    """Have each block of LARGE bytes mapped by itself and unmapped when it is freed.

    Left alone, glibc raises that limit with each large block that is freed, up to 32 MB, and keeps such blocks in a heap that
    fragments: after sealing a week the historian kept 80 MB that nobody used.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, LARGE)
        libc.mallopt(_M_TRIM_THRESHOLD, LARGE)
