"""An event: its type, where it comes from, and its fields by browse path."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import field as made
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from asyncua import ua
from asyncua.ua.ua_binary import variant_to_binary

from server.core.ticks import to_datetime

from ..access import Kind
from ..nodes import NULL_ID

Path = tuple[str, ...]
"""Browse path of a field below its event type; all fields have standard names (namespace 0)."""
Field = Callable[[Path], ua.Variant | None]

NULL: Final = ua.Variant()
EVENT_ID_BYTES: Final = 16
_TYPE: Final = ua.VariantType


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    source: the node it happened to; the items that monitor it or a notifier above it get the event.
    field: value of a path, None where the event has no such field; whenever it is asked, it tells what was when that happened.
    condition: the ConditionId of the event of a condition, null for others.
    permissions: class of the event in access.GRANTS; who may not receive events of it gets none.
    """

    type: ua.NodeId
    source: ua.NodeId
    field: Field
    condition: ua.NodeId = NULL_ID
    permissions: str = Kind.MEASURE
    told: dict[bytes, bytes | None] = made(default_factory=dict, init=False, repr=False, compare=False)
    """What filters made of the event so far, by their keys: see EventFilter.tell."""
    _blocks: dict[Path, bytes] = made(default_factory=dict, init=False, repr=False, compare=False)

    def block(self, path: Path) -> bytes:
        """The encoded value of a path; it is encoded once, however often it is selected."""
        found = self._blocks.get(path)
        if found is None:
            value = self.field(path)
            found = self._blocks[path] = variant_to_binary(NULL if value is None else value)
        return found


def make_event(
    type_id: ua.NodeId, source: ua.NodeId, fields: Mapping[Path, ua.Variant], permissions: str = Kind.MEASURE
) -> Event:
    """An event with fixed fields."""
    return Event(type_id, source, fields.get, permissions=permissions)


def new_event_id() -> bytes:
    """An EventId: unique, and nothing can be told from it."""
    return secrets.token_bytes(EVENT_ID_BYTES)


def base_fields(
    type_id: ua.NodeId, source: ua.NodeId, source_name: str, time: int, message: str, severity: int, zone: ZoneInfo
) -> dict[Path, ua.Variant]:
    """The fields of BaseEventType. time: 100 ns since 1601 UTC, when it happened; zone: of the site, for LocalTime."""
    moment = to_datetime(time)
    return {
        ("EventId",): ua.Variant(new_event_id(), _TYPE.ByteString),
        ("EventType",): ua.Variant(type_id, _TYPE.NodeId),
        ("SourceNode",): ua.Variant(source, _TYPE.NodeId),
        ("SourceName",): ua.Variant(source_name, _TYPE.String),
        ("Time",): ua.Variant(moment, _TYPE.DateTime),
        ("ReceiveTime",): ua.Variant(moment, _TYPE.DateTime),
        ("LocalTime",): local_time(moment, zone),
        ("Message",): ua.Variant(ua.LocalizedText(message, "en"), _TYPE.LocalizedText),
        ("Severity",): ua.Variant(severity, _TYPE.UInt16),
    }


def local_time(moment: datetime | None, zone: ZoneInfo) -> ua.Variant:
    """Offset of the site's clocks from UTC at a moment, in minutes, and whether daylight saving is in it."""
    if moment is None:
        return NULL
    there = moment.astimezone(zone)
    offset, saving = there.utcoffset(), there.dst()
    minutes = round(offset.total_seconds() / 60) if offset is not None else 0
    return ua.Variant(ua.TimeZoneDataType(minutes, bool(saving)), _TYPE.ExtensionObject)
