"""A client that does exactly what a test tells it, right or wrong, on asyncua's client-side channel."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path
from typing import Any

from asyncua import ua
from asyncua.common.connection import MessageChunk, SecureConnection, TransportLimits
from asyncua.common.utils import Buffer
from asyncua.crypto import uacrypto
from asyncua.crypto.security_policies import SecurityPolicy, SecurityPolicyBasic256Sha256, SecurityPolicyNone
from asyncua.ua.ua_binary import header_from_binary, nodeid_from_binary, struct_from_binary, struct_to_binary

SIGN_AND_ENCRYPT = ua.MessageSecurityMode.SignAndEncrypt
NONE = ua.MessageSecurityMode.None_
HANG_S = 30.0
"""No answer for so long is no matter of a busy machine."""
_RESPONSES = {
    getattr(ua.ObjectIds, n): getattr(ua, n.removesuffix("_Encoding_DefaultBinary"))
    for n in vars(ua.ObjectIds)
    if n.endswith(("Response_Encoding_DefaultBinary", "ServiceFault_Encoding_DefaultBinary"))
}


class Refused(Exception):
    """The server sent ERR, a ServiceFault, or closed the connection. status: name of the StatusCode, or "closed"."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


class Peer:
    """One connection. Use as an async context manager."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.policy: SecurityPolicy = SecurityPolicyNone()
        self.connection = SecureConnection(self.policy, TransportLimits(65536, 65536))
        self.mode = NONE
        self.token = ua.NodeId()
        self.nonce = b""
        self.certificate = b""
        self.request_id = 0
        self.handle = 0

    async def __aenter__(self) -> Peer:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def chunk(self) -> bytes:
        """The next chunk from the server. Refused with its status on ERR and when the connection is closed."""
        try:
            async with asyncio.timeout(HANG_S):
                head = await self.reader.readexactly(8)
                body = await self.reader.readexactly(int.from_bytes(head[4:], "little") - 8)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise Refused("closed") from None
        if head[:3] == b"ERR":
            raise Refused(ua.StatusCode(int.from_bytes(body[:4], "little")).name)
        return head + body

    async def hello(self, receive: int = 65536, send: int = 65536, chunks: int = 0, message: int = 0) -> bytes:
        url = f"opc.tcp://127.0.0.1:{self.port}/".encode()
        self.send(b"HELF" + struct.pack("<IIIIIIi", 32 + len(url), 0, receive, send, message, chunks, len(url)) + url)
        return await self.chunk()

    async def secure(self, directory: Path, name: str = "client") -> None:
        """Use Basic256Sha256, SignAndEncrypt, with a certificate from the site's folder."""
        own = directory / "certs" / "own"
        certificate = await uacrypto.load_certificate(own / f"{name}.der")
        key = await uacrypto.load_private_key(own / f"{name}.key.pem")
        server = await uacrypto.load_certificate(own / "server.der")
        self.certificate = uacrypto.der_from_x509(certificate)
        self.policy = SecurityPolicyBasic256Sha256(server, certificate, key, SIGN_AND_ENCRYPT)
        self.connection = SecureConnection(self.policy, TransportLimits(65536, 65536))
        self.mode = SIGN_AND_ENCRYPT

    def open_request(self, **options: Any) -> ua.OpenSecureChannelRequest:
        request = ua.OpenSecureChannelRequest()
        wanted = request.Parameters
        wanted.ClientProtocolVersion = 0
        wanted.RequestType = options.get("type", ua.SecurityTokenRequestType.Issue)
        wanted.SecurityMode = options.get("mode", self.mode)
        wanted.ClientNonce = options.get("nonce", b"n" * self.policy.secure_channel_nonce_length)
        wanted.RequestedLifetime = options.get("lifetime", 60_000)
        return request

    async def open(self, **options: Any) -> ua.OpenSecureChannelResult:
        """Open the channel, or renew its token."""
        request = self.open_request(**options)
        self.send(self.message(request, ua.MessageType.SecureOpen))
        response = await self.response()
        result = response.Parameters
        self.connection.set_channel(result, request.Parameters.RequestType, request.Parameters.ClientNonce)
        return result

    async def ready(self, directory: Path, name: str = "client") -> None:
        """Hello and an open secured channel."""
        await self.secure(directory, name)
        await self.hello()
        await self.open()

    def message(self, request: Any, kind: ua.MessageType = ua.MessageType.SecureMessage) -> bytes:
        self.request_id += 1
        return self.connection.message_to_binary(struct_to_binary(request), message_type=kind, request_id=self.request_id)

    def body(self, body: bytes, kind: ua.ChunkType = ua.ChunkType.Single, request_id: int = 1) -> bytes:
        """One chunk with exactly this body."""
        (chunk,) = MessageChunk.message_to_chunks(
            self.policy,
            body,
            65536,
            channel_id=self.connection.security_token.ChannelId,
            request_id=request_id,
            token_id=self.connection.security_token.TokenId,
        )
        chunk.MessageHeader.ChunkType = kind
        self.connection._sequence_number += 1
        chunk.SequenceHeader.SequenceNumber = self.connection._sequence_number
        return bytes(chunk.to_binary())

    async def response(self) -> Any:
        """The next response, whole. Refused with its status when it is a fault."""
        while True:
            buffer = Buffer(await self.chunk())
            message = self.connection.receive_from_header_and_body(header_from_binary(buffer), buffer)
            if message is not None:
                break
        body = message.body()
        response = struct_from_binary(_RESPONSES[nodeid_from_binary(body.copy()).Identifier], body)
        if not response.ResponseHeader.ServiceResult.is_good():
            raise Refused(response.ResponseHeader.ServiceResult.name)
        return response

    async def call(self, request: Any) -> Any:
        """Send a request with the session's token and wait for its response."""
        self.handle += 1
        request.RequestHeader.AuthenticationToken = self.token
        request.RequestHeader.RequestHandle = self.handle
        self.send(self.message(request))
        return await self.response()

    async def create_session(self, **options: Any) -> ua.CreateSessionResult:
        request = ua.CreateSessionRequest()
        wanted = request.Parameters
        wanted.ClientDescription.ApplicationUri = options.get("uri", "urn:test:client")
        wanted.ClientCertificate = options.get("certificate", self.certificate)
        wanted.ClientNonce = options.get("nonce", b"c" * 32)
        wanted.SessionName = options.get("name", "test")
        wanted.RequestedSessionTimeout = options.get("timeout", 60_000.0)
        wanted.EndpointUrl = options.get("url", f"opc.tcp://127.0.0.1:{self.port}/")
        wanted.MaxResponseMessageSize = options.get("response_size", 0)
        result = (await self.call(request)).Parameters
        self.token, self.nonce = result.AuthenticationToken, result.ServerNonce
        return result

    def sign(self, data: bytes) -> ua.SignatureData:
        signature = self.policy.asymmetric_cryptography.signature(data)
        return ua.SignatureData(Algorithm=self.policy.AsymmetricSignatureURI, Signature=signature)

    async def activate(self, user: str = "anna", password: str = "open sesame", **options: Any) -> None:
        request = ua.ActivateSessionRequest()
        wanted = request.Parameters
        server = self.policy.peer_certificate or b""
        wanted.ClientSignature = options.get("signature") or self.sign(server + self.nonce)
        nonce = options.get("nonce", self.nonce)
        secret = struct.pack("<I", len(password) + len(nonce)) + password.encode() + nonce
        key = uacrypto.x509_from_der(server).public_key()
        token = ua.UserNameIdentityToken("username", user, uacrypto.encrypt_rsa_oaep(key, secret))
        token.EncryptionAlgorithm = self.policy.AsymmetricEncryptionURI
        wanted.UserIdentityToken = options.get("identity", token)
        wanted.UserTokenSignature = options.get("token_signature", ua.SignatureData())
        self.nonce = (await self.call(request)).Parameters.ServerNonce

    async def log_in(self, directory: Path, name: str = "client", uri: str = "urn:test:client", **user: Any) -> None:
        """Everything up to an activated session."""
        await self.ready(directory, name)
        await self.create_session(uri=uri)
        await self.activate(**user)

    async def read(self, count: int = 1) -> ua.ReadResponse:
        """Read the NamespaceArray `count` times in one request."""
        request = ua.ReadRequest()
        node = ua.ReadValueId(NodeId=ua.NodeId(2255), AttributeId=13)
        request.Parameters.NodesToRead = [node] * count
        request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Neither
        return await self.call(request)
