"""The alarms of the site as a client has them: a table of rows that keeps itself current, and what a person does about them.

    async with client.alarms() as alarms:
        alarms.on_change(draw)
        await alarms.acknowledge(alarms.rows["ess0/CommLostAlarm"], "cable checked")

A row is a condition that matters: active, or not yet acknowledged. After every connection, and when events were lost, the server
is asked to tell all of them again (ConditionRefresh).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from asyncua import ua

from .errors import ClientError, check
from .events import CONDITION_ID, EVENT_TYPE, Event, EventSubscription
from .nodes import node_name

if TYPE_CHECKING:
    from .client import Client
    from .link import Link

_IDS: Final = ua.ObjectIds
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIELDS: Final = (
    CONDITION_ID,
    EVENT_TYPE,
    "EventId",
    "SourceNode",
    "SourceName",
    "ConditionName",
    "Severity",
    "Message",
    "Time",
    "Retain",
    "EnabledState/Id",
    "ActiveState/Id",
    "ActiveState/TransitionTime",
    "AckedState/Id",
    "ConfirmedState/Id",
    "ShelvingState/CurrentState/Id",
    "SuppressedState/Id",
    "Comment",
    "ClientUserId",
)


def _name(number: int) -> str:
    return node_name(ua.NodeId(number))


_ALARM_TYPE: Final = _name(_IDS.AlarmConditionType)
_REFRESH_START, _REFRESH_END = _name(_IDS.RefreshStartEventType), _name(_IDS.RefreshEndEventType)
_REFRESH_ASKED: Final = (_name(_IDS.RefreshRequiredEventType), _name(_IDS.EventQueueOverflowEventType))
_UNSHELVED: Final = _name(_IDS.ShelvedStateMachineType_Unshelved)
_ACKNOWLEDGE: Final = _name(_IDS.AcknowledgeableConditionType_Acknowledge)
_CONFIRM: Final = _name(_IDS.AcknowledgeableConditionType_Confirm)
_COMMENT: Final = _name(_IDS.ConditionType_AddComment)
_TIMED_SHELVE: Final = _name(_IDS.AlarmConditionType_ShelvingState_TimedShelve)
_ONE_SHOT_SHELVE: Final = _name(_IDS.AlarmConditionType_ShelvingState_OneShotShelve)
_UNSHELVE: Final = _name(_IDS.AlarmConditionType_ShelvingState_Unshelve)


@dataclass(frozen=True, slots=True)
class Alarm:
    """One condition.

    condition: its node; source: alias of the object concerned, source_name: as shown; name: of the condition.
    severity: 1 to 1000; time: of the last change; active_since: None while it is not active.
    confirmed: None where no confirmation is wanted. shelved, suppressed: not among what wants attention.
    comment, user: what was said last, and by whom. event_id: by which it is acknowledged.
    """

    condition: str
    source: str
    source_name: str
    name: str
    severity: int
    message: str
    time: datetime
    active_since: datetime | None
    active: bool
    acked: bool
    confirmed: bool | None
    shelved: bool
    suppressed: bool
    enabled: bool
    retain: bool
    comment: str
    user: str
    event_id: bytes


class Alarms:
    """The alarms that matter, by condition. Use as an async context manager; it lives as long as the client at most."""

    def __init__(self, client: Client) -> None:
        self.rows: dict[str, Alarm] = {}
        self._client = client
        self._listeners: list[Callable[[], None]] = []
        self._subscription = _AlarmEvents(client, self)
        self._told: set[str] | None = None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Begin to follow the alarms. ClientError when the server does not let this user."""
        await self._client.follow(self._subscription)
        if self._subscription.refused:
            await self.close()
            raise ClientError(self._subscription.refused[0], "following the alarms")

    async def close(self) -> None:
        """Follow them no longer."""
        await self._subscription.close()

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have `callback()` called after rows changed; the answer is a function that ends that."""
        self._listeners.append(callback)

        def stop() -> None:
            with contextlib.suppress(ValueError):
                self._listeners.remove(callback)

        return stop

    # What a person does. ClientError with the server's reason: BadUserAccessDenied, BadEventIdUnknown when it changed meanwhile.

    async def acknowledge(self, row: Alarm, comment: str = "") -> None:
        """Take note of an alarm."""
        await self._client.call(row.condition, _ACKNOWLEDGE, row.event_id, _text(comment))

    async def confirm(self, row: Alarm, comment: str = "") -> None:
        """Say that what was to be done is done."""
        await self._client.call(row.condition, _CONFIRM, row.event_id, _text(comment))

    async def comment(self, row: Alarm, text: str) -> None:
        """Say something about an alarm."""
        await self._client.call(row.condition, _COMMENT, row.event_id, _text(text))

    async def shelve(self, row: Alarm, seconds: float | None = None) -> None:
        """Put an alarm aside for some time; None: until it has gone."""
        machine = f"{row.condition}/ShelvingState"
        if seconds is None:
            await self._client.call(machine, _ONE_SHOT_SHELVE)
        else:
            await self._client.call(machine, _TIMED_SHELVE, seconds * 1e3)

    async def unshelve(self, row: Alarm) -> None:
        """Take an alarm back."""
        await self._client.call(f"{row.condition}/ShelvingState", _UNSHELVE)

    # What arrives.

    def take(self, event: Event) -> None:
        """One event of the server."""
        match event[EVENT_TYPE]:
            case str() as kind if kind == _REFRESH_START:
                self._told = set()
            case str() as kind if kind == _REFRESH_END:
                self._forget()
            case _ if event[CONDITION_ID]:
                self._note(_alarm(event))

    def _note(self, alarm: Alarm) -> None:
        if self._told is not None:
            self._told.add(alarm.condition)
        if alarm.retain:
            self.rows[alarm.condition] = alarm
        else:
            self.rows.pop(alarm.condition, None)

    def _forget(self) -> None:
        """What a refresh did not tell does not matter any more."""
        told, self._told = self._told, None
        if told is not None:
            self.rows = {condition: alarm for condition, alarm in self.rows.items() if condition in told}

    def changed(self) -> None:
        """Tell everybody who wants to know."""
        for callback in list(self._listeners):
            callback()


class _AlarmEvents(EventSubscription):
    """The subscription behind the rows."""

    def __init__(self, client: Client, alarms: Alarms) -> None:
        super().__init__(client, _FIELDS, types=(_ALARM_TYPE,))
        self._alarms = alarms
        self._link: Link | None = None

    async def resumed(self, link: Link) -> None:
        """Ask for everything that matters, after every connection."""
        self._link = link
        request = ua.CallRequest()
        method = ua.NodeId(_IDS.ConditionType_ConditionRefresh)
        argument = ua.Variant(self.id, ua.VariantType.UInt32)
        request.Parameters.MethodsToCall = [ua.CallMethodRequest(ua.NodeId(_IDS.ConditionType), method, [argument])]
        status = (await link.ask(request, ua.CallResponse)).Results[0].StatusCode
        if status.value != ua.StatusCodes.BadRefreshInProgress:
            check(status, "refreshing the alarms")

    async def take(self, published: Any) -> None:
        """Take all events of a message, then tell."""
        await super().take(published)
        if published.events:
            self._alarms.changed()

    async def receive(self, event: Event) -> None:
        """One event arrived; where some were lost, everything is asked for again."""
        self._alarms.take(event)
        if event[EVENT_TYPE] in _REFRESH_ASKED and self._link is not None:
            await self.resumed(self._link)


def _text(words: str) -> ua.LocalizedText:
    return ua.LocalizedText(words or None)


def _alarm(event: Event) -> Alarm:
    active = bool(event["ActiveState/Id"])
    return Alarm(
        condition=event[CONDITION_ID],
        source=event["SourceNode"] or "",
        source_name=event["SourceName"] or "",
        name=event["ConditionName"] or "",
        severity=event["Severity"] or 0,
        message=event["Message"] or "",
        time=event["Time"] or _EPOCH,
        active_since=event["ActiveState/TransitionTime"] if active else None,
        active=active,
        acked=bool(event["AckedState/Id"]),
        confirmed=event["ConfirmedState/Id"],
        shelved=event["ShelvingState/CurrentState/Id"] not in (None, "", _UNSHELVED),
        suppressed=bool(event["SuppressedState/Id"]),
        enabled=bool(event["EnabledState/Id"]),
        retain=bool(event["Retain"]),
        comment=event["Comment"] or "",
        user=event["ClientUserId"] or "",
        event_id=event["EventId"] or b"",
    )
