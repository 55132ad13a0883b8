"""Users and certificates as methods: the object `security` of the site.

Only a SecurityAdmin sees it, except ChangeOwnPassword, and only over an encrypted channel. What takes time, a password hash
or a file, is done in the threads that also verify logins. A change counts at once: sessions of who was removed end, changed
roles and scopes apply to sessions that are open, channels of a certificate that is no longer trusted are closed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from asyncua import ua

from certs import CertificateError, CertificateInfo, list_certificates
from server.core.site import SITE_ALIAS
from server.runtime.users import Account, UserError, new_password

from .access import Kind
from .call import Implementation, Outputs
from .metadata import Refused
from .nodes import HAS_COMPONENT, HAS_PROPERTY, HAS_TYPE_DEFINITION, NO_EVENTS, NS_TYPES, NS_UA, Node, Reference
from .properties import Property, property_node, site_id

if TYPE_CHECKING:
    from .server import UaServer
    from .session import Session

SECURITY: Final = "security"
WHOLE: Final = ""
"""How a scope that is the whole site is written in an argument."""

_TYPE: Final = ua.VariantType
_CODES: Final = ua.StatusCodes
_IDS: Final = ua.ObjectIds
_PROPERTIES: Final = ("InputArguments", "OutputArguments")
_USER_REFUSALS: Final = {
    "exists": _CODES.BadAlreadyExists,
    "unknown": _CODES.BadNotFound,
    "weak-password": _CODES.BadOutOfRange,
    "last-admin": _CODES.BadInvalidState,
}
_CERTIFICATE_REFUSALS: Final = {"usage": _CODES.BadNotFound, "exists": _CODES.BadAlreadyExists}

Run = Callable[["UaServer", "Session", list[Any]], Awaitable[list[ua.Variant]]]


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a method of ours."""

    name: str
    doc: str
    kind: ua.VariantType = _TYPE.String
    array: bool = False

    @property
    def declared(self) -> ua.Argument:
        """As clients see it."""
        dimensions = [0] if self.array else []
        rank = 1 if self.array else -1
        return ua.Argument(self.name, ua.NodeId(self.kind.value, NS_UA), rank, dimensions, ua.LocalizedText(self.doc, "en"))

    def variant(self, value: Any) -> ua.Variant:
        """A value of this argument."""
        return ua.Variant(value, self.kind, is_array=self.array)


@dataclass(frozen=True, slots=True)
class Method:
    """One method: what it takes and gives, who sees it, what it does."""

    doc: str
    run: Run
    takes: tuple[Argument, ...] = ()
    gives: tuple[Argument, ...] = ()
    kind: Kind = Kind.SECURITY

    def arguments(self, name: str) -> Sequence[Argument]:
        """Those of the property of this name."""
        return self.takes if name == "InputArguments" else self.gives


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


def implementations() -> dict[ua.NodeId, Implementation]:
    """What is called for each method node."""
    return {site_id(f"{SECURITY}/{name}"): _implementation(method) for name, method in METHODS.items()}


def _implementation(method: Method) -> Implementation:
    async def run(server: UaServer, session: Session, _: Node, values: list[Any]) -> Outputs:
        return await method.run(server, session, values)

    return run


# Nodes.


def make(identifier: Any) -> Node | None:
    """The node of an identifier of the object `security` and below, or None."""
    if not isinstance(identifier, str):
        return None
    first, _, rest = identifier.partition("/")
    name, _, property_name = rest.partition("/")
    if first != SECURITY or (rest and name not in METHODS):
        return None
    if not rest:
        return _object()
    if not property_name:
        return _method(name, METHODS[name])
    return _arguments(name, METHODS[name], property_name)


def _object() -> Node:
    return Node(
        site_id(SECURITY),
        ua.NodeClass.Object,
        ua.QualifiedName("Security", NS_TYPES),
        ua.LocalizedText("Security"),
        ua.LocalizedText("Users and certificates of the site.", "en"),
        references=lambda: (
            Reference(HAS_TYPE_DEFINITION, True, ua.NodeId(_IDS.BaseObjectType, NS_UA)),
            Reference(HAS_COMPONENT, False, site_id(SITE_ALIAS)),
            *(Reference(HAS_COMPONENT, True, site_id(f"{SECURITY}/{name}")) for name in METHODS),
        ),
        permissions=Kind.OWN,
        attributes={ua.AttributeIds.EventNotifier: NO_EVENTS},
    )


def _method(name: str, method: Method) -> Node:
    identifier = f"{SECURITY}/{name}"

    def references() -> Iterator[Reference]:
        yield Reference(HAS_COMPONENT, False, site_id(SECURITY))
        for property_name in _PROPERTIES:
            if method.arguments(property_name):
                yield Reference(HAS_PROPERTY, True, site_id(f"{identifier}/{property_name}"))

    return Node(
        site_id(identifier),
        ua.NodeClass.Method,
        ua.QualifiedName(name, NS_TYPES),
        ua.LocalizedText(name),
        ua.LocalizedText(method.doc, "en"),
        references=references,
        permissions=method.kind,
        attributes={ua.AttributeIds.Executable: ua.Variant(True, _TYPE.Boolean)},
    )


def _arguments(name: str, method: Method, property_name: str) -> Node | None:
    declared = [a.declared for a in method.arguments(property_name)] if property_name in _PROPERTIES else []
    if not declared:
        return None
    value = ua.Variant(declared, _TYPE.ExtensionObject)
    found = Property(ua.QualifiedName(property_name, NS_UA), ua.NodeId(_IDS.Argument, NS_UA), value)
    node = property_node(f"{SECURITY}/{name}", found)
    node.permissions = method.kind
    return node
