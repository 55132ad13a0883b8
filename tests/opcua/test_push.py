"""Certificate push: a certificate manager reads and writes the trust list and replaces the server's certificate."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from asyncua import Client, ua
from asyncua.ua.ua_binary import struct_to_binary
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from opcua_live import live_site
from opcua_model import site_layout
from opcua_site import CLIENT_URI, Site, running

import certs
from certs.certificate import parse, thumbprint
from certs.own import load_own
from server.opcua.trust_list import HANDLES_MAX, SIZE_MAX
from server.runtime.users import Users

PEERS = Path(__file__).resolve().parents[1] / "peers"
needs_node = pytest.mark.skipif(not (PEERS / "node_modules").exists() or not shutil.which("node"), reason="needs node-opcua")
ADMIN, ANNA = "correct horse battery", "anna's own words"
ROOT, TRUST_LIST = ua.NodeId(12637), ua.NodeId(12642)
NULL = ua.Variant(ua.NodeId(), ua.VariantType.NodeId)
ALL = int(ua.TrustListMasks.All)


@pytest.fixture(scope="module")
def with_users(tmp_path_factory: pytest.TempPathFactory, certificates: Path) -> Path:
    folder = tmp_path_factory.mktemp("push") / "site"
    shutil.copytree(certificates, folder)
    users = Users(folder)
    users.add("admin", ["SecurityAdmin"], password=ADMIN)
    users.add("anna", ["Engineer"], password=ANNA)
    return folder


@pytest.fixture
async def site(with_users: Path, tmp_path: Path) -> AsyncIterator[Site]:
    directory = tmp_path / "site"
    shutil.copytree(with_users, directory)
    async with running(directory, site_layout(), users=Users(directory)) as site:
        yield site


@pytest.fixture
async def admin(site: Site) -> AsyncIterator[Client]:
    async with await site.client(user="admin", password=ADMIN) as client:
        yield client


def byte_string(value: bytes | None) -> ua.Variant:
    return ua.Variant(value, ua.VariantType.ByteString)


def number(value: int, kind: ua.VariantType = ua.VariantType.UInt32) -> ua.Variant:
    return ua.Variant(value, kind)


def text(value: str) -> ua.Variant:
    return ua.Variant(value, ua.VariantType.String)


async def call(client: Client, target: ua.NodeId, method: int, *arguments: Any) -> Any:
    variants = [a if isinstance(a, ua.Variant) else ua.Variant(a) for a in arguments]
    return await client.get_node(target).call_method(ua.NodeId(method), *variants)


async def refusal(client: Client, target: ua.NodeId, method: int, *arguments: Any) -> str:
    with pytest.raises(ua.UaStatusCodeError) as refused:
        await call(client, target, method, *arguments)
    return ua.StatusCode(refused.value.code).name


async def opened(client: Client, mode: int) -> ua.Variant:
    return number(await call(client, TRUST_LIST, 12647, number(mode, ua.VariantType.Byte)))


async def written(client: Client, content: bytes) -> ua.Variant:
    """A handle to which this was written."""
    handle = await opened(client, 6)
    for at in range(0, len(content), 1000):
        await call(client, TRUST_LIST, 12655, handle, byte_string(content[at : at + 1000]))
    return handle


def trust_list(*certificates: bytes, **others: Any) -> bytes:
    masks = ua.UInt32(others.pop("masks", ALL))
    return struct_to_binary(ua.TrustListDataType(SpecifiedLists=masks, TrustedCertificates=list(certificates), **others))


def own(site: Site, name: str) -> bytes:
    return (site.directory / "certs" / "own" / f"{name}.der").read_bytes()


def trusted(site: Site) -> set[str]:
    return {c.common_name for c in certs.list_certificates(site.directory) if c.state == "trusted"}


class Manager:
    """A certificate manager's authority."""

    def __init__(self, name: str) -> None:
        self.key = rsa.generate_private_key(65537, 2048)
        self.name = x509.Name.from_rfc4514_string(f"CN={name}")
        builder = self._builder(self.name, self.key.public_key(), timedelta(days=100))
        builder = builder.add_extension(x509.BasicConstraints(True, None), True)
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        self.certificate = builder.add_extension(usage, True).sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER)

    def issue(self, request: bytes, days: int = 30, drop: Sequence[type] = ()) -> bytes:
        """The certificate that a signing request asks for."""
        asked = x509.load_der_x509_csr(request)
        assert asked.is_signature_valid
        builder = self._builder(asked.subject, asked.public_key(), timedelta(days=days))
        for extension in asked.extensions:
            if not isinstance(extension.value, tuple(drop)):
                builder = builder.add_extension(extension.value, extension.critical)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER)

    def _builder(self, subject: x509.Name, key: Any, lifetime: timedelta) -> x509.CertificateBuilder:
        begin = datetime.now(UTC) - timedelta(days=40)
        builder = x509.CertificateBuilder().issuer_name(self.name).subject_name(subject).public_key(key)
        return (
            builder.serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + timedelta(days=40) + lifetime)
        )


