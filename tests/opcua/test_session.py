"""Sessions and users: three proofs in a row, and what each refuses."""

from __future__ import annotations

import asyncio
import secrets
import struct
import threading
import time

import pytest
from asyncua import ua
from asyncua.crypto import uacrypto
from opcua_peer import Peer, Refused
from opcua_site import CLIENT_URI, PASSWORD, Site

from server.opcua import limits
from server.opcua.backoff import LoginBackoff


async def refusal(call: object) -> str:
    """Status of the ServiceFault with which a call is answered."""
    with pytest.raises(Refused) as refused:
        await call  # type: ignore[misc]
    return refused.value.status


def audit_events(site: Site) -> list[str]:
    return [row["event"] for row in site.audited()]


# CreateSession.


async def test_a_session_is_created_by_who_opened_the_channel(site: Site) -> None:
    async with Peer(site.port) as peer:
        await peer.ready(site.directory)
        result = await peer.create_session()
        peer.policy.asymmetric_cryptography.verify(peer.certificate + b"c" * 32, result.ServerSignature.Signature)
        assert result.ServerCertificate == site.server.security.certificate
        assert result.AuthenticationToken.NodeIdType == ua.NodeIdType.ByteString
        assert len(result.AuthenticationToken.Identifier) == 32
        assert len(result.ServerNonce) == 32
        assert result.MaxRequestMessageSize == limits.MESSAGE_SIZE_MAX


async def test_the_endpoints_of_a_session_are_those_of_discovery(site: Site) -> None:
    for url in (
        f"opc.tcp://localhost:{site.port}/",
        f"opc.tcp://my-host:{site.port}/some/path",
        "opc.tcp://[::1]:4840",
        "nonsense",
    ):
        async with Peer(site.port) as peer:
            await peer.ready(site.directory)
            request = ua.GetEndpointsRequest()
            request.Parameters.EndpointUrl = url
            found = (await peer.call(request)).Endpoints
            assert (await peer.create_session(url=url)).ServerEndpoints == found
            host = url.split("/")[2].rsplit(":", 1)[0] if "://" in url else "127.0.0.1"
            assert [e.EndpointUrl.split("/")[2].rsplit(":", 1)[0] for e in found] == [host] * 6


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"certificate": None}, "BadCertificateInvalid"),
        ({"certificate": b""}, "BadCertificateInvalid"),
        ({"certificate": b"another"}, "BadCertificateInvalid"),
        ({"uri": "urn:somebody:else"}, "BadCertificateUriInvalid"),
        ({"uri": None}, "BadCertificateUriInvalid"),
        ({"nonce": b"short"}, "BadNonceInvalid"),
        ({"nonce": None}, "BadNonceInvalid"),
        ({"nonce": bytes(1000)}, "BadNonceInvalid"),
        ({"name": "n" * 10_000}, "BadInvalidArgument"),
    ],
    ids=str,
)
async def test_a_session_is_refused_when(site: Site, options: dict[str, object], status: str) -> None:
    async with Peer(site.port) as peer:
        await peer.ready(site.directory)
        assert await refusal(peer.create_session(**options)) == status
    assert len(site.server.sessions) == 0


async def test_a_trusted_certificate_does_not_help_on_another_clients_channel(site: Site) -> None:
    async with Peer(site.port) as peer:
        await peer.ready(site.directory)
        other = (site.directory / "certs" / "own" / "other.der").read_bytes()
        assert await refusal(peer.create_session(certificate=other, uri="urn:test:other")) == "BadCertificateInvalid"


async def test_without_security_there_is_discovery_and_nothing_else(site: Site) -> None:
    async with Peer(site.port) as peer:
        await peer.hello()
        await peer.open()
        assert (await peer.call(ua.GetEndpointsRequest())).Endpoints
        assert (await peer.call(ua.FindServersRequest())).Servers
        assert await refusal(peer.call(ua.FindServersOnNetworkRequest())) == "BadServiceUnsupported"
        for request in (ua.CreateSessionRequest(), ua.ActivateSessionRequest(), ua.ReadRequest(), ua.PublishRequest()):
            assert await refusal(peer.call(request)) == "BadSecurityPolicyRejected"


@pytest.mark.parametrize(
    ("asked", "revised"),
    [(60_000.0, 60_000), (1.0, 10_000), (1e12, 3_600_000), (0.0, 120_000), (-5.0, 120_000), (float("nan"), 120_000)],
)
async def test_the_timeout_of_a_session_is_clamped(site: Site, asked: float, revised: float) -> None:
    async with Peer(site.port) as peer:
        await peer.ready(site.directory)
        assert (await peer.create_session(timeout=asked)).RevisedSessionTimeout == revised


