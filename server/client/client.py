"""The OPC UA client of the product's own services: always encrypted, reconnecting, and fast on many values.

A Client is one session at a time. When the connection is lost it tries again after 0.2 s, doubling up to 5 s, and brings the
subscriptions back: it takes over those that still live at the server, with the messages missed, and makes the others anew.
Calls made meanwhile fail at once with BadNotConnected; whoever wants to wait subscribes.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from asyncua import ua

from server.core.roles import Role
from server.core.series import Series

from .alarms import Alarms
from .ending import ended
from .errors import ClientError, LoginRefused, check, status_name, translated
from .events import SERVER, Event, EventSubscription, read_events
from .history import delete_history, read_aggregate, read_at, read_history, update_history
from .identity import Credentials, Identity
from .link import Link
from .model import Model, read_model
from .nodes import node_id, node_name
from .roles import read_roles
from .subscription import BUFFER_ROWS, Followed, Pump, Subscription

_log = logging.getLogger("ems.client")

RETRY_FIRST_S: Final = 0.2
RETRY_MAX_S: Final = 5.0
PROBE_S: Final = 5.0
PROBE_TIMEOUT_S: Final = 10.0
NODES_PER_CALL: Final = 1000
NODES_PER_BROWSE: Final = 200

CONNECTED, RECONNECTING, CLOSED = "connected", "reconnecting", "closed"

Response = TypeVar("Response")
StateCallback = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Reference:
    """A forward hierarchical reference. node: name usable in every call; node_class: `Object`, `Variable`, `Method`, ...;
    type_definition and reference_type: NodeIds in OPC UA's notation, empty where there is none."""

    node: str
    name: str
    display_name: str
    node_class: str
    type_definition: str
    reference_type: str


