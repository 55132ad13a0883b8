"""What is audited, as events of the Server object for those who may see it (Part 5, 6.4.3 and following).

One table from the event of the audit trail to its type in the standard and the words of its SourceName; what has no row there
is told as a plain AuditEventType. Nothing is made while nobody listens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from asyncua import ua

from server.core.ticks import to_datetime
from server.runtime.memory import utc_now

from ..access import Kind
from ..nodes import NS_UA, NULL_ID
from ..properties import site_id
from .event import Path, base_fields, make_event
from .hub import SERVER_OBJECT

if TYPE_CHECKING:
    from ..server import UaServer

_IDS: Final = ua.ObjectIds
_TYPE: Final = ua.VariantType
SUCCESS_SEVERITY, FAILURE_SEVERITY = 100, 400
_UNSUCCESSFUL: Final = ("refused", "failed", "ended", "timeout")

_TYPES: Final[Mapping[str, tuple[int, str]]] = {
    "session-created": (_IDS.AuditCreateSessionEventType, "Session/CreateSession"),
    "session-activated": (_IDS.AuditActivateSessionEventType, "Session/ActivateSession"),
    "login-refused": (_IDS.AuditActivateSessionEventType, "Session/ActivateSession"),
    "session-closed": (_IDS.AuditSessionEventType, "Session/CloseSession"),
    "session-timeout": (_IDS.AuditSessionEventType, "Session/Timeout"),
    "session-ended": (_IDS.AuditSessionEventType, "Session/Terminated"),
    "rights-changed": (_IDS.AuditSecurityEventType, "Session/Rights"),
    "channel-refused": (_IDS.AuditOpenSecureChannelEventType, "SecureChannel/OpenSecureChannel"),
    "channel-ended": (_IDS.AuditChannelEventType, "SecureChannel/CloseSecureChannel"),
    "write": (_IDS.AuditWriteUpdateEventType, "Attribute/Write"),
    "call": (_IDS.AuditUpdateMethodEventType, "Attribute/Call"),
    "history-update": (_IDS.AuditHistoryUpdateEventType, "Attribute/HistoryUpdate"),
}
_CONDITIONS: Final[Mapping[str, int]] = {
    "Enable": _IDS.AuditConditionEnableEventType,
    "Disable": _IDS.AuditConditionEnableEventType,
    "AddComment": _IDS.AuditConditionCommentEventType,
    "Acknowledge": _IDS.AuditConditionAcknowledgeEventType,
    "Confirm": _IDS.AuditConditionConfirmEventType,
    "TimedShelve": _IDS.AuditConditionShelvingEventType,
    "OneShotShelve": _IDS.AuditConditionShelvingEventType,
    "Unshelve": _IDS.AuditConditionShelvingEventType,
    "Suppress": _IDS.AuditConditionSuppressionEventType,
    "Unsuppress": _IDS.AuditConditionSuppressionEventType,
    "Reset": _IDS.AuditConditionResetEventType,
}


class AuditEvents:
    """Makes the events, when somebody listens who may see them."""

    def __init__(self, server: UaServer) -> None:
        self._server = server

    @property
    def heard(self) -> bool:
        """True when somebody monitors events who may see these."""
        return self._server.events.heard(Kind.SECURITY)

    def __call__(self, event: str, facts: Mapping[str, Any]) -> None:
        """Tell one event of the trail to those who may see it."""
        if not self.heard:
            return
        hub = self._server.events
        number, name = _type_of(event, facts)
        kind, source = ua.NodeId(number, NS_UA), _source(facts)
        success = _succeeded(event, facts)
        now = utc_now()
        severity = SUCCESS_SEVERITY if success else FAILURE_SEVERITY
        fields = base_fields(kind, source, name, now, _words(event, facts), severity, hub.zone)
        fields |= self._audit_fields(facts, now, success) | _own_fields(event, facts)
        hub.emit(make_event(kind, SERVER_OBJECT, fields, Kind.SECURITY))

    def _audit_fields(self, facts: Mapping[str, Any], now: int, success: bool) -> dict[Path, ua.Variant]:
        """The fields of AuditEventType."""
        return {
            ("ActionTimeStamp",): ua.Variant(to_datetime(now), _TYPE.DateTime),
            ("Status",): ua.Variant(success, _TYPE.Boolean),
            ("ServerId",): ua.Variant(self._server.application_uri, _TYPE.String),
            ("ClientAuditEntryId",): ua.Variant("", _TYPE.String),
            ("ClientUserId",): ua.Variant(str(facts.get("user") or facts.get("claimed") or ""), _TYPE.String),
        }


def _type_of(event: str, facts: Mapping[str, Any]) -> tuple[int, str]:
    if event == "condition":
        action = str(facts.get("action"))
        return _CONDITIONS.get(action, _IDS.AuditConditionEventType), f"Method/{action}"
    return _TYPES.get(event, (_IDS.AuditEventType, f"Server/{event}"))


def _source(facts: Mapping[str, Any]) -> ua.NodeId:
    """The node concerned; the Server where there is none."""
    node = facts.get("condition") or facts.get("node") or facts.get("object")
    if not isinstance(node, str):
        return SERVER_OBJECT
    if "=" not in node:
        return site_id(node)
    try:
        return ua.NodeId.from_string(node)
    except (ua.UaError, ValueError):
        return SERVER_OBJECT


def _succeeded(event: str, facts: Mapping[str, Any]) -> bool:
    status = facts.get("status")
    return status == "Good" if isinstance(status, str) else not event.endswith(_UNSUCCESSFUL)


def _words(event: str, facts: Mapping[str, Any]) -> str:
    """`write: user anna, node ns=4;s=ess0/SetActivePower, value 5.0, status Good`."""
    told = {name: value for name, value in facts.items() if name not in ("session", "application") and value not in ("", None)}
    return f"{event}: {', '.join(f'{name} {value}' for name, value in told.items())}"[:1_000]


def _own_fields(event: str, facts: Mapping[str, Any]) -> dict[Path, ua.Variant]:
    """What the type of the event has beyond AuditEventType, as far as the trail knows it."""
    match event:
        case "write":
            value = facts.get("value")
            return {
                ("AttributeId",): ua.Variant(ua.AttributeIds.Value.value, _TYPE.UInt32),
                ("NewValue",): ua.Variant(value) if isinstance(value, (bool, int, float, str)) else ua.Variant(str(value)),
            }
        case "call":
            arguments = [ua.Variant(str(argument)) for argument in facts.get("arguments", ())]
            return {
                ("MethodId",): ua.Variant(_node(facts.get("method")), _TYPE.NodeId),
                ("InputArguments",): ua.Variant(arguments, _TYPE.Variant, is_array=True),
            }
        case "condition":
            return {("Comment",): ua.Variant(ua.LocalizedText(str(facts.get("comment", "")), "en"), _TYPE.LocalizedText)}
        case _ if event.startswith(("session", "login")):
            return {("SessionId",): ua.Variant(_node(facts.get("session")), _TYPE.NodeId)}
    return {}


def _node(text: Any) -> ua.NodeId:
    try:
        return ua.NodeId.from_string(text) if isinstance(text, str) else NULL_ID
    except (ua.UaError, ValueError):
        return NULL_ID
