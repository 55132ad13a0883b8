"""Whom this site believes: peers a person trusts, and whatever a trusted authority issued and has not revoked.

A refused certificate is kept in `certs/rejected` (a bounded number), so that a person can look at it and trust it with
one command instead of copying files about.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from .errors import CertificateError
from .files import private_directory, write_atomically

KEY_BITS_MIN = 2048
KEY_BITS_MAX = 4096
"""Above this an attacker's certificate costs us more to verify than him to send (Basic256Sha256 ends here too)."""
CERTIFICATE_BYTES_MAX = 16_384
REJECTED_MAX = 100


@dataclass(frozen=True, slots=True)
class CertificateInfo:
    """What a person needs to decide about a certificate. state: own, trusted, issuer or rejected."""

    state: str
    file: Path
    thumbprint: str
    common_name: str
    application_uri: str
    not_after: datetime


class TrustList:
    """The trust decision for one site. Reads the folders anew at each check, so a change counts at once."""

    def __init__(self, directory: Path) -> None:
        self.folder = directory / "certs"

    def check(self, der: bytes, *, now: datetime | None = None) -> x509.Certificate:
        """The certificate, if it is trusted at `now` (UTC). Raises CertificateError with the reason, after keeping the file."""
        certificate = parse(der)
        try:
            _check_key(certificate)
            _check_time(certificate, now or datetime.now(UTC))
            _check_usage(certificate)
            self._check_trust(certificate)
        except CertificateError:
            self.keep_rejected(certificate)
            raise
        return certificate

    def trust(self, thumbprint: str) -> Path:
        """Move a rejected certificate to the trusted ones, by (the start of) its thumbprint."""
        source = self._find("rejected", thumbprint)
        target = private_directory(self.folder / "trusted") / source.name
        source.replace(target)
        return target

    def trust_file(self, file: Path) -> Path:
        """Trust a certificate from a file (DER or PEM); an authority goes to the issuers."""
        certificate = read(file)
        folder = "issuers" if is_authority(certificate) else "trusted"
        return self._keep(certificate, folder)

    def reject(self, thumbprint: str) -> Path:
        """Take trust away from a certificate, by (the start of) its thumbprint."""
        source = self._find("trusted", thumbprint)
        target = private_directory(self.folder / "rejected") / source.name
        source.replace(target)
        return target

    def keep_rejected(self, certificate: x509.Certificate) -> None:
        """Keep a refused certificate for a person to look at; the oldest make room."""
        self._keep(certificate, "rejected")
        kept = sorted((self.folder / "rejected").glob("*.der"), key=lambda f: f.stat().st_mtime)
        for file in kept[: max(0, len(kept) - REJECTED_MAX)]:
            file.unlink(missing_ok=True)

    def _check_trust(self, certificate: x509.Certificate) -> None:
        if certificate in _load_all(self.folder / "trusted"):
            return
        for authority in self._authorities():
            if _issued_by(certificate, authority):
                self._check_revocation(certificate, authority)
                return
        hint = f"`ems certs trust {thumbprint(certificate)[:8]}` trusts it"
        raise CertificateError("untrusted", f"{describe(certificate)} is not trusted; {hint}")

    def _authorities(self) -> list[x509.Certificate]:
        return _load_all(self.folder / "ca") + [c for c in _load_all(self.folder / "issuers") if is_authority(c)]

    def _check_revocation(self, certificate: x509.Certificate, authority: x509.Certificate) -> None:
        for file in (self.folder / "issuers").glob("*.crl"):
            revoked = _load_crl(file)
            if revoked.issuer == authority.subject and revoked.get_revoked_certificate_by_serial_number(
                certificate.serial_number
            ):
                raise CertificateError("revoked", f"{describe(certificate)} was revoked by its issuer")

    def _keep(self, certificate: x509.Certificate, folder: str) -> Path:
        file = private_directory(self.folder / folder) / f"{_file_name(certificate)} [{thumbprint(certificate)}].der"
        write_atomically(file, certificate.public_bytes(serialization.Encoding.DER))
        return file

    def _find(self, folder: str, mark: str) -> Path:
        wanted = mark.lower()
        found = [f for f in sorted((self.folder / folder).glob("*.der")) if thumbprint(read(f)).startswith(wanted)]
        if len(wanted) < 4 or len(found) != 1:
            raise CertificateError(
                "usage",
                f"'{mark}': {len(found) or 'no'} {folder} certificates begin so; give 4 or more characters of one's thumbprint",
            )
        return found[0]


def list_certificates(directory: Path) -> list[CertificateInfo]:
    """Every certificate the site knows: its own, the trusted, the issuers, the rejected."""
    states = {"ca": "issuer", "own": "own", "trusted": "trusted", "issuers": "issuer", "rejected": "rejected"}
    return [
        CertificateInfo(state, file, thumbprint(c), _common_name(c), application_uri(c), c.not_valid_after_utc)
        for folder, state in states.items()
        for file in sorted((directory / "certs" / folder).glob("*.der"))
        for c in [read(file)]
    ]


