"""Every policy and mode carries everything: our own client's packed values, and what is offered is what the site says."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import get_args

import pytest
from asyncua import ua
from asyncua.crypto import security_policies
from opcua_live import live_site

from server.client import Client, link
from server.opcua import policy
from server.runtime.config import ModeName, OpcUaTable, PolicyName

POLICIES = {
    "Basic256Sha256": security_policies.SecurityPolicyBasic256Sha256,
    "Aes128_Sha256_RsaOaep": security_policies.SecurityPolicyAes128Sha256RsaOaep,
    "Aes256_Sha256_RsaPss": security_policies.SecurityPolicyAes256Sha256RsaPss,
}


def test_the_settings_know_every_policy_and_mode_and_all_are_offered_unless_told() -> None:
    assert get_args(PolicyName) == tuple(policy.POLICIES)
    assert get_args(ModeName) == tuple(policy.MODES)
    table = OpcUaTable()
    assert policy.offer(table.policies, table.modes) == policy.offer()
    assert len(policy.offer()) == 6


@pytest.mark.parametrize(
    ("policies", "modes", "expected"),
    [
        (["Basic256Sha256"], ["SignAndEncrypt"], [("Basic256Sha256", "SignAndEncrypt")]),
        (["Basic256Sha256"], ["Sign"], [("Basic256Sha256", "Sign")]),
        (
            ["Basic256Sha256", "Aes256_Sha256_RsaPss"],
            ["Sign", "SignAndEncrypt"],
            [
                ("Aes256_Sha256_RsaPss", "SignAndEncrypt"),
                ("Basic256Sha256", "SignAndEncrypt"),
                ("Aes256_Sha256_RsaPss", "Sign"),
                ("Basic256Sha256", "Sign"),
            ],
        ),
    ],
)
def test_what_is_offered_comes_best_first(policies: list[str], modes: list[str], expected: list[tuple[str, str]]) -> None:
    rows = policy.offer(policies, modes)
    assert [(p.uri.partition("#")[2], m.name) for p, m in rows] == expected
    levels = [p.security_level(m) for p, m in rows]
    assert levels == sorted(levels, reverse=True)


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("mode", ["Sign", "SignAndEncrypt"])
async def test_packed_values_of_many_nodes_arrive_whole(
    directory: Path, monkeypatch: pytest.MonkeyPatch, name: str, mode: str
) -> None:
    monkeypatch.setattr(link, "POLICY", POLICIES[name])
    monkeypatch.setattr(link, "MODE", ua.MessageSecurityMode[mode])
    async with live_site(directory) as live, Client(live.identity()) as client:
        (session,) = live.site.server.sessions
        assert session.connection.channel.policy is policy.POLICIES[name]
        assert session.user.encrypted is (mode == "SignAndEncrypt")
        nodes = [
            c.node for c in live.layout.channels if c.alias in ("ess0", "meter0") and c.length == 1 and c.spec.unit is not None
        ]
        assert len(nodes) > 20
        subscription = await client.subscribe(nodes, 20)
        expected = {}
        for number, node in enumerate(nodes):
            live.set(node, number + 0.25)
            expected[number] = number + 0.25
        seen: dict[int, float] = {}
        async with asyncio.timeout(10):
            async for table in subscription:
                seen |= dict(zip(table.index.tolist(), table.value.tolist(), strict=True))
                if seen == expected:
                    break
        assert seen == expected
