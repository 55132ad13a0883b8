"""What the server tells about itself, its sessions and subscriptions (Part 5, 6.3.3).

Counting is one addition per request (`counts`); the structures of the standard are made when somebody reads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from asyncua import ua

from . import packed
from .nodes import Value
from .values import computed, fixed

if TYPE_CHECKING:
    from .publication import Subscription
    from .server import UaServer
    from .session import Session

_IDS: Final = ua.ObjectIds
_TYPE: Final = ua.VariantType
# The structures of the standard.


def summary(server: UaServer) -> ua.ServerDiagnosticsSummaryDataType:
    """Counters of the whole server."""
    counted = server.counts
    intervals = {subscription.terms.interval_ns for subscription in server.subscriptions}
    return ua.ServerDiagnosticsSummaryDataType(
        ServerViewCount=0,
        CurrentSessionCount=len(server.sessions),
        CumulatedSessionCount=server.sessions.cumulated,
        SecurityRejectedSessionCount=counted.security_rejected_sessions,
        RejectedSessionCount=counted.rejected_sessions,
        SessionTimeoutCount=counted.timed_out_sessions,
        SessionAbortCount=counted.aborted_sessions,
        CurrentSubscriptionCount=len(server.subscriptions),
        CumulatedSubscriptionCount=server.subscriptions.cumulated,
        PublishingIntervalCount=len(intervals),
        SecurityRejectedRequestsCount=counted.security_rejected_requests,
        RejectedRequestsCount=counted.rejected_requests,
    )


def of_session(server: UaServer, session: Session) -> ua.SessionDiagnosticsDataType:
    """One session: who, since when, and how often it asked for what."""
    own = server.subscriptions.of(session)
    waiting = session.publish_queue.requests if session.publish_queue is not None else ()
    found = ua.SessionDiagnosticsDataType(
        SessionId=session.id,
        SessionName=session.name,
        ClientDescription=session.client,
        ServerUri=server.application_uri,
        EndpointUrl=session.endpoint_url,
        LocaleIds=list(session.locales),
        ActualSessionTimeout=session.timeout_s * 1000,
        MaxResponseMessageSize=session.max_response_size,
        ClientConnectionTime=_time(server, session.created),
        ClientLastContactTime=_time(server, session.last_seen),
        CurrentSubscriptionsCount=len(own),
        CurrentMonitoredItemsCount=sum(len(s.items) for s in own),
        CurrentPublishRequestsInQueue=len(waiting),
        TotalRequestCount=_counter(session.counts.asked.total(), session.counts.failed.total()),
        UnauthorizedRequestCount=session.counts.unauthorized,
    )
    for name in _SERVICES:
        setattr(found, f"{name}Count", _counter(session.counts.asked[name], session.counts.failed[name]))
    return found


_SERVICES: Final = [
    name.removesuffix("Count")
    for name, field_ in ua.SessionDiagnosticsDataType.__dataclass_fields__.items()
    if "ServiceCounterDataType" in str(field_.type) and name != "TotalRequestCount"
]
"""Services that a session's diagnostics count."""


def _counter(total: int, errors: int) -> ua.ServiceCounterDataType:
    return ua.ServiceCounterDataType(TotalCount=total, ErrorCount=errors)


def _time(server: UaServer, monotonic_s: float) -> datetime:
    return datetime.fromtimestamp(server.started + monotonic_s - server.started_monotonic, UTC)


def security_of(session: Session) -> ua.ExtensionObject:
    """A SessionSecurityDiagnosticsDataType: who uses a session, and how the channel below it is secured.

    asyncua takes the structure's field `Encoding` for something else, so it is encoded here.
    """
    channel = session.connection.channel if session.connection is not None else None
    policy = channel.policy if channel is not None else None
    mode = channel.mode if channel is not None else ua.MessageSecurityMode.Invalid
    users = session.counts.users
    fields = (
        packed.node_id(session.id),
        packed.string(session.user.name),
        packed.count(len(users)) + b"".join(map(packed.string, users)),
        packed.string(session.mechanism),
        packed.string("UA Binary"),
        packed.string("opc.tcp"),
        packed.count(int(mode)),
        packed.string(policy.uri if policy is not None else ""),
        packed.count(len(session.certificate)) + session.certificate,
    )
    return ua.ExtensionObject(ua.NodeId(_IDS.SessionSecurityDiagnosticsDataType_Encoding_DefaultBinary), b"".join(fields))


