"""The secure channel: who may open one, how it is renewed, and that one wrong bit closes it."""

from __future__ import annotations

import os
import struct
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from asyncua import Client, ua
from asyncua.crypto import security_policies
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from opcua_peer import NONE, Peer, Refused
from opcua_site import Site, running

from server.opcua import channel as channel_module
from server.opcua import limits
from server.opcua import policy as policy_module
from server.opcua.channel import Channel, ChannelError, Token, _padding, _without_padding
from server.opcua.policy import AES128_SHA256_RSAOAEP, AES256_SHA256_RSAPSS, BASIC256SHA256, Policy

POLICIES = [BASIC256SHA256, AES128_SHA256_RSAOAEP, AES256_SHA256_RSAPSS]
MODES = [ua.MessageSecurityMode.Sign, ua.MessageSecurityMode.SignAndEncrypt]
RENEW = ua.SecurityTokenRequestType.Renew


def self_signed(directory: Path, name: str, *, bits: int = 2048, days: int = 10) -> None:
    """A client's own certificate, which a person put into the trusted folder."""
    key = rsa.generate_private_key(65537, bits)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    begin = datetime.now(UTC) - timedelta(days=20)
    usage = dict.fromkeys(("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"), True)
    others = dict.fromkeys(("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"), False)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(begin)
    builder = builder.not_valid_after(begin + timedelta(days=20 + days))
    builder = builder.add_extension(x509.KeyUsage(**usage, **others), critical=True)
    builder = builder.add_extension(
        x509.SubjectAlternativeName([x509.UniformResourceIdentifier("urn:test:client")]), critical=False
    )
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    own = directory / "certs" / "own"
    (own / f"{name}.der").write_bytes(certificate)
    (own / f"{name}.key.pem").write_bytes(pem)
    (directory / "certs" / "trusted" / f"{name}.der").write_bytes(certificate)


async def refusal(peer: Peer, **options: object) -> str:
    """Status with which the server refuses to open a channel."""
    with pytest.raises(Refused) as refused:
        await peer.open(**options)
    return refused.value.status


async def test_a_stranger_is_refused_and_his_certificate_kept_for_a_person_to_see(site: Site) -> None:
    async with Peer(site.port) as peer:
        await peer.secure(site.directory, "stranger")
        await peer.hello()
        assert await refusal(peer) == "BadSecurityChecksFailed"
    assert [f.name for f in (site.directory / "certs" / "rejected").iterdir() if f.name.startswith("stranger")]
    assert [row["event"] for row in site.audited()] == ["channel-refused"]


async def test_a_trusted_certificate_of_any_allowed_size_opens_a_channel(site: Site) -> None:
    for bits in (2048, 3072, 4096):
        self_signed(site.directory, f"own{bits}", bits=bits)
        async with Peer(site.port) as peer:
            await peer.log_in(site.directory, f"own{bits}")
            assert (await peer.read()).Results[0].StatusCode.is_good()


@pytest.mark.parametrize(
    ("options", "status"),
    [({"bits": 1024}, "BadCertificatePolicyCheckFailed"), ({"days": -1}, "BadCertificateTimeInvalid")],
    ids=["short key", "expired"],
)
async def test_a_trusted_certificate_must_also_be_sound(site: Site, options: dict[str, int], status: str) -> None:
    self_signed(site.directory, "weak", **options)  # type: ignore[arg-type]
    async with Peer(site.port) as peer:
        await peer.secure(site.directory, "weak")
        await peer.hello()
        assert await refusal(peer) == status


