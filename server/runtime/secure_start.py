"""What is done for a site's security each time it starts: secrets are encrypted, and what it was configured with is audited."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Final

from . import audit
from .audit_chain import audit_files
from .config import SITE_FILE, entry_files
from .files import read_file
from .plan import Problem
from .secret_entries import protect_entries
from .tail import read_page

EVENT: Final = "site-started"
_DIGITS: Final = 16


def secure_start(directory: Path) -> list[Problem]:
    """Encrypt secrets in plain text and note the configuration; what could not be done becomes a problem, and the site starts."""
    problems = [Problem(file, text) for file, text in protect_entries(directory)]
    before, now = known_files(directory), dict(_digests(directory))
    changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name)) if before else []
    try:
        audit.append(directory, EVENT, version=version("unified-ems"), changed=changed, files=now)
    except OSError as error:
        problems.append(Problem("audit trail", f"cannot be written: {error.strerror}"))
    return problems


def known_files(directory: Path) -> dict[str, str]:
    """The files the site was started with the last time, with their digests."""
    found = read_page(audit_files(directory), 1, "", lambda line: f'"event": "{EVENT}"'.encode() in line).rows
    return dict(found[0].get("files", {})) if found else {}


def _digests(directory: Path) -> Iterator[tuple[str, str]]:
    """Each file of the configuration with the beginning of its SHA-256; what cannot be read is left out."""
    for file in (directory / SITE_FILE, directory / "users.toml", *entry_files(directory)):
        with suppress(OSError):
            yield str(file.relative_to(directory)), sha256(read_file(file)).hexdigest()[:_DIGITS]
