"""The standard's roles (Part 18): who has which, as security administrators see and change it.

    Server.ServerCapabilities.RoleSet.Operator.Identities            who has the role, by user name
                                              AddIdentity, RemoveIdentity

What a role may do is told by the attribute RolePermissions of each node. Changing identities changes users.toml, as the methods
of the object `security` do.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from asyncua import ua

from server.core.roles import GRANTED, SERVICES, Role
from server.runtime.users import UserError

from .metadata import Refused
from .nodes import NS_TYPES, Value
from .nodeset import code, node_id
from .role_permissions import ROLE_IDS
from .vocabulary import role_symbol, type_ids

if TYPE_CHECKING:
    from .call import Implementation, Outputs
    from .server import UaServer
    from .session import Session

_IDS: Final = ua.ObjectIds
_TYPE: Final = ua.VariantType
_CODES: Final = ua.StatusCodes
_USER_NAME: Final = ua.IdentityCriteriaType.UserName


def _member(role: Role, name: str) -> int:
    """Key of a member of the role's node in the compiled table."""
    if role in SERVICES:
        return code(NS_TYPES, type_ids()[f"{role_symbol(role)}/{name}"])
    return int(getattr(_IDS, f"WellKnownRole_{role}_{name}"))


_MEMBERS: Final = ("Identities", "AddIdentity", "RemoveIdentity", "AddIdentity/InputArguments", "RemoveIdentity/InputArguments")
SECRET: Final = frozenset(_member(role, name) for role in SERVICES for name in _MEMBERS)
"""Nodes by which our own roles are managed."""


def identities(role: Role, server: UaServer) -> ua.DataValue:
    """Everybody who has the role, one-time passwords or not."""
    names = [account.name for account in server.users if role in account.roles]
    rules = [ua.IdentityMappingRuleType(CriteriaType=_USER_NAME, Criteria=name) for name in names]
    return ua.DataValue(ua.Variant(rules, _TYPE.ExtensionObject, is_array=True))


async def _change(server: UaServer, session: Session, rule: Any, role: Role, *, add: bool) -> Outputs:
    if not isinstance(rule, ua.IdentityMappingRuleType) or rule.CriteriaType != _USER_NAME:
        raise Refused(int(_CODES.BadNotSupported))
    account = next((a for a in server.users if a.name == rule.Criteria), None)
    if account is None or (role in account.roles) == add:
        raise Refused(int(_CODES.BadNotFound if account is None or not add else _CODES.BadAlreadyExists))
    roles = account.roles | {role} if add else account.roles - {role}
    if not roles:
        raise Refused(int(_CODES.BadInvalidState))
    try:
        await server.identification.in_thread(partial(server.users.change, account.name, roles=roles))
    except UserError as error:
        raise Refused(int(_CODES.BadInvalidState)) from error
    server.recheck_users()
    return []


def values() -> dict[int, Value]:
    """Value of each variable of the roles, by key of the compiled table."""
    return {_member(role, "Identities"): partial(identities, role) for role in ROLE_IDS}


def implementations() -> dict[ua.NodeId, Implementation]:
    """What is called for each method node."""
    return {
        node_id(_member(role, f"{verb}Identity")): _implementation(role, add=verb == "Add")
        for role in GRANTED
        for verb in ("Add", "Remove")
    }


def _implementation(role: Role, *, add: bool) -> Implementation:
    return lambda server, session, _, arguments: _change(server, session, arguments[0], role, add=add)
