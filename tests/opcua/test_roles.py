"""Roles, permissions and restrictions as clients read them are those that are enforced; a full audit trail stops changes."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from asyncua import Client, ua
from opcua_model import at, site_layout
from opcua_site import Site, running

from server.core.roles import GRANTED, Role
from server.opcua.access import Permission
from server.opcua.role_permissions import ROLE_IDS
from server.runtime.users import Users

WORDS = "some words to log in"
SETPOINT, MEASURE, LIST_USERS = at("ess0/SetActivePower"), at("ess0/Soc"), at("security/ListUsers")
RESTRICTIONS = ua.AttributeIds.AccessRestrictions


@pytest.fixture(scope="module")
def with_users(tmp_path_factory: pytest.TempPathFactory, certificates: Path) -> Path:
    """A user for each role."""
    folder = tmp_path_factory.mktemp("roles") / "site"
    shutil.copytree(certificates, folder)
    users = Users(folder)
    for role in GRANTED:
        users.add(role.lower(), [role], password=WORDS)
    return folder


@pytest.fixture
async def site(with_users: Path, tmp_path: Path) -> AsyncIterator[Site]:
    directory = tmp_path / "site"
    shutil.copytree(with_users, directory)
    async with running(directory, site_layout(), users=Users(directory)) as site:
        yield site


@contextlib.asynccontextmanager
async def logged_in(site: Site, role: Role) -> AsyncIterator[Client]:
    async with await site.client(user=role.lower(), password=WORDS) as client:
        yield client


async def attribute(client: Client, node: ua.NodeId, attribute: ua.AttributeIds) -> Any:
    return (await client.get_node(node).read_attribute(attribute)).Value.Value


def bits(rows: list[ua.RolePermissionType], role: Role) -> Permission:
    found = [row.Permissions for row in rows if row.RoleId == ROLE_IDS[role]]
    return Permission(found[0]) if found else Permission(0)


async def test_a_user_reads_what_his_own_roles_may_and_it_is_so(site: Site) -> None:
    may_write = {Role.OPERATOR, Role.ENGINEER, Role.SUPERVISOR}
    value = ua.DataValue(ua.Variant(1.0, ua.VariantType.Double))
    for role in GRANTED:
        async with logged_in(site, role) as client:
            rows = await attribute(client, SETPOINT, ua.AttributeIds.UserRolePermissions)
            assert [row.RoleId for row in rows] == [ROLE_IDS[role]]
            assert (Permission.WRITE in bits(rows, role)) is (role in may_write)
            level = await attribute(client, SETPOINT, ua.AttributeIds.UserAccessLevel)
            assert bool(level & ua.AccessLevel.CurrentWrite.mask) is (role in may_write)
            with pytest.raises(ua.UaStatusCodeError) as refused:
                await client.get_node(SETPOINT).write_attribute(ua.AttributeIds.Value, value)
            expected = "BadInvalidState" if role in may_write else "BadUserAccessDenied"
            assert ua.StatusCode(refused.value.code).name == expected, "without an override nobody writes"


async def test_only_a_security_admin_reads_what_other_roles_may(site: Site) -> None:
    async with logged_in(site, Role.ENGINEER) as engineer:
        with pytest.raises(ua.uaerrors.BadUserAccessDenied):
            await attribute(engineer, SETPOINT, ua.AttributeIds.RolePermissions)
    async with logged_in(site, Role.SECURITY_ADMIN) as admin:
        rows = await attribute(admin, SETPOINT, ua.AttributeIds.RolePermissions)
        assert {row.RoleId for row in rows} == {ROLE_IDS[role] for role in GRANTED}
        assert Permission.WRITE in bits(rows, Role.OPERATOR)
        assert Permission.WRITE not in bits(rows, Role.OBSERVER)
        rows = await attribute(admin, LIST_USERS, ua.AttributeIds.RolePermissions)
        assert [Permission.CALL in bits(rows, role) for role in (Role.SECURITY_ADMIN, Role.ENGINEER)] == [True, False]


async def test_restrictions_are_those_that_are_enforced(site: Site) -> None:
    async with logged_in(site, Role.SECURITY_ADMIN) as admin:
        assert await attribute(admin, MEASURE, RESTRICTIONS) == 1 | 4, "signed, in a session"
        assert await attribute(admin, LIST_USERS, RESTRICTIONS) == 1 | 2 | 4 | 8, "and encrypted, to browse it too"
        assert await attribute(admin, ua.NodeId(12637), RESTRICTIONS) == 15
    client = await site.client(user="securityadmin", password=WORDS, mode=ua.MessageSecurityMode.Sign)
    async with client:
        assert await attribute(client, MEASURE, RESTRICTIONS) == 5
        with pytest.raises(ua.uaerrors.BadUserAccessDenied):
            await attribute(client, LIST_USERS, RESTRICTIONS)


def rule(name: str, kind: ua.IdentityCriteriaType = ua.IdentityCriteriaType.UserName) -> ua.Variant:
    return ua.Variant(ua.IdentityMappingRuleType(kind, name), ua.VariantType.ExtensionObject)


async def test_the_standards_roles_tell_who_has_them_and_change_it(site: Site) -> None:
    role = ROLE_IDS[Role.OPERATOR]
    identities = ua.NodeId(ua.ObjectIds.WellKnownRole_Operator_Identities)
    add = ua.NodeId(ua.ObjectIds.WellKnownRole_Operator_AddIdentity)
    remove = ua.NodeId(ua.ObjectIds.WellKnownRole_Operator_RemoveIdentity)
    async with logged_in(site, Role.SECURITY_ADMIN) as admin, logged_in(site, Role.OBSERVER) as observer:

        async def members() -> list[str]:
            return [r.Criteria for r in await admin.get_node(identities).read_value()]

        assert await members() == ["operator"]
        await admin.get_node(role).call_method(add, rule("observer"))
        assert await members() == ["observer", "operator"]
        level = await attribute(observer, SETPOINT, ua.AttributeIds.UserAccessLevel)
        assert level & ua.AccessLevel.CurrentWrite.mask, "it counts at once"
        await admin.get_node(role).call_method(remove, rule("observer"))
        assert await members() == ["operator"]
        for method, given, status in (
            (add, rule("operator"), "BadAlreadyExists"),
            (add, rule("nobody"), "BadNotFound"),
            (remove, rule("observer"), "BadNotFound"),
            (remove, rule("operator"), "BadInvalidState"),
            (add, rule("x", ua.IdentityCriteriaType.Anonymous), "BadNotSupported"),
        ):
            with pytest.raises(ua.UaStatusCodeError) as refused:
                await admin.get_node(role).call_method(method, given)
            assert ua.StatusCode(refused.value.code).name == status
        with pytest.raises(ua.uaerrors.BadUserAccessDenied):
            await observer.get_node(identities).read_value()
        with pytest.raises(ua.uaerrors.BadUserAccessDenied):
            await observer.get_node(role).call_method(add, rule("observer"))


async def test_the_last_admin_keeps_his_role(site: Site) -> None:
    remove = ua.NodeId(ua.ObjectIds.WellKnownRole_SecurityAdmin_RemoveIdentity)
    async with logged_in(site, Role.SECURITY_ADMIN) as admin:
        with pytest.raises(ua.uaerrors.BadInvalidState):
            await admin.get_node(ROLE_IDS[Role.SECURITY_ADMIN]).call_method(remove, rule("securityadmin"))


# The audit trail.


async def test_while_the_audit_trail_takes_nothing_nothing_is_changed_but_an_emergency_stop(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = ua.DataValue(ua.Variant(1, ua.VariantType.Int32))
    async with logged_in(site, Role.ENGINEER) as client:
        mode = client.get_node(at("site/Mode"))
        with monkeypatch.context() as patch:
            patch.setattr(type(site.server.audit_log), "accepts", False)
            with pytest.raises(ua.uaerrors.BadResourceUnavailable):
                await mode.write_attribute(ua.AttributeIds.Value, value)
            for target, method in (("peak0", "peak0/Disable"), ("site", "site/ReleaseManualOverride")):
                with pytest.raises(ua.uaerrors.BadResourceUnavailable):
                    await client.get_node(at(target)).call_method(at(method))
            assert site.image.writes == []
            assert await client.get_node(ua.NodeId(2259)).read_value() == 0, "reading goes on"
            await client.get_node(at("site")).call_method(at("site/EmergencyStop"))
            assert len(site.image.writes) == 1
        await mode.write_attribute(ua.AttributeIds.Value, value)
        assert len(site.image.writes) == 2


async def test_every_change_leaves_a_row_that_says_who_what_and_how_it_ended(site: Site) -> None:
    async with logged_in(site, Role.OPERATOR) as client:
        await client.get_node(at("site/Mode")).write_attribute(
            ua.AttributeIds.Value, ua.DataValue(ua.Variant(1, ua.VariantType.Int32))
        )
        with pytest.raises(ua.uaerrors.BadUserAccessDenied):
            await client.get_node(at("peak0")).call_method(at("peak0/Disable"))
    rows = {row["event"]: row for row in site.audited()}
    assert {"session-created", "session-activated", "write", "call", "session-closed"} <= set(rows)
    write, call = rows["write"], rows["call"]
    assert (write["user"], write["node"], write["value"], write["status"]) == ("operator", "ns=4;s=site/Mode", 1, "Good")
    assert (call["user"], call["method"], call["status"]) == ("operator", "ns=4;s=peak0/Disable", "BadUserAccessDenied")
    assert write["application"] == "urn:test:client"