@cache
def manager_of(name: str) -> Manager:
    """One of a few managers: keys take time to make."""
    return Manager(name)


async def request_for(client: Client, *, new_key: bool = True, subject: str = "") -> bytes:
    return await call(client, ROOT, 12737, NULL, NULL, text(subject), new_key, byte_string(b"n" * 32))


async def push(client: Client, certificate: bytes, *issuers: bytes, form: str = "", key: bytes | None = None) -> bool:
    array = ua.Variant(list(issuers), ua.VariantType.ByteString, is_array=True)
    return await call(client, ROOT, 13737, NULL, NULL, byte_string(certificate), array, text(form), byte_string(key))


# Who may.


async def test_only_a_security_admin_over_an_encrypted_channel_sees_any_of_it(site: Site) -> None:
    async with await site.client(user="anna", password=ANNA) as anna:
        assert await refusal(anna, ROOT, 12777) == "BadUserAccessDenied"
        assert await refusal(anna, TRUST_LIST, 12647, number(1, ua.VariantType.Byte)) == "BadUserAccessDenied"
        with pytest.raises(ua.uaerrors.BadUserAccessDenied):
            await anna.get_node(ua.NodeId(12643)).read_value()
    async with await site.client(user="admin", password=ADMIN, mode=ua.MessageSecurityMode.Sign) as in_clear:
        assert await refusal(in_clear, ROOT, 12777) == "BadSecurityModeInsufficient"
        assert await refusal(in_clear, ROOT, 12740) == "BadSecurityModeInsufficient"


# The server's certificate.


@pytest.mark.parametrize("new_key", [True, False])
async def test_a_pushed_certificate_is_used_once_it_is_applied_and_nobody_loses_a_session(
    site: Site, admin: Client, new_key: bool
) -> None:
    manager = manager_of("manager")
    request = await request_for(admin, new_key=new_key, subject="CN=pushed/O=ACME")
    before, key = load_own(site.directory, "server")
    issued = manager.issue(request)
    assert (parse(issued).public_key() == key.public_key()) is not new_key
    assert parse(issued).subject.rfc4514_string() == "CN=pushed,O=ACME"
    assert await push(admin, issued, manager.certificate) is True
    assert site.server.security.certificate == before, "not before it is applied"
    await call(admin, ROOT, 12740)
    assert site.server.security.certificate == issued
    kinds, found = await call(admin, ROOT, 32333, NULL)
    assert (kinds, found) == ([ua.NodeId(12560)], [issued])
    async with await site.client(user="anna", password=ANNA) as newcomer:
        assert await newcomer.get_node(ua.NodeId(2259)).read_value() == 0
    assert load_own(site.directory, "server")[0] == issued
    assert "certificate-renewed" in [row["event"] for row in site.audited()]


