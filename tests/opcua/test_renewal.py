"""Certificates change while the server runs: nobody loses a session by it but who is no longer trusted."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from asyncua import Client as PlainClient
from asyncua import ua
from opcua_live import live_site
from opcua_peer import Peer, Refused
from opcua_site import Site

import certs
from certs.certificate import thumbprint
from server.client import Client
from server.client.identity import Credentials
from server.client.link import Link


async def seen_certificate(site: Site) -> bytes:
    """The certificate that discovery announces."""
    endpoints = await PlainClient(site.url).connect_and_get_server_endpoints()
    (certificate,) = {e.ServerCertificate for e in endpoints}
    return bytes(certificate)


def renewed(site: Site) -> bytes:
    """Renew the server's certificate and let the server look."""
    certs.renew(site.directory, "server")
    site.server.certificate_watch.look()
    return (site.directory / "certs" / "own" / "server.der").read_bytes()


def reading() -> ua.ReadRequest:
    """A request to read the state of the server."""
    request = ua.ReadRequest()
    request.Parameters.NodesToRead = [ua.ReadValueId(ua.NodeId(2256), ua.AttributeIds.Value)]
    return request


async def test_a_renewed_certificate_serves_new_channels_while_old_ones_live_on(directory: Path) -> None:
    async with live_site(directory) as live:
        old = live.site.server.security.certificate
        link = await Link.open(Credentials.load(live.identity()), "test")
        async with Client(live.identity()) as client:
            new = renewed(live.site)
            assert new != old
            assert await seen_certificate(live.site) == new
            assert (await client.read(["i=2256"]))[0].StatusCode.is_good()
            await link.renew()
            assert (await link.ask(reading(), ua.ReadResponse)).Results[0].StatusCode.is_good()
            async with Client(live.identity()) as newcomer:
                assert (await newcomer.read(["i=2256"]))[0].StatusCode.is_good()
            assert client.state == "connected"
        await link.close()
        events = [row["event"] for row in live.site.audited()]
        assert "certificate-renewed" in events
        assert "session-ended" not in events


async def test_a_session_moves_from_a_channel_of_the_old_certificate_to_one_of_the_new(site: Site) -> None:
    async with Peer(site.port) as old, Peer(site.port) as new:
        await old.log_in(site.directory)
        renewed(site)
        assert (await old.read()).Results
        await new.ready(site.directory)
        new.token, new.nonce = old.token, old.nonce
        await new.activate()
        assert (await new.read()).Results


async def test_a_client_that_lost_its_connection_comes_back_to_the_new_certificate(directory: Path) -> None:
    async with live_site(directory) as live:
        identity = live.identity()
        pinned = type(identity)(
            identity.endpoint,
            identity.certificate,
            identity.key,
            server_certificate=directory / "certs" / "own" / "server.der",
            user=identity.user,
            password=identity.password,
        )
        async with Client(pinned) as client:
            renewed(live.site)
            for connection in list(live.site.server.connections):
                connection.end()
            async with asyncio.timeout(15):
                while client.state == "connected":
                    await asyncio.sleep(0.01)
                while client.state != "connected":
                    await asyncio.sleep(0.02)
            assert (await client.read(["i=2256"]))[0].StatusCode.is_good()


async def test_a_message_for_the_old_certificate_opens_no_new_channel(site: Site) -> None:
    async with Peer(site.port) as peer:
        await peer.secure(site.directory)
        renewed(site)
        await peer.hello()
        with pytest.raises(Refused, match="BadCertificateInvalid"):
            await peer.open()


async def test_a_certificate_that_cannot_be_used_yet_changes_nothing(site: Site) -> None:
    before, own = site.server.security, site.directory / "certs" / "own"
    good = (own / "server.der").read_bytes()
    for content in (b"nonsense", (own / "other.der").read_bytes()):
        (own / "server.der").write_bytes(content)
        site.server.certificate_watch.look()
        assert site.server.security is before
    (own / "server.der").write_bytes(good)
    site.server.certificate_watch.look()
    assert site.server.security.certificate == before.certificate


async def test_a_certificate_of_another_application_is_not_taken_up(site: Site) -> None:
    certs.issue(site.directory, "server", application_uri="urn:somebody:else", hosts=["localhost"])
    before = site.server.security
    site.server.certificate_watch.look()
    assert site.server.security is before


@pytest.mark.parametrize("way", ["revoked", "rejected"])
async def test_who_is_no_longer_trusted_loses_the_channel_at_once(directory: Path, way: str) -> None:
    async with live_site(directory) as live:
        stranger = directory / "certs" / "own" / "stranger.der"
        trust = certs.TrustList(directory)
        trust.trust_file(stranger)
        name = "client" if way == "revoked" else "stranger"
        async with Client(live.identity(name=name)) as client:
            gone = certs.TrustList(directory).check((directory / "certs" / "own" / f"{name}.der").read_bytes())
            if way == "revoked":
                certs.revoke(directory, thumbprint(gone))
            else:
                trust.reject(thumbprint(gone))
            async with asyncio.timeout(10):
                while client.state == "connected":
                    await asyncio.sleep(0.02)
        assert "channel-ended" in [row["event"] for row in live.site.audited()]
