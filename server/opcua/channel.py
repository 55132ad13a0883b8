"""The secure channel (Part 6, 6.7): who is at the other end, and keys that only he and we know.

Problem: opening a channel makes the server do RSA with its private key for a stranger. Idea: everything that can be known
without it comes first - is the policy offered, is the message for our certificate, is the sender's certificate trusted,
is its key of a sane length - and nothing of the channel changes before the message's signature has been verified.

A renewed token does not replace the old one at once: the client goes on with the old until it has our answer, and we
answer with the old until a message under the new one has been verified.

    token i      |======== in use =========|== accepted, 25 % ==|
    token i+1              ^ issued   |==== in use from the first verified message on ...
"""

from __future__ import annotations

import secrets
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha1
from hmac import compare_digest
from pathlib import Path
from typing import Any, Final, NoReturn, cast

from asyncua import ua
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from certs import CertificateError, TrustList, load_own

from . import limits
from .decode import DecodeError, Reader, decode_open_request, read_byte_string, read_string
from .policy import BLOCK_SIZE, MAC_SIZE, NONE_URI, Keys, Offer, Policy, by_uri, offer, offered

_ASYMMETRIC_START: Final = 12  # message header and channel id
_CLEAR: Final = 16  # of a symmetric chunk: message header, channel id, token id
_SEQUENCE: Final = struct.Struct("<II")  # sequence number, request id
_HEADER: Final = struct.Struct("<4sIII")  # type and final flag, size, channel id, token id
_WRAP_FROM: Final = 4_294_966_271  # above this a sequence number may start again below 1024, Part 6, 6.7.2.4
_WRAP_BELOW: Final = 1024