def parse(data: bytes) -> x509.Certificate:
    """A certificate from DER (the first of a chain) or PEM. Raises CertificateError("damaged")."""
    if len(data) > CERTIFICATE_BYTES_MAX:
        raise CertificateError("damaged", f"certificate of {len(data)} bytes; at most {CERTIFICATE_BYTES_MAX} are read")
    try:
        if data.lstrip().startswith(b"-----BEGIN"):
            return x509.load_pem_x509_certificate(data)
        return x509.load_der_x509_certificate(_first_der(data))
    except ValueError as error:
        raise CertificateError("damaged", f"not an X.509 certificate: {error}") from error


def read(file: Path) -> x509.Certificate:
    """The certificate in a file, DER or PEM. Raises CertificateError("damaged") naming the file, or OSError."""
    try:
        return parse(file.read_bytes())
    except CertificateError as error:
        raise CertificateError(error.reason, f"{file}: {error}") from error


def thumbprint(certificate: x509.Certificate) -> str:
    """SHA-1 of the DER form in lower-case hex: OPC UA's name for a certificate (Part 6, 6.2.3), not a security measure."""
    return certificate.fingerprint(hashes.SHA1()).hex()


def application_uri(certificate: x509.Certificate) -> str:
    """The ApplicationUri in the subject alternative name, or the empty string."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ""
    return next(iter(names.get_values_for_type(x509.UniformResourceIdentifier)), "")


def is_authority(certificate: x509.Certificate) -> bool:
    """True for a certificate that may issue others."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def describe(certificate: x509.Certificate) -> str:
    """A certificate in a few words for messages."""
    return f"certificate {_common_name(certificate)!r} ({thumbprint(certificate)[:8]})"


def _check_key(certificate: x509.Certificate) -> None:
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or not KEY_BITS_MIN <= key.key_size <= KEY_BITS_MAX:
        raise CertificateError(
            "weak-key", f"{describe(certificate)}: an RSA key of {KEY_BITS_MIN} to {KEY_BITS_MAX} bits is expected"
        )
    if not isinstance(certificate.signature_hash_algorithm, hashes.SHA256 | hashes.SHA384 | hashes.SHA512):
        raise CertificateError("weak-key", f"{describe(certificate)}: a SHA-2 signature is expected")


def _check_time(certificate: x509.Certificate, now: datetime) -> None:
    if now < certificate.not_valid_before_utc:
        begin = certificate.not_valid_before_utc
        raise CertificateError(
            "not-yet-valid", f"{describe(certificate)} is valid from {begin:%Y-%m-%d %H:%M} UTC; it is {now:%Y-%m-%d %H:%M}"
        )
    if now > certificate.not_valid_after_utc:
        raise CertificateError(
            "expired", f"{describe(certificate)} expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
        )


def _check_usage(certificate: x509.Certificate) -> None:
    """An application certificate: signs and enciphers keys, carries its ApplicationUri."""
    if not application_uri(certificate):
        raise CertificateError("usage", f"{describe(certificate)} carries no ApplicationUri in its subject alternative name")
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        raise CertificateError("usage", f"{describe(certificate)} has no (readable) key usage") from None
    if not (usage.digital_signature and usage.key_encipherment):
        raise CertificateError("usage", f"{describe(certificate)} may not sign and encipher keys")


def _issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    if certificate.issuer != authority.subject:
        return False
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return authority.not_valid_before_utc <= datetime.now(UTC) <= authority.not_valid_after_utc


def _load_all(folder: Path) -> list[x509.Certificate]:
    return [read(file) for file in sorted(folder.glob("*.der"))]


def _load_crl(file: Path) -> x509.CertificateRevocationList:
    data = file.read_bytes()
    try:
        return x509.load_pem_x509_crl(data) if data.startswith(b"-----") else x509.load_der_x509_crl(data)
    except ValueError as error:
        raise CertificateError("damaged", f"{file}: not a revocation list: {error}") from error


def _first_der(data: bytes) -> bytes:
    """The first element of concatenated DER: a peer may send its chain (Part 6, 6.2.6)."""
    if len(data) > 4 and data[0] == 0x30 and data[1] & 0x80:
        count = data[1] & 0x7F
        return data[: 2 + count + int.from_bytes(data[2 : 2 + count], "big")]
    return data


def _common_name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else "(no name)"


def _file_name(certificate: x509.Certificate) -> str:
    return "".join(c if c.isalnum() or c in "-_. " else "_" for c in _common_name(certificate))[:60].strip(". ") or "certificate"