async def test_sessions_per_channel_and_in_all_are_bounded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SESSIONS_MAX", limits.SESSIONS_PER_CHANNEL_MAX + 1)
    async with Peer(site.port) as user, Peer(site.port) as flood, Peer(site.port) as late:
        await user.log_in(site.directory)
        await flood.ready(site.directory)
        for _ in range(limits.SESSIONS_PER_CHANNEL_MAX):
            await flood.create_session()
        assert await refusal(flood.create_session()) == "BadTooManySessions"
        await late.log_in(site.directory)
        assert len(site.server.sessions) == limits.SESSIONS_MAX, "the oldest that was never activated made room"
        assert (await user.read()).Results


async def test_when_all_sessions_are_in_use_a_new_one_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SESSIONS_MAX", 1)
    async with Peer(site.port) as user, Peer(site.port) as late:
        await user.log_in(site.directory)
        await late.ready(site.directory)
        assert await refusal(late.create_session()) == "BadTooManySessions"


async def test_no_user_takes_all_sessions_and_lost_ones_make_room(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SESSIONS_PER_USER_MAX", 2)
    async with Peer(site.port) as first, Peer(site.port) as third, Peer(site.port) as anna:
        async with Peer(site.port) as second:
            await first.log_in(site.directory, user="otto")
            await second.log_in(site.directory, user="otto")
            with pytest.raises(Refused, match="BadTooManySessions"):
                await third.log_in(site.directory, user="otto")
            await anna.log_in(site.directory)
        while all(s.connection for s in site.server.sessions):
            await asyncio.sleep(0.01)
        async with Peer(site.port) as fourth:
            await fourth.log_in(site.directory, user="otto")
            assert sum(s.user.name == "otto" for s in site.server.sessions) == 2
            assert (await first.read()).Results


# Tokens.


async def test_a_request_before_activation_ends_the_session(site: Site) -> None:
    async with Peer(site.port) as peer:
        await peer.ready(site.directory)
        await peer.create_session()
        assert await refusal(peer.read()) == "BadSessionNotActivated"
        assert await refusal(peer.read()) == "BadSessionIdInvalid"


@pytest.mark.parametrize(
    "token",
    [ua.NodeId(), ua.NodeId(1001, 0), ua.NodeId(secrets.token_bytes(32), 0), ua.NodeId("guess", 0), ua.NodeId(b"", 0)],
    ids=["none", "number", "as long as ours", "text", "empty"],
)
async def test_a_guessed_token_is_worth_nothing(site: Site, token: ua.NodeId) -> None:
    async with Peer(site.port) as victim, Peer(site.port) as peer:
        await victim.log_in(site.directory)
        await peer.ready(site.directory, "other")
        peer.token = token
        assert await refusal(peer.read()) == "BadSessionIdInvalid"
        assert await refusal(peer.activate()) == "BadSessionIdInvalid"
        assert (await victim.read()).Results


async def test_a_stolen_token_is_worth_nothing_on_another_channel(site: Site) -> None:
    async with Peer(site.port) as victim, Peer(site.port) as thief:
        await victim.log_in(site.directory)
        await thief.ready(site.directory, "other")
        thief.token, thief.nonce = victim.token, victim.nonce
        assert await refusal(thief.read()) == "BadSecureChannelIdInvalid"
        assert await refusal(thief.call(ua.CloseSessionRequest())) == "BadSecureChannelIdInvalid"
        assert await refusal(thief.activate()) == "BadSecurityChecksFailed"
        assert await refusal(thief.read()) == "BadSecureChannelIdInvalid", "the failed activation changed nothing"
        assert (await victim.read()).Results


# ActivateSession.


async def test_the_first_activation_must_come_through_the_sessions_own_channel(site: Site) -> None:
    async with Peer(site.port) as first, Peer(site.port) as second:
        await first.ready(site.directory)
        await first.create_session()
        await second.ready(site.directory)
        second.token, second.nonce = first.token, first.nonce
        assert await refusal(second.activate()) == "BadSecureChannelIdInvalid"


async def test_a_session_moves_to_a_new_channel_of_the_same_application_and_user(site: Site) -> None:
    async with Peer(site.port) as first, Peer(site.port) as second:
        await first.log_in(site.directory)
        await second.ready(site.directory)
        second.token, second.nonce = first.token, first.nonce
        assert await refusal(second.activate("otto")) == "BadIdentityChangeNotSupported"
        await second.activate("anna")
        assert (await second.read()).Results
        assert await refusal(first.read()) == "BadSecureChannelIdInvalid"


async def test_a_session_survives_its_connection_until_its_timeout(site: Site) -> None:
    async with Peer(site.port) as first:
        await first.log_in(site.directory)
    while site.server.connections:
        await asyncio.sleep(0.01)
    (session,) = site.server.sessions
    assert session.connection is None
    async with Peer(site.port) as second:
        await second.ready(site.directory)
        second.token, second.nonce = first.token, first.nonce
        await second.activate()
        assert (await second.read()).Results
    ended = site.server.sessions.sweep(time.monotonic() + 61)
    assert [s.user.name for s in ended] == ["anna"]


async def test_on_its_own_channel_a_session_may_change_its_user(site: Site) -> None:
    async with Peer(site.port) as peer:
        await peer.log_in(site.directory)
        await peer.activate("otto")
        assert [s.user.name for s in site.server.sessions] == ["otto"]


async def test_the_client_must_sign_the_last_nonce(site: Site) -> None:
    server = site.server.security.certificate
    async with Peer(site.port) as peer:
        await peer.ready(site.directory)
        await peer.create_session()
        for signature in (
            peer.sign(server + bytes(32)),
            ua.SignatureData(),
            ua.SignatureData(
                Algorithm="http://www.w3.org/2000/09/xmldsig#rsa-sha1", Signature=peer.sign(server + peer.nonce).Signature
            ),
        ):
            assert await refusal(peer.activate(signature=signature)) == "BadApplicationSignatureInvalid"
        first = peer.nonce
        await peer.activate()
        assert peer.nonce != first
        replayed = await refusal(peer.activate(signature=peer.sign(server + first)))
        assert replayed == "BadApplicationSignatureInvalid"


def password_token(
    peer: Peer, secret: bytes, *, algorithm: str | None = "", policy: str = "username"
) -> ua.UserNameIdentityToken:
    key = uacrypto.x509_from_der(peer.policy.peer_certificate).public_key()
    token = ua.UserNameIdentityToken(policy, "anna", uacrypto.encrypt_rsa_oaep(key, secret))
    token.EncryptionAlgorithm = peer.policy.AsymmetricEncryptionURI if algorithm == "" else algorithm
    return token


def secret(password: bytes, nonce: bytes, excess: int = 0) -> bytes:
    return struct.pack("<I", len(password) + len(nonce) + excess) + password + nonce


async def test_a_password_must_come_enciphered_with_the_last_nonce(site: Site) -> None:
    right = PASSWORD.encode()
    async with Peer(site.port) as peer:
        await peer.ready(site.directory)
        await peer.create_session()
        plain = ua.UserNameIdentityToken("username", "anna", right)
        tokens = [
            plain,
            password_token(peer, secret(right, bytes(32))),
            password_token(peer, secret(right, b"")),
            password_token(peer, secret(right, peer.nonce, excess=1)),
            password_token(peer, secret(right, peer.nonce, excess=-1)),
            password_token(peer, b""),
            password_token(peer, b"\xff\xff\xff\xff"),
            password_token(peer, secret(b"\xff\xfe", peer.nonce)),
            password_token(peer, secret(right, peer.nonce), algorithm=None),
            password_token(peer, secret(right, peer.nonce), algorithm="http://www.w3.org/2001/04/xmlenc#rsa-1_5"),
            password_token(peer, secret(right, peer.nonce), policy="certificate"),
            ua.UserNameIdentityToken("username", "anna", bytes(256 * 100), peer.policy.AsymmetricEncryptionURI),
            ua.UserNameIdentityToken("username", "", password_token(peer, secret(right, peer.nonce)).Password),
            ua.ExtensionObject(ua.NodeId(4711, 3), b"unknown"),
        ]
        for token in tokens:
            assert await refusal(peer.activate(identity=token)) == "BadIdentityTokenInvalid", token
        await peer.activate(identity=password_token(peer, secret(right, peer.nonce)))


async def test_nobody_logs_in_anonymously(site: Site) -> None:
    async with Peer(site.port) as peer:
        await peer.ready(site.directory)
        await peer.create_session()
        for token in (ua.AnonymousIdentityToken("anonymous"), ua.ExtensionObject(), ua.IssuedIdentityToken()):
            assert await refusal(peer.activate(identity=token)) == "BadIdentityTokenRejected"


@pytest.mark.parametrize(("user", "password"), [("anna", "wrong"), ("anna", ""), ("nobody", PASSWORD)])
async def test_a_wrong_login_is_refused_and_noted_without_the_password(site: Site, user: str, password: str) -> None:
    async with Peer(site.port) as peer:
        await peer.ready(site.directory)
        await peer.create_session()
        assert await refusal(peer.activate(user, password)) == "BadUserAccessDenied"
    rows = site.audited()
    refused = next(row for row in rows if row["event"] == "login-refused")
    assert (refused["claimed"], refused["address"], refused["application"]) == (user, "127.0.0.1", CLIENT_URI)
    assert "wrong" not in str(rows)


async def test_after_three_failures_a_name_must_wait_even_with_the_right_password(site: Site) -> None:
    async with Peer(site.port) as peer:
        await peer.ready(site.directory)
        await peer.create_session()
        for _ in range(3):
            assert await refusal(peer.activate(password="wrong")) == "BadUserAccessDenied"
        assert await refusal(peer.activate()) == "BadUserAccessDenied"
        await peer.activate("otto")


def test_the_wait_doubles_and_ends() -> None:
    backoff = LoginBackoff()
    waits = []
    for _ in range(14):
        backoff.failed("anna", "127.0.0.1", 100.0)
        waits.append(backoff.wait_s("anna", "127.0.0.1", 100.0))
    assert waits == [0, 0, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert backoff.locked("anna", 399.0)
    assert not backoff.locked("anna", 400.0)
    backoff.succeeded("anna")
    assert backoff.wait_s("anna", "127.0.0.1", 100.0) == 0


def test_guessing_many_names_from_one_address_is_slow_too_and_others_are_not_held_up() -> None:
    backoff = LoginBackoff()
    for number in range(10):
        backoff.failed(f"name{number}", "10.0.0.9", 100.0)
    assert backoff.wait_s("never-tried", "10.0.0.9", 100.0) == 0.5
    assert backoff.wait_s("never-tried", "10.0.0.8", 100.0) == 0
    backoff.succeeded("name0")
    assert backoff.wait_s("never-tried", "10.0.0.9", 100.0) == 0.5, "one good login does not clear a guesser"


def test_guessing_one_name_from_many_addresses_is_as_slow_as_from_one() -> None:
    backoff = LoginBackoff()
    for number in range(3):
        backoff.failed("anna", f"10.0.0.{number}", 100.0)
    assert backoff.wait_s("anna", "10.9.9.9", 100.0) == 0.5


def test_a_flood_of_names_fills_no_memory() -> None:
    backoff = LoginBackoff()
    for number in range(2 * limits.LOGIN_BACKOFFS_KEPT):
        backoff.failed(f"name{number}", "127.0.0.1", 100.0)
    assert len(backoff) == limits.LOGIN_BACKOFFS_KEPT


async def test_a_slow_login_holds_up_nobody_else(site: Site) -> None:
    users = site.server.identification._users
    verify, go = users.verify, threading.Event()
    users.verify = lambda name, password: go.wait(10) and verify(name, password)  # type: ignore[method-assign]
    async with Peer(site.port) as slow, Peer(site.port) as other:
        await slow.ready(site.directory)
        await slow.create_session()
        waiting = asyncio.create_task(slow.activate())
        await asyncio.sleep(0.05)
        await other.ready(site.directory, "other")
        await other.create_session(uri="urn:test:other")
        (session,) = [s for s in site.server.sessions if s.application_uri == CLIENT_URI]
        assert session.activating
        go.set()
        await waiting
        await other.activate("otto")
        assert (await other.read()).Results


async def test_a_client_that_leaves_during_its_login_leaves_nothing_behind(site: Site) -> None:
    users = site.server.identification._users
    verify, go = users.verify, threading.Event()
    users.verify = lambda name, password: go.wait(10) and verify(name, password)  # type: ignore[method-assign]
    async with Peer(site.port) as peer:
        await peer.ready(site.directory)
        await peer.create_session()
        waiting = asyncio.create_task(peer.activate())
        await asyncio.sleep(0.05)
        waiting.cancel()
    while site.server.connections:
        await asyncio.sleep(0.01)
    go.set()
    await asyncio.sleep(0.1)
    assert not any(s.activated for s in site.server.sessions)
    site.server.sessions.sweep(time.monotonic() + limits.SESSION_ACTIVATE_WITHIN_S + 1)
    assert len(site.server.sessions) == 0


# Users with a certificate.


def certificate_token(peer: Peer, certificate: bytes, key: object = None, nonce: bytes | None = None) -> dict[str, object]:
    token = ua.X509IdentityToken("certificate", certificate)
    signature = peer.sign((peer.policy.peer_certificate or b"") + (peer.nonce if nonce is None else nonce))
    return {"identity": token, "token_signature": signature}


async def test_a_service_logs_in_with_its_certificate(site: Site) -> None:
    client = await site.client(user=None)
    async with client:
        assert [s.user.name for s in site.server.sessions] == ["service"]


@pytest.mark.parametrize(
    ("name", "nonce", "status"),
    [
        ("client", bytes(32), "BadUserSignatureInvalid"),
        ("other", None, "BadUserSignatureInvalid"),
        ("stranger", None, "BadIdentityTokenRejected"),
    ],
    ids=["old nonce", "key of another", "untrusted"],
)
async def test_a_user_certificate_must_be_proven_and_trusted(site: Site, name: str, nonce: bytes | None, status: str) -> None:
    async with Peer(site.port) as peer:
        await peer.ready(site.directory)
        await peer.create_session()
        certificate = (site.directory / "certs" / "own" / f"{name}.der").read_bytes()
        assert await refusal(peer.activate(**certificate_token(peer, certificate, nonce=nonce))) == status


async def test_a_trusted_certificate_that_no_user_has_is_refused(site: Site) -> None:
    async with Peer(site.port) as peer:
        await peer.ready(site.directory, "other")
        await peer.create_session(uri="urn:test:other")
        assert await refusal(peer.activate(**certificate_token(peer, peer.certificate))) == "BadUserAccessDenied"


# The end of a session.


async def test_a_session_that_is_not_activated_in_time_expires(site: Site) -> None:
    async with Peer(site.port) as peer:
        await peer.ready(site.directory)
        await peer.create_session()
        now = time.monotonic()
        assert site.server.sessions.sweep(now + limits.SESSION_ACTIVATE_WITHIN_S - 1) == []
        assert len(site.server.sessions.sweep(now + limits.SESSION_ACTIVATE_WITHIN_S + 1)) == 1
        assert await refusal(peer.activate()) == "BadSessionIdInvalid"


async def test_closing_a_session_tells_who_wants_to_know_and_ends_what_is_open(site: Site) -> None:
    async with Peer(site.port) as peer:
        await peer.log_in(site.directory)
        (session,) = site.server.sessions
        told: list[bool] = []
        session.on_close.append(lambda s, delete: told.append(delete))
        request = ua.CloseSessionRequest()
        request.DeleteSubscriptions = False
        await peer.call(request)
        assert (told, session.closed, len(site.server.sessions)) == ([False], True, 0)
        assert await refusal(peer.read()) == "BadSessionIdInvalid"
    assert audit_events(site) == ["session-created", "session-activated", "session-closed"]


async def test_cancel_answers_the_open_requests_of_a_handle(site: Site) -> None:
    async with Peer(site.port) as peer:
        await peer.log_in(site.directory)
        create = ua.CreateSubscriptionRequest()
        create.Parameters.RequestedPublishingInterval = 60_000
        create.Parameters.RequestedMaxKeepAliveCount = 100
        create.Parameters.RequestedLifetimeCount = 300
        await peer.call(create)
        for handle in (500, 500, 501, 502):
            request = ua.PublishRequest()
            request.RequestHeader.AuthenticationToken = peer.token
            request.RequestHeader.RequestHandle = handle
            peer.send(peer.message(request))
        cancel = ua.CancelRequest()
        cancel.RequestHeader.AuthenticationToken = peer.token
        cancel.Parameters.RequestHandle = 500
        peer.send(peer.message(cancel))
        answers = []
        while "CancelResponse" not in answers:
            try:
                response = await peer.response()
                answers.append(type(response).__name__)
                if answers[-1] == "CancelResponse":
                    assert response.Parameters.CancelCount == 2
            except Refused as refused:
                answers.append(refused.status)
        assert answers.count("BadRequestCancelledByClient") == 2


async def test_a_user_who_was_removed_is_out_and_changed_roles_count_at_once(site: Site) -> None:
    users = site.server.identification._users
    async with Peer(site.port) as anna, Peer(site.port) as otto:
        await anna.log_in(site.directory)
        await otto.log_in(site.directory, user="otto")
        removed = users.people.pop("anna")  # type: ignore[attr-defined]
        users.people["otto"] = type(removed)("otto", frozenset({"Engineer"}), 2)  # type: ignore[attr-defined]
        site.server.recheck_users()
        assert await refusal(anna.read()) == "BadSessionIdInvalid"
        assert [s.user.roles for s in site.server.sessions] == [frozenset({"Engineer"})]
        assert (await otto.read()).Results
