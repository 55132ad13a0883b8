"""The site's own certificate authority, and what it issues.

Every application instance certificate follows OPC UA Part 6, 6.2.2: the ApplicationUri as URI in the subject alternative
name, the host names and addresses a client may dial beside it, digitalSignature + nonRepudiation + keyEncipherment +
dataEncipherment, serverAuth and clientAuth. RSA 2048, SHA-256: the key range of Basic256Sha256.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .errors import CertificateError
from .files import private_directory, write_atomically
from .own import install, keep_key

KEY_BITS = 2048
AUTHORITY_DAYS = 3650
BACKDATED = timedelta(hours=1)
"""Clocks of devices are seldom right: a certificate is valid from an hour ago."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Where an issued certificate lies: DER for OPC UA, PEM with the issuer appended for HTTPS, and its key."""

    certificate: Path
    chain: Path
    key: Path


def create_authority(directory: Path, organisation: str) -> Path:
    """Make the authority of a site below `directory`/certs/ca. Returns its certificate (PEM).

    Raises CertificateError("exists") rather than replacing an authority: that would cut off every peer.
    """
    folder = private_directory(directory / "certs" / "ca")
    certificate_file = folder / "ca.pem"
    if certificate_file.exists():
        raise CertificateError("exists", f"{certificate_file} exists: this site has an authority already")
    for name in ("own", "trusted", "rejected", "issuers"):
        private_directory(directory / "certs" / name)
    key = rsa.generate_private_key(65537, KEY_BITS)
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{organisation} authority"[:64]),
        ]
    )
    certificate = (
        _builder(subject, subject, key.public_key(), AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_atomically(folder / "ca.key.pem", _key_pem(key), 0o600)
    write_atomically(folder / "ca.der", certificate.public_bytes(serialization.Encoding.DER))
    write_atomically(folder / "ca.crl", _revocations(subject, key))
    write_atomically(certificate_file, certificate.public_bytes(serialization.Encoding.PEM))
    return certificate_file


def issue(directory: Path, name: str, *, application_uri: str, hosts: Sequence[str], days: int = 825) -> Paths:
    """Issue a certificate for one of the site's applications, replacing an older one of the same name.

    hosts: names and IP addresses under which the application is dialled. Raises CertificateError when the site has no
    authority or `days` is not in 1..3650.
    """
    if not 1 <= days <= AUTHORITY_DAYS:
        raise CertificateError("usage", f"days: {days} is not in 1..{AUTHORITY_DAYS}")
    ca_certificate, ca_key = _load_authority(directory)
    key = rsa.generate_private_key(65537, KEY_BITS)
    subject = x509.Name(
        [
            ca_certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0],
            x509.NameAttribute(NameOID.COMMON_NAME, name[:64]),
        ]
    )
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        _builder(subject, ca_certificate.subject, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(application_uri), *map(_host, hosts)]), False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    keep_key(directory, name, key)
    install(directory, name, [certificate, ca_certificate])
    folder = directory / "certs" / "own"
    return Paths(folder / f"{name}.der", folder / f"{name}.pem", folder / f"{name}.key.pem")


def _revocations(issuer: x509.Name, key: rsa.RSAPrivateKey) -> bytes:
    """An empty revocation list (DER): clients that trust the authority ask for one."""
    now = datetime.now(UTC)
    builder = x509.CertificateRevocationListBuilder(issuer, now - BACKDATED, now + timedelta(days=AUTHORITY_DAYS))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def _builder(subject: x509.Name, issuer: x509.Name, public_key: rsa.RSAPublicKey, days: int) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + timedelta(days=days))
    )


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=not sign,
        key_encipherment=not sign,
        data_encipherment=not sign,
        key_agreement=False,
        key_cert_sign=sign,
        crl_sign=sign,
        encipher_only=False,
        decipher_only=False,
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_pem(key: rsa.RSAPrivateKey) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def _load_authority(directory: Path) -> tuple[x509.Certificate, rsa.RSAPrivateKey]:
    folder = directory / "certs" / "ca"
    try:
        certificate = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
        key = serialization.load_pem_private_key((folder / "ca.key.pem").read_bytes(), None)
    except OSError as error:
        raise CertificateError("usage", f"{folder}: no authority here ({error.strerror}); `ems init` makes one") from error
    except ValueError as error:
        raise CertificateError("damaged", f"{folder}: the authority's files are damaged: {error}") from error
    if not isinstance(key, rsa.RSAPrivateKey):
        raise CertificateError("damaged", f"{folder / 'ca.key.pem'}: the authority's key is not RSA")
    return certificate, key
