"""CreateSession, ActivateSession, CloseSession and Cancel (Part 4, 5.6).

A session is the second of three proofs: the channel proved the application, CreateSession ties the session to that very
certificate, ActivateSession proves the user. Each step may use only what the step before has established.
"""

from __future__ import annotations

import math
import secrets
from typing import TYPE_CHECKING, Any, Final, cast

from asyncua import ua

from . import limits
from .channel import Channel
from .endpoints import endpoints
from .identity import application_uris, proves
from .policy import Policy
from .service import Scope, Service, ServiceError
from .session import User

if TYPE_CHECKING:
    from cryptography import x509

    from .server import UaServer
    from .session import Session
    from .wire import Connection


def create_session(server: UaServer, connection: Connection, request: ua.CreateSessionRequest) -> ua.CreateSessionResponse:
    """CreateSession, Part 4, 5.6.2: ties a session to the certificate of the channel; it must be activated within seconds."""
    wanted = request.Parameters
    channel = cast(Channel, connection.channel)
    _check_client(server, channel, wanted)
    session = server.sessions.create(
        connection,
        name=wanted.SessionName or f"session of {wanted.ClientDescription.ApplicationUri}",
        certificate=channel.certificate_leaf,
        application_uri=wanted.ClientDescription.ApplicationUri,
        client=_described(wanted.ClientDescription),
        timeout_s=_timeout_ms(wanted.RequestedSessionTimeout) / 1000,
        max_response_size=wanted.MaxResponseMessageSize,
        endpoint_url=wanted.EndpointUrl or "",
    )
    server.audit("session-created", session=session, address=connection.address)
    response = ua.CreateSessionResponse()
    result = response.Parameters
    result.SessionId = session.id
    result.AuthenticationToken = session.token
    result.RevisedSessionTimeout = session.timeout_s * 1000
    result.ServerNonce = session.nonce
    result.ServerCertificate = channel.security.certificate
    result.ServerEndpoints = endpoints(server, wanted.EndpointUrl, channel.security)
    result.ServerSignature = _signature(channel, wanted.ClientCertificate + wanted.ClientNonce)
    result.MaxRequestMessageSize = limits.MESSAGE_SIZE_MAX
    return response


_MECHANISMS: Final = {ua.UserNameIdentityToken: "UserName", ua.X509IdentityToken: "Certificate"}


def _described(client: ua.ApplicationDescription) -> ua.ApplicationDescription:
    """What diagnostics tell of the client: what is short, and who it is."""
    most = limits.SESSION_NAME_LENGTH_MAX
    name = (client.ApplicationName.Text or "") if client.ApplicationName is not None else ""
    return ua.ApplicationDescription(
        ApplicationUri=client.ApplicationUri,
        ProductUri=(client.ProductUri or "")[:most],
        ApplicationName=ua.LocalizedText(name[:most]),
        ApplicationType=client.ApplicationType,
    )


def _check_client(server: UaServer, channel: Channel, wanted: Any) -> None:
    """The application that asks is the one the channel has proven. ServiceError when not."""
    if (wanted.ClientCertificate or b"") not in (channel.certificate, channel.certificate_leaf):
        raise ServiceError(ua.StatusCodes.BadCertificateInvalid, "ClientCertificate is not the channel's")
    if wanted.ClientDescription.ApplicationUri not in application_uris(cast("x509.Certificate", channel.peer)):
        raise ServiceError(ua.StatusCodes.BadCertificateUriInvalid, f"{wanted.ClientDescription.ApplicationUri!r}")
    if not limits.NONCE_LENGTH_MIN <= len(wanted.ClientNonce or b"") <= limits.NONCE_LENGTH_MAX:
        raise ServiceError(ua.StatusCodes.BadNonceInvalid)
    if wanted.ServerUri and wanted.ServerUri != server.application_uri:
        raise ServiceError(ua.StatusCodes.BadServerUriInvalid, f"{wanted.ServerUri!r}")
    if len(wanted.SessionName or "") > limits.SESSION_NAME_LENGTH_MAX:
        raise ServiceError(ua.StatusCodes.BadInvalidArgument, "SessionName is too long")


def _timeout_ms(wanted: float) -> float:
    """A wish for the session's timeout, clamped; the default for no wish or nonsense."""
    if not math.isfinite(wanted) or wanted <= 0:
        return limits.SESSION_TIMEOUT_DEFAULT_MS
    return min(max(wanted, limits.SESSION_TIMEOUT_MIN_MS), limits.SESSION_TIMEOUT_MAX_MS)


def _signature(channel: Channel, data: bytes) -> ua.SignatureData:
    policy = cast(Policy, channel.policy)
    return ua.SignatureData(Algorithm=policy.signature_uri, Signature=policy.sign(channel.security.key, data))


