"""The measuring client: one for every server, so that what differs is the server.

asyncua opens the channel and the session; requests go out as it encodes them, answers are taken as bytes and notifications
counted a block at a time (`server.client.decode`), at a fifth of a microsecond each. CPU is that of the whole server process.
Each function runs one event loop and is meant for a process of its own: see `opcua_servers.in_process`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import uvloop
from asyncua import Client, ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary

from server.client.decode import Published, publish_response
from server.runtime.memory import utc_now

SETTLE_S = 2.0
"""Connections are made and caches fill; not measured."""
NODES_PER_REQUEST = 1000
REQUESTS_UNDER_WAY = 4
DIFFERENT_WRITES = 16
ITEMS_PER_CALL = 1000
PUBLISH_UNDER_WAY = 24
TIMEOUT_S = 60.0
WATCHDOG_S = 3600.0
"""The client shall not ask by itself whether the server is there."""
CONNECTING_MAX = 4
"""Clients that connect at the same time; the others wait, as people do."""
logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # it says much about names in certificates

Mode = ua.MessageSecurityMode
BOTH = ua.TimestampsToReturn.Both
VALUE = ua.AttributeIds.Value
DOUBLE = ua.VariantType.Double


@dataclass(frozen=True)
class Target:
    """A server under load. nodes: NodeIds of Doubles; update_us: CPU of changing one of them while nobody watches."""

    name: str
    url: str
    nodes: Sequence[str]
    pid: int
    certificate: Path
    key: Path
    server_certificate: Path
    application_uri: str
    as_user: bool = False
    """True when the client's certificate is the user's too; otherwise the user is anonymous."""
    update_us: float = 0.0


@asynccontextmanager
async def connected(target: Target, mode: Mode = Mode.SignAndEncrypt) -> AsyncIterator[Client]:
    """A session of the measuring client, with Basic256Sha256 or without security."""
    client = Client(target.url, timeout=TIMEOUT_S, watchdog_intervall=WATCHDOG_S)
    client.application_uri = target.application_uri
    client.session_timeout = 120_000
    if mode is not Mode.None_:
        await client.set_security(
            SecurityPolicyBasic256Sha256,
            str(target.certificate),
            str(target.key),
            server_certificate=str(target.server_certificate),
            mode=mode,
        )
    if target.as_user:
        await client.load_client_certificate(str(target.certificate))
        await client.load_private_key(str(target.key))
    async with client:
        yield client


def cpu_s(pid: int) -> float:
    """CPU time of a process and all its threads so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# Subscriptions.


@dataclass
class Count:
    """What a subscription delivered.

    late: publishes that came more than half an interval after their time. server_late: messages that the server made more than
    half an interval after the newest of their values was written; delays: that time, ms. missed: values that were written and
    never came, where the newest value counts up by one from one write to the next; writes: in an interval.
    """

    interval_ms: float
    writes: int = 1
    changes: int = 0
    publishes: int = 0
    late: int = 0
    server_late: int = 0
    missed: int = 0
    gap_ms_max: float = 0.0
    ages: list[float] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    _last: float = 0.0
    _newest: float = 0.0

    def reset(self) -> None:
        """Begin to count."""
        self.changes = self.publishes = self.late = self.server_late = self.missed = 0
        self.gap_ms_max = 0.0
        self.ages.clear()
        self.delays.clear()

    def take(self, published: Published) -> None:
        """Count one PublishResponse."""
        now = time.monotonic()
        if published.table is None:
            return
        self.changes += len(published.table)
        written = int(published.table.source.max())
        self.ages.append((utc_now() - written) / 1e4)
        if published.more:
            return
        self._judge_server((published.time - written) / 1e4, float(published.table.value.max()))
        gap_ms, self._last = (now - self._last) * 1e3, now
        self.publishes += 1
        self.late += gap_ms > 1.5 * self.interval_ms
        self.gap_ms_max = max(self.gap_ms_max, gap_ms)

    def _judge_server(self, delay_ms: float, newest: float) -> None:
        self.delays.append(delay_ms)
        self.server_late += delay_ms > 0.5 * self.interval_ms
        self.missed += max(0, round((newest - self._newest) / self.writes) - 1)
        self._newest = newest


@dataclass(frozen=True)
class Counted:
    """What the clients of one process counted. server_s, own_s: CPU; waits: publishing cycles without a Publish request."""

    counts: Sequence[Count]
    elapsed: float
    server_s: float
    own_s: float
    waits: int


