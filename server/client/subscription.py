"""Subscriptions of the client: what was asked for, what has arrived, and the loop that keeps asking.

A consumer that is slower than the changes never makes memory grow: above `buffer_rows` what waits is reduced to the newest
value of each node, and the values given up are counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import numpy as np
from asyncua import ua

from .decode import Published, publish_response, republish_response
from .ending import ended
from .errors import ClientError, status_name, translated
from .link import Link
from .nodes import node_id
from .table import Table, concatenate, newest

if TYPE_CHECKING:
    from .client import Client

_log = logging.getLogger("ems.client")

ITEMS_PER_CALL: Final = 1000
BUFFER_ROWS: Final = 200_000
KEEP_ALIVE_S: Final = 5.0
LIFETIME_S: Final = 120.0
REQUESTS_WAITING: Final = 3
REQUESTS_WAITING_MAX: Final = 8
_SEQUENCES: Final = 1 << 32
_GAP_MAX: Final = 64
_EARLY_MAX: Final = 64


class Followed:
    """A subscription as the server has it; what arrives is handed to `take`. Ends when it or the client is closed.

    refused: StatusCode names of the items the server did not take, by their number.
    """

    def __init__(self, client: Client, interval_ms: float) -> None:
        self.interval_ms = interval_ms
        self.refused: dict[int, str] = {}
        self.id = 0
        self.sequence = 0
        self._client = client
        self._closed = False

    async def take(self, published: Published) -> None:
        """Something was published."""
        raise NotImplementedError

    def items(self) -> list[ua.MonitoredItemCreateRequest]:
        """What is to be monitored."""
        raise NotImplementedError

    async def resumed(self, link: Link) -> None:
        """The subscription was made anew, or taken over from a connection that was lost."""

    def end(self) -> None:
        """Nothing more arrives."""
        self._closed = True

    async def close(self) -> None:
        """Delete the subscription at the server and end it here."""
        if not self._closed:
            self.end()
            await self._client.drop(self)

    async def create(self, link: Link) -> None:
        """Make the subscription and its items at the server."""
        request = ua.CreateSubscriptionRequest()
        keep_alive = max(1, round(KEEP_ALIVE_S * 1000 / max(self.interval_ms, 1)))
        request.Parameters = ua.CreateSubscriptionParameters(
            RequestedPublishingInterval=self.interval_ms,
            RequestedLifetimeCount=max(3 * keep_alive, round(LIFETIME_S * 1000 / max(self.interval_ms, 1))),
            RequestedMaxKeepAliveCount=keep_alive,
            PublishingEnabled=True,
        )
        answer = await link.ask(request, ua.CreateSubscriptionResponse)
        self.id = answer.Parameters.SubscriptionId
        self.sequence = 0
        self.refused.clear()
        try:
            await self._create_items(link, self.items())
            await self.resumed(link)
        except ClientError:
            await self.delete(link)
            raise

    async def delete(self, link: Link) -> None:
        """Delete the subscription at the server; one that cannot be reached forgets it by itself."""
        request = ua.DeleteSubscriptionsRequest()
        request.Parameters.SubscriptionIds = [self.id]
        try:
            await link.ask(request, ua.DeleteSubscriptionsResponse)
        except ClientError as error:
            _log.info("subscription %d could not be deleted: %s", self.id, error)

    async def _create_items(self, link: Link, items: Sequence[ua.MonitoredItemCreateRequest]) -> None:
        for start in range(0, len(items), ITEMS_PER_CALL):
            request = ua.CreateMonitoredItemsRequest()
            request.Parameters = ua.CreateMonitoredItemsParameters(
                SubscriptionId=self.id,
                TimestampsToReturn=ua.TimestampsToReturn.Source,
                ItemsToCreate=items[start : start + ITEMS_PER_CALL],
            )
            answer = await link.ask(request, ua.CreateMonitoredItemsResponse)
            for index, result in enumerate(answer.Results, start):
                if result.StatusCode.is_bad():
                    self.refused[index] = status_name(result.StatusCode.value)


class Subscription(Followed):
    """Changes of some nodes, as Tables: `async for table in subscription`.

    nodes: what was asked for; a Table's index counts in it, and so does `refused`.
    coalesced: values given up because the consumer was slow. overflows are flagged in a value's status by the server.
    """

    def __init__(
        self,
        client: Client,
        nodes: Sequence[str],
        interval_ms: float,
        queue: int,
        sampling_ms: float,
        buffer_rows: int,
        *,
        on_timestamp: bool = False,
    ) -> None:
        super().__init__(client, interval_ms)
        self.nodes = tuple(nodes)
        self.queue = queue
        self.sampling_ms = sampling_ms
        self.coalesced = 0
        self._filter = ua.DataChangeFilter(Trigger=ua.DataChangeTrigger.StatusValueTimestamp) if on_timestamp else None
        self._buffer_rows = buffer_rows
        self._rows = 0
        self._tables: deque[Table] = deque()
        self._ready = asyncio.Event()

    def __aiter__(self) -> AsyncIterator[Table]:
        return self

    async def __anext__(self) -> Table:
        while not self._tables:
            if self._closed:
                raise StopAsyncIteration
            self._ready.clear()
            await self._ready.wait()
        table = self._tables.popleft()
        self._rows -= len(table)
        return table

    def end(self) -> None:
        """End the iteration once what waits is consumed."""
        super().end()
        self._ready.set()

    async def take(self, published: Published) -> None:
        """Give the values to the consumer."""
        if published.table is not None:
            self.push(published.table)

    def push(self, table: Table) -> None:
        """Give a table to the consumer."""
        known = table.index < len(self.nodes)
        if not known.all():
            table = table.take(np.flatnonzero(known))
        self._tables.append(table)
        self._rows += len(table)
        if self._rows > self._buffer_rows and len(self._tables) > 1:
            kept = newest(concatenate(self._tables))
            self.coalesced += self._rows - len(kept)
            self._tables = deque([kept])
            self._rows = len(kept)
        self._ready.set()

    def items(self) -> list[ua.MonitoredItemCreateRequest]:
        """One item for each node."""
        return [self._item(index) for index in range(len(self.nodes))]

    def _item(self, index: int) -> ua.MonitoredItemCreateRequest:
        target = ua.ReadValueId(NodeId=node_id(self.nodes[index]), AttributeId=ua.AttributeIds.Value)
        parameters = ua.MonitoringParameters(ClientHandle=index, SamplingInterval=self.sampling_ms, QueueSize=self.queue)
        if self._filter is not None:
            parameters.Filter = self._filter
        return ua.MonitoredItemCreateRequest(target, ua.MonitoringMode.Reporting, parameters)


class Pump:
    """Keeps Publish requests waiting at the server and hands out what comes back, for all subscriptions of one Link.

    The first message of a new subscription may answer a request of the others before we know of it: it waits in `_early`.
    """

    def __init__(self, link: Link, lost: Callable[[Followed], Awaitable[None]]) -> None:
        self._link = link
        self._lost = lost
        self._subscriptions: dict[int, Followed] = {}
        self._expecting = 0
        self._early: deque[Published] = deque(maxlen=_EARLY_MAX)
        self._acknowledge: list[ua.SubscriptionAcknowledgement] = []
        self._tasks: list[asyncio.Task[None]] = []

    @contextmanager
    def expecting(self) -> Iterator[None]:
        """A subscription is made inside, and added."""
        self._expecting += 1
        try:
            yield
        finally:
            self._expecting -= 1
            if not self._expecting:
                self._early.clear()

    async def add(self, subscription: Followed) -> None:
        """Take care of a subscription."""
        self._subscriptions[subscription.id] = subscription
        wanted = min(REQUESTS_WAITING + len(self._subscriptions) - 1, REQUESTS_WAITING_MAX)
        self._tasks = [task for task in self._tasks if not task.done()]
        while len(self._tasks) < wanted:
            self._tasks.append(asyncio.create_task(self._ask(), name="opcua-publish"))
        for published in [p for p in self._early if p.subscription == subscription.id]:
            await self._hand_out(subscription, published)

    def remove(self, subscription: Followed) -> None:
        """Forget a subscription; requests on their way end with BadNoSubscription after the last one."""
        self._subscriptions.pop(subscription.id, None)

    async def stop(self) -> None:
        """End all requests."""
        await ended(self._tasks)

    async def _ask(self) -> None:
        try:
            while self._subscriptions:
                await self._ask_once()
        except ClientError as error:
            if not self._link.lost.done() and (error.status != "BadNoSubscription" or self._subscriptions):
                _log.warning("publishing ended: %s", error)
                self._link.abort()

    async def _ask_once(self) -> None:
        request = ua.PublishRequest()
        request.Parameters.SubscriptionAcknowledgements = acknowledged = self._acknowledge
        self._acknowledge = []
        with translated("PublishRequest"):
            try:
                data = await self._link.raw(request, None)
            except ua.UaStatusCodeError as error:
                if error.code != ua.StatusCodes.BadTooManyPublishRequests:
                    raise
                self._acknowledge += acknowledged
                await asyncio.sleep(1.0)
                return
        await self._take(publish_response(data))

    async def _take(self, published: Published) -> None:
        subscription = self._subscriptions.get(published.subscription)
        if published.notified:
            self._acknowledge.append(ua.SubscriptionAcknowledgement(published.subscription, published.sequence))
        if subscription is not None:
            await self._hand_out(subscription, published)
        elif self._expecting:
            self._early.append(published)

    async def _hand_out(self, subscription: Followed, published: Published) -> None:
        if published.closing is not None:
            self.remove(subscription)
            _log.warning("subscription %d ended: %s", published.subscription, status_name(published.closing))
            await self._lost(subscription)
        elif published.notified:
            subscription.sequence = published.sequence
        await subscription.take(published)

    async def adopt(self, subscription: Followed) -> bool:
        """Take over a subscription that lives on at the server, with the messages missed. False when it is gone."""
        request = ua.TransferSubscriptionsRequest()
        request.Parameters.SubscriptionIds = [subscription.id]
        request.Parameters.SendInitialValues = True
        try:
            answer = await self._link.ask(request, ua.TransferSubscriptionsResponse)
        except ClientError as error:
            if not _refused(error):
                raise
            return False
        result = answer.Parameters.Results[0]
        if result.StatusCode.is_bad():
            return False
        await self._catch_up(subscription, set(result.AvailableSequenceNumbers))
        await subscription.resumed(self._link)
        return True

    async def _catch_up(self, subscription: Followed, available: set[int]) -> None:
        """Have the missed messages sent again, as far as the server still has them."""
        for _ in range(min(len(available), _GAP_MAX)):
            sequence = subscription.sequence % (_SEQUENCES - 1) + 1
            if sequence not in available:
                break
            request = ua.RepublishRequest()
            request.Parameters = ua.RepublishParameters(subscription.id, sequence)
            with translated("RepublishRequest"):
                published = republish_response(await self._link.raw(request), subscription.id)
            subscription.sequence = sequence
            self._acknowledge.append(ua.SubscriptionAcknowledgement(subscription.id, sequence))
            await subscription.take(published)


def _refused(error: ClientError) -> bool:
    """The server answered, and said no; anything else is the connection's failure."""
    return error.status not in ("BadNotConnected", "BadTimeout", "BadCommunicationError")
