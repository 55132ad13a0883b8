"""Certificate push (Part 12, 7.10): ServerConfiguration, by which a certificate manager gives us certificates and trust.

    CreateSigningRequest -> somebody's authority -> UpdateCertificate -> ApplyChanges

Only a SecurityAdmin sees these nodes, and only over an encrypted channel. A pushed certificate waits until the session that
pushed it applies it; it is forgotten with that session. Channels that are open live on, new ones use the new certificate. Keys
are made here and never leave; one that is sent is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from asyncua import ua
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from certs import CertificateError
from certs.certificate import parse, readable
from certs.own import check_replacement, install, signing_request

from .access import Kind
from .certificate_watch import NAME
from .metadata import Refused
from .nodes import HAS_COMPONENT, HAS_PROPERTY, HAS_TYPE_DEFINITION, Node, Reference, Value
from .service import ServiceError
from .trust_list import SIZE_MAX, TrustListFile
from .vocabulary import PRODUCT_URI

if TYPE_CHECKING:
    from .call import Implementation, Outputs
    from .server import UaServer
    from .session import Session

_IDS: Final = ua.ObjectIds
_TYPE: Final = ua.VariantType
_CODES: Final = ua.StatusCodes
_ROOT: Final = "ServerConfiguration_"
_LIST: Final = _ROOT + "CertificateGroups_DefaultApplicationGroup_TrustList_"
GROUP: Final = ua.NodeId(_IDS.ServerConfiguration_CertificateGroups_DefaultApplicationGroup, 0)
CERTIFICATE_TYPE: Final = ua.NodeId(_IDS.RsaSha256ApplicationCertificateType, 0)
NONCE_LENGTH_MIN: Final = 32
CAPABILITIES: Final = ("DA", "HD", "AC")
"""Data access, historical data, alarms and conditions (Part 12, annex D)."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A certificate that was pushed, and who may apply it."""

    session: Session
    chain: tuple[x509.Certificate, ...]


class Configuration:
    """What certificate managers do to one server."""

    def __init__(self, server: UaServer) -> None:
        self.trust_list = TrustListFile(server.security.trust)
        self._server = server
        self._pending: Pending | None = None

    @property
    def _directory(self) -> Path:
        return self._server.settings.directory

    def update(self, session: Session, der: bytes, issuers: list[bytes]) -> None:
        """Take a certificate to be applied. Refused while another session's waits."""
        self._check_free(session)
        try:
            chain = (parse(der), *(parse(issuer or b"") for issuer in issuers))
            check_replacement(self._directory, NAME, chain[0], datetime.now(UTC))
            _check_order(chain)
        except CertificateError as error:
            raise _refused(error) from error
        self._pending = Pending(session, chain)
        session.on_close.append(lambda *_: self.cancel(session))

    def request(self, subject: str, *, new_key: bool) -> bytes:
        """A signing request (PKCS #10, DER). A new key is refused while a pushed certificate waits: the key could be its own."""
        if new_key:
            self._check_free(None)
        return signing_request(self._directory, NAME, subject, new_key=new_key)

    def _check_free(self, session: Session | None) -> None:
        pending = self._pending
        if pending is not None and not pending.session.closed and pending.session is not session:
            raise Refused(int(_CODES.BadTransactionPending))

    def apply(self, session: Session) -> None:
        """Use the pushed certificate from now on. Refused BadNothingToDo when there is none of this session's."""
        if self._pending is None or self._pending.session is not session:
            raise Refused(int(_CODES.BadNothingToDo))
        install(self._directory, NAME, list(self._pending.chain))
        self._pending = None

    def cancel(self, session: Session) -> None:
        """Forget what this session pushed."""
        if self._pending is not None and self._pending.session is session:
            self._pending = None


def _check_order(chain: tuple[x509.Certificate, ...]) -> None:
    """Each certificate is followed by its issuer; the last one may lack his. CertificateError("usage")."""
    for issued, issuer in pairwise(chain):
        try:
            issued.verify_directly_issued_by(issuer)
        except (InvalidSignature, ValueError, TypeError) as error:
            raise CertificateError("damaged", f"the issuers do not follow each other: {error}") from error


def _refused(error: CertificateError) -> Refused:
    codes = {"expired": _CODES.BadCertificateTimeInvalid, "not-yet-valid": _CODES.BadCertificateTimeInvalid}
    return Refused(int(codes.get(error.reason, _CODES.BadCertificateInvalid)))


# Methods: (server, session, arguments) -> outputs. They run in threads where files or keys are touched.


async def _in_thread(server: UaServer, work: Callable[[], Any]) -> Any:
    try:
        return await server.identification.in_thread(work)
    except CertificateError as error:
        raise _refused(error) from error
    except OSError as error:
        raise ServiceError(int(_CODES.BadResourceUnavailable), str(error)) from error


def _check_group(group: ua.NodeId, kind: ua.NodeId | None = None) -> None:
    if not (group.is_null() or group == GROUP):
        raise Refused(int(_CODES.BadInvalidArgument))
    if kind is not None and not (kind.is_null() or kind == CERTIFICATE_TYPE):
        raise Refused(int(_CODES.BadNotSupported))


