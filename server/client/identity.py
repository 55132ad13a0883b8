"""Who the client is, whom it trusts, and the X.509 behind both."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from .errors import ClientError


@dataclass(frozen=True, slots=True)
class Identity:
    """How a client connects. Always Basic256Sha256 with SignAndEncrypt.

    endpoint: `opc.tcp://host:port`.
    certificate, key: the application instance certificate (DER or PEM) and its private key (PEM).
    server_certificate: the one server certificate that is accepted; or
    ca: the authority (PEM or DER) that must have issued it. One of the two is needed.
    user, password: a user name token; without a user the certificate itself is the user (X.509 token).
    """

    endpoint: str
    certificate: Path
    key: Path
    server_certificate: Path | None = None
    ca: Path | None = None
    user: str | None = None
    password: str | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the endpoint. ClientError on a URL that is none."""
        parts = urlsplit(self.endpoint)
        if parts.scheme != "opc.tcp" or not parts.hostname:
            raise ClientError("BadTcpEndpointUrlInvalid", f"{self.endpoint!r} is not opc.tcp://host:port")
        return parts.hostname, parts.port or 4840


@dataclass(frozen=True, slots=True)
class Credentials:
    """An Identity with its files read."""

    identity: Identity
    certificate: x509.Certificate
    key: Any
    pinned: x509.Certificate | None
    authority: x509.Certificate | None

    @classmethod
    def load(cls, identity: Identity) -> Credentials:
        """Read and parse the files. ClientError (BadConfigurationError) names the file that is wrong."""
        if identity.server_certificate is None and identity.ca is None:
            raise ClientError("BadConfigurationError", "neither server_certificate nor ca says which server to trust")
        return cls(
            identity,
            load_certificate(identity.certificate),
            _load_key(identity.key),
            load_certificate(identity.server_certificate) if identity.server_certificate else None,
            load_certificate(identity.ca) if identity.ca else None,
        )

    @property
    def application_uri(self) -> str:
        """The URI of the client's certificate, which the server compares with the session's."""
        return next(iter(_names(self.certificate, x509.UniformResourceIdentifier)), "")

    @property
    def der(self) -> bytes:
        """The client's certificate as sent to the server."""
        return self.certificate.public_bytes(Encoding.DER)

    def verify_server(self, certificate: x509.Certificate) -> None:
        """ClientError unless this is the pinned certificate, or a valid one of the authority for the dialled host."""
        if self.pinned is not None:
            if certificate != self.pinned:
                raise ClientError("BadCertificateUntrusted", "the server's certificate is not the pinned one")
            return
        assert self.authority is not None
        try:
            certificate.verify_directly_issued_by(self.authority)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise ClientError("BadCertificateUntrusted", "the server's certificate is not of the site's authority") from error
        if not certificate.not_valid_before_utc <= datetime.now(UTC) <= certificate.not_valid_after_utc:
            raise ClientError("BadCertificateTimeInvalid", f"valid until {certificate.not_valid_after_utc:%Y-%m-%d}")
        host = self.identity.address[0]
        if not _is_loopback(host) and host.lower() not in _hosts(certificate):
            raise ClientError("BadCertificateHostNameInvalid", f"the server's certificate is not for {host}")


def load_certificate(path: Path) -> x509.Certificate:
    """A certificate from a DER or PEM file. ClientError when it cannot be read."""
    try:
        data = path.read_bytes()
        return x509.load_pem_x509_certificate(data) if b"-----BEGIN" in data else x509.load_der_x509_certificate(data)
    except (OSError, ValueError) as error:
        raise ClientError("BadConfigurationError", f"{path}: no certificate: {error}") from error


def _load_key(path: Path) -> Any:
    try:
        return load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise ClientError("BadConfigurationError", f"{path}: no private key: {error}") from error


def _names(certificate: x509.Certificate, kind: Any) -> list[Any]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return list(names.get_values_for_type(kind))


def _hosts(certificate: x509.Certificate) -> set[str]:
    names = _names(certificate, x509.DNSName) + _names(certificate, x509.IPAddress)
    return {str(name).lower() for name in names}


def _is_loopback(host: str) -> bool:
    """Only processes of this machine answer there, whatever names the certificate carries."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