async def activate_session(
    server: UaServer, connection: Connection, request: ua.ActivateSessionRequest
) -> ua.ActivateSessionResponse:
    """ActivateSession, Part 4, 5.6.3: proves the user; moves the session to this connection when it comes from another.

    Who logs in with a one-time password is told so (GoodPasswordChangeRequired), and may do nothing but choose another.
    """
    wanted = request.Parameters
    session = server.sessions.anywhere(request.RequestHeader.AuthenticationToken)
    channel = cast(Channel, connection.channel)
    _check_origin(connection, session, wanted)
    if session.activating:
        raise ServiceError(ua.StatusCodes.BadInvalidState, "another activation of the session is under way")
    session.activating = True
    try:
        user = await server.identification.identify(session, channel, wanted, connection.address)
    except ServiceError as error:
        claimed = getattr(wanted.UserIdentityToken, "UserName", None)
        server.audit("login-refused", session=session, address=connection.address, claimed=claimed, reason=str(error))
        raise
    finally:
        session.activating = False
    _check_still_there(connection, session, user)
    server.sessions.check_quota(session, user)
    server.sessions.bind(session, connection)
    session.become(user)
    session.activated = True
    session.locales = tuple(name for name in wanted.LocaleIds if name)[: limits.LOCALE_IDS_MAX]
    session.nonce = secrets.token_bytes(32)
    session.mechanism = _MECHANISMS.get(type(wanted.UserIdentityToken), "")
    session.counts.activated(user.name)
    session.touch("ActivateSession")
    server.audit("session-activated", session=session, address=connection.address)
    response = ua.ActivateSessionResponse()
    response.Parameters.ServerNonce = session.nonce
    if user.one_time:
        response.ResponseHeader.ServiceResult = ua.StatusCode(ua.StatusCodes.GoodPasswordChangeRequired)
    return response


def _check_origin(connection: Connection, session: Session, wanted: Any) -> None:
    """The session may be activated from here: its first channel, later any channel of the same application."""
    channel = cast(Channel, connection.channel)
    if session.connection is not connection:
        if not session.activated:
            raise ServiceError(ua.StatusCodes.BadSecureChannelIdInvalid, "first activation on another channel")
        if channel.certificate_leaf != session.certificate:
            raise ServiceError(ua.StatusCodes.BadSecurityChecksFailed, "session of another application")
        if len(connection.sessions) >= limits.SESSIONS_PER_CHANNEL_MAX:
            raise ServiceError(ua.StatusCodes.BadTooManySessions, "on this channel")
    policy = cast(Policy, channel.policy)
    if not proves(policy, channel.peer_key, channel.security.certificate + session.nonce, wanted.ClientSignature):
        raise ServiceError(ua.StatusCodes.BadApplicationSignatureInvalid)


def _check_still_there(connection: Connection, session: Session, user: User) -> None:
    """Proving the user took time: session and connection must still be, and a moved session keeps its user."""
    if session.closed:
        raise ServiceError(ua.StatusCodes.BadSessionClosed)
    if connection.closed:
        raise ServiceError(ua.StatusCodes.BadConnectionClosed)
    if session.connection is not connection and user.name != session.user.name:
        raise ServiceError(ua.StatusCodes.BadIdentityChangeNotSupported, "only the same user may move a session")


def close_session(server: UaServer, connection: Connection, request: ua.CloseSessionRequest) -> ua.CloseSessionResponse:
    """CloseSession, Part 4, 5.6.4; also of a session that was never activated."""
    session = server.sessions.find(connection, request.RequestHeader.AuthenticationToken)
    server.audit("session-closed", session=session, address=connection.address)
    server.sessions.close(session, bool(request.DeleteSubscriptions))
    return ua.CloseSessionResponse()


def cancel(_: UaServer, session: Session, request: ua.CancelRequest) -> ua.CancelResponse:
    """Cancel, Part 4, 5.6.5: answers what is still open under that handle at once."""
    matching = [r for r in session.pending if r.request_handle == request.Parameters.RequestHandle and not r.closed]
    for reply in matching:
        reply.fail(ua.StatusCodes.BadRequestCancelledByClient)
    response = ua.CancelResponse()
    response.Parameters.CancelCount = len(matching)
    return response


SERVICES: Final = {
    ua.CreateSessionRequest: Service(create_session, Scope.CHANNEL),
    ua.ActivateSessionRequest: Service(activate_session, Scope.CHANNEL),
    ua.CloseSessionRequest: Service(close_session, Scope.CHANNEL),
    ua.CancelRequest: Service(cancel),
}
