"""Files that are never found half written, and the lock that keeps a site from being run twice."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

from server.core.errors import EmsError


class SiteLocked(EmsError):
    """Somebody else runs this site."""


CONFIG_BYTES_MAX = 1 << 20
"""Longest file of a configuration."""


class NotAFile(OSError):
    """What lies under a file's name is something else, or too long to be what it should be."""


def read_file(path: Path, bytes_max: int = CONFIG_BYTES_MAX) -> bytes:
    """The content of a file. OSError; NotAFile for a folder, a pipe, a device, which might make a reader wait for ever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotAFile(errno.EINVAL, "is no file", str(path))
        content = os.pread(descriptor, bytes_max + 1, 0)
    finally:
        os.close(descriptor)
    if len(content) > bytes_max:
        raise NotAFile(errno.EFBIG, f"is more than {bytes_max} bytes long", str(path))
    return content


def write_atomically(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Replace `path` as a whole: written beside it, synced, renamed over it, the folder synced."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class SiteLock:
    """The exclusive right to run a site: an flock on DIR/run/supervisor.lock, which holds the pid.

    The kernel gives it back however the holder ends. The file goes away on release.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1

    def acquire(self) -> None:
        """Take the lock. Raises SiteLocked naming the process that has it."""
        while self._descriptor < 0:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(descriptor, 32).decode(errors="replace").strip() or "?"
                os.close(descriptor)
                site = self.path.parent.parent
                raise SiteLocked(f"{site} is being run already, by process {holder} (`ems status --dir {site}`)") from None
            if self._is_current(descriptor):
                self._descriptor = descriptor
            else:
                os.close(descriptor)
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give the lock back and remove its file."""
        if self._descriptor >= 0:
            self.path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1

    def _is_current(self, descriptor: int) -> bool:
        """False when the former holder removed the file between our open and our lock."""
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.stat())
        except FileNotFoundError:
            return False
