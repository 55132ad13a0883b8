"""What is wrong with the site's certificates, or will be soon, in words. Seen as alarms weeks ahead."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from certs import CertificateInfo, damaged_files, list_certificates, outdated_crls

from .plan import Problem

WARN_DAYS: Final = 42
LOOK_EVERY_S: Final = 60.0
SOURCE: Final = "certificates"


class CertificateWatch:
    """Looks at the certificates of the site in DIR now and then."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._looked_at = 0.0
        self._found: tuple[Problem, ...] = ()

    def problems(self) -> tuple[Problem, ...]:
        """What was found within the last LOOK_EVERY_S."""
        now = time.monotonic()
        if not self._looked_at or now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            self._found = tuple(certificate_problems(self._directory, datetime.now(UTC)))
        return self._found


def certificate_problems(directory: Path, now: datetime) -> Iterator[Problem]:
    """Certificates that expired or will within WARN_DAYS, and files that cannot be used. now: UTC."""
    for info in list_certificates(directory):
        if info.state != "rejected" and info.days_left(now) < WARN_DAYS:
            yield Problem(SOURCE, expiry_text(info, now))
    for file in damaged_files(directory):
        yield Problem(SOURCE, f"{file.relative_to(directory)}: not a certificate; it trusts nobody")
    for file in outdated_crls(directory, now):
        yield Problem(SOURCE, f"{file.relative_to(directory)}: the revocation list cannot be read, or a newer one is overdue")


def expiry_text(info: CertificateInfo, now: datetime) -> str:
    """When a certificate expires and what to do about it."""
    days = info.days_left(now)
    when = f"expired on {info.not_after:%Y-%m-%d}" if days < 0 else f"expires in {days} days, on {info.not_after:%Y-%m-%d}"
    name = info.file.stem if info.state == "own" else info.common_name
    return f"{info.state} certificate {name} {when}; {_remedy(info)}"


def _remedy(info: CertificateInfo) -> str:
    if info.state == "own":
        return f"`ems certs renew {info.file.stem}` renews it"
    if info.file.parent.name == "ca":
        return "`ems certs renew ca` renews it"
    return f"its owner has to renew it ({info.application_uri or info.thumbprint[:8]})"
