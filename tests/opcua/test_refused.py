"""Ways into a stock server that do not lead into this one, one by one; beside each attack a bystander is served.

The table is what was tried against stock asyncua 2.1.0 and worked there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from opcua_live import Live, live_site
from opcua_model import at
from opcua_peer import Peer, Refused

Attack = Callable[[Live, Peer], Awaitable[list[str]]]


@pytest.fixture
async def live(directory: Path) -> AsyncIterator[Live]:
    async with live_site(directory) as live:
        yield live


async def refusal(call: Awaitable[Any]) -> str:
    """Status of the refusal; "served" when it was none."""
    try:
        await call
    except Refused as refused:
        return refused.status
    return "served"


def write_request() -> ua.WriteRequest:
    request = ua.WriteRequest()
    value = ua.DataValue(ua.Variant(1, ua.VariantType.Int32))
    request.Parameters.NodesToWrite = [ua.WriteValue(at("site/Mode"), ua.AttributeIds.Value, None, value)]
    return request


# 1: a channel without security on a server that offers only secure ones.


async def session_without_security(live: Live, attacker: Peer) -> list[str]:
    await attacker.hello()
    await attacker.open()
    found = [await refusal(attacker.create_session())]
    return [*found, await refusal(attacker.call(ua.ActivateSessionRequest())), await refusal(attacker.read())]


async def anonymous(live: Live, attacker: Peer) -> list[str]:
    await attacker.ready(live.site.directory)
    await attacker.create_session()
    tokens = (ua.AnonymousIdentityToken("anonymous"), ua.ExtensionObject(), None)
    return [await refusal(attacker.activate(identity=token)) for token in tokens if token is not None]


# 2: the user "admin" with any password.


async def admin_with_any_password(live: Live, attacker: Peer) -> list[str]:
    await attacker.ready(live.site.directory)
    await attacker.create_session()
    return [
        await refusal(attacker.activate(user, password)) for user, password in (("admin", ""), ("admin", "admin"), ("root", ""))
    ]


async def write_to_what_is_read_only(live: Live, attacker: Peer) -> list[str]:
    await attacker.log_in(live.site.directory)
    request = write_request()
    request.Parameters.NodesToWrite[0].NodeId = at("ess0/Soc")
    found = (await attacker.call(request)).Results[0].name
    delete = ua.DeleteNodesRequest()
    delete.Parameters.NodesToDelete = [ua.DeleteNodesItem(at("ess0/Soc"))]
    return [found, await refusal(attacker.call(delete))]


# 3: taking over another's session.


async def guessed_sessions(live: Live, attacker: Peer) -> list[str]:
    await attacker.ready(live.site.directory, "other")
    found = set()
    for session in live.site.server.sessions:
        for token in (ua.NodeId(session.id.Identifier, 0), session.id, *(ua.NodeId(1000 + n, 0) for n in range(20))):
            attacker.token = token
            found |= {await refusal(attacker.activate()), await refusal(attacker.call(write_request()))}
    return sorted(found)


async def stolen_token(live: Live, attacker: Peer) -> list[str]:
    await attacker.ready(live.site.directory, "other")
    (session,) = live.site.server.sessions
    attacker.token, attacker.nonce = session.token, session.nonce
    found = [await refusal(attacker.activate())]
    return [*found, await refusal(attacker.call(write_request())), await refusal(attacker.call(ua.CloseSessionRequest()))]


# 4: requests that carry another token than their session's.


async def wrong_token(live: Live, attacker: Peer) -> list[str]:
    await attacker.log_in(live.site.directory, "other", "urn:test:other", user="otto")
    own = attacker.token
    (victim,) = [s for s in live.site.server.sessions if s.user.name == "anna"]
    found = []
    for token in (ua.NodeId(), ua.NodeId(bytes(32), 0, ua.NodeIdType.ByteString), victim.token):
        attacker.token = token
        found.append(await refusal(attacker.read()))
    attacker.token = own
    assert (await attacker.read()).Results
    return found


# 5: around the trust list.


async def untrusted_channel(live: Live, attacker: Peer) -> list[str]:
    await attacker.secure(live.site.directory, "stranger")
    await attacker.hello()
    return [await refusal(attacker.open())]


async def session_without_certificate(live: Live, attacker: Peer) -> list[str]:
    await attacker.ready(live.site.directory)
    return [await refusal(attacker.create_session(certificate=certificate)) for certificate in (None, b"")]


async def session_with_anothers_certificate(live: Live, attacker: Peer) -> list[str]:
    own = live.site.directory / "certs" / "own"
    await attacker.ready(live.site.directory, "other")
    trusted = (own / "client.der").read_bytes()
    found = [await refusal(attacker.create_session(certificate=trusted, uri="urn:test:client"))]
    return [*found, await refusal(attacker.create_session(uri="urn:test:client"))]


# 6: others' subscriptions, methods and nodes.


async def others_subscriptions(live: Live, attacker: Peer) -> list[str]:
    (victim,) = live.site.server.subscriptions._all
    await attacker.log_in(live.site.directory, "other", "urn:test:other", user="otto")
    transfer, delete = ua.TransferSubscriptionsRequest(), ua.DeleteSubscriptionsRequest()
    transfer.Parameters.SubscriptionIds = delete.Parameters.SubscriptionIds = [victim]
    modify, republish, items = ua.ModifySubscriptionRequest(), ua.RepublishRequest(), ua.DeleteMonitoredItemsRequest()
    for request in (modify, republish, items):
        request.Parameters.SubscriptionId = victim
    items.Parameters.MonitoredItemIds = [1]
    found = [(await attacker.call(transfer)).Parameters.Results[0].StatusCode.name, (await attacker.call(delete)).Results[0].name]
    return found + [await refusal(attacker.call(request)) for request in (modify, republish, items)]


async def methods_and_writes_without_the_role(live: Live, attacker: Peer) -> list[str]:
    await attacker.log_in(live.site.directory, "other", "urn:test:other", user="otto")
    request = ua.CallRequest()
    request.Parameters.MethodsToCall = [ua.CallMethodRequest(at("site"), at("site/EmergencyStop"), [])]
    found = [(await attacker.call(request)).Results[0].StatusCode.name]
    return [*found, (await attacker.call(write_request())).Results[0].name]


async def method_of_another_object(live: Live, attacker: Peer) -> list[str]:
    await attacker.log_in(live.site.directory)
    request = ua.CallRequest()
    request.Parameters.MethodsToCall = [ua.CallMethodRequest(at("ess0"), at("site/EmergencyStop"), [])]
    return [(await attacker.call(request)).Results[0].StatusCode.name]


# 7: a password that can be read, or replayed.


async def password_in_clear(live: Live, attacker: Peer) -> list[str]:
    await attacker.ready(live.site.directory)
    await attacker.create_session()
    tokens = [ua.UserNameIdentityToken("username", "anna", b"open sesame")]
    tokens += [ua.UserNameIdentityToken("username", "anna", b"open sesame", uri) for uri in ("", "http://x")]
    return [await refusal(attacker.activate(identity=token)) for token in tokens]


async def password_of_an_earlier_login(live: Live, attacker: Peer) -> list[str]:
    await attacker.ready(live.site.directory)
    await attacker.create_session()
    return [await refusal(attacker.activate(nonce=bytes(32)))]


DENIED, NO_SESSION = "BadUserAccessDenied", "BadSessionIdInvalid"
ATTACKS: list[tuple[str, Attack, list[str]]] = [
    ("1 a session without security", session_without_security, ["BadSecurityPolicyRejected"] * 3),
    ("1 an anonymous session", anonymous, ["BadIdentityTokenRejected"] * 2),
    ("2 admin with any password", admin_with_any_password, [DENIED] * 3),
    ("2 writing what is read-only, deleting nodes", write_to_what_is_read_only, ["BadNotWritable", "BadServiceUnsupported"]),
    ("3 guessing sessions", guessed_sessions, [NO_SESSION]),
    ("3 a stolen token", stolen_token, ["BadSecurityChecksFailed", *["BadSecureChannelIdInvalid"] * 2]),
    ("4 a wrong token in a request", wrong_token, [NO_SESSION, NO_SESSION, "BadSecureChannelIdInvalid"]),
    ("5 a channel of a stranger", untrusted_channel, ["BadSecurityChecksFailed"]),
    ("5 a session without a certificate", session_without_certificate, ["BadCertificateInvalid"] * 2),
    (
        "5 a session with a trusted certificate that is another's",
        session_with_anothers_certificate,
        ["BadCertificateInvalid", "BadCertificateUriInvalid"],
    ),
    ("6 others' subscriptions", others_subscriptions, ["BadUserAccessDenied", *["BadSubscriptionIdInvalid"] * 4]),
    ("6 methods and writes without the role", methods_and_writes_without_the_role, [DENIED, DENIED]),
    ("6 a method of another object", method_of_another_object, ["BadMethodInvalid"]),
    ("7 a password in clear", password_in_clear, ["BadIdentityTokenInvalid"] * 3),
    ("7 a password of an earlier login", password_of_an_earlier_login, ["BadIdentityTokenInvalid"]),
]


@pytest.mark.parametrize(("attack", "expected"), [row[1:] for row in ATTACKS], ids=[row[0] for row in ATTACKS])
async def test_the_way_is_closed(live: Live, attack: Attack, expected: list[str]) -> None:
    async with Peer(live.site.port) as bystander, Peer(live.site.port) as attacker:
        await bystander.log_in(live.site.directory)
        create = ua.CreateSubscriptionRequest()
        create.Parameters.RequestedPublishingInterval, create.Parameters.RequestedLifetimeCount = 1000.0, 100
        create.Parameters.RequestedMaxKeepAliveCount = 10
        await bystander.call(create)
        assert await attack(live, attacker) == expected
        assert (await bystander.read()).Results[0].StatusCode.is_good(), "nobody else noticed anything"
    assert live.image.writes == []
