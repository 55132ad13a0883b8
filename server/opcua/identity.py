"""Who a user is: proof by password or by certificate, from the token of ActivateSession (Part 4, 7.41).

A password arrives enciphered for our certificate together with the session's last nonce, so it can be neither read nor
replayed. Checking its hash takes tens of milliseconds by design: it runs in a few threads, failures are answered ever more
slowly, and a name that does not exist costs as much time as one that does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from hmac import compare_digest
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from asyncua import ua
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from certs import CertificateError, TrustList
from server.core.roles import Role

from . import limits
from .backoff import LoginBackoff
from .endpoints import CERTIFICATE, USER_NAME
from .policy import Policy
from .service import ServiceError
from .session import User

if TYPE_CHECKING:
    from .channel import Channel
    from .session import Session

T = TypeVar("T")


class Users(Protocol):
    """The site's list of users."""

    def __iter__(self) -> Iterator[Any]:
        """Every user with `name`, `roles`, `index`, `scope` and `one_time`."""

    def verify(self, name: str, password: str) -> Any:
        """The user, or None; slow, and as slow for a name that does not exist."""

    def by_certificate(self, certificate: x509.Certificate) -> Any:
        """The user a certificate that the site trusts stands for, or None."""

    def add(self, name: str, roles: Iterable[str], *, password: str, one_time: bool) -> Any:
        """Add a user. UserError."""

    def change(self, name: str, *, password: str = "", roles: Iterable[str] = (), one_time: bool = False) -> Any:
        """Give a user another password or other roles. UserError."""

    def confine(self, name: str, scope: Iterable[str] | None) -> Any:
        """Let a user see only what belongs to these tenants. UserError."""

    def remove(self, name: str) -> None:
        """Remove a user. UserError."""


