"""From a request to monitor something to a row of a group or an item of the slow lane, or the reason why not.

Sampling intervals are multiples of the control cycle, down to the cycle itself; queue lengths and filters are revised or
refused as Part 4, 5.13 and 7.22 say.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from asyncua import ua

from server.core.channel import DataType
from server.core.layout import Channel, Layout

from . import attribute, limits
from .access import Permission, permits
from .events.filter import EventFilter, compile_filter
from .events.items import EventItem
from .items import ON_VALUE, Key, Row
from .nodes import NS_SITE
from .reading import is_number
from .service import ServiceError
from .slow_items import SlowItem

if TYPE_CHECKING:
    from .nodes import Node
    from .publication import Subscription
    from .server import UaServer

_MS: Final = 1_000_000
_VALUE: Final = ua.AttributeIds.Value
_CAN_READ: Final = 0x01
_NUMERIC_CHANNELS: Final = {DataType.DOUBLE, DataType.INT32, DataType.INT64}
_NUMERIC_TYPES: Final = {*range(2, 12), 26, 27, 28}
_REFUSED: Final = {
    ua.StatusCodes.BadNodeIdInvalid,
    ua.StatusCodes.BadNodeIdUnknown,
    ua.StatusCodes.BadAttributeIdInvalid,
    ua.StatusCodes.BadIndexRangeInvalid,
    ua.StatusCodes.BadDataEncodingInvalid,
    ua.StatusCodes.BadDataEncodingUnsupported,
    ua.StatusCodes.BadUserAccessDenied,
    ua.StatusCodes.BadNotReadable,
}
"""What a first read says about the request rather than about the value."""


class Terms(NamedTuple):
    """Revised parameters of an item. deadband: in the unit of the value, NaN for none."""

    interval_ns: int
    limit: int
    keep_old: bool
    trigger: int
    deadband: float

    @property
    def interval_ms(self) -> float:
        """Sampling interval as told to the client."""
        return self.interval_ns / _MS

    @property
    def capacity(self) -> int:
        """Room for the queue: the next power of two, so that items with different lengths share groups."""
        return 1 << (self.limit - 1).bit_length()


class Plan(NamedTuple):
    """What becomes of a request: a Row for the group of `key`, or an item of the slow lane or of events.

    result: what is to be said about the filter.
    """

    terms: Terms
    key: Key | None
    item: Row | SlowItem | EventItem
    result: ua.EventFilterResult | None = None


def sampling_interval_ns(requested_ms: float, publishing_ns: int, cycle_ns: int) -> int:
    """Revised sampling interval: a multiple of the cycle; the publishing interval when it is negative or no number."""
    if math.isnan(requested_ms) or requested_ms < 0:
        return publishing_ns
    wanted_ns = min(requested_ms, limits.SAMPLING_INTERVAL_MAX_MS) * _MS
    return max(1, round(wanted_ns / cycle_ns)) * cycle_ns


def plan(server: UaServer, subscription: Subscription, asked: Any, timestamps: Any, cycle_ns: int) -> Plan:
    """Decide on one MonitoredItemCreateRequest. ServiceError with the StatusCode for its result."""
    target, parameters = asked.ItemToMonitor, asked.RequestedParameters
    node = server.nodes.get(target.NodeId)
    if node is None:
        raise ServiceError(ua.StatusCodes.BadNodeIdUnknown)
    mode = int(asked.MonitoringMode)
    if target.AttributeId == ua.AttributeIds.EventNotifier:
        _check_notifier(subscription, node)
        chosen = event_filter(server, parameters.Filter)
        return _events(EventItem(subscription.next_item(), node.node_id, mode, chosen), parameters)
    terms = _revise(parameters, node, target.AttributeId, subscription, cycle_ns)
    if is_number(node, target):
        _check_readable(subscription, node)
        assert node.channel is not None
        return _row(subscription.next_item(), parameters.ClientHandle, node.channel, mode, terms, timestamps)
    first = attribute.read(server, subscription.reader, target, timestamps)
    if first.StatusCode is not None and first.StatusCode.value in _REFUSED:
        raise ServiceError(first.StatusCode.value)
    is_value = target.AttributeId == _VALUE
    computed = is_value and node.channel is None and callable(node.value)
    channel = node.channel if is_value else None
    item = SlowItem(subscription.next_item(), target, mode, channel, computed)
    return _slow(item, parameters.ClientHandle, terms, timestamps)


def replan(server: UaServer, subscription: Subscription, asked: Any, timestamps: Any, cycle_ns: int) -> Plan:
    """Decide on one MonitoredItemModifyRequest. ServiceError with the StatusCode for its result."""
    number, parameters = asked.MonitoredItemId, asked.RequestedParameters
    where = subscription.items.place.get(number)
    if where is None:
        raise ServiceError(ua.StatusCodes.BadMonitoredItemIdInvalid)
    if isinstance(where, EventItem):
        changed = where.copy()
        changed.filter = event_filter(server, parameters.Filter)
        return _events(changed, parameters)
    if isinstance(where, SlowItem):
        node = server.nodes.get(where.target.NodeId)
        terms = _revise(parameters, node, where.target.AttributeId, subscription, cycle_ns)
        return _slow(where.copy(), parameters.ClientHandle, terms, timestamps)
    row = where.row(number)
    channel = _channel(server.layout, int(where.slots[row]))
    node = server.nodes.get(ua.NodeId(channel.node, NS_SITE, ua.NodeIdType.String))
    terms = _revise(parameters, node, _VALUE, subscription, cycle_ns)
    return _row(number, parameters.ClientHandle, channel, int(where.modes[row]), terms, timestamps)


def _row(number: int, handle: int, channel: Channel, mode: int, terms: Terms, timestamps: Any) -> Plan:
    key = Key(terms.interval_ns, channel.spec.data_type, timestamps, terms.capacity)
    return Plan(terms, key, Row(number, handle, channel.slot, mode, terms.trigger, terms.limit, terms.keep_old, terms.deadband))


def _slow(item: SlowItem, handle: int, terms: Terms, timestamps: Any) -> Plan:
    """Give an item of the slow lane its parameters."""
    if item.computed:
        terms = terms._replace(interval_ns=max(terms.interval_ns, limits.SLOW_SAMPLING_INTERVAL_MIN_MS * _MS))
    item.handle, item.timestamps, item.interval_ns = handle, timestamps, terms.interval_ns
    terms = terms._replace(limit=min(terms.limit, limits.SLOW_QUEUE_LENGTH_MAX))
    item.trigger, item.deadband, item.keep_old = terms.trigger, terms.deadband, terms.keep_old
    item.resize(terms.limit)
    return Plan(terms, None, item)


def _check_notifier(subscription: Subscription, node: Node) -> None:
    notifier = node.attributes.get(ua.AttributeIds.EventNotifier)
    if notifier is None:
        raise ServiceError(ua.StatusCodes.BadAttributeIdInvalid)
    if not notifier.Value & ua.EventNotifier.SubscribeToEvents.mask:
        raise ServiceError(ua.StatusCodes.BadNotSupported)
    if not permits(subscription.user, node, Permission.RECEIVE_EVENTS):
        raise ServiceError(ua.StatusCodes.BadUserAccessDenied)


def event_filter(server: UaServer, asked: Any) -> EventFilter:
    """The filter of an event item. ServiceError when it is none or cannot be had."""
    if not isinstance(asked, ua.EventFilter):
        raise ServiceError(ua.StatusCodes.BadEventFilterInvalid)
    return compile_filter(asked, server.events.types)


def _events(item: EventItem, parameters: Any) -> Plan:
    """Give an event item its parameters; events are queued as they happen, whatever the sampling interval."""
    wanted = parameters.QueueSize or limits.EVENT_QUEUE_LENGTH
    length = min(max(wanted, limits.EVENT_QUEUE_LENGTH_MIN), limits.EVENT_QUEUE_LENGTH_MAX)
    item.handle, item.keep_old = parameters.ClientHandle, not parameters.DiscardOldest
    item.resize(length)
    return Plan(Terms(0, length, item.keep_old, ON_VALUE, math.nan), None, item, item.filter.result)


def _channel(layout: Layout, slot: int) -> Channel:
    """The channel that has this slot."""
    return layout.channels[bisect_right(layout.channels, slot, key=lambda c: c.slot) - 1]


def _check_readable(subscription: Subscription, node: Node) -> None:
    if not node.access_level & _CAN_READ:
        raise ServiceError(ua.StatusCodes.BadNotReadable)
    if not permits(subscription.user, node, Permission.READ):
        raise ServiceError(ua.StatusCodes.BadUserAccessDenied)


def _revise(parameters: Any, node: Node | None, attribute_id: int, subscription: Subscription, cycle_ns: int) -> Terms:
    """Revise MonitoringParameters. ServiceError when the filter cannot be had."""
    trigger, deadband = _filter(parameters.Filter, node, attribute_id)
    return Terms(
        sampling_interval_ns(parameters.SamplingInterval, subscription.terms.interval_ns, cycle_ns),
        min(max(parameters.QueueSize, 1), limits.QUEUE_LENGTH_MAX),
        not parameters.DiscardOldest,
        trigger,
        deadband,
    )


def _filter(asked: Any, node: Node | None, attribute_id: int) -> tuple[int, float]:
    """Trigger and absolute deadband of a filter."""
    none = asked is None or (isinstance(asked, ua.ExtensionObject) and asked.TypeId.is_null())
    if none:
        return ON_VALUE, math.nan
    if isinstance(asked, ua.EventFilter):
        raise ServiceError(ua.StatusCodes.BadFilterNotAllowed)
    if not isinstance(asked, ua.DataChangeFilter):
        raise ServiceError(ua.StatusCodes.BadMonitoredItemFilterUnsupported)
    if attribute_id != _VALUE:
        raise ServiceError(ua.StatusCodes.BadFilterNotAllowed)
    return int(asked.Trigger), _deadband(asked, node)


def _deadband(asked: ua.DataChangeFilter, node: Node | None) -> float:
    if asked.DeadbandType == ua.DeadbandType.None_:
        return math.nan
    if node is None or not _is_numeric(node):
        raise ServiceError(ua.StatusCodes.BadFilterNotAllowed)
    value = asked.DeadbandValue
    if not (math.isfinite(value) and value >= 0) or asked.DeadbandType not in (ua.DeadbandType.Absolute, ua.DeadbandType.Percent):
        raise ServiceError(ua.StatusCodes.BadDeadbandFilterInvalid)
    if asked.DeadbandType == ua.DeadbandType.Absolute:
        return float(value)
    if node.eu_range is None or value > 100:
        raise ServiceError(ua.StatusCodes.BadDeadbandFilterInvalid, "percent needs an EURange and 0..100")
    low, high = node.eu_range
    return float(value) / 100 * (high - low)


def _is_numeric(node: Node) -> bool:
    if node.channel is not None:
        return node.channel.spec.data_type in _NUMERIC_CHANNELS and node.channel.spec.states is None
    data_type = node.data_type
    return data_type is not None and data_type.NamespaceIndex == 0 and data_type.Identifier in _NUMERIC_TYPES
