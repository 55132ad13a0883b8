"""The certificates of our own applications: reading one with its key, replacing both without a moment in which neither fits.

A new key is first written as `<name>.next.key.pem`, then the certificate takes its place, then the key. Whoever reads in
between, or after a loss of power in between, finds a key that belongs to the certificate.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from .certificate import application_uri, check_key, check_time, check_usage, describe
from .errors import CertificateError
from .files import private_directory, write_atomically

KEY_BITS: Final = 2048


def load_own(directory: Path, name: str) -> tuple[bytes, rsa.RSAPrivateKey]:
    """Certificate (DER) and key of the application `name`. Raises CertificateError when they do not belong together, OSError."""
    folder = directory / "certs" / "own"
    der = (folder / f"{name}.der").read_bytes()
    try:
        wanted = x509.load_der_x509_certificate(der).public_key()
    except ValueError as error:
        raise CertificateError("damaged", f"{folder / f'{name}.der'}: not an X.509 certificate: {error}") from error
    for file in (folder / f"{name}.key.pem", next_key(directory, name)):
        if file.exists():
            key = read_key(file)
            if key.public_key() == wanted:
                return der, key
    raise CertificateError(
        "damaged", f"{folder / f'{name}.key.pem'}: the key is not that of {name}.der; `ems certs renew {name}`"
    )


def read_key(file: Path) -> rsa.RSAPrivateKey:
    """The RSA key in a PEM file. Raises CertificateError naming the file, or OSError."""
    try:
        key = serialization.load_pem_private_key(file.read_bytes(), None)
    except (ValueError, TypeError) as error:
        raise CertificateError("damaged", f"{file}: not a private key: {error}") from error
    if not isinstance(key, rsa.RSAPrivateKey):
        raise CertificateError("damaged", f"{file}: the key is not RSA")
    return key


def next_key(directory: Path, name: str) -> Path:
    """Where the key of a certificate waits that is yet to come."""
    return directory / "certs" / "own" / f"{name}.next.key.pem"


def keep_key(directory: Path, name: str, key: rsa.RSAPrivateKey) -> None:
    """Write the key of a certificate that is yet to come."""
    private_directory(directory / "certs" / "own")
    form = serialization.PrivateFormat.PKCS8
    write_atomically(next_key(directory, name), key.private_bytes(Encoding.PEM, form, serialization.NoEncryption()), 0o600)


def install(directory: Path, name: str, chain: list[x509.Certificate]) -> None:
    """Use a certificate, followed by its issuers, from now on. Its key lies where `keep_key` put it, or is the present one.

    Raises CertificateError, and changes nothing, when the key is in neither place.
    """
    folder = directory / "certs" / "own"
    present, waiting = folder / f"{name}.key.pem", next_key(directory, name)
    key = next((f for f in (waiting, present) if f.exists() and read_key(f).public_key() == chain[0].public_key()), None)
    if key is None:
        raise CertificateError("usage", f"the key of {describe(chain[0])} is not here any more; ask for a signing request again")
    write_atomically(folder / f"{name}.pem", b"".join(c.public_bytes(Encoding.PEM) for c in chain))
    write_atomically(folder / f"{name}.der", chain[0].public_bytes(Encoding.DER))
    if key is waiting:
        waiting.replace(present)


def signing_request(directory: Path, name: str, subject: str = "", *, new_key: bool = False) -> bytes:
    """A request (PKCS #10, DER) with which another authority may issue the certificate of the application `name`.

    subject: an RFC 4514 name, the present one when empty. new_key: make one, which waits until the certificate is installed.
    URI and hosts are those of the present certificate. Raises CertificateError.
    """
    der, key = load_own(directory, name)
    present = x509.load_der_x509_certificate(der)
    if new_key:
        key = rsa.generate_private_key(65537, KEY_BITS)
        keep_key(directory, name, key)
    builder = x509.CertificateSigningRequestBuilder(_subject(subject) if subject else present.subject)
    for extension in present.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName | x509.KeyUsage | x509.ExtendedKeyUsage):
            builder = builder.add_extension(extension.value, extension.critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def check_replacement(directory: Path, name: str, certificate: x509.Certificate, now: datetime) -> None:
    """Raise CertificateError unless a certificate may take the place of the present one of the application `name`.

    It must be of a key that is here, of the same application, valid now and for a server.
    """
    present = x509.load_der_x509_certificate(load_own(directory, name)[0])
    waiting = next_key(directory, name)
    keys = [present.public_key(), *([read_key(waiting).public_key()] if waiting.exists() else [])]
    if certificate.public_key() not in keys:
        raise CertificateError("usage", f"{describe(certificate)} is not for a key of ours; ask for a signing request first")
    if application_uri(certificate) != application_uri(present):
        raise CertificateError("usage", f"{describe(certificate)} is of another application: {application_uri(certificate)!r}")
    check_key(certificate)
    check_time(certificate, now)
    check_usage(certificate)


def _subject(text: str) -> x509.Name:
    """A name as OPC UA writes it (`CN=ems/O=ACME`) or as RFC 4514 does (`CN=ems,O=ACME`)."""
    try:
        return x509.Name.from_rfc4514_string(text.replace("/", ","))
    except ValueError as error:
        raise CertificateError("usage", f"'{text}' is not a subject name such as CN=ems,O=ACME") from error
