"""The address space as independent clients see it over the wire: node-opcua walks and tries everything, asyncua too."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from asyncua import Node, ua
from opcua_model import site_layout
from opcua_site import CLIENT_URI, PASSWORD, Site, running

PEERS = Path(__file__).parents[1] / "peers"

EXPECTED: dict[str, Any] = {
    "unit": [5723220, "W"],
    "enumeration": ["OnGrid", "OffGrid", "Genset"],
    "writeOutOfRange": "BadOutOfRange",
    "writeWithoutOverride": "BadInvalidState",
    "writeParameter": "BadUserAccessDenied",
    "arguments": [["Timeout", "ns=0;i=11"]],
    "callForbidden": "BadUserAccessDenied",
}
OF_A_VARIABLE = {
    *("NodeId", "NodeClass", "BrowseName", "DisplayName", "Description", "WriteMask", "UserWriteMask", "DataType", "ValueRank"),
    *("Value", "ArrayDimensions", "AccessLevel", "UserAccessLevel", "AccessLevelEx", "MinimumSamplingInterval", "Historizing"),
    *("UserRolePermissions", "AccessRestrictions"),
}


@pytest.fixture
async def modelled(directory: Path) -> AsyncIterator[Site]:
    """A running server over a site with one object of each kind, every value 1."""
    async with running(directory, site_layout()) as site:
        site.image.records["value"] = 1.0
        site.image.records["status"] = 0
        site.image.records["source"] = 133_000_000_000_000_000
        held = site.server.layout.by_node["site/OverrideRemaining"]
        site.image.records["value"][held.slot] = 0.0
        site.image.number += 1
        for _ in range(100):
            if site.server.frame.cycle == site.image.number:
                break
            await asyncio.sleep(0.01)
        yield site


@pytest.mark.skipif(
    not shutil.which("node") or not (PEERS / "node_modules" / "node-opcua").exists(),
    reason="needs node and tests/peers/node_modules (npm ci in tests/peers)",
)
async def test_node_opcua_finds_everything_true_and_an_operator_is_no_engineer(modelled: Site) -> None:
    own = modelled.directory / "certs" / "own"
    arguments = [modelled.url, str(own / "client.pem"), str(own / "client.key.pem"), CLIENT_URI, "anna", PASSWORD]
    process = await asyncio.create_subprocess_exec(
        "node", "model.cjs", *arguments, cwd=PEERS, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 100)
    assert process.returncode == 0, err.decode()
    result = json.loads(out.decode().splitlines()[-1])
    walked, types, attributes = result.pop("walk"), result.pop("types"), result.pop("attributes")
    assert walked["nodes"] > 500
    assert (walked["statuses"], walked["empty"]) == (["Good"], 0)
    assert isinstance(types, int), types
    assert types > 4000
    statuses = {name: ("Good" if name in OF_A_VARIABLE else "BadAttributeIdInvalid") for name in attributes}
    assert attributes == statuses | {"RolePermissions": "BadUserAccessDenied"}
    assert result == EXPECTED
    assert not modelled.image.writes


async def test_asyncua_walks_the_site_and_reads_every_value(modelled: Site) -> None:
    async with await modelled.client() as client:
        variables: list[Node] = []
        waiting = [client.get_node("ns=4;s=site")]
        while waiting:
            for node in await waiting.pop().get_children():
                if await node.read_node_class() is ua.NodeClass.Variable:
                    variables.append(node)
                else:
                    waiting.append(node)
        values = await client.read_values(variables)
    assert len(values) > 200
    assert all(v is not None for v in values)


async def test_asyncua_takes_the_override_and_sets_a_set_point(modelled: Site) -> None:
    async with await modelled.client() as client:
        site = client.get_node("ns=4;s=site")
        await site.call_method("3:AcquireManualOverride", 60.0)
        held = modelled.server.layout.by_node["site/OverrideRemaining"]
        modelled.image.records["value"][held.slot] = 60.0
        modelled.image.number += 1
        await asyncio.sleep(0.1)
        await client.get_node("ns=4;s=ess0/SetActivePower").write_value(1500.0)
        with pytest.raises(ua.uaerrors.BadTypeMismatch):
            await client.get_node("ns=4;s=ess0/SetActivePower").write_value(1)
    first, second = modelled.image.writes
    assert first == (held.slot, 60.0, 1)
    assert second[1:] == (1500.0, 1)


async def test_asyncua_loads_the_enumerations(modelled: Site) -> None:
    async with await modelled.client() as client:
        await client.load_data_type_definitions()
        mode = await client.get_node("ns=4;s=ess0/GridMode").read_value()
    assert mode == 1
    assert ua.GridModeEnumeration(1).name == "OffGrid"  # type: ignore[attr-defined]


async def test_our_own_client_reads_the_model(modelled: Site) -> None:
    from server.client import Client as OwnClient
    from server.client import Identity

    own = modelled.directory / "certs" / "own"
    ca = modelled.directory / "certs" / "ca" / "ca.der"
    identity = Identity(modelled.url, own / "client.der", own / "client.key.pem", ca=ca, user="anna", password=PASSWORD)
    async with OwnClient(identity) as client:
        model = await client.model()
    ess = model.objects["ess0"]
    assert (ess.kind, ess.name, ess.natures) == ("device", "Battery", ("Device", "ManagedEss"))
    assert ess.properties["SoftwareRevision"] == "1.2"
    soc, mode, cells = (model.channel(n) for n in ("ess0/Soc", "ess0/GridMode", "bat0/CellVoltages"))
    assert soc is not None
    assert mode is not None
    assert cells is not None
    assert (soc.unit, soc.low, soc.high, soc.writable, soc.historized) == ("%", 0.0, 100.0, False, True)
    assert (mode.states, cells.length) == (("OnGrid", "OffGrid", "Genset"), 4)
    peak = model.objects["peak0"]
    assert "import_max_w" in peak.channels
    assert peak.methods == {name: f"peak0/{name}" for name in ("Enable", "Disable", "SetParameters")}
    assert {o.kind for o in model.objects.values()} == {"site", "device", "controller", "cycle", "entry", "object"}