async def _create_signing_request(server: UaServer, session: Session, values: list[Any]) -> Outputs:
    group, kind, subject, new_key, nonce = values
    _check_group(group, kind)
    if new_key and len(nonce or b"") < NONCE_LENGTH_MIN:
        raise Refused(int(_CODES.BadInvalidArgument))
    work = partial(server.configuration.request, subject or "", new_key=new_key)
    return [ua.Variant(await _in_thread(server, work), _TYPE.ByteString)]


async def _update_certificate(server: UaServer, session: Session, values: list[Any]) -> Outputs:
    group, kind, certificate, issuers, key_format, key = values
    _check_group(group, kind)
    if key_format or key:
        raise Refused(int(_CODES.BadNotSupported))
    await _in_thread(server, partial(server.configuration.update, session, certificate or b"", issuers or []))
    return [ua.Variant(True, _TYPE.Boolean)]


async def _apply_changes(server: UaServer, session: Session, values: list[Any]) -> Outputs:
    await _in_thread(server, partial(server.configuration.apply, session))
    server.certificate_watch.look()
    return []


def _cancel_changes(server: UaServer, session: Session, values: list[Any]) -> Outputs:
    server.configuration.cancel(session)
    return []


def _rejected(server: UaServer, session: Session, values: list[Any]) -> Outputs:
    found = [c.public_bytes(Encoding.DER) for _, c in readable(server.security.trust.folder / "rejected")]
    return [ua.Variant(found, _TYPE.ByteString, is_array=True)]


def _certificates(server: UaServer, session: Session, values: list[Any]) -> Outputs:
    _check_group(values[0])
    return [
        ua.Variant([CERTIFICATE_TYPE], _TYPE.NodeId, is_array=True),
        ua.Variant([server.security.certificate], _TYPE.ByteString, is_array=True),
    ]


def _open(server: UaServer, session: Session, values: list[Any]) -> Outputs:
    return [ua.Variant(server.configuration.trust_list.open(session, values[0]), _TYPE.UInt32)]


def _open_with_masks(server: UaServer, session: Session, values: list[Any]) -> Outputs:
    return [ua.Variant(server.configuration.trust_list.open(session, 1, values[0]), _TYPE.UInt32)]


def _close(server: UaServer, session: Session, values: list[Any]) -> Outputs:
    server.configuration.trust_list.close(session, values[0])
    return []


def _read(server: UaServer, session: Session, values: list[Any]) -> Outputs:
    return [ua.Variant(server.configuration.trust_list.read(session, *values), _TYPE.ByteString)]


def _write(server: UaServer, session: Session, values: list[Any]) -> Outputs:
    handle, data = values
    server.configuration.trust_list.write(session, handle, data or b"")
    return []


def _get_position(server: UaServer, session: Session, values: list[Any]) -> Outputs:
    return [ua.Variant(server.configuration.trust_list.position(session, values[0]), _TYPE.UInt64)]


def _set_position(server: UaServer, session: Session, values: list[Any]) -> Outputs:
    server.configuration.trust_list.seek(session, *values)
    return []


async def _close_and_update(server: UaServer, session: Session, values: list[Any]) -> Outputs:
    await _in_thread(server, partial(server.configuration.trust_list.update, session, values[0]))
    server.certificate_watch.look()
    return [ua.Variant(False, _TYPE.Boolean)]


async def _add_certificate(server: UaServer, session: Session, values: list[Any]) -> Outputs:
    certificate, trusted = values
    await _in_thread(server, partial(server.configuration.trust_list.add, certificate or b"", trusted=trusted))
    return []


async def _remove_certificate(server: UaServer, session: Session, values: list[Any]) -> Outputs:
    mark, trusted = values
    await _in_thread(server, partial(server.configuration.trust_list.remove, mark or "", trusted=trusted))
    server.certificate_watch.look()
    return []


_RUN: Final[dict[str, Callable[..., Any]]] = {
    _ROOT + "CreateSigningRequest": _create_signing_request,
    _ROOT + "UpdateCertificate": _update_certificate,
    _ROOT + "ApplyChanges": _apply_changes,
    _ROOT + "CancelChanges": _cancel_changes,
    _ROOT + "GetRejectedList": _rejected,
    _ROOT + "GetCertificates": _certificates,
    _LIST + "Open": _open,
    _LIST + "OpenWithMasks": _open_with_masks,
    _LIST + "Close": _close,
    _LIST + "Read": _read,
    _LIST + "Write": _write,
    _LIST + "GetPosition": _get_position,
    _LIST + "SetPosition": _set_position,
    _LIST + "CloseAndUpdate": _close_and_update,
    _LIST + "AddCertificate": _add_certificate,
    _LIST + "RemoveCertificate": _remove_certificate,
}


def implementations() -> dict[ua.NodeId, Implementation]:
    """What is called for each method node."""
    return {ua.NodeId(getattr(_IDS, name), 0): _implementation(run) for name, run in _RUN.items()}