class ChannelError(Exception):
    """The channel must be closed; `status` goes into the ERR message."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class ServerSecurity:
    """Our own certificate and key, whom we trust, and what we offer. Another certificate makes another one of these."""

    certificate: bytes
    key: rsa.RSAPrivateKey
    trust: TrustList
    offer: Offer

    @classmethod
    def load(
        cls, directory: Path, offered: Offer | None = None, name: str = "server", trust: TrustList | None = None
    ) -> ServerSecurity:
        """From DIR/certs/own/<name>.der and .key.pem. offered: everything there is when it is not said."""
        certificate, key = load_own(directory, name)
        return cls(certificate, key, trust or TrustList(directory), offer() if offered is None else offered)

    @cached_property
    def parsed(self) -> x509.Certificate:
        """Our certificate."""
        return x509.load_der_x509_certificate(self.certificate)

    @cached_property
    def thumbprint(self) -> bytes:
        """SHA-1 of our certificate, by which a client says whom it means."""
        return sha1(self.certificate, usedforsecurity=False).digest()


@dataclass(slots=True)
class Token:
    """Keys with their time: `expires` in monotonic seconds, the overlap included."""

    id: int
    receive: Keys | None
    send: Keys | None
    expires: float


class Channel:
    """One secure channel, from its first OpenSecureChannel on.

    peer: the client's certificate (verified, trusted), None without security; certificate: the same as it was sent.
    """

    def __init__(self, security: ServerSecurity) -> None:
        self.id = secrets.randbelow(2**32 - 1) + 1
        self.policy: Policy | None = None
        self.mode = ua.MessageSecurityMode.None_
        self.peer: x509.Certificate | None = None
        self.certificate = b""
        self.security = security
        self._uri: str | None = None
        self._opened = False
        self._current: Token | None = None
        self._previous: Token | None = None
        self._next: Token | None = None
        self._token_id = secrets.randbelow(2**31)
        self._sent = secrets.randbelow(_WRAP_BELOW)
        self._received: int | None = None

    @property
    def secured(self) -> bool:
        """True when messages are protected for a client that we trust, in a mode that we offer."""
        return self._opened and self.policy is not None

    @property
    def peer_key(self) -> rsa.RSAPublicKey:
        """The client's public key; only on a secured channel."""
        return cast(rsa.RSAPublicKey, cast(x509.Certificate, self.peer).public_key())

    def expired(self, now: float) -> bool:
        """True when no token is valid any more (monotonic seconds)."""
        return self._opened and all(t is None or t.expires < now for t in (self._current, self._next))

    def distrusted(self) -> str:
        """Why the client's certificate is no longer trusted; empty while it is."""
        if self.peer is None:
            return ""
        try:
            self.security.trust.check(self.certificate)
        except CertificateError as error:
            return str(error)
        return ""

    # OpenSecureChannel: asymmetric.

    def receive_open(self, chunk: bytes) -> tuple[int, ua.OpenSecureChannelRequest]:
        """Verify an OPN chunk. Returns (request id, request); changes nothing but the sequence number and the peer."""
        try:
            reader = Reader(chunk, _ASYMMETRIC_START)
            uri, sender, thumbprint = read_string(reader), read_byte_string(reader), read_byte_string(reader)
        except DecodeError as error:
            raise ChannelError(ua.StatusCodes.BadDecodingError, str(error)) from error
        channel_id = int.from_bytes(chunk[8:12], "little")
        if channel_id != (self.id if self._opened else 0):
            raise ChannelError(ua.StatusCodes.BadTcpSecureChannelUnknown, f"channel {channel_id}")
        if self._opened and uri != self._uri:
            raise ChannelError(ua.StatusCodes.BadSecurityPolicyRejected, "a renewal may not change the policy")
        if uri == NONE_URI:
            plain = chunk[reader.position :]
        else:
            plain = self._open_sealed(chunk, reader.position, uri, sender or b"", thumbprint or b"")
        self._uri = uri
        if len(plain) < _SEQUENCE.size:
            raise ChannelError(ua.StatusCodes.BadDecodingError, "sequence header is missing")
        sequence, request_id = _SEQUENCE.unpack_from(plain)
        self._check_sequence(sequence)
        try:
            return request_id, decode_open_request(plain[_SEQUENCE.size :])
        except DecodeError as error:
            raise ChannelError(ua.StatusCodes.BadDecodingError, str(error)) from error

    def _open_sealed(self, chunk: bytes, start: int, uri: str | None, sender: bytes, thumbprint: bytes) -> bytes:
        """Decrypt and verify what follows the security header; sets policy and peer when that succeeded."""
        policy = by_uri(self.security.offer, uri)
        if policy is None:
            raise ChannelError(ua.StatusCodes.BadSecurityPolicyRejected, f"policy {uri!r} is not offered")
        if not compare_digest(thumbprint, self.security.thumbprint):
            raise ChannelError(ua.StatusCodes.BadCertificateInvalid, "the message is meant for another certificate than ours")
        if self._opened and sender != self.certificate:
            raise ChannelError(ua.StatusCodes.BadCertificateInvalid, "a renewal may not change the certificate")
        try:
            peer = self.security.trust.check(sender)
        except CertificateError as error:
            raise ChannelError(_refusal(error), str(error)) from error
        key = cast(rsa.RSAPublicKey, peer.public_key())
        try:
            plain = policy.decrypt(self.security.key, chunk[start:], limits.OPEN_RSA_BLOCKS_MAX)
        except ValueError as error:
            raise ChannelError(ua.StatusCodes.BadSecurityChecksFailed, "cannot be decrypted") from error
        end = len(plain) - key.key_size // 8
        if end <= 0 or not policy.verify(key, chunk[:start] + plain[:end], plain[end:]):
            raise ChannelError(ua.StatusCodes.BadSecurityChecksFailed, "signature of the OpenSecureChannel request")
        self.policy, self.peer, self.certificate = policy, peer, sender
        return _without_padding(plain[:end], extra=self.security.key.key_size > 2048)

    def open(self, request: ua.OpenSecureChannelRequest) -> ua.OpenSecureChannelResponse:
        """Open the channel or renew its token, as a verified request asks. ChannelError when it may not."""
        wanted = request.Parameters
        renew = wanted.RequestType == ua.SecurityTokenRequestType.Renew
        if renew != self._opened:
            raise ChannelError(ua.StatusCodes.BadRequestTypeInvalid, "Issue opens a channel once, Renew an open one")
        self._check_mode(wanted)
        self.mode = wanted.SecurityMode
        lifetime = min(max(wanted.RequestedLifetime, limits.CHANNEL_LIFETIME_MIN_MS), limits.CHANNEL_LIFETIME_MAX_MS)
        self._token_id = self._token_id % (2**32 - 1) + 1
        nonce = secrets.token_bytes(self.policy.nonce_length) if self.policy else b""
        token = self._make_token(wanted.ClientNonce or b"", nonce, lifetime)
        if self._opened:
            self._next = token
        else:
            self._current, self._opened = token, True
        response = ua.OpenSecureChannelResponse()
        response.Parameters.ServerNonce = nonce
        response.Parameters.SecurityToken = ua.ChannelSecurityToken(
            ChannelId=self.id, TokenId=token.id, CreatedAt=datetime.now(UTC), RevisedLifetime=lifetime
        )
        return response

    def _check_mode(self, wanted: Any) -> None:
        if self._opened and wanted.SecurityMode != self.mode:
            raise ChannelError(ua.StatusCodes.BadSecurityModeRejected, "a renewal may not change the mode")
        if self.policy is None:
            if wanted.SecurityMode != ua.MessageSecurityMode.None_:
                raise ChannelError(ua.StatusCodes.BadSecurityModeRejected, "policy None goes with mode None only")
            return
        if offered(self.security.offer, self.policy.uri, wanted.SecurityMode) is None:
            raise ChannelError(ua.StatusCodes.BadSecurityModeRejected, f"mode {wanted.SecurityMode!r} is not offered")
        if len(wanted.ClientNonce or b"") != self.policy.nonce_length:
            raise ChannelError(ua.StatusCodes.BadNonceInvalid, f"a nonce of {self.policy.nonce_length} bytes is expected")

    def _make_token(self, client_nonce: bytes, server_nonce: bytes, lifetime_ms: int) -> Token:
        expires = time.monotonic() + lifetime_ms / 1000 * limits.CHANNEL_OVERLAP
        if self.policy is None:
            return Token(self._token_id, None, None, expires)
        receive = self.policy.derive(server_nonce, client_nonce, self.mode)
        send = self.policy.derive(client_nonce, server_nonce, self.mode)
        return Token(self._token_id, receive, send, expires)

    def seal_open(self, request_id: int, body: bytes) -> bytes:
        """The OPN chunk that carries an OpenSecureChannel response."""
        policy = self.policy
        if policy is None:
            security = _text(NONE_URI.encode()) + _text(None) + _text(None)
            plain = _SEQUENCE.pack(self._next_sequence(), request_id) + body
            return _opn(len(security) + len(plain), self.id) + security + plain
        thumbprint = sha1(self.certificate_leaf, usedforsecurity=False).digest()
        security = _text(policy.uri.encode()) + _text(self.security.certificate) + _text(thumbprint)
        block_out = self.peer_key.key_size // 8
        block_in = block_out - policy.encryption_overhead
        signature_size = self.security.key.key_size // 8
        plain = _SEQUENCE.pack(self._next_sequence(), request_id) + body
        plain += _padding(len(plain) + signature_size, block_in, extra=block_out > 256)
        blocks = (len(plain) + signature_size) // block_in
        header = _opn(len(security) + blocks * block_out, self.id) + security
        signature = policy.sign(self.security.key, header + plain)
        return header + policy.encrypt(self.peer_key, plain + signature)

    @property
    def certificate_leaf(self) -> bytes:
        """The client's own certificate in DER, without the issuers it may have sent along."""
        return cast(x509.Certificate, self.peer).public_bytes(serialization.Encoding.DER)

    # Messages: symmetric.

    def unseal(self, chunk: bytes) -> tuple[int, bytes]:
        """Verify a MSG or CLO chunk. Returns (request id, body part). ChannelError on anything wrong."""
        _, _, channel_id, token_id = _HEADER.unpack_from(chunk)
        if channel_id != self.id:
            raise ChannelError(ua.StatusCodes.BadTcpSecureChannelUnknown, f"channel {channel_id}")
        token = self._token(token_id)
        if token.receive is None:
            plain: bytes = chunk[_CLEAR:]
        else:
            verified = token.receive.unseal(chunk, _CLEAR)
            if verified is None:
                raise ChannelError(ua.StatusCodes.BadSecurityChecksFailed, "signature of a message")
            plain = _without_padding(verified, extra=False) if token.receive.padded else verified
        if len(plain) < _SEQUENCE.size:
            raise ChannelError(ua.StatusCodes.BadDecodingError, "sequence header is missing")
        if token is self._next:
            self._previous, self._current, self._next = self._current, token, None
        sequence, request_id = _SEQUENCE.unpack_from(plain)
        self._check_sequence(sequence)
        return request_id, plain[_SEQUENCE.size :]

    def _token(self, token_id: int) -> Token:
        """The token of a message. ChannelError when it was never issued or its time is over."""
        now = time.monotonic()
        for token in (self._current, self._next, self._previous):
            if token is not None and token.id == token_id and now < token.expires:
                return token
        raise ChannelError(ua.StatusCodes.BadSecureChannelTokenUnknown, f"token {token_id}")

    def seal(self, request_id: int, body: Any, chunk_size: int) -> Iterator[bytearray]:
        """The chunks, each at most `chunk_size` bytes, of a message to the client."""
        token = cast(Token, self._current)
        part_size = self.body_size(chunk_size)
        view = memoryview(body)
        last = max(len(view) - 1, 0) // part_size
        for i in range(last + 1):
            part = view[i * part_size : (i + 1) * part_size]
            yield self._seal_chunk(token, b"MSGF" if i == last else b"MSGC", request_id, part)

    def body_size(self, chunk_size: int) -> int:
        """Bytes of a message's body that fit into one chunk."""
        room = chunk_size - _CLEAR
        keys = cast(Token, self._current).send
        if keys is not None:
            room = (room // BLOCK_SIZE * BLOCK_SIZE - 1 if keys.padded else room) - MAC_SIZE
        return room - _SEQUENCE.size

    def _seal_chunk(self, token: Token, kind: bytes, request_id: int, part: memoryview) -> bytearray:
        keys = token.send
        end = _CLEAR + _SEQUENCE.size + len(part)
        pad = BLOCK_SIZE - (end - _CLEAR + MAC_SIZE) % BLOCK_SIZE if keys is not None and keys.padded else 0
        size = end + pad + (0 if keys is None else MAC_SIZE)
        chunk = bytearray(size + BLOCK_SIZE)
        _HEADER.pack_into(chunk, 0, kind, size, self.id, token.id)
        _SEQUENCE.pack_into(chunk, _CLEAR, self._next_sequence(), request_id)
        chunk[_CLEAR + _SEQUENCE.size : end] = part
        if keys is not None:
            chunk[end : end + pad] = bytes((max(pad - 1, 0),)) * pad
            keys.seal(chunk, size, _CLEAR)
        del chunk[size:]
        return chunk

    # Sequence numbers (Part 6, 6.7.2.4).

    def _next_sequence(self) -> int:
        self._sent = self._sent + 1 if self._sent < _WRAP_FROM else 1
        return self._sent

    def _check_sequence(self, number: int) -> None:
        last = self._received
        wraps = last is not None and last >= _WRAP_FROM and number < _WRAP_BELOW
        if last is not None and number != last + 1 and not wraps:
            raise ChannelError(ua.StatusCodes.BadSequenceNumberInvalid, f"{number} after {last}")
        self._received = number


_REFUSALS: Final = {
    "untrusted": ua.StatusCodes.BadSecurityChecksFailed,  # the client is not told more, Part 4, 6.1.3
    "expired": ua.StatusCodes.BadCertificateTimeInvalid,
    "not-yet-valid": ua.StatusCodes.BadCertificateTimeInvalid,
    "weak-key": ua.StatusCodes.BadCertificatePolicyCheckFailed,
    "revoked": ua.StatusCodes.BadSecurityChecksFailed,
    "usage": ua.StatusCodes.BadCertificateUseNotAllowed,
}


def _refusal(error: CertificateError) -> int:
    return int(_REFUSALS.get(error.reason, ua.StatusCodes.BadCertificateInvalid))


def _opn(size: int, channel_id: int) -> bytes:
    return struct.pack("<4sII", b"OPNF", _ASYMMETRIC_START + size, channel_id)


def _text(data: bytes | None) -> bytes:
    return struct.pack("<i", -1) if data is None else struct.pack("<i", len(data)) + data


def _padding(size: int, block: int, *, extra: bool) -> bytes:
    """Padding for `size` bytes (signature included) to whole blocks; `extra` when its count needs a second byte."""
    count = -(size + 1 + extra) % block
    return bytes((count & 0xFF,)) * (count + 1) + (bytes((count >> 8,)) if extra else b"")


def _without_padding(plain: bytes, *, extra: bool) -> bytes:
    """The bytes before the padding. ChannelError when the count cannot be right."""
    count = plain[-2] + 256 * plain[-1] + 2 if extra else plain[-1] + 1
    if count > len(plain):
        _damaged()
    return plain[: len(plain) - count]


def _damaged() -> NoReturn:
    raise ChannelError(ua.StatusCodes.BadSecurityChecksFailed, "padding")
