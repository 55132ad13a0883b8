"""What happened, for the history of events: taken in as it is told, written to the database a moment later and beside the loop.

While the database is away events wait, PENDING_MAX at most; then the oldest are given up, and that is said. Audit events are not
kept here: they are in the audit trail.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import variant_from_binary, variant_to_binary

from server.core.ticks import from_datetime
from server.history import HistoryError, StoredEvent
from server.runtime.memory import utc_now

from ..access import Kind
from .event import Event, Path

if TYPE_CHECKING:
    from ..server import UaServer

_log = logging.getLogger("ems.opcua")

WRITE_EVERY_S: Final = 1.0
PENDING_MAX: Final = 10_000
CONDITION_ID: Final[Path] = ()
"""The path under which the ConditionId is kept."""
_LENGTHS: Final = struct.Struct("<HI")


class EventRecorder:
    """A listener of the hub. `run` writes until it is cancelled, and what is left then, too."""

    def __init__(self, server: UaServer) -> None:
        self._server = server
        self._pending: deque[StoredEvent] = deque()
        self._lost = 0
        self._failing = False
        self._writing = asyncio.Lock()
        self._known: dict[ua.NodeId, tuple[Path, ...]] = {}

    def __call__(self, event: Event) -> None:
        """Take an event in."""
        if event.permissions != Kind.MEASURE:
            return
        if len(self._pending) >= PENDING_MAX:
            self._pending.popleft()
            self._lost += 1
        time = event.field(("Time",))
        ticks = from_datetime(time.Value) if time is not None else utc_now()
        fields = {path: value for path in self._paths(event.type) if (value := event.field(path)) is not None}
        if not event.condition.is_null():
            fields[CONDITION_ID] = ua.Variant(event.condition, ua.VariantType.NodeId)
        source, kind = event.source.to_string(), event.type.to_string()
        self._pending.append(StoredEvent(ticks, source, kind, pack(fields)))

    def _paths(self, kind: ua.NodeId) -> tuple[Path, ...]:
        """The fields that events of a type may have."""
        if kind not in self._known:
            members = self._server.events.types.members(kind)
            self._known[kind] = tuple(path for path, node in members.items() if node.node_class is ua.NodeClass.Variable)
        return self._known[kind]

    async def run(self) -> None:
        """Write now and then, until cancelled."""
        try:
            while True:
                await asyncio.sleep(WRITE_EVERY_S)
                await self.flush()
        finally:
            await self.flush()

    async def flush(self) -> None:
        """Write what waits; it waits on when the database is away."""
        async with self._writing:
            await self._write()

    async def _write(self) -> None:
        batch = dict.fromkeys(self._pending)
        if not batch:
            return
        try:
            await self._server.history.record(tuple(batch))
        except HistoryError as error:
            self._say(f"events wait for the history: {error}")
            return
        while self._pending and self._pending[0] in batch:
            self._pending.popleft()
        self._failing = False

    def _say(self, text: str) -> None:
        if not self._failing:
            _log.warning("%s", f"{text}; {self._lost} were given up" if self._lost else text)
        self._failing = True


def pack(fields: Mapping[Path, ua.Variant]) -> bytes:
    """Fields as bytes: for each the length of its path and of its value, the path, the encoded Variant."""
    parts = []
    for path, value in fields.items():
        name, data = "/".join(path).encode(), variant_to_binary(value)
        parts += [_LENGTHS.pack(len(name), len(data)), name, data]
    return b"".join(parts)


def unpack(body: bytes) -> dict[Path, ua.Variant]:
    """The fields of `pack`."""
    return dict(_fields(body))


def _fields(body: bytes) -> Iterator[tuple[Path, ua.Variant]]:
    at = 0
    while at < len(body):
        name, data = _LENGTHS.unpack_from(body, at)
        at += _LENGTHS.size
        path = body[at : at + name].decode()
        at += name
        yield (tuple(path.split("/")) if path else CONDITION_ID), variant_from_binary(Buffer(body[at : at + data]))
        at += data