class Client:
    """A connection to the server that keeps itself up. `async with Client(identity) as client: ...`

    refused: true while it is reconnecting and the server was there, but did not let this user in any more.
    """

    def __init__(self, identity: Identity, name: str = "unified-ems client") -> None:
        self.identity = identity
        self.name = name
        self.state = CLOSED
        self.reason = ""
        self.refused = False
        self._credentials: Credentials | None = None
        self._link: Link | None = None
        self._pump: Pump | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._subscriptions: list[Followed] = []
        self._listeners: list[StateCallback] = []
        self._variant_types: dict[str, ua.VariantType] = {}
        self._arguments: dict[str, list[ua.VariantType]] = {}

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def on_state(self, callback: StateCallback) -> None:
        """Have `callback(state, reason)` called whenever the state changes: connected, reconnecting, closed."""
        self._listeners.append(callback)

    def use_password(self, password: str) -> None:
        """Log in with another password from the next connection on: the user has changed it."""
        self.identity = replace(self.identity, password=password)

    async def connect(self) -> None:
        """Connect and log in. Raises LoginRefused or ClientError when the first attempt fails; later ones are retried."""
        if self._keeper is not None:
            return
        self._credentials = Credentials.load(self.identity)
        link = await Link.open(self._credentials, self.name)
        self._use(link)
        self._keeper = asyncio.create_task(self._keep(link), name="opcua-client")
        self._keeper.add_done_callback(self._given_up)

    async def close(self) -> None:
        """Close session and connection; subscriptions end. Nothing is left running."""
        keeper, self._keeper = self._keeper, None
        try:
            if keeper is not None:
                await ended([keeper])
            if self._pump is not None:
                await self._pump.stop()
            if self._link is not None:
                await self._link.close()
        finally:
            if self._link is not None:
                self._link.abort()
            self._link = self._pump = None
            for subscription in self._subscriptions:
                subscription.end()
            self._subscriptions.clear()
            self._set_state(CLOSED, "")

    async def ask(self, request: Any, response: type[Response]) -> Response:
        """Send any service request and return its response. ClientError, BadNotConnected while there is no connection."""
        return await self._connected().ask(request, response)

    async def ask_bytes(self, request: Any) -> bytes:
        """As `ask`, with the encoded response."""
        link = self._connected()
        with translated(type(request).__name__):
            return await link.raw(request)

    def _connected(self) -> Link:
        if self._link is None:
            raise ClientError("BadNotConnected", f"{self.identity.endpoint}: {self.reason or self.state}")
        return self._link

    async def read(self, nodes: Sequence[str], attribute: ua.AttributeIds = ua.AttributeIds.Value) -> list[ua.DataValue]:
        """Read one attribute of many nodes. A node that cannot be read has a Bad StatusCode in its DataValue."""
        values: list[ua.DataValue] = []
        for start in range(0, len(nodes), NODES_PER_CALL):
            request = ua.ReadRequest()
            request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Source
            request.Parameters.NodesToRead = [
                ua.ReadValueId(NodeId=node_id(n), AttributeId=attribute) for n in nodes[start : start + NODES_PER_CALL]
            ]
            values += (await self.ask(request, ua.ReadResponse)).Results
        return values

    async def write(self, node: str, value: Any) -> None:
        """Write a value, converted to the node's data type. ClientError with the server's reason when it is not accepted."""
        for status in (await self.write_all({node: value})).values():
            raise ClientError(status, f"writing {node}")

    async def write_all(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Write several values in one request, each converted to its node's data type; StatusCode names of those not accepted."""
        request = ua.WriteRequest()
        for node, value in values.items():
            kind = await self.variant_type(node)
            data = ua.DataValue(ua.Variant(_fit(value, kind), kind))
            request.Parameters.NodesToWrite.append(ua.WriteValue(node_id(node), ua.AttributeIds.Value, None, data))
        results = (await self.ask(request, ua.WriteResponse)).Results if values else []
        return {n: status_name(status.value) for n, status in zip(values, results, strict=True) if status.is_bad()}

    async def call(self, obj: str, method: str, *arguments: Any) -> list[Any]:
        """Call a method of an object by its name below the object (or its own node) and return its outputs."""
        target = method if "/" in method or "=" in method else f"{obj}/{method}"
        kinds = await self._argument_types(target) if arguments else []
        variants = [
            ua.Variant(_fit(value, kinds[i]), kinds[i]) if i < len(kinds) else ua.Variant(value)
            for i, value in enumerate(arguments)
        ]
        request = ua.CallRequest()
        request.Parameters.MethodsToCall = [ua.CallMethodRequest(node_id(obj), node_id(target), variants)]
        result = (await self.ask(request, ua.CallResponse)).Results[0]
        check(result.StatusCode, f"calling {target}{_reasons(result.OutputArguments)}")
        return [variant.Value for variant in result.OutputArguments]

    async def browse(self, node: str = "site", reference_type: str = "i=33") -> list[Reference]:
        """The children of a node, by hierarchical references or those of another type."""
        return (await self.browse_many([node], reference_type))[node]

    async def browse_many(self, nodes: Sequence[str], reference_type: str = "i=33") -> dict[str, list[Reference]]:
        """The children of many nodes. A node the server does not know raises ClientError."""
        found: dict[str, list[Reference]] = {}
        waiting = [list(nodes[start : start + NODES_PER_BROWSE]) for start in range(0, len(nodes), NODES_PER_BROWSE)]
        while waiting:
            batch = waiting.pop()
            request = ua.BrowseRequest()
            request.Parameters.NodesToBrowse = [_browse(node, reference_type) for node in batch]
            results = (await self.ask(request, ua.BrowseResponse)).Results
            left = []
            for node, result in zip(batch, results, strict=True):
                if result.StatusCode.value == ua.StatusCodes.BadNoContinuationPoints and len(batch) > 1:
                    left.append(node)
                    continue
                check(result.StatusCode, f"browsing {node}")
                found[node] = [_reference(r) for r in await self._all_references(result)]
            waiting += [half for half in (left[: len(left) // 2], left[len(left) // 2 :]) if half]
        return found

    async def history_read(self, node: str, start: datetime | None = None, end: datetime | None = None, limit: int = 0) -> Series:
        """Raw history of a node between two aware times, at most `limit` values (0: all); newest first when start > end."""
        return await read_history(self, node, start, end, limit)

    async def history_aggregate(
        self, node: str, start: datetime, end: datetime, interval_s: float, aggregate: str = "Average"
    ) -> Series:
        """One value per interval of a node between two aware times, newest first when start > end.

        interval_s: 0 for one value over all. aggregate: a name of OPC UA, such as Average, TimeAverage2, Minimum, Maximum, Count,
        PercentGood. Average is the mean of the values *stored* in an interval, each counting alike, and BadNoData where none is;
        TimeAverage2 weighs by how long each held, and goes on where nothing changed.
        """
        return await read_aggregate(self, node, start, end, interval_s, aggregate)

    async def history_read_at(self, node: str, times: Sequence[datetime], *, simple: bool = True) -> Series:
        """What a value was at these aware times. simple: where it was Bad there is none, instead of the last one before."""
        return await read_at(self, node, times, simple)

    async def history_update(self, node: str, series: Series, kind: str = "Update") -> list[str]:
        """Correct the history of a node: Insert, Replace or Update (either). What became of each value, by StatusCode name."""
        return await update_history(self, node, series, kind)

    async def history_delete(self, node: str, start: datetime, end: datetime) -> None:
        """Delete the values of a node with start <= time < end; the server remembers what they were."""
        await delete_history(self, node, start, end)

    async def model(self) -> Model:
        """The objects of the site with their channels, units, ranges and what this user may write."""
        return await read_model(self)

    async def roles(self) -> frozenset[Role]:
        """The roles of this session's user."""
        return await read_roles(self)

    async def subscribe(
        self,
        nodes: Sequence[str],
        interval_ms: float,
        queue: int = 1,
        *,
        sampling_ms: float | None = None,
        buffer_rows: int = BUFFER_ROWS,
        on_timestamp: bool = False,
    ) -> Subscription:
        """Subscribe to values.

        interval_ms: how often changes are sent; sampling_ms: how often values are looked at, the same unless given.
        queue: samples kept per node and interval, newest win. buffer_rows: values that may wait for a slow consumer.
        on_timestamp: a new source time counts as a change, too.
        """
        sampling = interval_ms if sampling_ms is None else sampling_ms
        subscription = Subscription(self, nodes, interval_ms, queue, sampling, buffer_rows, on_timestamp=on_timestamp)
        await self.follow(subscription)
        return subscription

    async def subscribe_events(self, fields: Sequence[str], node: str = SERVER, **options: Any) -> EventSubscription:
        """Subscribe to the events of a notifier, the Server object unless told: `async for event in ...`.

        fields: browse paths such as `Message` or `ActiveState/Id`; `ConditionId` is the node of a condition. Options as
        in EventSubscription.
        """
        subscription = EventSubscription(self, fields, node, **options)
        await self.follow(subscription)
        if subscription.refused:
            await subscription.close()
            raise ClientError(subscription.refused[0], f"events of {node}")
        return subscription

    async def event_history(
        self, fields: Sequence[str], start: datetime, end: datetime, node: str = SERVER, types: Sequence[str] = ()
    ) -> list[Event]:
        """The events of a notifier between two aware times, newest first when start > end. As `subscribe_events` otherwise."""
        return await read_events(self, fields, start, end, node, types)

    def alarms(self) -> Alarms:
        """The alarms that matter, kept current: `async with client.alarms() as alarms: alarms.rows ...`."""
        return Alarms(self)

    async def follow(self, subscription: Followed) -> None:
        """Make a subscription at the server and keep it over reconnections."""
        link, pump = self._connected(), self._pump
        assert pump is not None
        with pump.expecting():
            await subscription.create(link)
            self._subscriptions.append(subscription)
            if self._link is link and self._pump is pump:
                await pump.add(subscription)
                return
        await self._remake(subscription)

    async def drop(self, subscription: Followed) -> None:
        """Delete a subscription at the server; `Subscription.close` is the way to ask for it."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)
        if self._link is None or self._pump is None:
            return
        self._pump.remove(subscription)
        await subscription.delete(self._link)

    # -- keeping the connection --------------------------------------------------------------------------------------

    def _use(self, link: Link) -> None:
        self._link = link
        self._pump = Pump(link, self._remake)
        self._set_state(CONNECTED, "")

    def _set_state(self, state: str, reason: str) -> None:
        self.reason = reason
        if state == self.state:
            return
        self.state = state
        for callback in list(self._listeners):
            callback(state, reason)

    async def _keep(self, link: Link) -> None:
        """Watch a link until it is lost, then get the next one; until cancelled."""
        while True:
            reason = await self._watch(link)
            self._link = None
            link.abort()
            assert self._pump is not None
            await self._pump.stop()
            self._set_state(RECONNECTING, reason)
            _log.warning("connection to %s lost: %s", self.identity.endpoint, reason)
            link = await self._reconnect()

    def _given_up(self, keeper: asyncio.Task[None]) -> None:
        """Only a mistake of ours ends the keeper; it is logged and shows as state."""
        if not keeper.cancelled() and (error := keeper.exception()) is not None:
            _log.error("the connection to %s is given up", self.identity.endpoint, exc_info=error)
            self._set_state(CLOSED, repr(error))

    async def _watch(self, link: Link) -> str:
        """Probe the server and renew the channel; returns the reason once the link is lost."""
        loop = asyncio.get_running_loop()
        renew_at = loop.time() + 0.75 * link.lifetime_s
        while True:
            await asyncio.wait([link.lost], timeout=min(PROBE_S, max(0.0, renew_at - loop.time())))
            if link.lost.done():
                return "the connection was closed"
            try:
                if loop.time() >= renew_at:
                    await link.renew()
                    renew_at = loop.time() + 0.75 * link.lifetime_s
                request = ua.ReadRequest()
                request.Parameters.NodesToRead = [ua.ReadValueId(ua.NodeId(2259), ua.AttributeIds.Value)]
                await link.ask(request, ua.ReadResponse, PROBE_TIMEOUT_S)
            except ClientError as error:
                return str(error)

    async def _reconnect(self) -> Link:
        delay_s = RETRY_FIRST_S
        while True:
            await asyncio.sleep(delay_s * random.uniform(0.8, 1.2))  # only spreads clients over time
            delay_s = min(2 * delay_s, RETRY_MAX_S)
            try:
                return await self._restore()
            except ClientError as error:
                self.refused = isinstance(error, LoginRefused)
                if self.refused:
                    delay_s = RETRY_MAX_S
                self.reason = str(error)
                _log.info("reconnecting to %s: %s", self.identity.endpoint, error)

    async def _restore(self) -> Link:
        """A new link with all subscriptions on it."""
        self._credentials = Credentials.load(self.identity)
        link = await Link.open(self._credentials, self.name)
        pump = Pump(link, self._remake)
        try:
            restored: set[Followed] = set()
            while left := [s for s in self._subscriptions if s not in restored]:
                if not await pump.adopt(left[0]):
                    await left[0].create(link)
                restored.add(left[0])
            for subscription in self._subscriptions:
                await pump.add(subscription)
        except BaseException:
            await pump.stop()
            await link.close()
            raise
        self._link, self._pump, self.refused = link, pump, False
        self._set_state(CONNECTED, "")
        return link

    async def _remake(self, subscription: Followed) -> None:
        """The server ended a subscription; make it anew."""
        if self._link is None or self._pump is None or subscription not in self._subscriptions:
            return
        pump = self._pump
        with pump.expecting():
            await subscription.create(self._link)
            await pump.add(subscription)

    # -- types of values ---------------------------------------------------------------------------------------------

    async def variant_type(self, node: str) -> ua.VariantType:
        """The type in which values of a node are sent."""
        if node not in self._variant_types:
            (data_type,) = await self.read([node], ua.AttributeIds.DataType)
            check(data_type.StatusCode, f"writing {node}")
            self._variant_types[node] = _builtin(data_type.Value.Value)
        return self._variant_types[node]

    async def _argument_types(self, method: str) -> list[ua.VariantType]:
        if method not in self._arguments:
            properties = await self.browse(method, "i=46")
            inputs = [p.node for p in properties if p.name == "InputArguments"]
            arguments = (await self.read(inputs))[0].Value.Value if inputs else []
            self._arguments[method] = [_builtin(argument.DataType) for argument in arguments or []]
        return self._arguments[method]

    async def _all_references(self, result: ua.BrowseResult) -> list[ua.ReferenceDescription]:
        references = list(result.References)
        while result.ContinuationPoint:
            request = ua.BrowseNextRequest()
            request.Parameters.ContinuationPoints = [result.ContinuationPoint]
            request.Parameters.ReleaseContinuationPoints = False
            result = (await self.ask(request, ua.BrowseNextResponse)).Parameters.Results[0]
            check(result.StatusCode, "browsing on")
            references += result.References
        return references


def _browse(node: str, reference_type: str) -> ua.BrowseDescription:
    return ua.BrowseDescription(
        NodeId=node_id(node),
        BrowseDirection=ua.BrowseDirection.Forward,
        ReferenceTypeId=node_id(reference_type),
        IncludeSubtypes=True,
        NodeClassMask=0,
        ResultMask=ua.BrowseResultMask.All,
    )


def _reference(found: ua.ReferenceDescription) -> Reference:
    type_definition = found.TypeDefinition
    return Reference(
        node_name(found.NodeId),
        found.BrowseName.Name or "",
        found.DisplayName.Text or "",
        found.NodeClass.name,
        "" if type_definition.is_null() else node_name(type_definition),
        node_name(found.ReferenceTypeId),
    )


def _builtin(data_type: ua.NodeId) -> ua.VariantType:
    """The Variant type to send for a DataType: itself when built in, Double for Number, Int32 for enumerations."""
    identifier = data_type.Identifier if data_type.NamespaceIndex == 0 else 0
    if isinstance(identifier, int) and 0 < identifier <= 25:
        return ua.VariantType(identifier)
    return ua.VariantType.Double if identifier in (26, 290) else ua.VariantType.Int32


_INTEGERS: Final = {ua.VariantType(i) for i in range(2, 10)}
_FLOATS: Final = {ua.VariantType.Float, ua.VariantType.Double}


def _reasons(outputs: Sequence[ua.Variant]) -> str:
    """What a method that refused says: the texts among its outputs."""
    texts = [text for variant in outputs if isinstance(variant.Value, list) for text in variant.Value if isinstance(text, str)]
    return f": {'; '.join(texts)}" if texts else ""


def _fit(value: Any, kind: ua.VariantType) -> Any:
    """The value as the Python type that encodes as `kind`. ClientError (BadTypeMismatch) when it does not fit."""
    if isinstance(value, (list, tuple)):
        return [_fit(v, kind) for v in value]
    try:
        if kind in _FLOATS:
            return float(value)
        if kind in _INTEGERS:
            return int(value)
    except (TypeError, ValueError) as error:
        raise ClientError("BadTypeMismatch", f"{value!r} is no {kind.name}") from error
    return bool(value) if kind is ua.VariantType.Boolean else value
