"""Sessions: who talks to the server, proven by certificate and user token, and bound to one secure channel at a time.

A session is found by the secret 32-byte token of its request header, compared in constant time and only among the
sessions of the channel the request came through; knowing another client's token is worth nothing.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import TYPE_CHECKING, Any

from asyncua import ua

from . import limits
from .counts import SessionCounts
from .service import ServiceError

if TYPE_CHECKING:
    from .wire import Connection


@dataclass(frozen=True, slots=True)
class User:
    """A person or service that proved who it is.

    index: number under which the image's inbox knows the user. scope: the tenants whose nodes the user sees, None for the
    whole site. one_time: the password must be changed before anything else. encrypted: nobody can read what is exchanged.
    """

    name: str
    roles: frozenset[str]
    index: int
    scope: frozenset[str] | None = None
    one_time: bool = False
    encrypted: bool = True


NOBODY = User("", frozenset(), 0)


@dataclass(eq=False)
class Session:
    """One session. `connection` is None between two connections of the client; `user` is NOBODY until activated."""

    id: ua.NodeId
    token: ua.NodeId
    name: str
    certificate: bytes
    application_uri: str
    timeout_s: float
    max_response_size: int
    connection: Connection | None
    nonce: bytes
    created: float
    last_seen: float
    endpoint_url: str = ""
    user: User = NOBODY
    activated: bool = False
    activating: bool = False
    closed: bool = False
    locales: tuple[str, ...] = ()
    client: ua.ApplicationDescription = field(default_factory=ua.ApplicationDescription)
    mechanism: str = ""
    """How the user proved who he is, as SessionSecurityDiagnostics names it."""
    counts: SessionCounts = field(default_factory=SessionCounts)
    continuations: dict[bytes, Any] = field(default_factory=dict)
    publish_queue: Any = None
    pending: set[Reply] = field(default_factory=set)
    """Requests that are still to be answered, for Cancel."""
    on_close: list[Callable[[Session, bool], None]] = field(default_factory=list)
    """Called once with (session, delete_subscriptions)."""

    @property
    def deadline(self) -> float:
        """Monotonic time at which the session ends unless it is heard of again."""
        if self.activated:
            return self.last_seen + self.timeout_s
        return self.created + (limits.PROVE_LONGEST_S if self.activating else limits.SESSION_ACTIVATE_WITHIN_S)

    def become(self, user: User) -> None:
        """The session acts for this user, with these rights; what others' rights began is not continued."""
        if user != self.user:
            self.continuations.clear()
        self.user = user

    def touch(self, service: str) -> None:
        """The client asked for a service: its timeout starts anew."""
        self.last_seen = time.monotonic()
        self.counts.asked[service] += 1


class Reply:
    """The open answer to one request; kept by a deferred service and sent once, from any later moment."""

    __slots__ = ("_connection", "_sent", "request_handle", "request_id", "session")

    def __init__(self, connection: Connection, request_id: int, request_handle: int, session: Session | None = None) -> None:
        self._connection = connection
        self._sent = False
        self.request_id = request_id
        self.request_handle = request_handle
        self.session = session

    @property
    def closed(self) -> bool:
        """True when nobody can receive the answer any more."""
        return self._sent or self._connection.closed

    def open(self) -> None:
        """The answer comes later: until then Cancel finds it."""
        if self.session is not None:
            self.session.pending.add(self)

    @property
    def congested(self) -> bool:
        """True while the client reads slower than the server writes; better wait with large answers."""
        return self._connection.congested

    @property
    def max_message_size(self) -> int:
        """Most bytes of an encoded response the client takes, 0 for no limit."""
        stated = self.session.max_response_size if self.session is not None else 0
        return min(filter(None, (stated, self._connection.max_send_message)), default=0)

    def send(self, response: Any) -> None:
        """Answer with a response dataclass, or with the bytes of an encoded one (type id and header included)."""
        if self.session is not None:
            self.session.pending.discard(self)
        if not self.closed:
            self._connection.answer(self, response)
            self._sent = True

    def fail(self, status: int) -> None:
        """Answer with a ServiceFault of this StatusCode."""
        fault = ua.ServiceFault()
        fault.ResponseHeader.ServiceResult = ua.StatusCode(status)
        self.send(fault)


