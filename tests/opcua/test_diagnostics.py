"""What the server tells of itself, its sessions and subscriptions: true to what clients did."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from opcua_live import Live, Talk, item, live_site

from server.client.errors import ClientError
from server.opcua.session import User

IDS = ua.ObjectIds
SUMMARY = IDS.Server_ServerDiagnostics_ServerDiagnosticsSummary
SESSIONS = IDS.Server_ServerDiagnostics_SessionsDiagnosticsSummary_SessionDiagnosticsArray
SECURITY = IDS.Server_ServerDiagnostics_SessionsDiagnosticsSummary_SessionSecurityDiagnosticsArray
SUBSCRIPTIONS = IDS.Server_ServerDiagnostics_SubscriptionDiagnosticsArray


@pytest.fixture
async def live(directory: Path) -> AsyncIterator[Live]:
    async with live_site(directory) as live:
        yield live


async def read(talk: Talk, number: int) -> ua.DataValue:
    request = ua.ReadRequest()
    request.Parameters.NodesToRead = [ua.ReadValueId(NodeId=ua.NodeId(number), AttributeId=ua.AttributeIds.Value)]
    answer: Any = await talk.link.ask(request, ua.ReadResponse)
    return answer.Results[0]


async def value(talk: Talk, number: int) -> Any:
    found = await read(talk, number)
    assert found.StatusCode.is_good(), found.StatusCode
    return found.Value.Value


async def test_a_session_tells_who_it_is_and_what_it_asked_for(live: Live) -> None:
    async with live.link() as talk:
        for _ in range(3):
            await read(talk, 2259)
        with pytest.raises(ClientError):
            await talk.ask(ua.DeleteSubscriptionsRequest(), SubscriptionIds=[])
        (told,) = await value(talk, SESSIONS)
    assert told.ClientDescription.ApplicationUri == "urn:test:client"
    assert told.ServerUri == live.site.server.application_uri
    assert (told.ReadCount.TotalCount, told.ReadCount.ErrorCount) == (4, 0)
    assert (told.DeleteSubscriptionsCount.TotalCount, told.DeleteSubscriptionsCount.ErrorCount) == (1, 1)
    assert told.TotalRequestCount.TotalCount == 6  # the activation, too
    assert told.ClientConnectionTime <= told.ClientLastContactTime


async def test_the_summary_counts_what_was_refused(live: Live) -> None:
    async with live.link() as talk:
        before = await value(talk, SUMMARY)
        with pytest.raises(ClientError):
            async with live.link("nobody"):
                pass
        after = await value(talk, SUMMARY)
    assert after.CumulatedSessionCount == before.CumulatedSessionCount + 1
    assert after.RejectedSessionCount == before.RejectedSessionCount + 1
    assert after.SecurityRejectedSessionCount == before.SecurityRejectedSessionCount + 1
    assert after.CurrentSessionCount >= 1


async def test_a_subscription_tells_its_terms_and_what_it_sent(live: Live) -> None:
    async with live.link() as talk:
        made = await talk.subscribe(40)
        disabled = item("ess0/ActivePower", mode=ua.MonitoringMode.Disabled)
        await talk.monitor(made.SubscriptionId, item("ess0/Soc", queue=2), disabled)
        await talk.news()
        for number in range(4):
            live.set("ess0/Soc", float(number))
            await asyncio.sleep(0.05)
        await talk.news()
        with pytest.raises(ClientError):
            await talk.ask(ua.RepublishRequest(), SubscriptionId=made.SubscriptionId, RetransmitSequenceNumber=999)
        (told,) = await value(talk, SUBSCRIPTIONS)
        assert await value(talk, IDS.Server_ServerDiagnostics_ServerDiagnosticsSummary_CurrentSubscriptionCount) == 1
    assert (told.SubscriptionId, told.PublishingInterval) == (made.SubscriptionId, 40)
    assert (told.MonitoredItemCount, told.DisabledMonitoredItemCount) == (2, 1)
    assert told.DataChangeNotificationsCount == told.NotificationsCount >= 3
    assert told.MonitoringQueueOverflowCount >= 1
    assert (told.RepublishRequestCount, told.RepublishMessageCount) == (1, 0)
    assert told.PublishRequestCount >= 2


async def test_how_sessions_are_secured_is_for_security_administrators(live: Live) -> None:
    async with live.link() as talk:
        assert (await read(talk, SECURITY)).StatusCode.name == "BadUserAccessDenied"
        people = live.site.server.users.people  # type: ignore[attr-defined]
        people["anna"] = User("anna", frozenset({"SecurityAdmin"}), 1)
        live.site.server.recheck_users()
        request = ua.ReadRequest()
        request.Parameters.NodesToRead = [ua.ReadValueId(NodeId=ua.NodeId(SECURITY), AttributeId=ua.AttributeIds.Value)]
        answer = await talk.link.raw(request)  # asyncua cannot decode the structure
    assert string("anna") + struct.pack("<i", 1) + string("anna") + string("UserName") in answer
    secured = string("UA Binary") + string("opc.tcp") + struct.pack("<i", 3)
    assert secured + string("http://opcfoundation.org/UA/SecurityPolicy#Basic256Sha256") in answer


def string(text: str) -> bytes:
    return struct.pack("<i", len(text)) + text.encode()