async def test_what_was_pushed_waits_for_who_pushed_it_and_goes_with_him(site: Site, admin: Client) -> None:
    manager = manager_of("manager")
    issued = manager.issue(await request_for(admin))
    assert await refusal(admin, ROOT, 12740) == "BadNothingToDo"
    async with await site.client("other", user="admin", password=ADMIN) as other:
        await push(other, issued)
        assert await refusal(admin, ROOT, 12740) == "BadNothingToDo"
        array = ua.Variant([], ua.VariantType.ByteString, is_array=True)
        arguments = (NULL, NULL, byte_string(issued), array, text(""), byte_string(None))
        assert await refusal(admin, ROOT, 13737, *arguments) == "BadTransactionPending"
        with pytest.raises(ua.uaerrors.BadTransactionPending):
            await request_for(admin, new_key=True)  # it would take the place of the key that waits
    await push(admin, issued)
    await call(admin, ROOT, 25708)
    assert await refusal(admin, ROOT, 12740) == "BadNothingToDo"


@pytest.mark.parametrize(
    ("case", "status"),
    [
        ("nonsense", "BadCertificateInvalid"),
        ("empty", "BadCertificateInvalid"),
        ("another key", "BadCertificateInvalid"),
        ("another application", "BadCertificateInvalid"),
        ("no application", "BadCertificateInvalid"),
        ("no key usage", "BadCertificateInvalid"),
        ("expired", "BadCertificateTimeInvalid"),
        ("issuers in disorder", "BadCertificateInvalid"),
        ("a private key comes along", "BadNotSupported"),
        ("another group", "BadInvalidArgument"),
        ("another type", "BadNotSupported"),
    ],
)
async def test_a_certificate_that_would_lock_everybody_out_is_refused(site: Site, admin: Client, case: str, status: str) -> None:
    manager, stranger = manager_of("manager"), manager_of("stranger")
    request = await request_for(admin)
    certificate = {
        "nonsense": b"nonsense",
        "empty": b"",
        "another key": own(site, "other"),
        "another application": manager.issue(request),
        "no application": manager.issue(request, drop=[x509.SubjectAlternativeName]),
        "no key usage": manager.issue(request, drop=[x509.KeyUsage]),
        "expired": manager.issue(request, days=-1),
    }.get(case, manager.issue(request))
    if case == "another application":
        certs.issue(site.directory, "server", application_uri="urn:somebody:else", hosts=[])
        certificate = own(site, "server")
        (site.directory / "certs" / "own" / "server.der").write_bytes(site.server.security.certificate)
    issuers = [stranger.certificate] if case == "issuers in disorder" else []
    key = (text("PEM"), byte_string(b"key")) if case == "a private key comes along" else (text(""), byte_string(None))
    group = ua.Variant(ua.NodeId(14088), ua.VariantType.NodeId) if case == "another group" else NULL
    kind = ua.Variant(ua.NodeId(12559), ua.VariantType.NodeId) if case == "another type" else NULL
    array = ua.Variant(issuers, ua.VariantType.ByteString, is_array=True)
    assert await refusal(admin, ROOT, 13737, group, kind, byte_string(certificate), array, *key) == status
    assert await refusal(admin, ROOT, 12740) == "BadNothingToDo"


async def test_a_signing_request_that_makes_no_sense_is_refused(admin: Client) -> None:
    arguments = (NULL, NULL, text(""), True, byte_string(b"too short"))
    assert await refusal(admin, ROOT, 12737, *arguments) == "BadInvalidArgument"
    arguments = (NULL, NULL, text("not a name"), False, byte_string(None))
    assert await refusal(admin, ROOT, 12737, *arguments) == "BadCertificateInvalid"


# The trust list.


async def test_the_trust_list_is_read_in_parts_and_written_as_a_whole(site: Site, admin: Client) -> None:
    certs.TrustList(site.directory).trust_file(site.directory / "certs" / "own" / "other.der")
    handle = await opened(admin, 1)
    first = await call(admin, TRUST_LIST, 12652, handle, number(10, ua.VariantType.Int32))
    assert await call(admin, TRUST_LIST, 12657, handle) == 10
    await call(admin, TRUST_LIST, 12660, handle, number(0, ua.VariantType.UInt64))
    whole = await call(admin, TRUST_LIST, 12652, handle, number(1 << 20, ua.VariantType.Int32))
    assert whole[:10] == first
    assert whole == trust_list(own(site, "other"))
    assert await call(admin, TRUST_LIST, 12652, handle, number(10, ua.VariantType.Int32)) == b""
    assert await admin.get_node(ua.NodeId(12646)).read_value() == 1
    assert await admin.get_node(ua.NodeId(12643)).read_value() == len(whole)
    await call(admin, TRUST_LIST, 12650, handle)

    handle = await written(admin, trust_list(own(site, "stranger")))
    assert trusted(site) == {"other"}, "nothing counts before it is complete"
    assert await call(admin, TRUST_LIST, 12666, handle) is False
    assert trusted(site) == {"stranger"}


