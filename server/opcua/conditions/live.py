"""A condition as OPC UA shows it: its type, its nodes, and the value of each of its fields.

The same table answers the select clauses of events and the reads of the instance's variables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from zoneinfo import ZoneInfo

from asyncua import ua

from server.core.alarms import AlarmSpec, LimitZone
from server.core.condition import SHELVED_S_MAX, Condition, Shelving
from server.core.ticks import TICKS, to_datetime
from server.runtime.memory import utc_now

from ..events.event import Path, local_time
from ..nodes import NS_UA, NULL_ID
from ..properties import site_id

_IDS: Final = ua.ObjectIds
_TYPE: Final = ua.VariantType
OFF_NORMAL: Final = ua.NodeId(_IDS.OffNormalAlarmType, NS_UA)
EXCLUSIVE_LIMIT: Final = ua.NodeId(_IDS.ExclusiveLimitAlarmType, NS_UA)
CERTIFICATE_EXPIRATION: Final = ua.NodeId(_IDS.CertificateExpirationAlarmType, NS_UA)

_SHELVING: Final = {
    Shelving.Unshelved: ("Unshelved", _IDS.ShelvedStateMachineType_Unshelved),
    Shelving.TimedShelved: ("Timed shelved", _IDS.ShelvedStateMachineType_TimedShelved),
    Shelving.OneShotShelved: ("One shot shelved", _IDS.ShelvedStateMachineType_OneShotShelved),
}
_LIMIT_STATES: Final = {
    LimitZone.HighHigh: ("HighHigh", _IDS.ExclusiveLimitStateMachineType_HighHigh),
    LimitZone.High: ("High", _IDS.ExclusiveLimitStateMachineType_High),
    LimitZone.Low: ("Low", _IDS.ExclusiveLimitStateMachineType_Low),
    LimitZone.LowLow: ("LowLow", _IDS.ExclusiveLimitStateMachineType_LowLow),
}


@dataclass(eq=False, slots=True)
class Live:
    """A condition in the address space. source_name: as shown; zone: of the site's clocks; extra: fields of its own type."""

    condition: Condition
    source_name: str
    timezone: ZoneInfo
    type: ua.NodeId = OFF_NORMAL
    extra: Mapping[Path, ua.Variant] = field(default_factory=dict)

    @property
    def spec(self) -> AlarmSpec:
        """Its declaration."""
        return self.condition.spec

    @property
    def node_id(self) -> ua.NodeId:
        """The ConditionId."""
        return site_id(self.spec.node)

    @property
    def source(self) -> ua.NodeId:
        """The object concerned."""
        return site_id(self.spec.source)

    def field(self, path: Path) -> ua.Variant | None:
        """The value of a field, None where this condition has none of that path."""
        reader = _FIELDS.get(path) if self.has(path) else None
        return reader(self) if reader is not None else self.extra.get(path)

    def has(self, path: Path) -> bool:
        """True for the members this condition has: what is declared for it, whatever the value is now."""
        needs = _NEEDS.get(path[0])
        return (path in _FIELDS or path in self.extra) and (needs is None or needs(self.spec))


def type_of(spec: AlarmSpec) -> ua.NodeId:
    """The type of an alarm."""
    if spec.certificate:
        return CERTIFICATE_EXPIRATION
    return OFF_NORMAL if spec.limits is None else EXCLUSIVE_LIMIT


Reader = Callable[[Live], ua.Variant | None]


def _of(kind: ua.VariantType, get: Callable[[Live], Any]) -> Reader:
    def read(live: Live) -> ua.Variant | None:
        value = get(live)
        return None if value is None else ua.Variant(value, kind)

    return read


def _text(get: Callable[[Live], str]) -> Reader:
    return lambda live: ua.Variant(ua.LocalizedText(get(live), "en"), _TYPE.LocalizedText)


def _time(get: Callable[[Live], int]) -> Reader:
    return _of(_TYPE.DateTime, lambda live: to_datetime(get(live)))


def _two_states(name: str, get: Callable[[Condition], bool], when: str, true: str, false: str) -> dict[Path, Reader]:
    """A TwoStateVariable: its text, its Id and when it last changed."""
    return {
        (name,): _text(lambda live: true if get(live.condition) else false),
        (name, "Id"): _of(_TYPE.Boolean, lambda live: get(live.condition)),
        (name, "TransitionTime"): _time(lambda live: int(getattr(live.condition.moments, when))),
    }


def _base() -> dict[Path, Reader]:
    return {
        ("EventId",): _of(_TYPE.ByteString, lambda live: live.condition.event_id or None),
        ("EventType",): _of(_TYPE.NodeId, lambda live: live.type),
        ("SourceNode",): _of(_TYPE.NodeId, lambda live: live.source),
        ("SourceName",): _of(_TYPE.String, lambda live: live.source_name),
        ("Time",): _time(lambda live: live.condition.time),
        ("ReceiveTime",): _time(lambda live: live.condition.time),
        ("LocalTime",): lambda live: local_time(to_datetime(live.condition.time), live.timezone),
        ("Message",): _text(lambda live: live.condition.message),
        ("Severity",): _of(_TYPE.UInt16, lambda live: live.condition.severity or 1),
    }


