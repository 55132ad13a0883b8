"""One connection: socket, secure channel and session, from opening to loss.

asyncua's transport and crypto do the bytes. A Link never reconnects; `client` opens the next one. Before the server has
proven who it is (only GetEndpoints, when no certificate is pinned), a response with an additional header or diagnostics is
refused: those may hold Variants, whose decoding is not bounded.
"""

from __future__ import annotations

import asyncio
import logging
import os
import struct
from collections.abc import Callable
from typing import Any, Final, TypeVar

from asyncua import ua
from asyncua.client.ua_client import UASocketProtocol
from asyncua.common.connection import TransportLimits
from asyncua.common.utils import Buffer
from asyncua.crypto import security_policies as policies
from asyncua.ua.ua_binary import struct_from_binary, uatcp_to_binary
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from .errors import ClientError, LoginRefused, translated
from .identity import Credentials

POLICY: Final = policies.SecurityPolicyBasic256Sha256
MODE: Final = ua.MessageSecurityMode.SignAndEncrypt
CONNECT_TIMEOUT_S: Final = 10.0
LOGIN_TIMEOUT_S: Final = 60.0
REQUEST_TIMEOUT_S: Final = 20.0
CHANNEL_LIFETIME_MS: Final = 3_600_000
SESSION_TIMEOUT_MS: Final = 60_000
MESSAGE_SIZE_MAX: Final = 64 << 20
CHUNK_SIZE_MAX: Final = 2 << 20

logging.getLogger("asyncua.client.ua_client").setLevel(logging.ERROR)
"""It warns of every fault a server answers with. Callers here get each one as ClientError, and some are no trouble at all:
requests to publish that are left when the last subscription goes are answered with BadNoSubscription."""

_LOGIN_REFUSED: Final = {
    ua.StatusCodes.BadUserAccessDenied,
    ua.StatusCodes.BadIdentityTokenInvalid,
    ua.StatusCodes.BadIdentityTokenRejected,
}

_HEADER: Final = struct.Struct("<2sHqIIBi3s")
"""TypeId (four-byte), Timestamp, RequestHandle, ServiceResult, no diagnostics, no strings, no additional header."""

Response = TypeVar("Response")


def plain_header(body: bytes) -> tuple[int, int]:
    """Size of a response's header, and its ServiceResult. ClientError when the header carries more than the usual."""
    if len(body) < _HEADER.size:
        raise ClientError("BadDecodingError", f"a response of {len(body)} bytes")
    kind, _, _, _, result, diagnostics, strings, additional = _HEADER.unpack_from(body)
    if kind != b"\x01\x00" or diagnostics or strings > 0 or additional != b"\0\0\0":
        raise ClientError("BadDecodingError", "the response carries an additional header or diagnostics")
    return _HEADER.size, result


class _Limits(TransportLimits):  # type: ignore[misc]
    """Limits of what is received stay ours; the server's Acknowledge sets only what may be sent."""

    def update_client_limits(self, msg: ua.Acknowledge) -> None:
        self.max_send_buffer = min(msg.ReceiveBufferSize, 65535)


