"""The certificates of our own applications: reading one with its key, replacing both without a moment in which neither fits.

A new key is first written as `<name>.next.key.pem`, then the certificate takes its place, then the key. Whoever reads in
between, or after a loss of power in between, finds a key that belongs to the certificate.
"""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from .errors import CertificateError
from .files import private_directory, write_atomically


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
    """Use a certificate, followed by its issuers, from now on. Its key lies where `keep_key` put it, or is the present one."""
    folder = directory / "certs" / "own"
    write_atomically(folder / f"{name}.pem", b"".join(c.public_bytes(Encoding.PEM) for c in chain))
    write_atomically(folder / f"{name}.der", chain[0].public_bytes(Encoding.DER))
    waiting = next_key(directory, name)
    if waiting.exists() and read_key(waiting).public_key() == chain[0].public_key():
        waiting.replace(folder / f"{name}.key.pem")
