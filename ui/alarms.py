"""Alarms as lines for people: the conditions of the OPC UA server, in words."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from server.client import Alarm
from server.core.alarms import level_of

from .alarm_watch import wants_attention
from .catalogue import Catalogue, label, words


def rows(alarms: Iterable[Alarm], catalogue: Catalogue) -> list[dict[str, Any]]:
    """The lines of the list: what wants attention first, then the worst, then the newest."""
    ordered = sorted(alarms, key=lambda a: (not wants_attention(a), not a.active, -a.severity, -unix(a.time), a.condition))
    return [_row(alarm, catalogue) for alarm in ordered]


def _row(alarm: Alarm, catalogue: Catalogue) -> dict[str, Any]:
    thing = catalogue.model.objects.get(alarm.source)
    return {
        "key": alarm.condition,
        "event": alarm.event_id.hex(),
        "source": label(thing) if thing is not None else alarm.source_name or alarm.source,
        "alias": alarm.source,
        "name": words(alarm.name.removesuffix("Alarm")),
        "text": catalogue.speak(_without_source(alarm)),
        "severity": alarm.severity,
        "level": level_of(alarm.severity).name.lower(),
        "since": unix(alarm.active_since or alarm.time),
        "active": alarm.active,
        "acked": alarm.acked,
        "confirm": alarm.confirmed is False and alarm.acked,
        "shelved": alarm.shelved,
        "suppressed": alarm.suppressed,
        "waits": wants_attention(alarm),
        "comment": alarm.comment,
        "user": alarm.user,
    }


def _without_source(alarm: Alarm) -> str:
    """The message without the alias it may begin with: the source stands beside it."""
    source = f"{alarm.source}: "
    return alarm.message[len(source) :] if alarm.message.lower().startswith(source.lower()) else alarm.message


def unix(time: datetime) -> float:
    """Seconds since 1970."""
    return round(time.timestamp(), 3)