class Sessions:
    """All sessions of the server."""

    def __init__(self) -> None:
        self._by_id: dict[ua.NodeId, Session] = {}
        self.cumulated = 0
        self._serial = secrets.randbits(24) << 8

    def __iter__(self) -> Any:
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def create(self, connection: Connection, **fields: Any) -> Session:
        """A new session on this connection, not yet activated. ServiceError BadTooManySessions when there are enough."""
        if len(connection.sessions) >= limits.SESSIONS_PER_CHANNEL_MAX:
            raise ServiceError(ua.StatusCodes.BadTooManySessions, "on this channel")
        if len(self._by_id) >= limits.SESSIONS_MAX and not self._evict(lambda s: not s.activated) and not self._evict(_is_lost):
            raise ServiceError(ua.StatusCodes.BadTooManySessions)
        self._serial += 1
        self.cumulated += 1
        now = time.monotonic()
        token = ua.NodeId(secrets.token_bytes(32), 0, ua.NodeIdType.ByteString)
        session = Session(
            id=ua.NodeId(self._serial, 1, ua.NodeIdType.Numeric),
            token=token,
            connection=connection,
            nonce=secrets.token_bytes(32),
            created=now,
            last_seen=now,
            **fields,
        )
        self._by_id[session.id] = session
        connection.sessions.append(session)
        return session

    def _evict(self, spare: Callable[[Session], bool]) -> bool:
        """Close the session that was heard of least recently of those that can be spared: a flood costs only itself."""
        found = [s for s in self if spare(s)]
        if found:
            self.close(min(found, key=lambda s: s.last_seen))
        return bool(found)

    def check_quota(self, session: Session, user: User) -> None:
        """ServiceError BadTooManySessions when the user has all he may have; those without a connection make room."""
        own = [s for s in self if s.activated and s is not session and s.user.name == user.name]
        if len(own) >= limits.SESSIONS_PER_USER_MAX and not self._evict(lambda s: s in own and _is_lost(s)):
            raise ServiceError(ua.StatusCodes.BadTooManySessions, "of this user")

    def find(self, connection: Connection, token: ua.NodeId) -> Session:
        """The session of this token on this connection. BadSessionIdInvalid, or BadSecureChannelIdInvalid when elsewhere."""
        session = match(connection.sessions, token)
        if session is not None:
            return session
        if match(self._by_id.values(), token) is not None:
            raise ServiceError(ua.StatusCodes.BadSecureChannelIdInvalid, "session belongs to another channel")
        raise ServiceError(ua.StatusCodes.BadSessionIdInvalid)

    def anywhere(self, token: ua.NodeId) -> Session:
        """The session of this token whatever its channel, for ActivateSession only. BadSessionIdInvalid."""
        session = match(self._by_id.values(), token)
        if session is None:
            raise ServiceError(ua.StatusCodes.BadSessionIdInvalid)
        return session

    def bind(self, session: Session, connection: Connection) -> None:
        """Move the session to this connection; the old one can no longer use it."""
        if session.connection is connection:
            return
        self.detach(session)
        session.connection = connection
        connection.sessions.append(session)

    def detach(self, session: Session, status: int = ua.StatusCodes.BadSecureChannelClosed) -> None:
        """Part the session from its connection; what it still waits for there is answered with `status`."""
        for reply in list(session.pending):
            reply.fail(status)
        connection, session.connection = session.connection, None
        if connection is not None:
            connection.sessions.remove(session)
            if session.activated:
                connection.watch()

    def close(self, session: Session, delete_subscriptions: bool = True) -> None:
        """End the session and tell everybody who asked to know. Closing twice is harmless."""
        if session.closed:
            return
        session.closed = True
        del self._by_id[session.id]
        self.detach(session, ua.StatusCodes.BadSessionClosed)
        session.continuations.clear()
        for callback in session.on_close:
            callback(session, delete_subscriptions)

    def sweep(self, now: float) -> list[Session]:
        """Close what has timed out, and return it."""
        expired = [s for s in self._by_id.values() if s.deadline < now]
        for session in expired:
            self.close(session, delete_subscriptions=False)  # they wait for their client until their own lifetime
        return expired


def _is_lost(session: Session) -> bool:
    """It has no connection: its client may come back, or not."""
    return session.connection is None


def match(sessions: Any, token: ua.NodeId) -> Session | None:
    """The session whose token this is. Every candidate is compared, each in constant time."""
    found = None
    if token.NamespaceIndex == 0 and isinstance(token.Identifier, bytes):
        for session in sessions:
            if compare_digest(session.token.Identifier, token.Identifier):
                found = session
    return found
