"""Users and certificates are managed over OPC UA, by a SecurityAdmin, and every change counts at once."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from opcua_model import at, site_layout
from opcua_peer import Peer
from opcua_site import Site, running

from server.client import Client, ClientError, Identity
from server.opcua.policy import offer
from server.runtime.users import Users

ADMIN, ANNA = "correct horse battery", "anna's own words"
SECRET = "a new long password"
LIST_USERS, CHANGE = at("security/ListUsers"), at("security/ChangeOwnPassword")


@pytest.fixture(scope="module")
def with_users(tmp_path_factory: pytest.TempPathFactory, certificates: Path) -> Path:
    """The certificates, and two users: hashing a password takes its time."""
    folder = tmp_path_factory.mktemp("users") / "site"
    shutil.copytree(certificates, folder)
    users = Users(folder)
    users.add("admin", ["SecurityAdmin", "Observer"], password=ADMIN)
    users.add("anna", ["Operator"], password=ANNA)
    return folder


@pytest.fixture
async def site(with_users: Path, tmp_path: Path) -> AsyncIterator[Site]:
    """A running server that reads its users from users.toml."""
    directory = tmp_path / "site"
    shutil.copytree(with_users, directory)
    async with running(directory, site_layout(), users=Users(directory)) as site:
        yield site


@contextlib.asynccontextmanager
async def logged_in(site: Site, user: str = "admin", password: str = ADMIN, name: str = "client") -> AsyncIterator[Client]:
    own = site.directory / "certs" / "own"
    identity = Identity(
        site.url,
        own / f"{name}.der",
        own / f"{name}.key.pem",
        ca=site.directory / "certs" / "ca" / "ca.pem",
        user=user,
        password=password,
    )
    async with Client(identity) as client:
        yield client


async def status(work: Any) -> str:
    with pytest.raises(ClientError) as refused:
        await work
    return refused.value.status


async def until_closed(client: Client) -> None:
    async with asyncio.timeout(10):
        while client.state == "connected":
            await asyncio.sleep(0.02)


async def test_an_admin_adds_a_user_who_chooses_a_password_of_his_own_before_anything_else(site: Site) -> None:
    async with logged_in(site) as admin:
        (password,) = await admin.call("security", "AddUser", "otto", "Observer, Operator")
        names, roles, states = await admin.call("security", "ListUsers")
        assert (names, roles) == (["admin", "anna", "otto"], ["Observer, SecurityAdmin", "Operator", "Observer, Operator"])
        assert states == ["password, logged in", "password", "one-time password"]

        async with logged_in(site, "otto", password) as otto:
            assert (await otto.read(["site/Mode"]))[0].StatusCode.name == "BadUserAccessDenied"
            assert await status(otto.call("security", "ChangeOwnPassword", "wrong", SECRET)) == "BadUserAccessDenied"
            assert await status(otto.call("security", "ChangeOwnPassword", password, "short")) == "BadOutOfRange"
            await otto.call("security", "ChangeOwnPassword", password, SECRET)
            assert (await otto.read(["site/Mode"]))[0].StatusCode.name != "BadUserAccessDenied", "his roles count at once"
        async with logged_in(site, "otto", SECRET):
            assert (await admin.call("security", "ListUsers"))[2][2] == "password, logged in"


async def test_a_one_time_password_is_told_as_such_at_login(site: Site) -> None:
    site.server.users.add("otto", ["Observer"], password="only once, please", one_time=True)  # type: ignore[attr-defined]
    async with Peer(site.port) as peer:
        await peer.ready(site.directory)
        await peer.create_session()
        peer.call, results = _noting(peer.call)  # type: ignore[method-assign]
        await peer.activate("otto", "only once, please")
        assert results == ["GoodPasswordChangeRequired"]


def _noting(call: Any) -> tuple[Any, list[str]]:
    results: list[str] = []

    async def noting(request: Any) -> Any:
        response = await call(request)
        results.append(response.ResponseHeader.ServiceResult.name)
        return response

    return noting, results


async def test_a_removed_user_is_out_at_once_and_changed_roles_count_at_once(site: Site) -> None:
    async with logged_in(site) as admin, logged_in(site, "anna", ANNA) as anna:
        await admin.call("security", "SetRoles", "anna", "SecurityAdmin")
        assert (await anna.call("security", "ListUsers"))[0] == ["admin", "anna"]
        await admin.call("security", "SetRoles", "anna", "Observer")
        assert await status(anna.call("security", "ListUsers")) == "BadUserAccessDenied"
        await admin.call("security", "RemoveUser", "anna")
        assert await status(anna.read(["site/Mode"])) in ("BadSessionIdInvalid", "BadNotConnected", "BadSessionClosed")
    assert "anna" not in (site.directory / "users.toml").read_text()


async def test_a_password_that_was_reset_lets_in_once_and_unlocks(site: Site) -> None:
    async with logged_in(site) as admin:
        for _ in range(4):
            with contextlib.suppress(ClientError):
                async with logged_in(site, "anna", "a wrong password"):
                    raise AssertionError("logged in")
        assert (await admin.call("security", "ListUsers"))[2][1] == "locked"
        (password,) = await admin.call("security", "ResetPassword", "anna")
        async with logged_in(site, "anna", password) as anna:
            await anna.call("security", "ChangeOwnPassword", password, SECRET)


@pytest.mark.parametrize(
    ("method", "arguments", "refusal"),
    [
        ("AddUser", ("anna", "Observer"), "BadAlreadyExists"),
        ("AddUser", ("not a name", "Observer"), "BadInvalidArgument"),
        ("AddUser", ("", "Observer"), "BadInvalidArgument"),
        ("AddUser", ("otto", "Root"), "BadInvalidArgument"),
        ("AddUser", ("otto", ""), "BadInvalidArgument"),
        ("AddUser", ("otto", "Anonymous"), "BadInvalidArgument"),
        ("SetRoles", ("nobody", "Observer"), "BadNotFound"),
        ("SetRoles", ("anna", ""), "BadInvalidArgument"),
        ("SetRoles", ("admin", "Observer"), "BadInvalidState"),
        ("SetScope", ("admin", "tenant-a"), "BadInvalidState"),
        ("SetScope", ("nobody", "tenant-a"), "BadNotFound"),
        ("SetScope", ("anna", "*"), "BadInvalidArgument"),
        ("RemoveUser", ("admin",), "BadInvalidSelfReference"),
        ("RemoveUser", ("nobody",), "BadNotFound"),
        ("ResetPassword", ("nobody",), "BadNotFound"),
        ("ChangeOwnPassword", (ADMIN, ADMIN), "BadAlreadyExists"),
        ("ChangeOwnPassword", ("wrong", SECRET), "BadUserAccessDenied"),
        ("ChangeOwnPassword", (ADMIN, "x" * 2000), "BadOutOfRange"),
        ("TrustCertificate", ("0123456789",), "BadNotFound"),
        ("TrustCertificate", ("",), "BadNotFound"),
        ("RejectCertificate", ("0123456789",), "BadNotFound"),
    ],
)
async def test_a_change_that_makes_no_sense_is_refused_with_its_reason(
    site: Site, method: str, arguments: tuple[str, ...], refusal: str
) -> None:
    before = (site.directory / "users.toml").read_bytes()
    async with logged_in(site) as admin:
        assert await status(admin.call("security", method, *arguments)) == refusal
    assert (site.directory / "users.toml").read_bytes() == before


async def test_who_is_no_security_admin_does_not_even_see_the_methods_but_one(site: Site) -> None:
    async with logged_in(site, "anna", ANNA) as anna:
        assert [r.name for r in await anna.browse("security")] == ["ChangeOwnPassword"]
        assert await status(anna.call("security", "ListUsers")) == "BadUserAccessDenied"
        assert await status(anna.call("security", "AddUser", "otto", "Observer")) == "BadNodeIdUnknown"


async def test_users_are_managed_over_encrypted_channels_only(site: Site) -> None:
    client = await site.client(user="admin", password=ADMIN, mode=ua.MessageSecurityMode.Sign)
    async with client:
        security = client.get_node("ns=4;s=security")
        with pytest.raises(ua.uaerrors.BadSecurityModeInsufficient):
            await security.call_method(LIST_USERS)
        with pytest.raises(ua.uaerrors.BadSecurityModeInsufficient):
            await security.call_method(CHANGE, ADMIN, SECRET)
        assert await security.get_children() == []


async def test_a_client_that_was_refused_is_trusted_by_one_call_and_rejected_by_another(site: Site) -> None:
    async with logged_in(site) as admin:
        with pytest.raises(ClientError):
            async with logged_in(site, name="stranger"):
                pass
        thumbprints, subjects, uris, states, not_after = await admin.call("security", "ListCertificates")
        assert {"own", "issuer", "rejected"} <= set(states)
        at = states.index("rejected")
        assert (subjects[at], uris[at], not_after[at].year > 2020) == ("stranger", "urn:test:stranger", True)
        await admin.call("security", "TrustCertificate", thumbprints[at][:8])
        async with logged_in(site, name="stranger") as stranger:
            assert await stranger.read(["i=2256"])
            await admin.call("security", "RejectCertificate", thumbprints[at])
            await until_closed(stranger)
        with pytest.raises(ClientError):
            async with logged_in(site, name="stranger"):
                pass


async def test_no_password_is_in_the_audit_trail(site: Site) -> None:
    async with logged_in(site) as admin:
        (password,) = await admin.call("security", "AddUser", "otto", "Observer")
        await admin.call("security", "ChangeOwnPassword", ADMIN, SECRET)
    trail = str(site.audited())
    assert "security/AddUser" in trail
    assert "security/ChangeOwnPassword" in trail
    assert not [word for word in (password, ADMIN, SECRET) if word in trail]


async def test_the_methods_carry_their_arguments(site: Site) -> None:
    async with logged_in(site) as admin:
        nodes = ["security/AddUser/InputArguments", "security/AddUser/OutputArguments", "security/ListUsers/OutputArguments"]
        found = [[a.Name for a in v.Value.Value] for v in await admin.read(nodes)]
        assert found == [["Name", "Roles"], ["Password"], ["Names", "Roles", "States"]]


async def test_a_site_that_only_signs_has_no_such_methods(with_users: Path, tmp_path: Path) -> None:
    directory = tmp_path / "signing"
    shutil.copytree(with_users, directory)
    async with running(directory, site_layout(), offer=offer(modes=["Sign"]), users=Users(directory)) as site:
        client = await site.client(user="admin", password=ADMIN, mode=ua.MessageSecurityMode.Sign)
        async with client:
            with pytest.raises(ua.uaerrors.BadSecurityModeInsufficient):
                await client.get_node("ns=4;s=security").call_method(LIST_USERS)