def of_subscription(subscription: Subscription) -> ua.SubscriptionDiagnosticsDataType:
    """One subscription: its terms, what it sent, what waits."""
    terms, counts, items = subscription.terms, subscription.counts, subscription.items
    return ua.SubscriptionDiagnosticsDataType(
        SessionId=subscription.session.id if subscription.session is not None else ua.NodeId(),
        SubscriptionId=subscription.id,
        Priority=terms.priority,
        PublishingInterval=terms.interval_ns / 1e6,
        MaxKeepAliveCount=terms.keep_alive,
        MaxLifetimeCount=terms.lifetime,
        MaxNotificationsPerPublish=terms.notifications,
        PublishingEnabled=subscription.enabled,
        ModifyCount=counts["modified"],
        EnableCount=counts["enabled"],
        DisableCount=counts["disabled"],
        RepublishRequestCount=counts["republish"],
        RepublishMessageRequestCount=counts["republish"],
        RepublishMessageCount=counts["republished"],
        TransferRequestCount=counts["transfer"],
        TransferredToAltClientCount=0,
        TransferredToSameClientCount=counts["transferred"],
        PublishRequestCount=counts["publish"],
        DataChangeNotificationsCount=counts["values"],
        EventNotificationsCount=counts["events"],
        NotificationsCount=counts["values"] + counts["events"],
        LatePublishRequestCount=counts["late"],
        CurrentKeepAliveCount=subscription.silent,
        CurrentLifetimeCount=subscription.unheard,
        UnacknowledgedMessageCount=len(subscription.store),
        DiscardedMessageCount=subscription.store.discarded,
        MonitoredItemCount=len(items),
        DisabledMonitoredItemCount=items.disabled,
        MonitoringQueueOverflowCount=items.overflows,
        NextSequenceNumber=subscription.sequence,
        EventQueueOverflowCount=0,
    )


# Values of the nodes that are always there.

_SUMMARY: Final = "Server_ServerDiagnostics_ServerDiagnosticsSummary"
_SESSIONS: Final = "Server_ServerDiagnostics_SessionsDiagnosticsSummary_"


def values() -> dict[int, Value]:
    """Value of each variable of Server.ServerDiagnostics, by key of the compiled table."""
    return {
        _IDS.Server_ServerDiagnostics_EnabledFlag: fixed(True, _TYPE.Boolean),
        getattr(_IDS, _SUMMARY): computed(_TYPE.ExtensionObject, summary),
        _IDS.Server_ServerDiagnostics_SubscriptionDiagnosticsArray: computed(
            _TYPE.ExtensionObject, lambda server: [of_subscription(s) for s in server.subscriptions]
        ),
        getattr(_IDS, _SESSIONS + "SessionDiagnosticsArray"): computed(
            _TYPE.ExtensionObject, lambda server: [of_session(server, s) for s in activated(server)]
        ),
        getattr(_IDS, _SESSIONS + "SessionSecurityDiagnosticsArray"): computed(
            _TYPE.ExtensionObject, lambda server: [security_of(s) for s in activated(server)]
        ),
        **{getattr(_IDS, f"{_SUMMARY}_{name}"): _part_of_summary(name) for name in _COUNTERS},
    }


SECRET: Final = (getattr(_IDS, _SESSIONS + "SessionSecurityDiagnosticsArray"),)
"""Variables that only security administrators see."""
_COUNTERS: Final = [n for n in ua.ServerDiagnosticsSummaryDataType.__dataclass_fields__ if n.endswith("Count")]


def _part_of_summary(name: str) -> Value:
    return computed(_TYPE.UInt32, lambda server: getattr(summary(server), name))


def activated(server: UaServer) -> Iterator[Session]:
    """The sessions that somebody uses."""
    return (session for session in server.sessions if session.activated)