async def test_a_manager_hands_over_an_authority_and_its_revocations(site: Site, admin: Client) -> None:
    elsewhere = site.directory / "elsewhere"
    authority = (elsewhere / "certs" / "ca" / "ca.der").read_bytes()
    stranger = parse(own(site, "stranger"))
    handle = await written(admin, trust_list(authority))
    await call(admin, TRUST_LIST, 12666, handle)
    async with await site.client("stranger", user="anna", password=ANNA) as client:
        assert await client.get_node(ua.NodeId(2259)).read_value() == 0
    certs.revoke_certificate(elsewhere, stranger)
    crl = (elsewhere / "certs" / "ca" / "ca.crl").read_bytes()
    masks = int(ua.TrustListMasks.TrustedCrls)
    handle = await written(admin, trust_list(TrustedCrls=[crl], masks=masks))
    await call(admin, TRUST_LIST, 12666, handle)
    assert trusted(site) == {"Elsewhere authority"}, "lists that the mask does not name stay"
    with pytest.raises(ua.UaStatusCodeError):
        await (await site.client("stranger", user="anna", password=ANNA)).connect()
    await call(admin, TRUST_LIST, 12670, text(thumbprint(parse(authority))), True)
    assert trusted(site) == set()
    assert not list((site.directory / "certs" / "trusted").glob("*.crl"))


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", "BadDecodingError"),
        (b"\x0f\0\0\0\xff\xff\xff\x7f", "BadDecodingError"),
        (trust_list(b"nonsense"), "BadCertificateInvalid"),
        (trust_list(b""), "BadCertificateInvalid"),
        (trust_list(TrustedCrls=[b"nonsense"]), "BadCertificateInvalid"),
    ],
    ids=["empty", "a huge count", "no certificate", "an empty one", "no revocation list"],
)
async def test_a_list_with_one_mistake_changes_nothing(site: Site, admin: Client, content: bytes, status: str) -> None:
    certs.TrustList(site.directory).trust_file(site.directory / "certs" / "own" / "other.der")
    assert await refusal(admin, TRUST_LIST, 12666, await written(admin, content)) == status
    assert trusted(site) == {"other"}
    await opened(admin, 6)


async def test_a_certificate_that_issues_nothing_is_no_issuer(site: Site, admin: Client) -> None:
    handle = await written(admin, trust_list(IssuerCertificates=[own(site, "other")]))
    assert await refusal(admin, TRUST_LIST, 12666, handle) == "BadCertificateInvalid"
    assert await refusal(admin, TRUST_LIST, 12668, byte_string(own(site, "other")), False) == "BadCertificateInvalid"


async def test_single_certificates_come_and_go(site: Site, admin: Client) -> None:
    await call(admin, TRUST_LIST, 12668, byte_string(own(site, "stranger")), True)
    assert trusted(site) == {"stranger"}
    mark = thumbprint(parse(own(site, "stranger")))
    assert await refusal(admin, TRUST_LIST, 12670, text(mark[:10]), True) == "BadInvalidArgument"
    await call(admin, TRUST_LIST, 12670, text(mark.upper()), True)
    assert trusted(site) == set()
    assert await refusal(admin, TRUST_LIST, 12668, byte_string(b"nonsense"), True) == "BadCertificateInvalid"