async def subscribe(client: Client, nodes: Sequence[str], interval_ms: float, writes: int) -> Count:
    """One subscription to all nodes at this interval with queues of one; Publish requests are kept under way."""
    parameters = ua.CreateSubscriptionParameters(interval_ms, 10_000, 100, 0, True, 0)
    body = await client.uaclient.protocol.send_request(ua.CreateSubscriptionRequest(Parameters=parameters), TIMEOUT_S)
    number = struct_from_binary(ua.CreateSubscriptionResponse, body).Parameters.SubscriptionId
    count = Count(interval_ms, writes)
    client.publishing = [asyncio.create_task(_publish(client, count)) for _ in range(PUBLISH_UNDER_WAY)]
    for start in range(0, len(nodes), ITEMS_PER_CALL):
        items = [_item(i, nodes[i], interval_ms) for i in range(start, min(start + ITEMS_PER_CALL, len(nodes)))]
        results = await client.uaclient.create_monitored_items(ua.CreateMonitoredItemsParameters(number, BOTH, items))
        for result in results:
            result.StatusCode.check()
    return count


def _item(handle: int, node: str, interval_ms: float) -> ua.MonitoredItemCreateRequest:
    target = ua.ReadValueId(NodeId=ua.NodeId.from_string(node), AttributeId=VALUE)
    wanted = ua.MonitoringParameters(ClientHandle=handle, SamplingInterval=interval_ms, QueueSize=1, DiscardOldest=True)
    return ua.MonitoredItemCreateRequest(target, ua.MonitoringMode.Reporting, wanted)


async def _publish(client: Client, count: Count) -> None:
    acknowledged: list[ua.SubscriptionAcknowledgement] = []
    while True:
        request = ua.PublishRequest()
        request.Parameters.SubscriptionAcknowledgements = acknowledged
        published = publish_response(bytes(await client.uaclient.protocol.send_request(request, 0)))
        acknowledged = []
        if published.notified:
            acknowledged = [ua.SubscriptionAcknowledgement(published.subscription, published.sequence)]
        count.take(published)


async def stop_publishing(client: Client) -> None:
    """Cancel the Publish requests under way."""
    for task in client.publishing:
        task.cancel()
    await asyncio.gather(*client.publishing, return_exceptions=True)


def count_changes(target: Target, interval_ms: float, duration_s: float, **options: Any) -> dict[str, float]:
    """Rates, CPU of the server, ages, lateness, counted by the clients of one process; options: those of `count`."""
    return rates([count(target, interval_ms, duration_s, **options)])


def count(
    target: Target,
    interval_ms: float,
    duration_s: float,
    *,
    mode: Mode = Mode.SignAndEncrypt,
    clients: int = 1,
    writes: int = 1,
    settled: Callable[[], Any] = lambda: None,
    begin: Callable[[], None] = lambda: None,
) -> Counted:
    """Subscriptions of `clients` clients, which share the nodes out among them.

    writes: of each value in an interval; settled: called in a thread when all are subscribed, and waited for; begin: called
    when the counting begins.
    """

    async def run() -> Counted:
        async with asyncio.TaskGroup() as group:
            shares = [target.nodes[i::clients] for i in range(clients)]
            ready, end, door = asyncio.Barrier(clients + 1), asyncio.Event(), asyncio.Semaphore(CONNECTING_MAX)
            counts: list[Count] = []
            for share in shares:
                group.create_task(_hold(target, share, interval_ms, writes, mode, counts, ready, end, door))
            for _ in ("connected", "subscribed"):
                await ready.wait()
            await asyncio.to_thread(settled)
            await asyncio.sleep(SETTLE_S)
            begin()
            for each in counts:
                each.reset()
            waits = await _waits(target, mode)
            server_s, own_s, start = cpu_s(target.pid), time.process_time(), time.perf_counter()
            await asyncio.sleep(duration_s)
            elapsed = time.perf_counter() - start
            server_s, own_s = cpu_s(target.pid) - server_s, time.process_time() - own_s
            found = Counted(counts, elapsed, server_s, own_s, await _waits(target, mode) - waits)
            end.set()
        return found

    return uvloop.run(run())


async def _waits(target: Target, mode: Mode) -> int:
    """LatePublishRequestCount of all subscriptions, as far as the server tells it."""
    async with connected(target, mode) as client:
        found = await client.get_node(ua.ObjectIds.Server_ServerDiagnostics_SubscriptionDiagnosticsArray).read_value()
    return sum(each.LatePublishRequestCount for each in found or ())


async def _hold(
    target: Target,
    nodes: Sequence[str],
    interval_ms: float,
    writes: int,
    mode: Mode,
    counts: list[Count],
    ready: asyncio.Barrier,
    end: asyncio.Event,
    door: asyncio.Semaphore,
) -> None:
    async with AsyncExitStack() as stack:
        async with door:
            client = await stack.enter_async_context(connected(target, mode))
        await ready.wait()
        async with door:
            counts.append(await subscribe(client, nodes, interval_ms, writes))
        await ready.wait()
        await end.wait()
        await stop_publishing(client)