def _condition() -> dict[Path, Reader]:
    return {
        ("ConditionClassId",): _of(_TYPE.NodeId, lambda live: ua.NodeId(_class(live)[0], NS_UA)),
        ("ConditionClassName",): _text(lambda live: _class(live)[1]),
        ("ConditionName",): _of(_TYPE.String, lambda live: live.spec.name),
        ("BranchId",): _of(_TYPE.NodeId, lambda live: NULL_ID),
        ("Retain",): _of(_TYPE.Boolean, lambda live: live.condition.retain),
        ("Quality",): _of(_TYPE.StatusCode, lambda live: ua.StatusCode(live.condition.status)),
        ("Quality", "SourceTimestamp"): _time(lambda live: live.condition.time),
        ("LastSeverity",): _of(_TYPE.UInt16, lambda live: live.condition.last_severity),
        ("LastSeverity", "SourceTimestamp"): _time(lambda live: live.condition.moments.severity),
        ("Comment",): _text(lambda live: live.condition.remark.text),
        ("Comment", "SourceTimestamp"): _time(lambda live: live.condition.remark.time),
        ("ClientUserId",): _of(_TYPE.String, lambda live: live.condition.remark.user),
        **_two_states("EnabledState", lambda c: c.enabled, "enabled", "Enabled", "Disabled"),
        **_two_states("AckedState", lambda c: c.acked, "acked", "Acknowledged", "Unacknowledged"),
        **_two_states("ConfirmedState", lambda c: c.confirmed, "confirmed", "Confirmed", "Unconfirmed"),
    }


def _class(live: Live) -> tuple[int, str]:
    """What kind of interest the condition is of."""
    if live.spec.limits is not None:
        return _IDS.ProcessConditionClassType, "Process"
    return _IDS.SystemConditionClassType, "System"


def _alarm() -> dict[Path, Reader]:
    return {
        **_two_states("ActiveState", lambda c: c.active, "active", "Active", "Inactive"),
        ("InputNode",): _of(_TYPE.NodeId, lambda live: site_id(live.spec.channel) if live.spec.channel else NULL_ID),
        **_two_states("SuppressedState", lambda c: c.suppressed or c.withheld, "suppressed", "Suppressed", "Unsuppressed"),
        **_two_states("LatchedState", lambda c: c.latched, "latched", "Latched", "Unlatched"),
        ("SuppressedOrShelved",): _of(_TYPE.Boolean, lambda live: live.condition.aside),
        ("MaxTimeShelved",): _of(_TYPE.Double, lambda live: SHELVED_S_MAX * 1e3),
        ("OnDelay",): _of(_TYPE.Double, lambda live: live.spec.on_delay_s * 1e3),
        ("OffDelay",): _of(_TYPE.Double, lambda live: live.spec.off_delay_s * 1e3),
        ("ShelvingState", "CurrentState"): _text(lambda live: _SHELVING[live.condition.shelving][0]),
        ("ShelvingState", "CurrentState", "Id"): _of(
            _TYPE.NodeId, lambda live: ua.NodeId(_SHELVING[live.condition.shelving][1], NS_UA)
        ),
        ("ShelvingState", "UnshelveTime"): _of(_TYPE.Double, lambda live: _unshelve_ms(live.condition)),
        ("NormalState",): _of(_TYPE.NodeId, lambda live: NULL_ID),
    }


def _unshelve_ms(condition: Condition) -> float:
    left = (condition.shelved_until - utc_now()) / TICKS if condition.shelving is not Shelving.Unshelved else 0.0
    return max(left, 0.0) * 1e3


def _limit_state(place: int) -> Callable[[Live], Any]:
    return lambda live: _LIMIT_STATES[LimitZone(live.condition.zone)][place] if live.condition.active else None


def _limits() -> dict[Path, Reader]:
    name, number = _limit_state(0), _limit_state(1)
    found: dict[Path, Reader] = {
        ("LimitState", "CurrentState"): _of(
            _TYPE.LocalizedText, lambda live: ua.LocalizedText(name(live), "en") if live.condition.active else None
        ),
        ("LimitState", "CurrentState", "Id"): _of(
            _TYPE.NodeId, lambda live: ua.NodeId(number(live), NS_UA) if live.condition.active else None
        ),
    }
    for browse_name, attribute in _LIMITS.items():
        found[(browse_name,)] = _of(_TYPE.Double, _limit(attribute))
    for browse_name, zone in _LIMIT_SEVERITIES.items():
        found[(browse_name,)] = _of(_TYPE.UInt16, _zone_severity(zone))
    return found


def _limit(attribute: str) -> Callable[[Live], float | None]:
    return lambda live: getattr(live.spec.limits, attribute, None)


def _zone_severity(zone: LimitZone) -> Callable[[Live], int | None]:
    return lambda live: live.spec.zones[zone].severity if zone in live.spec.zones else None


_LIMITS: Final = {
    "HighHighLimit": "high_high",
    "HighLimit": "high",
    "LowLimit": "low",
    "LowLowLimit": "low_low",
}
_LIMIT_SEVERITIES: Final = {
    "SeverityHighHigh": LimitZone.HighHigh,
    "SeverityHigh": LimitZone.High,
    "SeverityLow": LimitZone.Low,
    "SeverityLowLow": LimitZone.LowLow,
}
_FIELDS: Final[dict[Path, Reader]] = {**_base(), **_condition(), **_alarm(), **_limits()}
"""Value of each field of every type of condition there is."""


def _has_limit(attribute: str, spec: AlarmSpec) -> bool:
    return getattr(spec.limits, attribute, None) is not None


def _has_zone(zone: LimitZone, spec: AlarmSpec) -> bool:
    return zone in spec.zones


_NEEDS: Final[dict[str, Callable[[AlarmSpec], bool]]] = {
    "LimitState": lambda spec: spec.limits is not None,
    "NormalState": lambda spec: spec.limits is None,
    "ConfirmedState": lambda spec: spec.confirm,
    "LatchedState": lambda spec: spec.latch,
    **{name: partial(_has_limit, attribute) for name, attribute in _LIMITS.items()},
    **{name: partial(_has_zone, zone) for name, zone in _LIMIT_SEVERITIES.items()},
}
"""Members that a condition has only when its declaration asks for them."""
