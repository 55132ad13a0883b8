"""One certificate: reading it, naming it, and whether it is sound in itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .errors import CertificateError

KEY_BITS_MIN = 2048
KEY_BITS_MAX = 4096
"""Above this an attacker's certificate costs us more to verify than him to send (the RSA policies end here too)."""
CERTIFICATE_BYTES_MAX = 16_384
CHAIN_LENGTH_MAX = 5


@dataclass(frozen=True, slots=True)
class CertificateInfo:
    """What a person needs to decide about a certificate. state: own, trusted, issuer or rejected."""

    state: str
    file: Path
    thumbprint: str
    common_name: str
    application_uri: str
    not_after: datetime

    def days_left(self, now: datetime | None = None) -> int:
        """Whole days until it expires, negative afterwards."""
        return (self.not_after - (now or datetime.now(UTC))).days


def parse(data: bytes) -> x509.Certificate:
    """A certificate from DER (the first of a chain) or PEM. Raises CertificateError("damaged")."""
    return next(parse_chain(data))


def parse_chain(data: bytes) -> Iterator[x509.Certificate]:
    """The certificates of concatenated DER or PEM, as a peer sends them (Part 6, 6.2.6). Raises CertificateError("damaged")."""
    if len(data) > CERTIFICATE_BYTES_MAX:
        raise CertificateError("damaged", f"certificate of {len(data)} bytes; at most {CERTIFICATE_BYTES_MAX} are read")
    try:
        if data.lstrip().startswith(b"-----BEGIN"):
            yield from x509.load_pem_x509_certificates(data)
            return
        for part in _elements(data):
            yield x509.load_der_x509_certificate(part)
    except ValueError as error:
        raise CertificateError("damaged", f"not an X.509 certificate: {error}") from error


def _elements(data: bytes) -> Iterator[bytes]:
    """The elements of concatenated DER; the whole where it does not look like any."""
    for _ in range(CHAIN_LENGTH_MAX):
        size = len(data)
        if len(data) > 4 and data[0] == 0x30 and data[1] & 0x80:
            count = data[1] & 0x7F
            size = 2 + count + int.from_bytes(data[2 : 2 + count], "big")
        yield data[:size]
        data = data[size:]
        if not data:
            return


def read(file: Path) -> x509.Certificate:
    """The certificate in a file, DER or PEM. Raises CertificateError("damaged") naming the file, or OSError."""
    try:
        return parse(file.read_bytes())
    except CertificateError as error:
        raise CertificateError(error.reason, f"{file}: {error}") from error


def list_certificates(directory: Path) -> list[CertificateInfo]:
    """Every certificate the site knows: its own, the trusted, the issuers, the rejected. `damaged_files` has what is none."""
    states = {"ca": "issuer", "own": "own", "trusted": "trusted", "issuers": "issuer", "rejected": "rejected"}
    return [
        CertificateInfo(state, file, thumbprint(c), common_name(c), application_uri(c), c.not_valid_after_utc)
        for folder, state in states.items()
        for file, c in readable(directory / "certs" / folder)
    ]


def readable(folder: Path) -> Iterator[tuple[Path, x509.Certificate]]:
    """The files of a folder that are certificates, in the order of names."""
    for file in sorted(folder.glob("*.der")):
        try:
            yield file, read(file)
        except (CertificateError, OSError):
            continue


def damaged_files(directory: Path) -> list[Path]:
    """Files among the certificates that are none: they trust nobody."""
    found: list[Path] = []
    for folder in ("ca", "own", "trusted", "issuers"):
        files = set((directory / "certs" / folder).glob("*.der"))
        found += sorted(files - {file for file, _ in readable(directory / "certs" / folder)})
    return found


# What a certificate says.


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


def hosts(certificate: x509.Certificate) -> list[str]:
    """Names and addresses in the subject alternative name."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]


def common_name(certificate: x509.Certificate) -> str:
    """The subject's common name."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else "(no name)"


def is_authority(certificate: x509.Certificate) -> bool:
    """True for a certificate that may issue others."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def describe(certificate: x509.Certificate) -> str:
    """A certificate in a few words for messages."""
    return f"certificate {common_name(certificate)!r} ({thumbprint(certificate)[:8]})"


def file_name(certificate: x509.Certificate) -> str:
    """Under which it is kept: readable, harmless, and no other certificate's."""
    shown = "".join(c if c.isalnum() or c in "-_. " else "_" for c in common_name(certificate))[:60].strip(". ")
    return f"{shown or 'certificate'} [{thumbprint(certificate)}].der"


# Whether it is sound.


def check_key(certificate: x509.Certificate) -> None:
    """CertificateError("weak-key") unless it has an RSA key of a sane length and a SHA-2 signature."""
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or not KEY_BITS_MIN <= key.key_size <= KEY_BITS_MAX:
        raise CertificateError(
            "weak-key", f"{describe(certificate)}: an RSA key of {KEY_BITS_MIN} to {KEY_BITS_MAX} bits is expected"
        )
    if not isinstance(certificate.signature_hash_algorithm, hashes.SHA256 | hashes.SHA384 | hashes.SHA512):
        raise CertificateError("weak-key", f"{describe(certificate)}: a SHA-2 signature is expected")


def check_time(certificate: x509.Certificate, now: datetime) -> None:
    """CertificateError("not-yet-valid" or "expired")."""
    if now < certificate.not_valid_before_utc:
        begin = certificate.not_valid_before_utc
        raise CertificateError(
            "not-yet-valid",
            f"{describe(certificate)} is valid from {begin:%Y-%m-%d %H:%M} UTC and here it is {now:%Y-%m-%d %H:%M} UTC: "
            "compare the clocks of both machines",
        )
    if now > certificate.not_valid_after_utc:
        raise CertificateError(
            "expired",
            f"{describe(certificate)} expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC "
            f"and here it is {now:%Y-%m-%d %H:%M} UTC",
        )


def check_usage(certificate: x509.Certificate, *, application: bool = True) -> None:
    """CertificateError("usage") unless it is one with which a peer may prove itself.

    application: it is an application's, which enciphers keys and carries its ApplicationUri; a person's only signs.
    """
    if application and not application_uri(certificate):
        raise CertificateError("usage", f"{describe(certificate)} carries no ApplicationUri in its subject alternative name")
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        raise CertificateError("usage", f"{describe(certificate)} has no (readable) key usage") from None
    if not usage.digital_signature or (application and not usage.key_encipherment):
        raise CertificateError("usage", f"{describe(certificate)} may not sign{' and encipher keys' * application}")
    try:
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(purposes):
        raise CertificateError("usage", f"{describe(certificate)} is not meant for a client (extended key usage clientAuth)")
