"""Clients as they are sold: asyncua and node-opcua find the server, log in, read, and are refused as they should be."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest
from asyncua import Client, ua
from opcua_site import CLIENT_URI, PASSWORD, Site

PEERS = Path(__file__).parents[1] / "peers"
needs_node = pytest.mark.skipif(
    not shutil.which("node") or not (PEERS / "node_modules" / "node-opcua").exists(),
    reason="needs node and tests/peers/node_modules (npm ci in tests/peers)",
)


async def test_asyncua_connects_reads_and_leaves(site: Site) -> None:
    async with await site.client() as client:
        assert await client.get_namespace_array() == site.server.namespaces
        state = await client.get_node(ua.ObjectIds.Server_ServerStatus_State).read_value()
        assert state == ua.ServerState.Running
    assert len(site.server.sessions) == 0


async def test_asyncua_finds_the_endpoints_and_the_server(site: Site) -> None:
    endpoints = await Client(site.url).connect_and_get_server_endpoints()
    assert [(e.EndpointUrl, e.SecurityPolicyUri.split("#")[1], e.SecurityMode) for e in endpoints] == [
        (site.url, policy, mode)
        for mode in (ua.MessageSecurityMode.SignAndEncrypt, ua.MessageSecurityMode.Sign)
        for policy in ("Aes256_Sha256_RsaPss", "Aes128_Sha256_RsaOaep", "Basic256Sha256")
    ]
    assert [e.SecurityLevel for e in endpoints] == [22, 21, 20, 12, 11, 10]
    assert {t.TokenType for t in endpoints[0].UserIdentityTokens} == {ua.UserTokenType.UserName, ua.UserTokenType.Certificate}
    servers = await Client(site.url).connect_and_find_servers()
    assert [s.ApplicationUri for s in servers] == [site.server.application_uri]


async def test_asyncua_gets_no_session_without_security(site: Site) -> None:
    with pytest.raises(ua.uaerrors.BadSecurityPolicyRejected):
        await Client(site.url).connect()


async def test_asyncua_is_refused_with_a_wrong_password(site: Site) -> None:
    client = await site.client(password="wrong")
    with pytest.raises(ua.uaerrors.BadUserAccessDenied):
        await client.connect()


async def test_asyncua_is_refused_with_a_certificate_nobody_trusts(site: Site) -> None:
    client = await site.client("stranger")
    with pytest.raises(ua.uaerrors.BadSecurityChecksFailed):
        await client.connect()
    assert [f.name.split()[0] for f in (site.directory / "certs" / "rejected").iterdir()] == ["stranger"]


@needs_node
async def test_node_opcua_finds_logs_in_both_ways_reads_and_is_refused(site: Site) -> None:
    own = site.directory / "certs" / "own"
    arguments = [site.url, str(own / "client.pem"), str(own / "client.key.pem"), CLIENT_URI, "anna", PASSWORD]
    process = await asyncio.create_subprocess_exec(
        "node", "session.cjs", *arguments, cwd=PEERS, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode()
    result = json.loads(out.decode().splitlines()[-1])
    assert result["endpoints"] == [site.url] * 6
    assert result["servers"] == [site.server.application_uri]
    assert result["namespaces"] == site.server.namespaces
    assert result["many"] == 1000
    assert result["byCertificate"].startswith("ns=1;i=")
    assert "BadUserAccessDenied" in result["wrong"]
