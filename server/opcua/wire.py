"""OPC UA TCP (Part 6, 7.1): from a byte stream to verified messages, and back, for one connection.

Problem: whoever can reach the port can send anything, before he has proven who he is. Idea: the eight bytes of a chunk's
header are judged before anything else is kept; memory and time per unproven connection are small constants; what is
read is bounded by what was negotiated, what is written is bounded by what the client reads.

    bytes -> chunk (header checked) -> channel (decrypted, verified) -> message (count, size) -> decode -> dispatch
"""

from __future__ import annotations

import asyncio
import logging
import struct
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary

from . import limits
from .channel import Channel, ChannelError
from .decode import DecodeError, decode_request, is_quick
from .dispatch import stamp
from .session import Reply, Session

if TYPE_CHECKING:
    from .server import UaServer

_log = logging.getLogger("ems.opcua")

_HEADER: Final = struct.Struct("<3scI")
_HELLO: Final = struct.Struct("<IIIIIi")  # version, receive, send, max message, max chunks, length of the URL
_TYPES: Final = (b"MSG", b"OPN", b"CLO")


class WireError(Exception):
    """The connection cannot go on: told to the client in an ERR message with this StatusCode, then closed."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


PROVE_AGAIN_S: Final = 0.5


class Connection(asyncio.Protocol):
    """One TCP connection with its secure channel and the sessions bound to it."""

    def __init__(self, server: UaServer) -> None:
        self.server = server
        self.sessions: list[Session] = []
        self.tasks: set[asyncio.Task[None]] = set()  # requests that take longer than a turn
        self.closed = False
        self.congested = False
        self.address = ""
        self.opened = time.monotonic()
        self.max_send_message = 0
        self.channel: Channel | None = None
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._buffer = bytearray()
        self._hello = False
        self._receive_size = limits.CHUNK_SIZE_MAX
        self._send_size = limits.CHUNK_SIZE_MIN
        self._send_chunks = 0
        self._parts: list[bytes] = []
        self._parts_size = 0
        self._parts_request = 0
        self._decoding: asyncio.Future[Any] | None = None
        self._paused = False
        self._turn: asyncio.Handle | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None

    # What the rest of the server asks.

    @property
    def secured(self) -> bool:
        """True when the channel signs and encrypts with a certificate we trust."""
        return self.channel is not None and self.channel.secured

    @property
    def proven(self) -> bool:
        """True while an activated session uses this connection."""
        return any(s.activated for s in self.sessions)

    @property
    def greeted(self) -> bool:
        """True when the client has said Hello."""
        return self._hello

    @property
    def patience_s(self) -> float:
        """How long the connection may be without an activated session."""
        return limits.PROVE_WITHIN_S

    # Life of the connection.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the connection, or tell it that there is no room."""
        self._take(transport)
        refusal = self.server.admit(self)
        if refusal:
            self.fail(ua.StatusCodes.BadTcpNotEnoughResources, refusal)
        else:
            self.watch()

    def _take(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=limits.WRITE_HIGH_WATER)
        peer = transport.get_extra_info("peername")
        self.address = peer[0] if isinstance(peer, tuple) else ""

    def connection_lost(self, exc: Exception | None) -> None:
        """Free everything, and end what nobody waits for any more; sessions wait for their client until their timeout."""
        self.closed = True
        for task in list(self.tasks):
            task.cancel()
        for timer in (self._turn, self._deadline, self._stall):
            if timer is not None:
                timer.cancel()
        self._drop_parts()
        self._buffer.clear()
        self.server.lost(self)

    def watch(self) -> None:
        """Close the connection unless it has an activated session in time; runs again when such a one ends."""
        if self._deadline is not None:
            self._deadline.cancel()
        if self.closed:
            return
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(self.patience_s, self._prove, loop.time() + limits.PROVE_LONGEST_S)

    def _prove(self, latest: float) -> None:
        """The time is the client's: while we are at work for it, as on a password, it is not over, but ends at `latest`."""
        if self.proven or self.closed:
            return
        loop = asyncio.get_running_loop()
        if self.tasks and loop.time() < latest:
            self._deadline = loop.call_later(PROVE_AGAIN_S, self._prove, latest)
        else:
            self.fail(ua.StatusCodes.BadTimeout, "no activated session in time")

    def fail(self, status: int, reason: str) -> None:
        """Tell the client the status, and ourselves the reason; then close."""
        if self.closed:
            return
        name = ua.StatusCode(status).name
        _log.info("%s closed: %s (%s)", self.address, reason, name)
        text = name.encode()
        self._transport.write(_HEADER.pack(b"ERR", b"F", 16 + len(text)) + struct.pack("<Ii", status, len(text)) + text)
        self.close()

    def close(self) -> None:
        """Close after what is written went out, at the latest after the stall time."""
        if self.closed:
            return
        self.closed = True
        self._transport.close()
        asyncio.get_running_loop().call_later(limits.WRITE_STALL_S, self._transport.abort)

    def check(self, now: float) -> None:
        """Close the connection when its channel was not renewed in time (monotonic seconds)."""
        if self.channel is not None and self.channel.expired(now):
            self.fail(ua.StatusCodes.BadSecureChannelClosed, "the channel was not renewed in time")

    def end(self) -> None:
        """Close at once, without a word."""
        self.closed = True
        self._transport.abort()

    # Back-pressure.

    def pause_writing(self) -> None:
        """The client reads too slowly: stop serving it, drop it when that lasts."""
        self.congested = True
        self._read(False)
        self._stall = asyncio.get_running_loop().call_later(limits.WRITE_STALL_S, self._drop_slow)

    def resume_writing(self) -> None:
        """The client caught up."""
        self.congested = False
        if self._stall is not None:
            self._stall.cancel()
        self.server.subscriptions.resume(self.sessions)
        self._schedule()

    def _read(self, wanted: bool) -> None:
        """Let the client's bytes in, or leave them to the network."""
        if not self.closed and wanted == self._paused:
            self._paused = not wanted
            (self._transport.resume_reading if wanted else self._transport.pause_reading)()

    def _drop_slow(self) -> None:
        _log.warning("%s dropped: reads too slowly", self.address)
        self.end()

    # Receiving.

    def data_received(self, data: bytes) -> None:
        """Bytes of the stream, in order."""
        if self.closed:
            return
        self._buffer += data
        if self._turn is None and self._decoding is None:
            self._work()

    def _schedule(self) -> None:
        if self._turn is None and not self.closed:
            self._turn = asyncio.get_running_loop().call_soon(self._work)

    def _work(self) -> None:
        """Handle complete chunks for at most one turn; then others come first."""
        self._turn = None
        until = time.monotonic() + limits.TURN_S
        try:
            while self._takes and (chunk := self._next_chunk()) is not None:
                self._chunk(chunk)
                if time.monotonic() > until:
                    self._read(False)
                    self._schedule()
                    return
        except WireError as error:
            self.fail(error.status, str(error))
        except ChannelError as error:
            self.server.audit("channel-refused", address=self.address, reason=str(error))
            self.fail(error.status, str(error))
        self._read(self._takes)

    @property
    def _takes(self) -> bool:
        """True when the connection's next request may come."""
        return not self.closed and not self.congested and self._decoding is None

    def _next_chunk(self) -> bytes | None:
        """The next complete chunk, or None. WireError as soon as its header cannot be right."""
        buffer = self._buffer
        if len(buffer) < _HEADER.size:
            return None
        kind, final, size = _HEADER.unpack_from(buffer)
        self._check_header(kind, final, size)
        if len(buffer) < size:
            return None
        chunk = bytes(memoryview(buffer)[:size])
        del buffer[:size]
        return chunk

    def _check_header(self, kind: bytes, final: bytes, size: int) -> None:
        expected = (b"HEL",) if not self._hello else _TYPES if self.channel is not None else (b"OPN",)
        if kind not in expected:
            raise WireError(ua.StatusCodes.BadTcpMessageTypeInvalid, f"message type {kind!r} is not expected now")
        if final != b"F" and (kind != b"MSG" or final not in b"CA"):
            raise WireError(ua.StatusCodes.BadTcpMessageTypeInvalid, f"chunk type {final!r} is not allowed in {kind!r}")
        if size > (self._receive_size if self._hello else limits.CHUNK_SIZE_MIN):
            raise WireError(ua.StatusCodes.BadTcpMessageTooLarge, f"chunk of {size} bytes")
        if size < (32 if kind == b"HEL" else 24):
            raise WireError(ua.StatusCodes.BadDecodingError, f"chunk of {size} bytes")

    def _chunk(self, chunk: bytes) -> None:
        kind = chunk[:3]
        if kind == b"HEL":
            self._on_hello(chunk)
        elif kind == b"OPN":
            self._on_open(chunk)
        else:
            self._on_secure(chunk, kind)

    def _on_hello(self, chunk: bytes) -> None:
        """Agree on sizes (Part 6, 7.1.2.3)."""
        _, receive, send, max_message, max_chunks, url = _HELLO.unpack_from(chunk, _HEADER.size)
        if url > limits.ENDPOINT_URL_LENGTH_MAX or len(chunk) != _HEADER.size + _HELLO.size + max(url, 0):
            raise WireError(ua.StatusCodes.BadTcpEndpointUrlInvalid, "length of the EndpointUrl")
        if receive < limits.CHUNK_SIZE_MIN or send < limits.CHUNK_SIZE_MIN:
            raise WireError(ua.StatusCodes.BadConnectionRejected, f"buffers of {min(receive, send)} bytes are too small")
        self._hello = True
        self._send_size = min(receive, limits.CHUNK_SIZE_MAX)
        self._receive_size = min(send, limits.CHUNK_SIZE_MAX)
        self._send_chunks = max_chunks
        self.max_send_message = max_message
        acknowledge = (0, self._receive_size, self._send_size, limits.MESSAGE_SIZE_MAX, limits.CHUNKS_PER_MESSAGE_MAX)
        self._transport.write(_HEADER.pack(b"ACK", b"F", 28) + struct.pack("<5I", *acknowledge))

    def _on_open(self, chunk: bytes) -> None:
        """Open the channel, or renew its token."""
        channel = self.channel or Channel(self.server.security)
        request_id, request = channel.receive_open(chunk)
        response = channel.open(request)
        stamp(response, request.RequestHeader.RequestHandle)
        self.channel = channel
        self._transport.write(channel.seal_open(request_id, struct_to_binary(response)))

    def _on_secure(self, chunk: bytes, kind: bytes) -> None:
        """A chunk under the channel's token: verify it, then collect, abort, close or handle."""
        channel = cast(Channel, self.channel)
        request_id, body = channel.unseal(chunk)
        if kind == b"CLO":
            self.close()
            return
        if self._parts and request_id != self._parts_request:
            raise WireError(ua.StatusCodes.BadTcpMessageTypeInvalid, "chunks of two messages are mixed")
        final = chunk[3:4]
        if final == b"A":
            self._drop_parts()
        elif final == b"C":
            self._collect(request_id, body)
        else:
            self._collect(request_id, body)
            message = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            self._drop_parts()
            self._handle(request_id, message)

    def _collect(self, request_id: int, body: bytes) -> None:
        """Keep one chunk of a message within the limits of count and size."""
        self._parts.append(body)
        self._parts_size += len(body)
        self._parts_request = request_id
        most = limits.MESSAGE_SIZE_MAX if self.proven else limits.MESSAGE_SIZE_UNPROVEN_MAX
        if self._parts_size > most or len(self._parts) > limits.CHUNKS_PER_MESSAGE_MAX:
            raise WireError(ua.StatusCodes.BadRequestTooLarge, f"message over {most} bytes or too many chunks")

    def _drop_parts(self) -> None:
        self._parts = []
        self._parts_size = 0

    def _handle(self, request_id: int, message: bytes) -> None:
        """Decode a message, a long one by a thread while the connection's next ones wait, and have it answered."""
        if is_quick(message):
            self._dispatch(request_id, partial(decode_request, message))
            return
        self._decoding = asyncio.get_running_loop().run_in_executor(self.server.decoding, decode_request, message)
        self._decoding.add_done_callback(partial(self._decoded, request_id))

    def _decoded(self, request_id: int, decoding: asyncio.Future[Any]) -> None:
        self._decoding = None
        if not self.closed:
            self._dispatch(request_id, decoding.result)
            self._schedule()

    def _dispatch(self, request_id: int, decoded: Callable[[], Any]) -> None:
        try:
            request = decoded()
        except DecodeError as error:
            Reply(self, request_id, error.request_handle).fail(error.status)
            return
        self.server.dispatcher.handle(self, request_id, request)

    # Sending.

    def answer(self, reply: Reply, response: Any) -> None:
        """Send one response; a too large one is replaced with BadResponseTooLarge."""
        if isinstance(response, (bytes, bytearray, memoryview)):
            body = response
        else:
            stamp(response, reply.request_handle)
            body = struct_to_binary(response)
        channel = cast(Channel, self.channel)
        if self._too_large(len(body), reply.max_message_size, channel):
            body = _response_too_large(reply.request_handle)
        self._transport.writelines(channel.seal(reply.request_id, body, self._send_size))
        if self._transport.get_write_buffer_size() > limits.WRITE_BUFFER_MAX:
            self._drop_slow()

    def _too_large(self, size: int, most: int, channel: Channel) -> bool:
        """True when the client said that it takes no such message."""
        chunks = -(-size // channel.body_size(self._send_size))
        return size > most > 0 or chunks > self._send_chunks > 0


def _response_too_large(request_handle: int) -> bytes:
    fault = ua.ServiceFault()
    fault.ResponseHeader.ServiceResult = ua.StatusCode(ua.StatusCodes.BadResponseTooLarge)
    stamp(fault, request_handle)
    return cast(bytes, struct_to_binary(fault))
