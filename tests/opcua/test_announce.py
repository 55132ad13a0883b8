"""mDNS: who looks for OPC UA servers on the network finds ours while it runs, when the site wants that."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

pytest.importorskip("zeroconf", reason="needs the extra `discovery`")

from opcua_site import Site, running
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from server.opcua.announce import SERVICE, Announcement, label, own_addresses
from server.opcua.server import UaServer

NAME = f"Test site.{SERVICE}"


@pytest.fixture
async def network() -> AsyncIterator[AsyncZeroconf]:
    multicast = AsyncZeroconf(interfaces=["127.0.0.1"])
    yield multicast
    await multicast.async_close()


async def test_the_server_is_found_with_address_port_and_capabilities_until_it_stops(
    directory: Path, network: AsyncZeroconf
) -> None:
    def change(server: UaServer) -> None:
        server.announcement = Announcement(server)

    found = AsyncServiceInfo(SERVICE, NAME)
    async with running(directory, change=change) as site:
        assert await found.async_request(network.zeroconf, 5000)
        assert (found.parsed_addresses(), found.port) == (["127.0.0.1"], site.port)
        assert found.decoded_properties == {"path": "/", "caps": "DA,HD,AC,HE"}
    assert not await AsyncServiceInfo(SERVICE, NAME).async_request(network.zeroconf, 300)


async def test_a_server_that_is_not_to_be_announced_is_not(site: Site, network: AsyncZeroconf) -> None:
    assert site.server.announcement is None
    assert not await AsyncServiceInfo(SERVICE, NAME).async_request(network.zeroconf, 300)


@pytest.mark.parametrize(
    ("name", "shown"),
    [("Demo site", "Demo site"), ("a.b\n\x00c", "a b c"), ("", "EMS"), ("...", "EMS"), ("ä" * 40, "ä" * 31)],
)
def test_a_name_fits_into_a_label_of_dns(name: str, shown: str) -> None:
    assert label(name) == shown


def test_only_addresses_that_others_can_reach_are_told() -> None:
    for text in own_addresses():
        address = ipaddress.ip_address(text)
        assert not address.is_loopback
        assert not address.is_link_local