class _Socket(UASocketProtocol):  # type: ignore[misc]
    """The transport, with a Hello that states limits which are kept."""

    def __init__(self, policy: Any) -> None:
        chunks = MESSAGE_SIZE_MAX // 8192
        super().__init__(REQUEST_TIMEOUT_S, policy, _Limits(CHUNK_SIZE_MAX, 65535, chunks, MESSAGE_SIZE_MAX))
        self.is_session_closing = lambda: True  # an answer to a cancelled request is no reason to complain
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if not self.lost.done():
            self.lost.set_result(None)

    async def hello(self, url: str) -> None:
        """Say Hello and wait for the Acknowledge."""
        hello = ua.Hello(0, CHUNK_SIZE_MAX, 65535, MESSAGE_SIZE_MAX, MESSAGE_SIZE_MAX // 8192, url)
        acknowledge = self._callbackmap[0] = asyncio.get_running_loop().create_future()
        assert self.transport is not None
        self.transport.write(uatcp_to_binary(ua.MessageType.Hello, hello))
        await asyncio.wait_for(acknowledge, CONNECT_TIMEOUT_S)

    async def open(self, policy: Any, kind: ua.SecurityTokenRequestType) -> float:
        """Issue or renew the channel's token; returns its lifetime in seconds."""
        parameters = ua.OpenSecureChannelParameters(
            RequestType=kind,
            SecurityMode=policy.Mode,
            ClientNonce=os.urandom(policy.secure_channel_nonce_length),
            RequestedLifetime=CHANNEL_LIFETIME_MS,
        )
        result = await self.open_secure_channel(parameters)
        return float(result.SecurityToken.RevisedLifetime) / 1000

    async def shut(self) -> None:
        """Close the channel and the socket, and wait until it is closed."""
        if self.transport is None:
            return
        if self._connection.is_open():
            await self.close_secure_channel()
        self.disconnect_socket()
        try:
            await asyncio.wait_for(asyncio.shield(self.lost), 2.0)
        except TimeoutError:
            if self.transport is not None:
                self.transport.abort()


class Link:
    """An activated session on an encrypted channel."""

    def __init__(self, socket: _Socket, policy: Any, lifetime_s: float) -> None:
        self._socket = socket
        self._policy = policy
        self.lifetime_s = lifetime_s
        self.application_uri = ""

    @classmethod
    async def open(cls, credentials: Credentials, name: str) -> Link:
        """Connect, verify the server, log in. ClientError, or LoginRefused."""
        endpoint = credentials.identity.endpoint
        with translated(f"connecting to {endpoint}"):
            server = credentials.pinned or await _ask_certificate(credentials)
            credentials.verify_server(server)
            policy = POLICY(server, credentials.certificate, credentials.key, MODE)
            socket = await _connect(credentials, policy)
            try:
                lifetime_s = await socket.open(policy, ua.SecurityTokenRequestType.Issue)
                link = cls(socket, policy, lifetime_s)
                nonce, tokens = await link._create_session(credentials, name)
                await link._activate(credentials, nonce, tokens)
            except BaseException:
                await socket.shut()
                raise
        return link

    @property
    def lost(self) -> asyncio.Future[None]:
        """Done once the socket is closed, by whomever."""
        return self._socket.lost

    async def raw(self, request: Any, timeout_s: float | None = REQUEST_TIMEOUT_S) -> bytes:
        """Send a request; the bytes of its response. A ServiceFault raises ua.UaStatusCodeError. None waits for ever."""
        body: Buffer = await self._socket.send_request(request, timeout_s or 0)
        return bytes(body)

    async def ask(self, request: Any, response: type[Response], timeout_s: float = REQUEST_TIMEOUT_S) -> Response:
        """Send a request and decode its response. ClientError with the reason."""
        with translated(type(request).__name__):
            data = await self._socket.send_request(request, timeout_s)
            answer: Response = struct_from_binary(response, data)
            answer.ResponseHeader.ServiceResult.check()  # type: ignore[attr-defined]
        return answer

    async def renew(self) -> None:
        """Renew the channel's token, due after three quarters of its lifetime."""
        with translated("renewing the secure channel"):
            self.lifetime_s = await self._socket.open(self._policy, ua.SecurityTokenRequestType.Renew)
            self._socket.revolve_security_token()

    async def close(self) -> None:
        """Close session (with its subscriptions), channel and socket. Never raises on a dead connection."""
        try:
            if not self.lost.done():
                await self.ask(ua.CloseSessionRequest(DeleteSubscriptions=True), ua.CloseSessionResponse, 2.0)
        except ClientError:
            pass  # the server forgets the session by itself
        finally:
            await self._socket.shut()

    def abort(self) -> None:
        """Drop the socket at once; the session stays for a while at the server."""
        if self._socket.transport is not None:
            self._socket.transport.abort()

    async def _create_session(self, credentials: Credentials, name: str) -> tuple[bytes, list[ua.UserTokenPolicy]]:
        """Create the session, check that the server holds its key. Its nonce and the user tokens it takes."""
        nonce = os.urandom(32)
        application = ua.ApplicationDescription(
            ApplicationUri=credentials.application_uri,
            ApplicationName=ua.LocalizedText(name),
            ApplicationType=ua.ApplicationType.Client,
        )
        request = ua.CreateSessionRequest()
        request.Parameters = ua.CreateSessionParameters(
            ClientDescription=application,
            EndpointUrl=credentials.identity.endpoint,
            SessionName=name,
            ClientNonce=nonce,
            ClientCertificate=credentials.der,
            RequestedSessionTimeout=SESSION_TIMEOUT_MS,
            MaxResponseMessageSize=MESSAGE_SIZE_MAX,
        )
        answer = (await self.ask(request, ua.CreateSessionResponse)).Parameters
        try:
            self._policy.asymmetric_cryptography.verify(credentials.der + nonce, answer.ServerSignature.Signature)
        except InvalidSignature as error:
            raise ClientError("BadApplicationSignatureInvalid", "the server does not hold its certificate's key") from error
        self._socket.authentication_token = answer.AuthenticationToken
        offered = [e for e in answer.ServerEndpoints if e.SecurityPolicyUri == POLICY.URI and e.SecurityMode == MODE]
        if not offered:
            raise ClientError("BadSecurityPolicyRejected", "the server has no endpoint with Basic256Sha256 and SignAndEncrypt")
        self.application_uri = offered[0].Server.ApplicationUri or ""
        return answer.ServerNonce or b"", offered[0].UserIdentityTokens

    async def _activate(self, credentials: Credentials, nonce: bytes, tokens: list[ua.UserTokenPolicy]) -> None:
        challenge = self._policy.peer_certificate + nonce
        request = ua.ActivateSessionRequest()
        parameters = request.Parameters
        parameters.ClientSignature = _sign(credentials, challenge)
        parameters.LocaleIds = ["en"]
        if credentials.identity.user:
            parameters.UserIdentityToken = self._user_name(credentials, nonce, tokens)
        else:
            policy = _token(tokens, ua.UserTokenType.Certificate)
            parameters.UserIdentityToken = ua.X509IdentityToken(PolicyId=policy.PolicyId, CertificateData=credentials.der)
            parameters.UserTokenSignature = _sign(credentials, challenge)
        try:
            data = await self._socket.send_request(request, LOGIN_TIMEOUT_S)
            struct_from_binary(ua.ActivateSessionResponse, data).ResponseHeader.ServiceResult.check()
        except ua.UaStatusCodeError as error:
            if error.code not in _LOGIN_REFUSED:
                raise
            who = credentials.identity.user or "the certificate"
            raise LoginRefused(ua.StatusCode(error.code).name, f"the server does not accept {who}") from error

    def _user_name(self, credentials: Credentials, nonce: bytes, tokens: list[ua.UserTokenPolicy]) -> ua.UserNameIdentityToken:
        """The user's name and password; encrypted again for the server unless it says that the channel's encryption is enough."""
        policy = _token(tokens, ua.UserTokenType.UserName)
        password = (credentials.identity.password or "").encode()
        token = ua.UserNameIdentityToken(PolicyId=policy.PolicyId, UserName=credentials.identity.user, Password=password)
        if policy.SecurityPolicyUri != policies.SecurityPolicyNone.URI:
            key = x509.load_der_x509_certificate(self._policy.peer_certificate).public_key()
            secret = struct.pack("<I", len(password) + len(nonce)) + password + nonce
            token.Password = POLICY.encrypt_asymmetric(key, secret)
            token.EncryptionAlgorithm = POLICY.AsymmetricEncryptionURI
        return token


async def _connect(credentials: Credentials, policy: Any) -> _Socket:
    host, port = credentials.identity.address
    loop = asyncio.get_running_loop()
    make: Callable[[], _Socket] = lambda: _Socket(policy)  # noqa: E731  # a factory is what create_connection takes
    _, socket = await asyncio.wait_for(loop.create_connection(make, host, port), CONNECT_TIMEOUT_S)
    try:
        await socket.hello(credentials.identity.endpoint)
    except BaseException:
        await socket.shut()
        raise
    return socket


async def _ask_certificate(credentials: Credentials) -> x509.Certificate:
    """The server's certificate, from its endpoints; nothing else of that answer is used."""
    policy = policies.SecurityPolicyNone()
    socket = await _connect(credentials, policy)
    try:
        await socket.open(policy, ua.SecurityTokenRequestType.Issue)
        request = ua.GetEndpointsRequest()
        request.Parameters.EndpointUrl = credentials.identity.endpoint
        data = await socket.send_request(request)
        plain_header(data.copy().read(len(data)))
        endpoints = struct_from_binary(ua.GetEndpointsResponse, data).Endpoints
    finally:
        await socket.shut()
    for endpoint in endpoints:
        if endpoint.SecurityPolicyUri == POLICY.URI and endpoint.SecurityMode == MODE:
            return _first_certificate(endpoint.ServerCertificate)
    raise ClientError("BadSecurityPolicyRejected", "the server has no endpoint with Basic256Sha256 and SignAndEncrypt")


def _first_certificate(chain: bytes) -> x509.Certificate:
    """The leaf of a DER chain; each certificate is a SEQUENCE with a two-byte length."""
    try:
        return x509.load_der_x509_certificate(chain[: int.from_bytes(chain[2:4], "big") + 4])
    except ValueError as error:
        raise ClientError("BadCertificateInvalid", f"the server's certificate: {error}") from error


def _sign(credentials: Credentials, challenge: bytes) -> ua.SignatureData:
    return ua.SignatureData(POLICY.AsymmetricSignatureURI, POLICY.sign_asymmetric(credentials.key, challenge))


def _token(tokens: list[ua.UserTokenPolicy], kind: ua.UserTokenType) -> ua.UserTokenPolicy:
    """The first user token policy of this kind that the client can follow; its channel is always encrypted."""
    followed = (None, "", POLICY.URI, policies.SecurityPolicyNone.URI)
    for token in tokens:
        if token.TokenType == kind and token.SecurityPolicyUri in followed:
            return token
    raise LoginRefused("BadIdentityTokenInvalid", f"the server takes no {kind.name} user token")