async def test_trust_is_asked_before_the_private_key_is_used(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    monkeypatch.setattr(Policy, "decrypt", lambda *a: used.append(a))
    async with Peer(site.port) as peer:
        await peer.secure(site.directory, "stranger")
        await peer.hello()
        await refusal(peer)
    assert not used


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"mode": NONE}, "BadSecurityModeRejected"),
        ({"nonce": b"short"}, "BadNonceInvalid"),
        ({"nonce": bytes(64)}, "BadNonceInvalid"),
        ({"type": RENEW}, "BadRequestTypeInvalid"),
    ],
    ids=["no security under a secure policy", "short nonce", "long nonce", "renewal of nothing"],
)
async def test_an_open_request_must_ask_for_what_is_offered(site: Site, options: dict[str, object], status: str) -> None:
    async with Peer(site.port) as peer:
        await peer.secure(site.directory)
        await peer.hello()
        assert await refusal(peer, **options) == status


async def test_without_security_no_mode_but_none_is_accepted(site: Site) -> None:
    async with Peer(site.port) as peer:
        await peer.hello()
        assert await refusal(peer, mode=ua.MessageSecurityMode.SignAndEncrypt) == "BadSecurityModeRejected"


async def test_a_policy_that_is_not_offered_is_refused(site: Site) -> None:
    async with Peer(site.port) as peer:
        await peer.secure(site.directory)
        peer.policy.URI = "http://opcfoundation.org/UA/SecurityPolicy#Basic128Rsa15"
        await peer.hello()
        assert await refusal(peer) == "BadSecurityPolicyRejected"


async def test_a_message_for_another_servers_certificate_is_refused(site: Site) -> None:
    async with Peer(site.port) as peer:
        await peer.secure(site.directory)
        peer.policy.peer_certificate = (site.directory / "certs" / "own" / "other.der").read_bytes()
        await peer.hello()
        assert await refusal(peer) == "BadCertificateInvalid"


@pytest.mark.parametrize("place", [-1, -257, 300])
async def test_one_wrong_bit_in_the_open_request_closes(site: Site, place: int) -> None:
    async with Peer(site.port) as peer:
        await peer.secure(site.directory)
        await peer.hello()
        message = bytearray(peer.message(peer.open_request(), ua.MessageType.SecureOpen))
        message[place] ^= 1
        peer.send(bytes(message))
        with pytest.raises(Refused):
            await peer.chunk()


@pytest.mark.parametrize("place", [8, 12, 16, 40, -1], ids=["channel", "token", "sequence", "body", "signature"])
async def test_one_wrong_bit_in_a_message_closes(site: Site, place: int) -> None:
    async with Peer(site.port) as peer:
        await peer.log_in(site.directory)
        message = bytearray(peer.body(b"x" * 100))
        message[place] ^= 1
        peer.send(bytes(message))
        with pytest.raises(Refused):
            await peer.response()
        with pytest.raises(Refused, match="closed"):
            await peer.response()


async def test_a_message_sent_twice_closes(site: Site) -> None:
    async with Peer(site.port) as peer:
        await peer.log_in(site.directory)
        message = peer.message(ua.GetEndpointsRequest())
        peer.send(message)
        await peer.response()
        peer.send(message)
        with pytest.raises(Refused, match="BadSequenceNumberInvalid"):
            await peer.response()


@pytest.mark.parametrize(("asked", "revised"), [(0, 30_000), (60_000, 60_000), (2**32 - 1, 3_600_000)])
async def test_the_lifetime_of_a_token_is_clamped(site: Site, asked: int, revised: int) -> None:
    async with Peer(site.port) as peer:
        await peer.secure(site.directory)
        await peer.hello()
        result = await peer.open(lifetime=asked)
    assert result.SecurityToken.RevisedLifetime == revised


async def test_numbers_of_channels_and_tokens_cannot_be_guessed(site: Site) -> None:
    seen = set()
    for _ in range(5):
        async with Peer(site.port) as peer:
            await peer.hello()
            token = (await peer.open()).SecurityToken
            seen |= {token.ChannelId, token.TokenId}
    assert len(seen) == 10
    assert max(seen) - min(seen) > 1000


