"""Control on another host, seen by the server: its two methods, who holds control, and what waits for it.

    bridge.Describe() -> Description                        the site, for a host that wants to control it
    bridge.Exchange(Layout, Setpoints, Values, TextRows, Texts, Heard) -> Newest, Writes, Proposals, Documents

Only a client with the role Bridge sees them call, and Exchange does something only where site.toml says that control is remote: a
site has one engine. Who exchanged last holds control for HOLD_S; another is refused with BadInvalidState until then. What clients
wrote and proposed is numbered, and handed out again until it was heard; of documents only the number of changes is told, the host
reads them as any client does. The rows are those of `server.bridge.protocol`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from asyncua import ua
from numpy.typing import NDArray

from server.bridge.portable import describe, digest
from server.bridge.protocol import BRIDGE, DESCRIBE, EXCHANGE, LEASE_MS_MAX, SETPOINT_ROW, VALUE_ROW, WRITE_ROW, decided, pack
from server.core.channel import DataType
from server.core.commands import TOGETHER
from server.core.natures import Site
from server.core.site import SITE_ALIAS

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
TEXTS_MAX: Final = 2_000


class Outbox:
    """In the place of inbox and proposals: what is meant for control, numbered, until control has heard it.

    The emergency stop goes to the receiver, too, which acts on it alone.
    """

    def __init__(self, server: UaServer, inbox: Inbox) -> None:
        self._inbox = inbox
        self._server = server
        self._number = 0
        self._writes: deque[tuple[int, int, int, float]] = deque()
        self._proposed: deque[tuple[int, bytes]] = deque()
        channel = server.layout.find(SITE_ALIAS, Site.EmergencyStopActive)
        self._stop = -1 if channel is None else channel.slot
        self.stopped: int | None = None
        """User who stopped the site, as far as we know."""

    def put(self, slot: int, value: float, user: int) -> bool:
        """A write. False when control is away and too much waits."""
        if slot == self._stop:
            self.stopped = user if value else None
            if not self._inbox.put(slot, value, user):
                return False
        elif len(self._writes) >= WAITING_MAX or not self._server.remote.held:
            return False
        self._number += 1
        self._writes.append((self._number, slot, user, value))
        return True

    def put_all(self, slots: NDArray[np.integer[Any]], values: NDArray[np.float64], user: int) -> int:
        """Many writes; how many were taken."""
        for count, (slot, value) in enumerate(zip(slots.tolist(), values.tolist(), strict=True)):
            if not self.put(slot, value, user):
                return count
        return len(slots)

    def put_together(self, values: Mapping[int, float], user: int) -> bool:
        """Writes by slot, all of them or none. False when control is away or too much waits."""
        rows = [(TOGETHER, float(len(values))), *values.items()]
        if len(self._writes) + len(rows) > WAITING_MAX or not self._server.remote.held:
            return False
        self._number += 1
        self._writes.extend((self._number, slot, user, value) for slot, value in rows)
        return True

    def propose(self, record: bytes) -> bool:
        """A proposal of a foreign controller. False when control is away."""
        if len(self._proposed) >= PROPOSALS_MAX or not self._server.remote.held:
            return False
        self._number += 1
        self._proposed.append((self._number, record))
        return True

    def begin(self) -> None:
        """Another engine begins: it must know of an emergency stop."""
        if self.stopped is not None:
            self._number += 1
            self._writes.append((self._number, self._stop, self.stopped, 1.0))

    def waiting(self, heard: int) -> tuple[int, list[tuple[int, int, float]], list[bytes]]:
        """Number of the newest, and (slot, user, value) and proposals that were not heard yet."""
        while self._writes and self._writes[0][0] <= heard:
            self._writes.popleft()
        while self._proposed and self._proposed[0][0] <= heard:
            self._proposed.popleft()
        return self._number, [w[1:] for w in self._writes], [record for _, record in self._proposed]


class _Rows(NamedTuple):
    """By row number: what it is, and its range."""

    setpoint: NDArray[np.bool_]
    text: NDArray[np.bool_]
    result: NDArray[np.bool_]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def are(self, kind: NDArray[np.bool_], numbers: NDArray[np.integer[Any]]) -> bool:
        """There are rows of these numbers, and all are of one kind."""
        return bool((numbers < len(kind)).all() and kind[numbers].all())


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

    @cached_property
    def _numbers(self) -> dict[int, int]:
        """Row number of each slot."""
        return {slot: number for number, (_, slot) in enumerate(decided(self._server.layout))} | {TOGETHER: TOGETHER}

    def exchange(self, session: Session, values: list[Any]) -> Outputs:
        """Take decisions; what waits for who decides. Refused when it is not his to decide, or makes no sense."""
        layout, setpoints, results, numbers, texts, heard = values
        if not self._server.settings.remote:
            raise Refused(_CODES.BadNotSupported)
        if layout != self._digest:
            raise Refused(_CODES.BadConfigurationError)
        self._check(setpoints or b"", results or b"", numbers or [], texts or [])
        self._hold(session)
        pairs = list(zip(numbers or [], (text or "" for text in texts or []), strict=True))
        if not self._server.image.remote.put(pack(time.monotonic_ns(), setpoints or b"", results or b"", pairs)):
            raise Refused(_CODES.BadResourceUnavailable)
        self._server.image.remote_bell.ring()
        newest, writes, proposals = self.outbox.waiting(heard)
        rows = [(self._numbers[s], u, v) for s, u, v in writes if s in self._numbers]
        return [*_answer(newest, rows, proposals), ua.Variant(self.documents, _TYPE.UInt64)]

    def _check(self, setpoints: bytes, results: bytes, numbers: Sequence[int], texts: Sequence[str]) -> None:
        """BadOutOfRange for a row that is not what its number says, or a set-point outside its range; nothing is taken then."""
        known = self._rows
        if len(setpoints) % SETPOINT_ROW.itemsize or len(results) % VALUE_ROW.itemsize or len(numbers) != len(texts):
            raise Refused(_CODES.BadInvalidArgument)
        if len(texts) > TEXTS_MAX:
            raise Refused(_CODES.BadTooManyOperations)
        rows = np.frombuffer(setpoints, SETPOINT_ROW)
        at, given, lease_ms = rows["index"], rows["value"], rows["lease_ms"]
        shown = np.frombuffer(results, VALUE_ROW)["index"], np.array(numbers, np.uint32)
        if not (known.are(known.setpoint, at) and known.are(known.result, shown[0]) and known.are(known.text, shown[1])):
            raise Refused(_CODES.BadOutOfRange)
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


def _answer(newest: int, writes: list[tuple[int, int, float]], proposals: list[bytes]) -> Iterator[ua.Variant]:
    yield ua.Variant(newest, _TYPE.UInt64)
    yield ua.Variant(np.array(writes, WRITE_ROW).tobytes(), _TYPE.ByteString)
    yield ua.Variant([record.decode() for record in proposals], _TYPE.String, is_array=True)


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
            Argument("Heard", "Newest number of the answers so far.", _TYPE.UInt64),
        ),
        (
            Argument("Newest", "Number of the newest write or proposal.", _TYPE.UInt64),
            Argument("Writes", "Rows of UInt32 index, UInt32 user, Double value.", _TYPE.ByteString),
            Argument("Proposals", "Of foreign controllers, as JSON.", array=True),
            Argument("Documents", "How often documents changed.", _TYPE.UInt64),
        ),
        kind=Kind.REMOTE,
    ),
}

OBJECT: Final = MethodObject(BRIDGE, "Control of the site on another host.", METHODS, Kind.REMOTE)
