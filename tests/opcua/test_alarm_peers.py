"""Alarms as clients see them that share no code with us: node-opcua's own alarm list, asyncua's events."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from opcua_live import live_site
from opcua_site import CLIENT_URI, PASSWORD

PEERS = Path(__file__).parents[1] / "peers"
LOW_SOC = {"channel": "ess0/Soc", "low": 20.0, "confirm": True}

EXPECTED: dict[str, Any] = {
    "its_alarm_list_has_the_alarm": {
        "type": "ns=0;i=9341",
        "source": "Battery",
        "name": "SocLimit",
        "severity": 500,
        "message": "State of charge is 15 %, below 20 %",
        "retain": True,
        "acked": False,
        "active": True,
        "inputNode": "ns=4;s=ess0/Soc",
    },
    "acknowledge": {
        "said": "Good",
        "comment": "seen by a peer",
        "user": "anna",
        "again": "BadConditionBranchAlreadyAcked",
        "unknown": "BadEventIdUnknown",
    },
    "comment": "Good",
    "shelve": ["Good", "Good", "Good", "Good", "BadConditionNotShelved"],
    "confirm": "Good",
    "an_operator_takes_nothing_out_of_use": ["BadUserAccessDenied", "BadUserAccessDenied"],
    "an_object_that_is_no_condition": ["BadMethodInvalid"],
    "instance_nodes": [True, True, "Low", 20, 0, "Good"],
    "a_second_list_begins_with_what_is": {"comment": "done", "acked": True},
    "where_clause": {"limits": ["ns=0;i=2787", "ns=0;i=9341", "ns=0;i=2788"], "others": ["ns=0;i=2787", "ns=0;i=2788"]},
}


@pytest.mark.slow
@pytest.mark.skipif(
    not shutil.which("node") or not (PEERS / "node_modules" / "node-opcua").exists(),
    reason="node-opcua is not installed: npm ci --prefix tests/peers",
)
async def test_node_opcua_keeps_an_alarm_list_and_works_with_it(directory: Path) -> None:
    own = directory / "certs" / "own"
    async with live_site(directory, LOW_SOC) as live:
        live.set("ess0/Soc", 15.0)
        files = str(own / "client.pem"), str(own / "client.key.pem")
        process = await asyncio.create_subprocess_exec(
            *("node", "alarms.cjs", live.site.url, *files, CLIENT_URI, "anna", PASSWORD),
            cwd=PEERS,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            said, complained = await asyncio.wait_for(process.communicate(), 60)
        finally:
            if process.returncode is None:
                process.kill()
    assert process.returncode == 0, complained.decode()
    assert json.loads(said.decode().splitlines()[-1]) == EXPECTED


class Seen:
    """What asyncua's subscription hands over."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.news = asyncio.Event()

    def event_notification(self, event: Any) -> None:
        self.events.append(event)
        self.news.set()

    async def until(self, wanted: int) -> list[Any]:
        async with asyncio.timeout(10):
            while len(self.events) < wanted:
                self.news.clear()
                await self.news.wait()
        return self.events


async def test_asyncua_gets_every_field_and_acknowledges(directory: Path) -> None:
    async with live_site(directory, LOW_SOC) as live, await live.site.client() as client:
        live.set("ess0/Soc", 50.0)
        seen = Seen()
        subscription = await client.create_subscription(50, seen)
        await subscription.subscribe_alarms_and_conditions()
        live.set("ess0/Soc", 15.0)
        event = (await seen.until(1))[0]
        assert (event.SourceName, event.Severity, event.Message.Text) == ("Battery", 500, "State of charge is 15 %, below 20 %")
        assert (event.SourceNode, event.NodeId) == (ua.NodeId("ess0", 4), ua.NodeId("ess0/SocLimitAlarm", 4))
        assert len(event.EventId) == 16
        assert (event.Retain, event.Quality.value, event.ConditionName) == (True, 0, "SocLimit")
        condition = client.get_node(event.NodeId)
        await condition.call_method(ua.NodeId(9111), event.EventId, ua.LocalizedText("seen"))
        again = (await seen.until(2))[1]
        assert (again.Comment.Text, again.ClientUserId, again.EventId != event.EventId) == ("seen", "anna", True)
        number = ua.Variant(subscription.subscription_id, ua.VariantType.UInt32)
        await client.get_node(ua.NodeId(2782)).call_method(ua.NodeId(3875), number)
        start, told, end = (await seen.until(5))[2:]
        assert [e.EventType.Identifier for e in (start, told, end)] == [2787, 9341, 2788]
        assert told.EventId == again.EventId, "a refresh tells what was told before"


async def test_asyncua_reads_the_type_of_an_alarm_from_the_address_space(directory: Path) -> None:
    async with live_site(directory, LOW_SOC) as live, await live.site.client() as client:
        live.set("ess0/Soc", 50.0)
        seen = Seen()
        subscription = await client.create_subscription(50, seen)
        await subscription.subscribe_events(ua.NodeId(2253), client.get_node(ua.NodeId(9341)))
        live.set("ess0/State", 3.0)
        live.set("ess0/Soc", 15.0)
        (event,) = await seen.until(1)
        assert event.LowLimit == 20.0, "only events of the type, with the fields of the type"