async def test_a_renewed_channel_takes_both_tokens_until_the_new_one_is_used(site: Site) -> None:
    async with Peer(site.port) as peer:
        await peer.log_in(site.directory)
        first = peer.connection.security_token.TokenId
        renewed = await peer.open(type=RENEW, nonce=b"m" * 32)
        assert renewed.SecurityToken.ChannelId == peer.connection.security_token.ChannelId
        assert renewed.SecurityToken.TokenId != first
        assert (await peer.read()).Results, "the old token goes on, and the answer comes under it"
        peer.connection.revolve_tokens()
        assert (await peer.read()).Results, "the new token is in use"


async def test_a_renewal_may_not_change_the_certificate(site: Site) -> None:
    async with Peer(site.port) as peer:
        await peer.log_in(site.directory)
        before = peer.connection
        await peer.secure(site.directory, "other")
        peer.connection.security_token = before.security_token
        peer.connection._sequence_number = before._sequence_number
        assert await refusal(peer, type=RENEW) in ("BadCertificateInvalid", "BadTcpSecureChannelUnknown")


ASYNCUA = {
    BASIC256SHA256.uri: security_policies.SecurityPolicyBasic256Sha256,
    AES128_SHA256_RSAOAEP.uri: security_policies.SecurityPolicyAes128Sha256RsaOaep,
    AES256_SHA256_RSAPSS.uri: security_policies.SecurityPolicyAes256Sha256RsaPss,
}


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.uri.split("#")[1])
@pytest.mark.parametrize("mode", MODES, ids=lambda m: m.name)
async def test_every_policy_and_mode_carries_a_session_and_is_renewed(
    site: Site, policy: Policy, mode: ua.MessageSecurityMode
) -> None:
    client = await site.client(policy=ASYNCUA[policy.uri], mode=mode)
    async with client:
        assert await client.get_namespace_array() == site.server.namespaces
        await client.uaclient.open_secure_channel(renewal(client))
        assert await client.get_namespace_array() == site.server.namespaces


def renewal(client: Client, mode: ua.MessageSecurityMode | None = None) -> ua.OpenSecureChannelParameters:
    parameters = ua.OpenSecureChannelParameters()
    parameters.RequestType = RENEW
    parameters.SecurityMode = mode or client.security_policy.Mode
    parameters.RequestedLifetime = 60_000
    parameters.ClientNonce = os.urandom(32)
    return parameters


@pytest.mark.parametrize(
    ("offer", "status"),
    [
        (policy_module.offer(modes=["SignAndEncrypt"]), "BadSecurityModeRejected"),
        (policy_module.offer(policies=["Aes256_Sha256_RsaPss"]), "BadSecurityPolicyRejected"),
    ],
    ids=["mode", "policy"],
)
async def test_what_the_site_does_not_offer_is_refused(directory: Path, offer: policy_module.Offer, status: str) -> None:
    async with running(directory, offer=offer) as site, Peer(site.port) as peer:
        await peer.secure(site.directory)
        await peer.hello()
        assert await refusal(peer, mode=ua.MessageSecurityMode.Sign) == status


async def test_a_renewal_may_not_weaken_the_mode(site: Site) -> None:
    async with Peer(site.port) as peer:
        await peer.log_in(site.directory)
        weaker = {"type": RENEW, "mode": ua.MessageSecurityMode.Sign, "nonce": b"m" * 32}
        assert await refusal(peer, **weaker) == "BadSecurityModeRejected"


async def test_a_channel_that_is_not_renewed_ends(site: Site) -> None:
    async with Peer(site.port) as peer:
        await peer.log_in(site.directory)
        (connection,) = site.server.connections
        connection.check(time.monotonic() + 60 * limits.CHANNEL_OVERLAP - 1)
        assert not connection.closed
        connection.check(time.monotonic() + 60 * limits.CHANNEL_OVERLAP + 1)
        with pytest.raises(Refused, match="BadSecureChannelClosed"):
            await peer.chunk()


# The same without a network.