def rates(counted: Sequence[Counted]) -> dict[str, float]:
    """The figures of all clients together."""
    counts = [count for each in counted for count in each.counts]
    elapsed, server_s = (float(np.mean([getattr(c, name) for c in counted])) for name in ("elapsed", "server_s"))
    own_s = sum(c.own_s for c in counted)
    changes = max(sum(c.changes for c in counts), 1)
    ages, delays = ([x for count in counts for x in getattr(count, name)] or [float("nan")] for name in ("ages", "delays"))
    return {
        "changes_per_s": round(changes / elapsed),
        "cpu_per_change_us": round(server_s / changes * 1e6, 4),
        "server_load": round(server_s / elapsed, 4),
        "client_cpu_per_change_us": round(own_s / changes * 1e6, 4),
        "client_load": round(own_s / elapsed, 4),
        "age_p50_ms": round(float(np.percentile(ages, 50)), 2),
        "age_p99_ms": round(float(np.percentile(ages, 99)), 2),
        "publishes": sum(c.publishes for c in counts),
        "late_publishes": sum(c.late for c in counts),
        "gap_ms_max": round(max(c.gap_ms_max for c in counts), 1),
        "server_late_publishes": sum(c.server_late for c in counts),
        "server_delay_p50_ms": round(float(np.percentile(delays, 50)), 2),
        "server_delay_p99_ms": round(float(np.percentile(delays, 99)), 2),
        "server_delay_max_ms": round(max(delays), 2),
        "missed_values": sum(c.missed for c in counts),
        "cycles_without_request": max(c.waits for c in counted),
    }


# Requests of many operations.


def read_request(nodes: Sequence[str]) -> ua.ReadRequest:
    """A Read of the values of a thousand nodes, with both timestamps."""
    request = ua.ReadRequest()
    request.Parameters.TimestampsToReturn = BOTH
    request.Parameters.NodesToRead = [
        ua.ReadValueId(NodeId=ua.NodeId.from_string(nodes[i % len(nodes)]), AttributeId=VALUE) for i in range(NODES_PER_REQUEST)
    ]
    return request


def write_requests(nodes: Sequence[str]) -> list[ua.WriteRequest]:
    """Writes to a thousand nodes, each with other values."""
    return [_write_request(nodes, first) for first in range(DIFFERENT_WRITES)]


def _write_request(nodes: Sequence[str], first: int) -> ua.WriteRequest:
    request = ua.WriteRequest()
    request.Parameters.NodesToWrite = [
        ua.WriteValue(
            ua.NodeId.from_string(nodes[i % len(nodes)]), VALUE, None, ua.DataValue(ua.Variant(1.0 + first + i, DOUBLE))
        )
        for i in range(NODES_PER_REQUEST)
    ]
    return request


def are_good(answer: bytes) -> bool:
    """True when every value of a Write was taken: its StatusCodes are the end of the answer, but for the diagnostics."""
    return not any(answer[-4 - 4 * NODES_PER_REQUEST : -4])


def count_requests(
    target: Target,
    requests: Sequence[Any],
    duration_s: float,
    *,
    per_s: float = float("inf"),
    check: Callable[[bytes], bool] = bool,
) -> dict[str, float]:
    """The same requests over and over, REQUESTS_UNDER_WAY at a time and at most `per_s` of them a second: encoded once.

    check: of an answer; `refused` counts those that are not as they should be.
    """

    async def run() -> dict[str, float]:
        count = refused = 0
        async with connected(target) as client:
            protocol = client.uaclient.protocol
            for request in requests:
                protocol._setup_request_header(request.RequestHeader)
            bodies = [struct_to_binary(request) for request in requests]
            began = time.perf_counter()

            async def repeat() -> None:
                nonlocal count, refused
                while True:
                    number, count = count, count + 1
                    await asyncio.sleep(max(0.0, began + number / per_s - time.perf_counter()))
                    protocol._request_id += 1
                    answer = protocol._callbackmap[protocol._request_id] = asyncio.get_running_loop().create_future()
                    chunks = protocol._connection.message_to_binary(bodies[number % len(bodies)], request_id=protocol._request_id)
                    protocol.transport.write(chunks)
                    body = await answer
                    protocol.check_answer(body, "")
                    refused += not check(bytes(body))

            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(repeat()) for _ in range(REQUESTS_UNDER_WAY)]
                await asyncio.sleep(SETTLE_S / 2)
                server_s, start, before = cpu_s(target.pid), time.perf_counter(), count
                await asyncio.sleep(duration_s)
                server_s, elapsed, done = cpu_s(target.pid) - server_s, time.perf_counter() - start, max(count - before, 1)
                for task in tasks:
                    task.cancel()
        done *= NODES_PER_REQUEST
        return {"per_s": round(done / elapsed), "cpu_us": round(server_s / done * 1e6, 4), "refused": refused}

    return uvloop.run(run())
