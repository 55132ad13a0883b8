"""Whom this site believes: peers and authorities a person trusts, and whatever a trusted authority issued and has not revoked.

A refused certificate is kept in `certs/rejected` (a bounded number), so that a person can look at it and trust it with
one command instead of copying files about.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from .certificate import check_key, check_time, check_usage, file_name, parse_chain, read, readable, thumbprint
from .chain import Store, check_chain, stamp
from .errors import CertificateError
from .files import private_directory, write_atomically

REJECTED_MAX = 100
MARK_LENGTH_MIN = 4


class TrustList:
    """The trust decision for one site. Looks at the folders at each check, so a change counts at once."""

    def __init__(self, directory: Path) -> None:
        self.folder = directory / "certs"
        self._stamp: object = None
        self._store = Store((), (), ())

    def check(self, der: bytes, *, now: datetime | None = None, application: bool = True) -> x509.Certificate:
        """The certificate, if it is trusted at `now` (UTC). Raises CertificateError with the reason, after keeping the file.

        application: the certificate is an application's, otherwise a person's. der: may be followed by its issuers.
        """
        certificate, *sent = parse_chain(der)
        now = now or datetime.now(UTC)
        try:
            check_key(certificate)
            check_time(certificate, now)
            check_usage(certificate, application=application)
            check_chain(self.store(), certificate, sent, now)
        except CertificateError:
            self.keep_rejected(certificate)
            raise
        return certificate

    def store(self) -> Store:
        """What the folders hold now; read again when they changed."""
        found = self.stamp()
        if found != self._stamp:
            self._store, self._stamp = Store.load(self.folder), found
        return self._store

    def stamp(self) -> object:
        """Another object whenever the decision about a certificate may be another."""
        return stamp(self.folder)

    def trust(self, mark: str) -> Path:
        """Move a rejected certificate to the trusted ones, by (the start of) its thumbprint."""
        source = self.find("rejected", mark)
        target = private_directory(self.folder / "trusted") / source.name
        source.replace(target)
        return target

    def trust_file(self, file: Path) -> Path:
        """Trust a certificate from a file (DER or PEM); with an authority, everything it issues."""
        return self.keep(read(file), "trusted")

    def reject(self, mark: str) -> Path:
        """Take trust away from a certificate, by (the start of) its thumbprint."""
        source = self.find("trusted", mark)
        target = private_directory(self.folder / "rejected") / source.name
        source.replace(target)
        return target

    def keep_rejected(self, certificate: x509.Certificate) -> None:
        """Keep a refused certificate for a person to look at; the oldest make room."""
        self.keep(certificate, "rejected")
        kept = sorted((self.folder / "rejected").glob("*.der"), key=lambda f: f.stat().st_mtime)
        for file in kept[: max(0, len(kept) - REJECTED_MAX)]:
            file.unlink(missing_ok=True)

    def keep(self, certificate: x509.Certificate, folder: str) -> Path:
        """Put a certificate into one of the folders; its file."""
        file = private_directory(self.folder / folder) / file_name(certificate)
        write_atomically(file, certificate.public_bytes(serialization.Encoding.DER))
        return file

    def find(self, folder: str, mark: str) -> Path:
        """The one certificate of a folder whose thumbprint begins so. CertificateError("usage") when it is none or several."""
        wanted = mark.lower()
        found = [file for file, c in readable(self.folder / folder) if thumbprint(c).startswith(wanted)]
        if len(wanted) < MARK_LENGTH_MIN or len(found) != 1:
            raise CertificateError(
                "usage",
                f"'{mark}': {len(found) or 'no'} {folder} certificates begin so; "
                f"give {MARK_LENGTH_MIN} or more characters of one's thumbprint",
            )
        return found[0]
