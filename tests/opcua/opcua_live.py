"""A running server over a site whose values the test changes, and our own client's connection to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from asyncua import ua
from opcua_model import at, site_layout
from opcua_site import PASSWORD, Site, running

from server.client import Identity
from server.client.decode import Published, publish_response
from server.client.identity import Credentials
from server.client.link import Link

VALUE = ua.AttributeIds.Value
REPORTING, SAMPLING, DISABLED = ua.MonitoringMode.Reporting, ua.MonitoringMode.Sampling, ua.MonitoringMode.Disabled


class Live:
    """The site with its image."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.layout = site.server.layout
        self.image = site.image
        self.texts: dict[str, str] = {}
        self.image.records["value"], self.image.records["status"] = 0.0, 0
        self.image.text = lambda channel, index=0: self.texts.get(channel.node, "")  # type: ignore[method-assign]
        self.freeze()

    def freeze(self, **_: Any) -> None:
        """Make the image as it is now the newest frame."""
        self.image.number += 1

    def set(self, node: str, value: float | str, status: int = 0, index: int = 0) -> None:
        """Change a channel in a frame of its own."""
        channel = self.layout.by_node[node]
        slot = channel.slot + index
        if isinstance(value, str):
            self.texts[node] = value
            value = self.image.records["value"][slot] + 1
        self.image.number += 1
        self.image.records[slot] = (value, 133_000_000_000_000_000 + self.image.number, 0, status, self.image.number)

    def identity(self, user: str | None = "anna", password: str = PASSWORD, name: str = "client") -> Identity:
        own = self.site.directory / "certs" / "own"
        return Identity(
            self.site.url,
            own / f"{name}.der",
            own / f"{name}.key.pem",
            ca=self.site.directory / "certs" / "ca" / "ca.pem",
            user=user,
            password=password if user else None,
        )

    @contextlib.asynccontextmanager
    async def link(self, user: str | None = "anna", name: str = "client") -> AsyncIterator[Talk]:
        """A connection on which the test makes its own requests."""
        link = await Link.open(Credentials.load(self.identity(user, name=name)), "test")
        try:
            yield Talk(link)
        finally:
            await link.close()


class Talk:
    """Requests of the subscription services, each in one line."""

    def __init__(self, link: Link) -> None:
        self.link = link

    async def ask(self, request: Any, **parameters: Any) -> Any:
        """Send a request with these fields of its Parameters; the response."""
        for name, value in parameters.items():
            setattr(request.Parameters, name, value)
        response = getattr(ua, type(request).__name__.removesuffix("Request") + "Response")
        return await self.link.ask(request, response)

    async def subscribe(self, interval: float = 40, **parameters: Any) -> Any:
        """Create a subscription; the CreateSubscriptionResult."""
        wanted = {
            "RequestedPublishingInterval": interval,
            "RequestedLifetimeCount": 1000,
            "RequestedMaxKeepAliveCount": 300,
            "PublishingEnabled": True,
            **parameters,
        }
        return (await self.ask(ua.CreateSubscriptionRequest(), **wanted)).Parameters

    async def monitor(self, subscription: int, *items: ua.MonitoredItemCreateRequest, timestamps: Any = None) -> list[Any]:
        """Create items; their results."""
        timestamps = ua.TimestampsToReturn.Both if timestamps is None else timestamps
        request = ua.CreateMonitoredItemsRequest()
        answer = await self.ask(request, SubscriptionId=subscription, TimestampsToReturn=timestamps, ItemsToCreate=list(items))
        return answer.Results

    async def publish(self, *acknowledged: tuple[int, int]) -> Published:
        """Send a Publish request and wait for its answer."""
        request = ua.PublishRequest()
        request.Parameters.SubscriptionAcknowledgements = [ua.SubscriptionAcknowledgement(*pair) for pair in acknowledged]
        return publish_response(await self.link.raw(request, 10))

    async def news(self, *acknowledged: tuple[int, int]) -> Published:
        """The next answer to a Publish request that is no keep-alive."""
        async with asyncio.timeout(10):
            while not (published := await self.publish(*acknowledged)).notified:
                acknowledged = ()
        return published


def item(node: str, handle: int = 0, **options: Any) -> ua.MonitoredItemCreateRequest:
    """A request to monitor a node."""
    mode = options.pop("mode", REPORTING)
    target = ua.ReadValueId(NodeId=at(node), AttributeId=options.pop("attribute", VALUE), IndexRange=options.pop("range", None))
    parameters = ua.MonitoringParameters(
        ClientHandle=handle,
        SamplingInterval=options.pop("sampling", 20.0),
        QueueSize=options.pop("queue", 1),
        DiscardOldest=options.pop("discard_oldest", True),
    )
    if "filter" in options:
        parameters.Filter = options.pop("filter")
    assert not options
    return ua.MonitoredItemCreateRequest(target, mode, parameters)


def deadband(value: float, percent: bool = False) -> ua.DataChangeFilter:
    """A filter with a deadband."""
    kind = ua.DeadbandType.Percent if percent else ua.DeadbandType.Absolute
    return ua.DataChangeFilter(ua.DataChangeTrigger.StatusValue, kind, value)


@contextlib.asynccontextmanager
async def live_site(directory: Path, *alarms: Mapping[str, Any]) -> AsyncIterator[Live]:
    """A running server over one object of each kind. alarms: tables as in site.toml."""
    async with running(directory, site_layout(), alarms=alarms) as site:
        yield Live(site)