def _implementation(run: Callable[..., Any]) -> Implementation:
    return lambda server, session, _, values: run(server, session, values)


# Values of the standard's variables.


def _fixed(value: Any, kind: ua.VariantType) -> ua.DataValue:
    return ua.DataValue(ua.Variant(value, kind, is_array=isinstance(value, list)))


def _now(kind: ua.VariantType, function: Callable[[UaServer], Any]) -> Callable[[UaServer], ua.DataValue]:
    return lambda server: ua.DataValue(ua.Variant(function(server), kind))


def _last_update(server: UaServer) -> datetime:
    folder = server.security.trust.folder
    times = [(folder / name).stat().st_mtime for name in ("trusted", "issuers") if (folder / name).exists()]
    return datetime.fromtimestamp(max(times, default=0.0), UTC)


def values() -> dict[int, Value]:
    """Value of each variable below ServerConfiguration, by key of the compiled table."""
    found: dict[str, Value] = {
        _ROOT + "SupportedPrivateKeyFormats": _fixed([], _TYPE.String),
        _ROOT + "MaxTrustListSize": _fixed(SIZE_MAX, _TYPE.UInt32),
        _ROOT + "MulticastDnsEnabled": _fixed(False, _TYPE.Boolean),
        _ROOT + "ServerCapabilities": _fixed(list(CAPABILITIES), _TYPE.String),
        _ROOT + "HasSecureElement": _fixed(False, _TYPE.Boolean),
        _ROOT + "ApplicationUri": _now(_TYPE.String, lambda server: server.application_uri),
        _ROOT + "ProductUri": _fixed(PRODUCT_URI, _TYPE.String),
        _ROOT + "ApplicationType": _fixed(int(ua.ApplicationType.Server), _TYPE.Int32),
        _ROOT + "CertificateGroups_DefaultApplicationGroup_CertificateTypes": _fixed([CERTIFICATE_TYPE], _TYPE.NodeId),
        _LIST + "Size": _now(_TYPE.UInt64, lambda server: server.configuration.trust_list.size()),
        _LIST + "OpenCount": _now(_TYPE.UInt16, lambda server: server.configuration.trust_list.open_count),
        _LIST + "Writable": _fixed(True, _TYPE.Boolean),
        _LIST + "UserWritable": _fixed(True, _TYPE.Boolean),
        _LIST + "LastUpdateTime": _now(_TYPE.DateTime, _last_update),
    }
    return {int(getattr(_IDS, name)): value for name, value in found.items()}


# What a newer edition of the standard has and the nodeset has not: ServerConfiguration.GetCertificates.

GET_CERTIFICATES: Final = ua.NodeId(_IDS.ServerConfiguration_GetCertificates, 0)
_ROOT_ID: Final = ua.NodeId(_IDS.ServerConfiguration, 0)
_ARGUMENTS: Final = {
    int(_IDS.ServerConfiguration_GetCertificates_InputArguments): (
        "InputArguments",
        [ua.Argument("CertificateGroupId", ua.NodeId(_IDS.NodeId, 0), -1, [], ua.LocalizedText())],
    ),
    int(_IDS.ServerConfiguration_GetCertificates_OutputArguments): (
        "OutputArguments",
        [
            ua.Argument("CertificateTypeIds", ua.NodeId(_IDS.NodeId, 0), 1, [0], ua.LocalizedText()),
            ua.Argument("Certificates", ua.NodeId(_IDS.ByteString, 0), 1, [0], ua.LocalizedText()),
        ],
    ),
}


def make(identifier: Any) -> Node | None:
    """The node of an identifier of namespace 0 that is here and in no file, or None."""
    if identifier == GET_CERTIFICATES.Identifier:
        name = ua.QualifiedName("GetCertificates", 0)
        properties = [Reference(HAS_PROPERTY, True, ua.NodeId(number, 0)) for number in _ARGUMENTS]
        return Node(
            GET_CERTIFICATES,
            ua.NodeClass.Method,
            name,
            ua.LocalizedText(name.Name),
            references=[Reference(HAS_COMPONENT, False, _ROOT_ID), *properties],
            permissions=Kind.SECURITY,
            attributes={ua.AttributeIds.Executable: ua.Variant(True, _TYPE.Boolean)},
        )
    if identifier not in _ARGUMENTS:
        return None
    property_name, declared = _ARGUMENTS[identifier]
    return Node(
        ua.NodeId(identifier, 0),
        ua.NodeClass.Variable,
        ua.QualifiedName(property_name, 0),
        ua.LocalizedText(property_name),
        references=[
            Reference(HAS_TYPE_DEFINITION, True, ua.NodeId(_IDS.PropertyType, 0)),
            Reference(HAS_PROPERTY, False, GET_CERTIFICATES),
        ],
        data_type=ua.NodeId(_IDS.Argument, 0),
        value_rank=1,
        array_dimensions=(len(declared),),
        access_level=ua.AccessLevel.CurrentRead.mask,
        value=ua.DataValue(ua.Variant(declared, _TYPE.ExtensionObject)),
        permissions=Kind.SECURITY,
    )
