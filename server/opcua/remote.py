"""Control on another host, seen by the server: its two methods, who holds control, and what waits for it.

    bridge.Describe() -> Description                        the site, for a host that wants to control it
    bridge.Exchange(Layout, Setpoints, Values, TextRows, Texts, Heard) -> Urgent, Writes, Numbers, Proposals, Documents

Only a client with the role Bridge sees them call, and Exchange does something only where site.toml says that control is remote: a
site has one engine. Who exchanged last holds control for HOLD_S; another is refused with BadInvalidState until then. What clients
wrote and proposed is numbered, and handed out again until it was heard: until the host found room for it. Of documents only the
number of changes is told, the host reads them as any client does. The rows are those of `server.bridge.protocol`.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from asyncua import ua
from numpy.typing import NDArray

from server.bridge.portable import describe, digest
from server.bridge.protocol import (
    BRIDGE,
    DESCRIBE,
    EXCHANGE,
    LEASE_MS_MAX,
    SETPOINT_ROW,
    VALUE_ROW,
    WRITE_ROW,
    Heard,
    decided,
    pack,
    write_row,
)
from server.core.channel import DataType
from server.core.commands import TOGETHER
from server.core.natures import Site
from server.core.site import SITE_ALIAS
from server.runtime.texts import TEXT_BYTES_MAX

from .access import Kind
from .metadata import Refused
from .method_object import Argument, Method, MethodObject

if TYPE_CHECKING:
    from server.runtime.ring import Inbox

    from .call import Outputs
    from .server import UaServer
    from .session import Session

_TYPE: Final = ua.VariantType
_CODES: Final = ua.StatusCodes
HOLD_S: Final = 3.0
WAITING_MAX: Final = 4096
"""Writes that wait for control."""
PROPOSALS_MAX: Final = 64
EPOCH: Final = 1 << 32
"""Numbers that one run of the server has for what waits."""
EPOCHS: Final = (1 << 31) - 1


class Waiting(NamedTuple):
    """What control has not heard yet. urgent, writes: WRITE_ROWs; proposals: number and record of each."""

    urgent: bytes
    writes: bytes
    proposals: list[tuple[int, bytes]]


class Outbox:
    """In the place of inbox and proposals: what is meant for control, numbered, until control has heard it.

    The emergency stop goes to the receiver, too, which acts on it alone. It waits for control even when control is away, but no
    more of it than control must know: the newest stop, and the newest reset behind it. Numbers begin anywhere, so that none which
    control heard from the server before is taken for one of this server.
    """

    def __init__(self, server: UaServer, inbox: Inbox) -> None:
        self._inbox = inbox
        self._server = server
        self._first = self._number = (1 + secrets.randbelow(EPOCHS)) * EPOCH
        self._urgent: deque[tuple[int, bytes]] = deque()
        self._writes: deque[tuple[int, bytes]] = deque()
        self._proposed: deque[tuple[int, bytes]] = deque()
        self._waiting = 0
        self._indices = {slot: index for index, (_, slot) in enumerate(decided(server.layout))} | {TOGETHER: TOGETHER}
        channel = server.layout.find(SITE_ALIAS, Site.EmergencyStopActive)
        self._stop = -1 if channel is None else channel.slot
        self.stopped: int | None = None
        """User who stopped the site, as far as we know."""

    def put(self, slot: int, value: float, user: int) -> bool:
        """A write. False when control is away and too much waits."""
        if slot != self._stop:
            return self._append([(slot, value)], user)
        if not self._inbox.put(slot, value, user):
            return False
        self._tell_stop(value, user)
        return True

    def put_all(self, slots: NDArray[np.integer[Any]], values: NDArray[np.float64], user: int) -> int:
        """Many writes; how many were taken."""
        for count, (slot, value) in enumerate(zip(slots.tolist(), values.tolist(), strict=True)):
            if not self.put(slot, value, user):
                return count
        return len(slots)

    def put_together(self, values: Mapping[int, float], user: int) -> bool:
        """Writes by slot, all of them or none. False when control is away or too much waits."""
        return self._append([(TOGETHER, float(len(values))), *values.items()], user)

    def propose(self, record: bytes) -> bool:
        """A proposal of a foreign controller. False when control is away."""
        if len(self._proposed) >= PROPOSALS_MAX or not self._server.remote.held:
            return False
        self._proposed.append((self._next(), record))
        return True

    def begin(self) -> None:
        """Another engine begins: it must know of an emergency stop."""
        if self.stopped is not None:
            self._tell_stop(1.0, self.stopped)

    def waiting(self, heard: Heard) -> Waiting:
        """What was not heard yet."""
        self._forget(self._urgent, heard.urgent)
        self._waiting -= self._forget(self._writes, heard.writes)
        self._forget(self._proposed, heard.proposals)
        urgent, writes = (b"".join(rows for _, rows in lane) for lane in (self._urgent, self._writes))
        return Waiting(urgent, writes, list(self._proposed))

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _append(self, writes: Sequence[tuple[int, float]], user: int) -> bool:
        if self._waiting + len(writes) > WAITING_MAX or not self._server.remote.held:
            return False
        self._writes.append(self._rows(writes, user))
        self._waiting += len(writes)
        return True

    def _rows(self, writes: Sequence[tuple[int, float]], user: int) -> tuple[int, bytes]:
        """Writes by slot, under one number."""
        number = self._next()
        return number, b"".join(write_row(number, self._indices[slot], user, value) for slot, value in writes)

    def _tell_stop(self, value: float, user: int) -> None:
        """A stop takes the place of all before it. A reset does not: control judges it, and must have stopped before."""
        if value:
            self._urgent.clear()
        elif self._urgent and self.stopped is None:
            self._urgent.pop()  # a reset as well
        self.stopped = user if value else None
        self._urgent.append(self._rows([(self._stop, value)], user))

    def _forget(self, lane: deque[tuple[int, bytes]], heard: int) -> int:
        """Forget what was heard; how many rows it had. A number that is none of ours says that nothing was."""
        rows = 0
        while lane and self._first < lane[0][0] <= heard <= self._number:
            rows += len(lane.popleft()[1]) // WRITE_ROW.itemsize
        return rows


class _Rows(NamedTuple):
    """By row number: what it is, and its range."""

    setpoint: NDArray[np.bool_]
    text: NDArray[np.bool_]
    result: NDArray[np.bool_]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def _check_rows(kind: NDArray[np.bool_], numbers: NDArray[np.integer[Any]]) -> None:
    """Refused unless the numbers are those of rows of one kind, each once."""
    if len(numbers) > len(kind):
        raise Refused(_CODES.BadTooManyOperations)
    if not ((numbers < len(kind)).all() and kind[numbers].all()):
        raise Refused(_CODES.BadOutOfRange)
    if len(np.unique(numbers)) < len(numbers):
        raise Refused(_CODES.BadEntryExists)


class Remote:
    """Control on another host, as far as this server knows it."""

    def __init__(self, server: UaServer) -> None:
        self._server = server
        self._holder: Session | None = None
        self._until = 0.0
        self.documents = 0
        """How often documents were handed in or removed."""

    @property
    def held(self) -> bool:
        """Somebody controls the site."""
        return time.monotonic() < self._until

    @cached_property
    def description(self) -> bytes:
        """The site, for who is to control it."""
        settings = self._server.settings
        return describe(self._server.layout, settings.of_site, settings.schedule)

    @cached_property
    def outbox(self) -> Outbox:
        """What waits for control."""
        return Outbox(self._server, self._server.image.inbox)

    @cached_property
    def _digest(self) -> str:
        return digest(self.description)

    @cached_property
    def _rows(self) -> _Rows:
        channels = [c for c, _ in decided(self._server.layout)]
        setpoint = np.array([c.output >= 0 for c in channels], np.bool_)
        text = np.array([c.spec.data_type is DataType.STRING for c in channels], np.bool_)
        low = [-np.inf if c.spec.low is None else c.spec.low for c in channels]
        high = [np.inf if c.spec.high is None else c.spec.high for c in channels]
        return _Rows(setpoint, text, ~(setpoint | text), np.array(low), np.array(high))

    def exchange(self, session: Session, values: list[Any]) -> Outputs:
        """Take decisions; what waits for who decides. Refused when it is not his to decide, or makes no sense."""
        layout, setpoints, results, numbers, texts, heard = values
        if not self._server.settings.remote:
            raise Refused(_CODES.BadNotSupported)
        if layout != self._digest:
            raise Refused(_CODES.BadConfigurationError)
        setpoints, results, numbers, heard = setpoints or b"", results or b"", numbers or [], heard or []
        texts = [text or "" for text in texts or []]
        if len(numbers) != len(texts) or len(heard) != len(Heard._fields):
            raise Refused(_CODES.BadInvalidArgument)
        self._check(setpoints, results, numbers, texts)
        self._hold(session)
        record = pack(time.monotonic_ns(), setpoints, results, list(zip(numbers, texts, strict=True)))
        if not self._server.image.remote.put(record):
            raise Refused(_CODES.BadResourceUnavailable)
        self._server.image.remote_bell.ring()
        return [*_answer(self.outbox.waiting(Heard(*heard))), ua.Variant(self.documents, _TYPE.UInt64)]

    def _check(self, setpoints: bytes, results: bytes, numbers: Sequence[int], texts: Sequence[str]) -> None:
        """Nothing is taken when something is wrong: BadTooManyOperations for more rows than there are, BadOutOfRange for one that
        is not what its number says or a set-point outside its range, BadEntryExists for one that is there twice,
        BadEncodingLimitsExceeded for a text that is too long."""
        known = self._rows
        if len(setpoints) % SETPOINT_ROW.itemsize or len(results) % VALUE_ROW.itemsize:
            raise Refused(_CODES.BadInvalidArgument)
        rows = np.frombuffer(setpoints, SETPOINT_ROW)
        at, given, lease_ms = rows["index"], rows["value"], rows["lease_ms"]
        _check_rows(known.setpoint, at)
        _check_rows(known.result, np.frombuffer(results, VALUE_ROW)["index"])
        _check_rows(known.text, np.array(numbers, np.uint32))
        if any(len(text.encode(errors="replace")) > TEXT_BYTES_MAX for text in texts):
            raise Refused(_CODES.BadEncodingLimitsExceeded)
        fits = (lease_ms == 0) | ((lease_ms <= LEASE_MS_MAX) & (given >= known.low[at]) & (given <= known.high[at]))
        if not fits.all():
            raise Refused(_CODES.BadOutOfRange)

    def _hold(self, session: Session) -> None:
        if self._holder is not session:
            if self.held and self._holder is not None and self._holder.user.name != session.user.name:
                raise Refused(_CODES.BadInvalidState)
            self._server.audit("control", session=session, action="begins to control the site")
            self._holder = session
            self.outbox.begin()
        self._until = time.monotonic() + HOLD_S


def _answer(waiting: Waiting) -> Iterator[ua.Variant]:
    yield ua.Variant(waiting.urgent, _TYPE.ByteString)
    yield ua.Variant(waiting.writes, _TYPE.ByteString)
    yield ua.Variant([number for number, _ in waiting.proposals], _TYPE.UInt64, is_array=True)
    yield ua.Variant([record.decode() for _, record in waiting.proposals], _TYPE.String, is_array=True)


async def _describe(server: UaServer, session: Session, values: list[Any]) -> list[ua.Variant]:
    return [ua.Variant(server.remote.description, _TYPE.ByteString)]


async def _exchange(server: UaServer, session: Session, values: list[Any]) -> list[ua.Variant]:
    return server.remote.exchange(session, values)


METHODS: Final[dict[str, Method]] = {
    DESCRIBE: Method(
        "The site as its control needs to know it.",
        _describe,
        gives=(Argument("Description", "Compressed JSON.", _TYPE.ByteString),),
        kind=Kind.REMOTE,
    ),
    EXCHANGE: Method(
        "Decides one cycle of a site whose control is remote.",
        _exchange,
        (
            Argument("Layout", "Digest of the description that the numbers of rows follow from."),
            Argument("Setpoints", "Rows of UInt32 index, UInt32 lease in ms, Double value.", _TYPE.ByteString),
            Argument("Values", "Rows of UInt32 index, UInt32 StatusCode, Double value.", _TYPE.ByteString),
            Argument("TextRows", "Index of each text.", _TYPE.UInt32, array=True),
            Argument("Texts", "Explanations.", array=True),
            Argument("Heard", "Newest number that found room: of Urgent, of Writes, of Proposals.", _TYPE.UInt64, array=True),
        ),
        (
            Argument("Urgent", "Stops and resets of the site, in rows like those of Writes.", _TYPE.ByteString),
            Argument("Writes", "Rows of UInt64 number, UInt32 index, UInt32 user, Double value.", _TYPE.ByteString),
            Argument("Numbers", "Number of each proposal.", _TYPE.UInt64, array=True),
            Argument("Proposals", "Of foreign controllers, as JSON.", array=True),
            Argument("Documents", "How often documents changed.", _TYPE.UInt64),
        ),
        kind=Kind.REMOTE,
    ),
}

OBJECT: Final = MethodObject(BRIDGE, "Control of the site on another host.", METHODS, Kind.REMOTE)
