"""What the server can do, as Server.ServerCapabilities tells it: profiles, limits, locales, history.

Every limit shown here is the one that is enforced (`limits`); a profile stands here when what it asks for is tested.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from asyncua import ua

from . import limits
from .history import PAGE_VALUES_MAX
from .history.events import PAGE_EVENTS_MAX
from .nodes import Value
from .values import computed, fixed

if TYPE_CHECKING:
    from .server import UaServer

_IDS: Final = ua.ObjectIds
_TYPE: Final = ua.VariantType
PROFILE: Final = "http://opcfoundation.org/UA-Profile/"

PROFILES: Final[Mapping[str, str]] = {
    PROFILE + "Server/StandardUA2022": "The Standard UA Server: everything a SCADA system expects",
    PROFILE + "Server/EnhancedDataChangeSubscription2017": "Subscriptions with long queues, deadbands and triggers",
    PROFILE + "Server/DataAccess": "Units, ranges, percent deadbands",
    PROFILE + "Server/ReverseConnect": "The server dials clients that cannot dial it",
    PROFILE + "Server/Methods": "Methods with typed arguments",
    PROFILE + "Server/HistoricalRawData2022": "Raw history in pages",
    PROFILE + "Server/HistoricalDataAtTime2022": "Values at given times, interpolated where there is none",
    PROFILE + "Server/HistoricalModifiedData2022": "What a correction replaced, and who made it",
    PROFILE + "Server/AggregateHistorical2022": "The aggregates of Part 13 over history",
    PROFILE + "Server/HistoricalDataUpdate2022": "Corrections of history, with what was there before",
    PROFILE + "Server/BaseHistoricalEvent": "History of events, with their filters",
    PROFILE + "Server/StandardEventSubscription": "Events with select and where clauses",
    PROFILE + "Server/ACBaseCondition": "Alarms as conditions, ConditionRefresh",
    PROFILE + "Server/ACRefresh2": "ConditionRefresh of one monitored item",
    PROFILE + "Server/ACAddressSpaceInstance": "Every condition is a node",
    PROFILE + "Server/ACEnable": "Conditions are taken out of use and back",
    PROFILE + "Server/ACAlarm": "Alarms: active, shelved, suppressed",
    PROFILE + "Server/ACAckAlarm": "Acknowledgement and confirmation",
    PROFILE + "Server/ACExclusiveAlarming": "Limits, of which one holds at a time",
    PROFILE + "Server/ACCertificateExpiration": "Certificates that expire are alarms",
    PROFILE + "Server/Auditing": "What is done is told to those who may see it",
    PROFILE + "Transport/uatcp-uasc-uabinary": "OPC UA TCP with UA Secure Conversation and UA Binary",
}
"""ServerProfileArray, and what a reader should understand by each."""
LOCALES: Final = ("en",)

_CAPABILITIES: Final = "Server_ServerCapabilities_"
LIMITS: Final[Mapping[str, tuple[int, ua.VariantType]]] = {
    "MaxBrowseContinuationPoints": (limits.BROWSE_CONTINUATION_POINTS, _TYPE.UInt16),
    "MaxQueryContinuationPoints": (0, _TYPE.UInt16),
    "MaxHistoryContinuationPoints": (limits.HISTORY_CONTINUATION_POINTS, _TYPE.UInt16),
    "MaxArrayLength": (limits.ARRAY_LENGTH_MAX, _TYPE.UInt32),
    "MaxStringLength": (limits.STRING_LENGTH_MAX, _TYPE.UInt32),
    "MaxByteStringLength": (limits.BYTE_STRING_LENGTH_MAX, _TYPE.UInt32),
    "MaxSessions": (limits.SESSIONS_MAX, _TYPE.UInt32),
    "MaxSubscriptions": (limits.SUBSCRIPTIONS_MAX, _TYPE.UInt32),
    "MaxSubscriptionsPerSession": (limits.SUBSCRIPTIONS_PER_SESSION_MAX, _TYPE.UInt32),
    "MaxMonitoredItems": (limits.ITEMS_MAX, _TYPE.UInt32),
    "MaxMonitoredItemsPerSubscription": (limits.ITEMS_PER_SESSION_MAX, _TYPE.UInt32),
    "MaxMonitoredItemsQueueSize": (limits.QUEUE_LENGTH_MAX, _TYPE.UInt32),
    "OperationLimits_MaxNodesPerRead": (limits.NODES_PER_READ, _TYPE.UInt32),
    "MaxSelectClauseParameters": (limits.EVENT_SELECT_CLAUSES_MAX, _TYPE.UInt32),
    "MaxWhereClauseParameters": (limits.EVENT_WHERE_ELEMENTS_MAX, _TYPE.UInt32),
    "OperationLimits_MaxNodesPerHistoryReadData": (limits.NODES_PER_HISTORY_READ, _TYPE.UInt32),
    "OperationLimits_MaxNodesPerHistoryReadEvents": (limits.NODES_PER_HISTORY_READ, _TYPE.UInt32),
    "OperationLimits_MaxNodesPerHistoryUpdateData": (limits.NODES_PER_HISTORY_UPDATE, _TYPE.UInt32),
    "OperationLimits_MaxNodesPerWrite": (limits.NODES_PER_WRITE, _TYPE.UInt32),
    "OperationLimits_MaxNodesPerMethodCall": (limits.NODES_PER_METHOD_CALL, _TYPE.UInt32),
    "OperationLimits_MaxNodesPerBrowse": (limits.NODES_PER_BROWSE, _TYPE.UInt32),
    "OperationLimits_MaxNodesPerRegisterNodes": (limits.NODES_PER_REGISTER, _TYPE.UInt32),
    "OperationLimits_MaxNodesPerTranslateBrowsePathsToNodeIds": (limits.NODES_PER_TRANSLATE, _TYPE.UInt32),
    "OperationLimits_MaxMonitoredItemsPerCall": (limits.MONITORED_ITEMS_PER_CALL, _TYPE.UInt32),
}
"""What is shown of `limits`, by browse path below ServerCapabilities."""

_NO_HISTORY_OF: Final = (
    _IDS.HistoryServerCapabilities_InsertEventCapability,
    _IDS.HistoryServerCapabilities_ReplaceEventCapability,
    _IDS.HistoryServerCapabilities_UpdateEventCapability,
    _IDS.HistoryServerCapabilities_DeleteEventCapability,
    _IDS.HistoryServerCapabilities_InsertAnnotationCapability,
    _IDS.HistoryServerCapabilities_ServerTimestampSupported,
)


_HISTORY_OF: Final = (
    _IDS.HistoryServerCapabilities_AccessHistoryDataCapability,
    _IDS.HistoryServerCapabilities_AccessHistoryEventsCapability,
    _IDS.HistoryServerCapabilities_InsertDataCapability,
    _IDS.HistoryServerCapabilities_ReplaceDataCapability,
    _IDS.HistoryServerCapabilities_UpdateDataCapability,
    _IDS.HistoryServerCapabilities_DeleteRawCapability,
    _IDS.HistoryServerCapabilities_DeleteAtTimeCapability,
)


def _sample_rate_ms(server: UaServer) -> float:
    """The period of the control cycle: no value changes more often."""
    return float(server.image.clock.cycle_ns) / 1e6


def values() -> dict[int, Value]:
    """Value of each variable below ServerCapabilities and HistoryServerCapabilities, by key of the compiled table."""
    found: dict[int, Value] = {getattr(_IDS, _CAPABILITIES + name): fixed(*limit) for name, limit in LIMITS.items()}
    found |= {int(number): fixed(False, _TYPE.Boolean) for number in _NO_HISTORY_OF}
    found |= {int(number): fixed(True, _TYPE.Boolean) for number in _HISTORY_OF}
    settled: dict[int, tuple[Any, ua.VariantType]] = {
        _IDS.Server_ServerCapabilities_ServerProfileArray: (list(PROFILES), _TYPE.String),
        _IDS.Server_ServerCapabilities_LocaleIdArray: (list(LOCALES), _TYPE.String),
        _IDS.Server_ServerCapabilities_SoftwareCertificates: ([], _TYPE.ExtensionObject),
        _IDS.HistoryServerCapabilities_MaxReturnDataValues: (PAGE_VALUES_MAX, _TYPE.UInt32),
        _IDS.HistoryServerCapabilities_MaxReturnEventValues: (PAGE_EVENTS_MAX, _TYPE.UInt32),
    }
    found |= {number: fixed(*value) for number, value in settled.items()}
    found[_IDS.Server_ServerCapabilities_MinSupportedSampleRate] = computed(_TYPE.Double, _sample_rate_ms)
    return found
