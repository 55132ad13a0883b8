"""History of events: alarms and what else the server tells. Stored as sent; who reads it knows the fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, select

from .database import failures
from .reader import HistoryReader
from .schema import event
from .writer import HistoryWriter


class StoredEvent(NamedTuple):
    """An event. time: ticks; source, kind: NodeIds of its source and its type as strings; body: its fields, encoded."""

    time: int
    source: str
    kind: str
    body: bytes


def append_events(writer: HistoryWriter, events: Sequence[StoredEvent]) -> None:
    """Store events in one transaction. Raises HistoryError; then none of them is stored."""
    if events:
        with failures(writer.url), writer.engine.begin() as connection:
            connection.execute(event.insert(), [found._asdict() for found in events])


def read_events(
    reader: HistoryReader, low: int, high: int, limit: int, skip: int = 0, *, forward: bool = True
) -> list[StoredEvent]:
    """Events with low <= time < high, oldest first or newest first, without the first `skip` of them. Raises HistoryError."""
    order = (event.c.time, event.c.id) if forward else (event.c.time.desc(), event.c.id.desc())

    def ask(connection: Connection) -> list[StoredEvent]:
        query = select(event.c.time, event.c.source, event.c.kind, event.c.body)
        query = query.where(event.c.time >= low, event.c.time < high).order_by(*order)
        return [StoredEvent(*row) for row in connection.execute(query.limit(limit).offset(skip))]

    return reader.query(ask, [])
