"""From a certificate to somebody who is trusted: the chain of its issuers, each link verified, none revoked."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa

from .certificate import CHAIN_LENGTH_MAX, check_key, check_time, describe, is_authority, readable, thumbprint
from .errors import CertificateError

FOLDERS = ("ca", "trusted", "issuers")


@dataclass(frozen=True)
class Store:
    """What the folders hold. trusted: whom a person trusts, the site's own authority among them; issuers: who only completes
    chains; crls: revocation lists, with the file each is from."""

    trusted: tuple[x509.Certificate, ...]
    issuers: tuple[x509.Certificate, ...]
    crls: tuple[tuple[Path, x509.CertificateRevocationList], ...]

    @classmethod
    def load(cls, certs: Path) -> Store:
        """Read DIR/certs. A damaged certificate trusts nobody; CertificateError("damaged") for a damaged revocation list."""
        found = {folder: tuple(c for _, c in readable(certs / folder)) for folder in FOLDERS}
        files = [file for folder in FOLDERS for file in sorted((certs / folder).glob("*.crl"))]
        crls = tuple((file, read_crl(file)) for file in files)
        return cls((*found["ca"], *found["trusted"]), found["issuers"], crls)


def stamp(certs: Path) -> tuple[tuple[str, int, int], ...]:
    """Says whether anything in the folders is another than before; what came and went again shows in the folder's own time."""
    folders = [certs / folder for folder in FOLDERS]
    files = [file for folder in folders for file in folder.glob("*") if file.suffix in (".der", ".crl")]
    return tuple(sorted((str(f), s.st_mtime_ns, s.st_size) for f in (*folders, *files) if (s := _status(f)) is not None))


def _status(file: Path) -> os.stat_result | None:
    try:
        return file.stat()
    except FileNotFoundError:
        return None


def read_crl(file: Path) -> x509.CertificateRevocationList:
    """A revocation list, DER or PEM. Raises CertificateError("damaged") naming the file, or OSError."""
    try:
        return parse_crl(file.read_bytes())
    except CertificateError as error:
        raise CertificateError(error.reason, f"{file}: {error}") from error


def parse_crl(data: bytes) -> x509.CertificateRevocationList:
    """A revocation list from DER or PEM. Raises CertificateError("damaged")."""
    try:
        return x509.load_pem_x509_crl(data) if data.startswith(b"-----") else x509.load_der_x509_crl(data)
    except ValueError as error:
        raise CertificateError("damaged", f"not a revocation list: {error}") from error


def check_chain(store: Store, certificate: x509.Certificate, sent: Sequence[x509.Certificate], now: datetime) -> None:
    """CertificateError("untrusted", "revoked", ...) unless the certificate or one of its issuers is trusted.

    sent: issuers that came along with the certificate; they only complete the chain.
    """
    chain = _chain(store, certificate, sent)
    for issued, issuer in pairwise(chain):
        check_time(issuer, now)
        _check_revocation(store.crls, issued, issuer)
    if not any(link in store.trusted for link in chain):
        hint = f"`ems certs trust {thumbprint(certificate)[:8]}` trusts it"
        raise CertificateError("untrusted", f"{describe(certificate)} is not trusted; {hint}")


def _chain(store: Store, certificate: x509.Certificate, sent: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """The certificate and its issuers, as far as they are known."""
    chain = [certificate]
    candidates = [c for c in (*store.trusted, *store.issuers, *sent) if is_authority(c)]
    while len(chain) <= CHAIN_LENGTH_MAX and chain[-1].issuer != chain[-1].subject:
        issuer = next((c for c in candidates if _issued_by(chain[-1], c, below=len(chain) - 1)), None)
        if issuer is None or issuer in chain:
            break
        chain.append(issuer)
    return chain


def _issued_by(certificate: x509.Certificate, authority: x509.Certificate, *, below: int) -> bool:
    """True when the authority signed it and might. below: authorities between it and the first certificate."""
    if certificate.issuer != authority.subject:
        return False
    try:
        check_key(authority)
        certificate.verify_directly_issued_by(authority)
        constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = authority.extensions.get_extension_for_class(x509.KeyUsage).value
    except (CertificateError, InvalidSignature, ValueError, TypeError, x509.ExtensionNotFound):
        return False
    return usage.key_cert_sign and (constraints.path_length is None or below <= constraints.path_length)


def _check_revocation(
    crls: Iterable[tuple[Path, x509.CertificateRevocationList]], certificate: x509.Certificate, issuer: x509.Certificate
) -> None:
    key = issuer.public_key()
    for _, crl in crls:
        if crl.issuer != issuer.subject or not isinstance(key, rsa.RSAPublicKey) or not crl.is_signature_valid(key):
            continue
        if crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
            raise CertificateError("revoked", f"{describe(certificate)} was revoked by its issuer")


def outdated_crls(directory: Path, now: datetime | None = None) -> list[Path]:
    """Revocation lists whose next update is overdue, and those that cannot be read. They are still honoured, but old."""
    now, found = now or datetime.now(UTC), []
    for file in (f for folder in FOLDERS for f in sorted((directory / "certs" / folder).glob("*.crl"))):
        try:
            until = read_crl(file).next_update_utc
        except (CertificateError, OSError):
            found.append(file)
            continue
        if until is not None and until < now:
            found.append(file)
    return found