def channel_pair(policy: Policy, mode: ua.MessageSecurityMode) -> tuple[Channel, Channel]:
    """A server's channel and the client's view of it."""
    near, far = Channel(None), Channel(None)  # type: ignore[arg-type]
    sends, receives = policy.derive(b"a" * 32, b"b" * 32, mode), policy.derive(b"b" * 32, b"a" * 32, mode)
    for channel, token in ((near, Token(1, receives, sends, 1e12)), (far, Token(1, sends, receives, 1e12))):
        channel.policy, channel._current, channel._opened = policy, token, True
    far.id = near.id
    return near, far


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.uri.split("#")[1])
@pytest.mark.parametrize("chunk_size", [8192, 10_001, 65_536])
@pytest.mark.parametrize("size", [0, 1, 8127, 8128, 8129, 200_000])
@pytest.mark.parametrize("mode", MODES, ids=lambda m: m.name)
def test_what_is_sealed_comes_back_whole(policy: Policy, mode: ua.MessageSecurityMode, chunk_size: int, size: int) -> None:
    near, far = channel_pair(policy, mode)
    body = os.urandom(size)
    chunks = [bytes(c) for c in near.seal(7, body, chunk_size)]
    assert all(len(c) <= chunk_size and len(c) == struct.unpack_from("<I", c, 4)[0] for c in chunks)
    assert [c[3:4] for c in chunks] == [b"C"] * (len(chunks) - 1) + [b"F"]
    assert len(chunks) == max(-(-size // near.body_size(chunk_size)), 1)
    opened = [far.unseal(c) for c in chunks]
    assert {request for request, _ in opened} == {7}
    assert b"".join(part for _, part in opened) == body


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.uri.split("#")[1])
def test_the_rsa_half_of_each_policy_agrees_with_itself(policy: Policy) -> None:
    key = rsa.generate_private_key(65537, 2048)
    secret = os.urandom(500)
    assert policy.decrypt(key, policy.encrypt(key.public_key(), secret), 8) == secret
    assert policy.verify(key.public_key(), secret, policy.sign(key, secret))
    assert not policy.verify(key.public_key(), secret + b"x", policy.sign(key, secret))
    with pytest.raises(ValueError):
        policy.decrypt(key, policy.encrypt(key.public_key(), secret), 1)


@pytest.mark.parametrize(
    ("last", "number", "accepted"),
    [
        (None, 5, True),
        (5, 6, True),
        (5, 5, False),
        (5, 7, False),
        (5, 1, False),
        (channel_module._WRAP_FROM, 0, True),
        (channel_module._WRAP_FROM + 100, 1023, True),
        (channel_module._WRAP_FROM + 100, 1024, False),
        (channel_module._WRAP_FROM - 1, 1, False),
        (2**32 - 1, 0, True),
    ],
)
def test_sequence_numbers_rise_by_one_and_wrap_where_the_standard_says(last: int | None, number: int, accepted: bool) -> None:
    channel = Channel(None)  # type: ignore[arg-type]
    channel._received = last
    if accepted:
        channel._check_sequence(number)
        assert channel._received == number
    else:
        with pytest.raises(ChannelError) as refused:
            channel._check_sequence(number)
        assert refused.value.status == ua.StatusCodes.BadSequenceNumberInvalid


def test_our_own_sequence_numbers_wrap_to_one() -> None:
    channel = Channel(None)  # type: ignore[arg-type]
    channel._sent = channel_module._WRAP_FROM - 1
    assert [channel._next_sequence() for _ in range(3)] == [channel_module._WRAP_FROM, 1, 2]


@given(st.integers(0, 3000), st.sampled_from([16, 190, 214, 318, 446, 470]))
@settings(deadline=None)
def test_padding_fills_the_block_and_comes_off_again(size: int, block: int) -> None:
    extra = block > 256
    plain = b"p" * size
    padded = plain + _padding(size, block, extra=extra)
    assert len(padded) % block == 0
    assert _without_padding(padded, extra=extra) == plain
