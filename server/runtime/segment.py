"""A piece of anonymous shared memory, handed over as a file descriptor.

Each segment has two descriptors: one that may write, for its only writer, and one opened read-only, from which no
writable mapping can be made. Its size is sealed, so that nobody can pull the pages from under the others. The memory
lives as long as any process has it open: nothing to unlink, nothing to leak after a kill.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

LINE: Final = 64
"""Bytes of a cache line: what two processes write never shares one."""

_POPULATE: Final = getattr(mmap, "MAP_POPULATE", 0)


def aligned(size: int, to: int = LINE) -> int:
    """`size` rounded up to a multiple of `to`."""
    return -(-size // to) * to


def open_pair(name: str, size: int, directory: Path | None = None) -> tuple[int, int]:
    """Make a segment of at least `size` bytes; its (writable, read-only) descriptors.

    directory: where an unlinked file stands in for it on a system without memfd.
    """
    size = aligned(max(size, 1), mmap.PAGESIZE)
    if hasattr(os, "memfd_create"):
        return _memfd_pair(name, size)
    return _file_pair(size, directory)


def _memfd_pair(name: str, size: int) -> tuple[int, int]:
    writable = os.memfd_create(f"ems-{name}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(writable, size)
    fcntl.fcntl(writable, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return writable, os.open(f"/proc/self/fd/{writable}", os.O_RDONLY | os.O_CLOEXEC)


def _file_pair(size: int, directory: Path | None) -> tuple[int, int]:
    writable, path = tempfile.mkstemp(prefix="segment-", dir=directory)
    try:
        os.ftruncate(writable, size)
        return writable, os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.unlink(path)


class Segment:
    """A mapping of a segment. The descriptor stays the caller's; the mapping lives until its last view is gone."""

    def __init__(self, descriptor: int, *, writable: bool) -> None:
        self.size = os.fstat(descriptor).st_size
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        self._map = mmap.mmap(descriptor, self.size, flags=mmap.MAP_SHARED | _POPULATE, prot=protection)

    def bytes(self, offset: int, size: int) -> memoryview:
        """`size` bytes from `offset` on."""
        return memoryview(self._map)[offset : offset + size]

    def words(self, offset: int, count: int) -> memoryview:
        """`count` aligned 8-byte unsigned words; one word is read and written in one piece."""
        return self.bytes(offset, 8 * count).cast("Q")

    def array(self, dtype: np.dtype[Any], count: int, offset: int) -> NDArray[Any]:
        """`count` records as an array over the memory itself."""
        return np.frombuffer(self._map, dtype, count, offset)
