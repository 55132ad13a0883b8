"""The site's secret key: what keeps the secrets of entries unreadable, and the end of the audit trail from being cut.

It is a file outside the entries, readable by its owner only: DIR/secrets.key, or what `[secrets] key` in site.toml names,
a path or `credential:<name>` for one that systemd hands over (LoadCredential=). Each line is a key of 32 bytes in base64, the
one in use first; those below it only read what was written before a rotation.

A key is never used itself: each purpose derives its own from it (HKDF-SHA256).
"""

from __future__ import annotations

import base64
import os
import secrets
import stat
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from server.core.errors import EmsError

from .config import SITE_FILE
from .files import write_atomically

KEY_FILE: Final = "secrets.key"
CREDENTIAL: Final = "credential:"
KEY_BYTES: Final = 32
_HEADER: Final = (
    "# The site's secret key, the one in use first. Whoever reads it can read the secrets of the entries.\n"
    "# Keep a copy in a safe place: without it they cannot be read again.\n"
)


class KeyUnusable(EmsError):
    """The site's key cannot be read, or must not be used; the text says where it is looked for and what to do."""


@dataclass(frozen=True, slots=True)
class SiteKey:
    """The keys of a site, the one in use first."""

    keys: tuple[bytes, ...]

    def derived(self, purpose: str) -> tuple[bytes, ...]:
        """The keys for one purpose, the one in use first."""
        return tuple(_derive(key, purpose) for key in self.keys)

    @classmethod
    def load(cls, directory: Path) -> SiteKey:
        """The key of the site in DIR. Raises KeyUnusable."""
        place = key_place(directory)
        try:
            if not str(place).startswith(os.environ.get("CREDENTIALS_DIRECTORY", "\0")):
                _check_private(place)
            lines = [line.strip() for line in place.read_text().splitlines()]
        except OSError as error:
            raise KeyUnusable(f"{place}: the site's secret key: {error.strerror}; bring it back from its copy") from error
        try:
            keys = tuple(base64.b64decode(line, validate=True) for line in lines if line and not line.startswith("#"))
        except ValueError:
            keys = ()
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise KeyUnusable(f"{place}: {KEY_BYTES} bytes in base64 are expected on each line")
        return cls(keys)

    def save(self, directory: Path) -> None:
        """Write the key file anew. Raises KeyUnusable when it is not ours to write, OSError."""
        if key_setting(directory).startswith(CREDENTIAL):
            raise KeyUnusable("the site's secret key is a credential of systemd: change it there")
        lines = [base64.b64encode(key).decode() for key in self.keys]
        write_atomically(key_place(directory), (_HEADER + "\n".join(lines) + "\n").encode(), 0o600)


def create_key(directory: Path) -> None:
    """Make the key of a site that has none yet; a key that is there stays. Only where nobody said to look elsewhere."""
    if not key_setting(directory) and not key_place(directory).exists():
        SiteKey((secrets.token_bytes(KEY_BYTES),)).save(directory)


def key_place(directory: Path) -> Path:
    """Where the key is looked for. Raises KeyUnusable for a credential without systemd."""
    setting = key_setting(directory)
    if not setting.startswith(CREDENTIAL):
        return directory / (setting or KEY_FILE)
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise KeyUnusable(
            f"{SITE_FILE}: secrets.key: {setting} needs systemd's LoadCredential=; CREDENTIALS_DIRECTORY is not set"
        )
    return Path(folder) / setting.removeprefix(CREDENTIAL)


def key_setting(directory: Path) -> str:
    """`[secrets] key` of site.toml, empty when nothing is said. What else is wrong in the file is told where it is read."""
    try:
        table = tomllib.loads((directory / SITE_FILE).read_text()).get("secrets", {})
    except (OSError, ValueError):
        return ""
    return str(table.get("key", "")) if isinstance(table, dict) else ""


def key_id(key: bytes) -> str:
    """By which a key is told from others; says nothing about it."""
    return sha256(b"id" + key).hexdigest()[:8]


@lru_cache(maxsize=32)
def _derive(key: bytes, purpose: str) -> bytes:
    return HKDF(hashes.SHA256(), KEY_BYTES, None, f"unified-ems {purpose}".encode()).derive(key)


def _check_private(place: Path) -> None:
    if place.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise KeyUnusable(f"{place}: others may read it; `chmod 600 {place}`")
