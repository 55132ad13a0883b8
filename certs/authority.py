"""The site's own certificate authority, and what it issues.

Every application instance certificate follows OPC UA Part 6, 6.2.2: the ApplicationUri as URI in the subject alternative
name, the host names and addresses a client may dial beside it, digitalSignature + nonRepudiation + keyEncipherment +
dataEncipherment, serverAuth and clientAuth. RSA 2048, SHA-256: the key range of Basic256Sha256.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .certificate import application_uri as uri_of
from .certificate import describe, read, readable, thumbprint
from .certificate import hosts as hosts_of
from .chain import read_crl
from .errors import CertificateError
from .files import private_directory, write_atomically
from .own import KEY_BITS, install, keep_key, read_key

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
    write_atomically(folder / "ca.crl", _revocations(subject, key, ()))
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


def renew(directory: Path, name: str, *, days: int = 825) -> Paths:
    """Issue the certificate of one of the site's applications anew, with a new key, for the same URI and hosts.

    Raises CertificateError when there is none, or when another authority issued it: that one has to renew it.
    """
    file = directory / "certs" / "own" / f"{name}.der"
    if not file.exists():
        known = ", ".join(sorted(f.stem for f in file.parent.glob("*.der")))
        raise CertificateError("usage", f"'{name}': the site has no certificate of this name; it has {known or 'none'}")
    present, (authority, _) = read(file), _load_authority(directory)
    if present.issuer != authority.subject:
        issuer = present.issuer.rfc4514_string()
        raise CertificateError("usage", f"{describe(present)} was issued by {issuer}, which has to renew it")
    return issue(directory, name, application_uri=uri_of(present), hosts=hosts_of(present), days=days)


def renew_authority(directory: Path) -> Path:
    """Make the authority valid for AUTHORITY_DAYS from now on, with the same key: what it issued stays valid. Its file (PEM)."""
    present, key = _load_authority(directory)
    builder = _builder(present.subject, present.subject, key.public_key(), AUTHORITY_DAYS)
    for extension in present.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    renewed = builder.sign(key, hashes.SHA256())
    folder = directory / "certs" / "ca"
    write_atomically(folder / "ca.der", renewed.public_bytes(serialization.Encoding.DER))
    write_atomically(folder / "ca.pem", renewed.public_bytes(serialization.Encoding.PEM))
    return folder / "ca.pem"


def revoke(directory: Path, mark: str) -> x509.Certificate:
    """Revoke a certificate of the site's authority, by (the start of) its thumbprint; nobody who asks us trusts it any more.

    Raises CertificateError unless exactly one such certificate is known here.
    """
    authority, _ = _load_authority(directory)
    folders = [directory / "certs" / folder for folder in ("own", "trusted", "rejected")]
    known = {thumbprint(c): c for folder in folders for _, c in readable(folder) if c.issuer == authority.subject}
    found = [c for t, c in known.items() if t.startswith(mark.lower())]
    if len(mark) < 4 or len(found) != 1:
        raise CertificateError("usage", f"'{mark}': {len(found) or 'no'} certificates of the site's authority begin so")
    revoke_certificate(directory, found[0])
    return found[0]


def revoke_certificate(directory: Path, certificate: x509.Certificate) -> None:
    """Put a certificate of the site's authority on its revocation list."""
    authority, key = _load_authority(directory)
    file = directory / "certs" / "ca" / "ca.crl"
    before = list(read_crl(file)) if file.exists() else []
    if certificate.serial_number not in [gone.serial_number for gone in before]:
        gone = x509.RevokedCertificateBuilder(certificate.serial_number, datetime.now(UTC)).build()
        write_atomically(file, _revocations(authority.subject, key, [*before, gone]))


def _revocations(issuer: x509.Name, key: rsa.RSAPrivateKey, gone: Iterable[x509.RevokedCertificate]) -> bytes:
    """A revocation list (DER): clients that trust the authority ask for one, even an empty one."""
    now = datetime.now(UTC)
    builder = x509.CertificateRevocationListBuilder(issuer, now - BACKDATED, now + timedelta(days=AUTHORITY_DAYS), [], list(gone))
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
        return read(folder / "ca.pem"), read_key(folder / "ca.key.pem")
    except OSError as error:
        raise CertificateError("usage", f"{folder}: no authority here ({error.strerror}); `ems init` makes one") from error
    except CertificateError as error:
        raise CertificateError("damaged", f"the authority's files are damaged: {error}") from error
