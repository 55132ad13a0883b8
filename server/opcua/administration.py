"""Users and certificates as methods: the object `security` of the site.

Only a SecurityAdmin sees it, except ChangeOwnPassword, and only over an encrypted channel. What takes time, a password hash
or a file, is done in the threads that also verify logins. A change counts at once: sessions of who was removed end, changed
roles and scopes apply to sessions that are open, channels of a certificate that is no longer trusted are closed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from asyncua import ua

from certs import CertificateError, CertificateInfo, list_certificates
from server.runtime.users import Account, UserError, new_password

from .access import EVERYBODYS, Kind
from .metadata import Refused
from .method_object import Argument, Method, MethodObject

if TYPE_CHECKING:
    from .server import UaServer
    from .session import Session

SECURITY: Final = "security"

_TYPE: Final = ua.VariantType
_CODES: Final = ua.StatusCodes
_USER_REFUSALS: Final = {
    "exists": _CODES.BadAlreadyExists,
    "unknown": _CODES.BadNotFound,
    "weak-password": _CODES.BadOutOfRange,
    "last-admin": _CODES.BadInvalidState,
}
_CERTIFICATE_REFUSALS: Final = {"usage": _CODES.BadNotFound, "exists": _CODES.BadAlreadyExists}

# Users.


async def _change(server: UaServer, work: Callable[[], Any]) -> Any:
    """Do something to the users in a thread, then let it count. Refused with the reason."""
    try:
        result = await server.identification.in_thread(work)
    except UserError as error:
        raise Refused(int(_USER_REFUSALS.get(error.reason, _CODES.BadInvalidArgument))) from error
    server.recheck_users()
    return result


async def _list_users(server: UaServer, session: Session, values: list[Any]) -> list[ua.Variant]:
    accounts: list[Account] = await _change(server, lambda: list(server.users))
    here = {s.user.name for s in server.sessions if s.activated}
    columns = (
        [a.name for a in accounts],
        [_joined(a.roles) for a in accounts],
        [_state(server, a, logged_in=a.name in here) for a in accounts],
    )
    return _packed("ListUsers", *columns)


def _state(server: UaServer, account: Account, *, logged_in: bool) -> str:
    if server.identification.is_locked(account.name):
        return "locked"
    if account.one_time:
        return "one-time password"
    proof = "certificate" if account.certificate_sha256 else "password"
    return f"{proof}, logged in" if logged_in else proof


async def _add_user(server: UaServer, session: Session, values: list[Any]) -> list[ua.Variant]:
    name, roles = values
    password = new_password()
    await _change(server, lambda: server.users.add(name or "", _parts(roles), password=password, one_time=True))
    return _packed("AddUser", password)


async def _set_roles(server: UaServer, session: Session, values: list[Any]) -> list[ua.Variant]:
    name, roles = values
    if not _parts(roles):
        raise Refused(int(_CODES.BadInvalidArgument))
    await _change(server, lambda: server.users.change(name, roles=_parts(roles)))
    return []


async def _list_scopes(server: UaServer, session: Session, values: list[Any]) -> list[ua.Variant]:
    accounts: list[Account] = await _change(server, lambda: list(server.users))
    return _packed("ListScopes", [a.name for a in accounts], [_joined(a.scope or ()) for a in accounts])


async def _set_scope(server: UaServer, session: Session, values: list[Any]) -> list[ua.Variant]:
    name, scope = values
    await _change(server, lambda: server.users.confine(name, _parts(scope) or None))
    return []


async def _reset_password(server: UaServer, session: Session, values: list[Any]) -> list[ua.Variant]:
    (name,) = values
    password = new_password()
    await _change(server, lambda: server.users.change(name, password=password, one_time=True))
    server.identification.unlock(name)
    return _packed("ResetPassword", password)


async def _remove_user(server: UaServer, session: Session, values: list[Any]) -> list[ua.Variant]:
    (name,) = values
    if name == session.user.name:
        raise Refused(int(_CODES.BadInvalidSelfReference))
    await _change(server, lambda: server.users.remove(name))
    return []


async def _change_own_password(server: UaServer, session: Session, values: list[Any]) -> list[ua.Variant]:
    """As if the user logged in once more: wrong old passwords make him wait, too."""
    old, new = values
    if old == new:
        raise Refused(int(_CODES.BadAlreadyExists))
    await server.identification.prove(session.user.name, old or "", "")
    await _change(server, lambda: server.users.change(session.user.name, password=new or ""))
    return []


def _parts(text: str | None) -> list[str]:
    return [part for part in (text or "").replace(",", " ").split() if part]


def _joined(words: Any) -> str:
    return ", ".join(sorted(words))


# Certificates.


async def _certificates(server: UaServer, work: Callable[[], Any]) -> Any:
    """Do something to the certificates in a thread. Refused with the reason."""
    try:
        return await server.identification.in_thread(work)
    except CertificateError as error:
        raise Refused(int(_CERTIFICATE_REFUSALS.get(error.reason, _CODES.BadCertificateInvalid))) from error


async def _list_certificates(server: UaServer, session: Session, values: list[Any]) -> list[ua.Variant]:
    found: list[CertificateInfo] = await _certificates(server, lambda: list_certificates(server.settings.directory))
    columns = (
        [c.thumbprint for c in found],
        [c.common_name for c in found],
        [c.application_uri for c in found],
        [c.state for c in found],
        [c.not_after for c in found],
    )
    return _packed("ListCertificates", *columns)


async def _trust(server: UaServer, session: Session, values: list[Any]) -> list[ua.Variant]:
    await _certificates(server, partial(server.security.trust.trust, values[0] or ""))
    return []


async def _reject(server: UaServer, session: Session, values: list[Any]) -> list[ua.Variant]:
    await _certificates(server, partial(server.security.trust.reject, values[0] or ""))
    server.certificate_watch.look()
    return []


# The table.

_NAME: Final = Argument("Name", "Of the user.")
_ROLES: Final = Argument("Roles", "Names of roles, separated by commas.")
_PASSWORD: Final = Argument("Password", "Lets the user in once, to choose another. Shown nowhere else.")
_SCOPE: Final = Argument("Scope", "Names of tenants, separated by commas; empty for the whole site.")
_THUMBPRINT: Final = Argument("Thumbprint", "SHA-1 of the certificate in hex, or the first four or more characters of it.")


def _names(name: str, doc: str) -> Argument:
    return Argument(name, doc, array=True)


METHODS: Final[dict[str, Method]] = {
    "ListUsers": Method(
        "Every user of the site.",
        _list_users,
        gives=(
            _names("Names", "By the order in which they were added."),
            _names("Roles", "Of each user, separated by commas."),
            _names("States", "How the user logs in, and whether he is locked or logged in now."),
        ),
    ),
    "AddUser": Method("Adds a user, who logs in with a one-time password.", _add_user, (_NAME, _ROLES), (_PASSWORD,)),
    "SetRoles": Method("Gives a user other roles.", _set_roles, (_NAME, _ROLES)),
    "ListScopes": Method(
        "The tenants whose nodes each user sees.",
        _list_scopes,
        gives=(_names("Names", "As of ListUsers."), _names("Scopes", "Tenants separated by commas; empty for the whole site.")),
    ),
    "SetScope": Method("Lets a user see only what belongs to some tenants.", _set_scope, (_NAME, _SCOPE)),
    "ResetPassword": Method("Gives a user a one-time password, and unlocks him.", _reset_password, (_NAME,), (_PASSWORD,)),
    "RemoveUser": Method("Removes a user; his sessions end.", _remove_user, (_NAME,)),
    "ChangeOwnPassword": Method(
        "Changes the password of who calls.",
        _change_own_password,
        (Argument("Old", "The password so far."), Argument("New", "Ten characters or more.")),
        kind=Kind.OWN,
    ),
    "ListCertificates": Method(
        "Every certificate the site knows.",
        _list_certificates,
        gives=(
            _names("Thumbprints", "SHA-1 in hex."),
            _names("Subjects", "Common names."),
            _names("ApplicationUris", "Empty where the certificate is not of an application."),
            _names("States", "own, trusted, rejected or issuer."),
            Argument("NotAfter", "Until when each is valid.", _TYPE.DateTime, array=True),
        ),
    ),
    "TrustCertificate": Method("Trusts a certificate that was refused.", _trust, (_THUMBPRINT,)),
    "RejectCertificate": Method("Takes trust away from a certificate; its channels are closed.", _reject, (_THUMBPRINT,)),
}


def _packed(method: str, *values: Any) -> list[ua.Variant]:
    return [a.variant(v) for a, v in zip(METHODS[method].gives, values, strict=True)]


OBJECT: Final = MethodObject(SECURITY, "Users and certificates of the site.", METHODS, Kind.OWN, EVERYBODYS)