async def test_handles_are_their_openers_only_few_and_gone_with_the_session(site: Site, admin: Client) -> None:
    handle = await opened(admin, 1)
    async with await site.client("other", user="admin", password=ADMIN) as other:
        assert await refusal(other, TRUST_LIST, 12650, handle) == "BadInvalidArgument"
        assert await refusal(other, TRUST_LIST, 12647, number(6, ua.VariantType.Byte)) == "BadNotWritable"
        assert await refusal(other, TRUST_LIST, 12655, handle, byte_string(b"x")) == "BadInvalidArgument"
        for _ in range(HANDLES_MAX - 1):
            await opened(other, 1)
        assert await refusal(other, TRUST_LIST, 12647, number(1, ua.VariantType.Byte)) == "BadResourceUnavailable"
    assert site.server.configuration.trust_list.open_count == 1
    assert await refusal(admin, TRUST_LIST, 12655, handle, byte_string(b"x")) == "BadNotWritable"
    assert await refusal(admin, TRUST_LIST, 12666, handle) == "BadInvalidState"
    await call(admin, TRUST_LIST, 12650, handle)
    writing = await opened(admin, 6)
    assert await refusal(admin, TRUST_LIST, 12647, number(1, ua.VariantType.Byte)) == "BadNotReadable"
    assert await refusal(admin, TRUST_LIST, 12668, byte_string(own(site, "other")), True) == "BadInvalidState"
    assert await refusal(admin, TRUST_LIST, 12652, writing, number(1, ua.VariantType.Int32)) == "BadInvalidState"
    assert await refusal(admin, TRUST_LIST, 12647, number(2, ua.VariantType.Byte)) == "BadInvalidArgument"


async def test_what_is_written_is_bounded(admin: Client) -> None:
    handle = await opened(admin, 6)
    half = byte_string(bytes(SIZE_MAX // 2))
    await call(admin, TRUST_LIST, 12655, handle, half)
    await call(admin, TRUST_LIST, 12655, handle, half)
    assert await refusal(admin, TRUST_LIST, 12655, handle, byte_string(b"x")) == "BadEncodingLimitsExceeded"


async def test_who_was_refused_is_told(site: Site, admin: Client) -> None:
    assert await call(admin, ROOT, 12777) == []
    with pytest.raises(ua.UaStatusCodeError):
        await (await site.client("stranger", user="anna", password=ANNA)).connect()
    assert await call(admin, ROOT, 12777) == [own(site, "stranger")]


# Independent clients.


async def run_peer(script: str, site: Site, user: str, password: str, *more: str) -> dict[str, Any]:
    certificate = site.directory / "certs" / "own" / "client.pem"
    key = site.directory / "certs" / "own" / "client.key.pem"
    arguments = [site.url, str(certificate), str(key), CLIENT_URI, user, password, *more]
    process = await asyncio.create_subprocess_exec(
        "node", script, *arguments, cwd=PEERS, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode == 0, err.decode()
    return dict(json.loads(out.decode().splitlines()[-1]))


@needs_node
async def test_node_opcua_pushes_a_certificate_and_a_trust_list(site: Site, tmp_path: Path) -> None:
    with pytest.raises(ua.UaStatusCodeError):
        await (await site.client("stranger", user="anna", password=ANNA)).connect()
    manager = manager_of("manager")
    (tmp_path / "issuer.der").write_bytes(manager.certificate)
    peer = asyncio.create_task(run_peer("push.cjs", site, "admin", ADMIN, str(tmp_path)))
    async with asyncio.timeout(60):
        while not (tmp_path / "request.der").exists() and not peer.done():
            await asyncio.sleep(0.05)
    if not peer.done():
        (tmp_path / "issued.tmp").write_bytes(manager.issue((tmp_path / "request.der").read_bytes()))
        (tmp_path / "issued.tmp").rename(tmp_path / "issued.der")
    result = await peer
    expected = {"rejected": 1, "before": 0, "applyNeeded": [False], "after": 1, "applyAfterUpdate": True, "certificate": True}
    assert result == expected
    assert trusted(site) == {"stranger"}
    assert site.server.security.certificate == (tmp_path / "issued.der").read_bytes()


@needs_node
async def test_node_opcua_talks_over_every_policy_and_mode(directory: Path) -> None:
    async with live_site(directory) as live:
        live.set("ess0/Soc", 42.0)
        result = await run_peer("policies.cjs", live.site, "anna", "open sesame")
    policies, modes = ("Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"), ("Sign", "SignAndEncrypt")
    assert result == {f"{policy} {mode}": [0, 42, 0, 42] for policy in policies for mode in modes}