class Identification:
    """Proves users. One per server."""

    def __init__(self, users: Users) -> None:
        self._users = users
        self._backoff = LoginBackoff()
        self._threads = ThreadPoolExecutor(limits.LOGINS_AT_ONCE, "login")
        self._waiting = 0

    async def identify(self, session: Session, channel: Channel, request: ua.ActivateSessionParameters, address: str) -> User:
        """The user of an ActivateSession request. ServiceError BadIdentityToken... or BadUserAccessDenied."""
        token = request.UserIdentityToken
        if isinstance(token, ua.UserNameIdentityToken):
            found = await self._by_password(session, channel, token, address)
        elif isinstance(token, ua.X509IdentityToken):
            found = self._by_certificate(session, channel, token, request.UserTokenSignature)
        elif isinstance(token, ua.AnonymousIdentityToken | ua.IssuedIdentityToken) or _is_null(token):
            raise ServiceError(ua.StatusCodes.BadIdentityTokenRejected, "a password or a certificate is needed")
        else:
            raise ServiceError(ua.StatusCodes.BadIdentityTokenInvalid, "unknown type of user token")
        return replace(found, encrypted=channel.mode == ua.MessageSecurityMode.SignAndEncrypt)

    def everybody(self) -> dict[str, User]:
        """All users by name, as the list is now. EmsError when it cannot be read."""
        return {found.name: _user(found) for found in self._users}

    def is_locked(self, name: str) -> bool:
        """True while a name must wait after failed logins."""
        return self._backoff.locked(name, time.monotonic())

    def unlock(self, name: str) -> None:
        """Forget the failed logins of a name."""
        self._backoff.succeeded(name)

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Do something slow with users or certificates off the loop. ServiceError BadTcpServerTooBusy when too many wait."""
        if self._waiting >= limits.LOGINS_WAITING_MAX:
            raise ServiceError(ua.StatusCodes.BadTcpServerTooBusy, "too many logins at once")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1

    async def prove(self, name: str, password: str, address: str) -> User:
        """The user of a name and password. ServiceError BadUserAccessDenied, whatever the reason."""
        wait_s = self._backoff.wait_s(name, address, time.monotonic())
        if wait_s > 0.0:
            raise ServiceError(ua.StatusCodes.BadUserAccessDenied, f"{name!r} must wait {wait_s:.0f} s after failed logins")
        found = await self.in_thread(partial(self._users.verify, name, password))
        if found is None:
            self._backoff.failed(name, address, time.monotonic())
            raise ServiceError(ua.StatusCodes.BadUserAccessDenied, f"name or password of {name!r}")
        self._backoff.succeeded(name)
        return _user(found)

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _by_password(self, session: Session, channel: Channel, token: ua.UserNameIdentityToken, address: str) -> User:
        if token.PolicyId != USER_NAME or not token.UserName or len(token.UserName) > limits.USER_NAME_LENGTH_MAX:
            raise ServiceError(ua.StatusCodes.BadIdentityTokenInvalid, "PolicyId or user name")
        return await self.prove(token.UserName, self._decrypt(session, channel, token), address)

    def _decrypt(self, session: Session, channel: Channel, token: ua.UserNameIdentityToken) -> str:
        """The password, after the nonce that must follow it was compared (Part 4, 7.41.2.2)."""
        policy = cast(Policy, channel.policy)
        if token.EncryptionAlgorithm != policy.encryption_uri:
            raise ServiceError(ua.StatusCodes.BadIdentityTokenInvalid, f"password under {token.EncryptionAlgorithm!r}")
        try:
            plain = policy.decrypt(channel.security.key, token.Password or b"", limits.PASSWORD_RSA_BLOCKS_MAX)
            secret = _sized(plain)
            password, nonce = secret[: -len(session.nonce)], secret[-len(session.nonce) :]
            if not compare_digest(nonce, session.nonce):
                raise ValueError("nonce")
            return password.decode()
        except ValueError as error:
            raise ServiceError(ua.StatusCodes.BadIdentityTokenInvalid, "password cannot be deciphered") from error

    def _by_certificate(
        self, session: Session, channel: Channel, token: ua.X509IdentityToken, signature: ua.SignatureData
    ) -> User:
        if token.PolicyId != CERTIFICATE:
            raise ServiceError(ua.StatusCodes.BadIdentityTokenInvalid, f"PolicyId {token.PolicyId!r}")
        certificate = _trusted(channel.security.trust, token.CertificateData or b"")
        policy = cast(Policy, channel.policy)
        key = cast(rsa.RSAPublicKey, certificate.public_key())
        if not proves(policy, key, channel.security.certificate + session.nonce, signature):
            raise ServiceError(ua.StatusCodes.BadUserSignatureInvalid)
        found = self._users.by_certificate(certificate)
        if found is None:
            raise ServiceError(ua.StatusCodes.BadUserAccessDenied, "no user has this certificate")
        return _user(found)


def _user(found: Any) -> User:
    """As the server knows him. Who must choose another password may do nothing else."""
    roles = frozenset([Role.ANONYMOUS]) if found.one_time else frozenset(found.roles)
    return User(found.name, roles, found.index, found.scope, found.one_time)


def proves(policy: Policy, key: rsa.RSAPublicKey, data: bytes, signature: ua.SignatureData) -> bool:
    """True when a SignatureData structure is the signature of `key` over `data` under the policy."""
    return signature.Algorithm == policy.signature_uri and policy.verify(key, data, signature.Signature or b"")


def application_uris(certificate: x509.Certificate) -> list[str]:
    """The URIs in the subject alternative name; at least one, the empty string when there is none."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return [""]
    return names.get_values_for_type(x509.UniformResourceIdentifier) or [""]


def _trusted(trust: TrustList, der: bytes) -> x509.Certificate:
    try:
        return trust.check(der, application=False)
    except CertificateError as error:
        raise ServiceError(ua.StatusCodes.BadIdentityTokenRejected, str(error)) from error


def _sized(plain: bytes) -> bytes:
    """The bytes that a length of four bytes announces. ValueError unless they are all there is."""
    if len(plain) < 4 or int.from_bytes(plain[:4], "little") != len(plain) - 4:
        raise ValueError(f"length of a secret of {len(plain)} bytes")
    return plain[4:]


def _is_null(token: Any) -> bool:
    return token is None or (isinstance(token, ua.ExtensionObject) and token.TypeId.is_null())
