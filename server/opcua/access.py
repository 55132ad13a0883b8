"""Who may do what: one table from a node's permission class and a role to the permission bits of Part 3, 8.55.

A node belongs to one class (`Node.permissions`); a user has roles (Part 18); what a user may do is the union over the
roles. A class, role or permission that is not in the table means no. Only SecurityAdmin sees what other roles may do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import IntFlag, StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from asyncua import ua

from server.core.roles import Role

if TYPE_CHECKING:
    from .nodes import Node
    from .session import User


class Permission(IntFlag):
    """Bits of PermissionType (Part 3, 8.55) that the server grants."""

    BROWSE = 1 << 0
    READ_ROLE_PERMISSIONS = 1 << 1
    READ = 1 << 5
    WRITE = 1 << 6
    READ_HISTORY = 1 << 7
    INSERT_HISTORY = 1 << 8
    MODIFY_HISTORY = 1 << 9
    DELETE_HISTORY = 1 << 10
    RECEIVE_EVENTS = 1 << 11
    CALL = 1 << 12


class Kind(StrEnum):
    """Permission class of a node."""

    STANDARD = "standard"
    """Types, and what the Server object says about itself."""
    MEASURE = "measure"
    """What the site measures and computes, and the objects that hold it."""
    SETPOINT = "setpoint"
    """Wishes an operator may write."""
    PARAMETER = "parameter"
    """Settings of controllers."""
    OPERATE = "operate"
    """Methods of daily operation: mode, override, emergency stop."""
    CONFIGURE = "configure"
    """Methods that change how the site is controlled."""
    PROPOSE = "propose"
    """Methods of foreign controllers: what they ask for is arbitrated."""
    REMOTE = "remote"
    """Methods by which control on another host decides."""
    PLAN = "plan"
    """Methods that hand in schedules, forecasts and prices."""
    SECURITY = "security"
    """Users, certificates, and what they do. Only over an encrypted channel."""
    OWN = "own"
    """What a user may do to himself. Only over an encrypted channel."""


_SEE: Final = Permission.BROWSE | Permission.READ | Permission.READ_HISTORY | Permission.RECEIVE_EVENTS
_SEE_ROLES: Final = _SEE | Permission.READ_ROLE_PERMISSIONS
_CHANGE: Final = _SEE | Permission.WRITE
_RUN: Final = _SEE | Permission.CALL

_OPEN: Final = [str(kind) for kind in Kind if kind is not Kind.SECURITY]
_SELF: Final[dict[str, Permission]] = {Kind.OWN: Permission.BROWSE | Permission.READ | Permission.CALL}
_OBSERVE: Final[dict[str, Permission]] = dict.fromkeys(_OPEN, _SEE) | {Kind.STANDARD: _RUN, Kind.OWN: _RUN}
_OPERATE: Final[dict[str, Permission]] = _OBSERVE | {Kind.SETPOINT: _CHANGE, Kind.OPERATE: _RUN}
_CORRECT: Final = Permission.INSERT_HISTORY | Permission.MODIFY_HISTORY | Permission.DELETE_HISTORY
_ENGINEER: Final[dict[str, Permission]] = _OPERATE | {
    Kind.MEASURE: _SEE | _CORRECT,
    Kind.SETPOINT: _CHANGE | _CORRECT,
    Kind.PARAMETER: _CHANGE,
    Kind.CONFIGURE: _RUN,
    Kind.PLAN: _RUN,
}

_RUN_ROLES: Final = _RUN | _SEE_ROLES
_AUDIT: Final[dict[str, Permission]] = dict.fromkeys(map(str, Kind), _SEE_ROLES) | dict.fromkeys(
    (Kind.STANDARD, Kind.SECURITY, Kind.OWN), _RUN_ROLES
)

GRANTS: Final[Mapping[Role, Mapping[str, Permission]]] = {
    Role.ANONYMOUS: _SELF,
    Role.OBSERVER: _OBSERVE,
    Role.OPERATOR: _OPERATE,
    Role.SUPERVISOR: _OPERATE,
    Role.ENGINEER: _ENGINEER,
    Role.CONFIGURE_ADMIN: _OBSERVE | {Kind.PARAMETER: _CHANGE, Kind.CONFIGURE: _RUN, Kind.PLAN: _RUN},
    Role.SECURITY_ADMIN: _AUDIT,
    Role.CONTROLLER: _OBSERVE | {Kind.PROPOSE: _RUN, Kind.PLAN: _RUN},
    Role.BRIDGE: _OBSERVE | {Kind.REMOTE: _RUN},
}
"""Observers may call the methods of the Server object: they concern only the caller's own subscriptions.

Nobody without a login gets a session. Who must first change a one-time password has one as Anonymous until then.
"""

EVERYBODYS: Final = ""
"""Tenant of what every user sees: types, the Server object, the folders that lead to devices."""
WHOLE_SITE: Final = "*"
"""Tenant of what belongs to no tenant: seen by users of the whole site."""

ENCRYPTED: Final = (Kind.SECURITY, Kind.OWN)
"""Classes whose secrets must not be read on the wire."""


_SECRET: Final = re.compile(r"ServerConfiguration(_.*)?|WellKnownRole_[^_]+_(Add|Remove)?Identit(y|ies)(_.*)?")
SECRET: Final = frozenset(number for name, number in vars(ua.ObjectIds).items() if _SECRET.fullmatch(name))
"""The standard's nodes by which users and certificates are managed."""

METHODS: Final[Mapping[int, Kind]] = {
    **dict.fromkeys(
        (
            ua.ObjectIds.AcknowledgeableConditionType_Acknowledge,
            ua.ObjectIds.AcknowledgeableConditionType_Confirm,
            ua.ObjectIds.ConditionType_AddComment,
            ua.ObjectIds.AlarmConditionType_Reset,
            ua.ObjectIds.AlarmConditionType_ShelvingState_TimedShelve,
            ua.ObjectIds.AlarmConditionType_ShelvingState_OneShotShelve,
            ua.ObjectIds.AlarmConditionType_ShelvingState_Unshelve,
            ua.ObjectIds.ShelvedStateMachineType_TimedShelve,
            ua.ObjectIds.ShelvedStateMachineType_OneShotShelve,
            ua.ObjectIds.ShelvedStateMachineType_Unshelve,
        ),
        Kind.OPERATE,
    ),
    **dict.fromkeys(
        (
            ua.ObjectIds.ConditionType_Enable,
            ua.ObjectIds.ConditionType_Disable,
            ua.ObjectIds.AlarmConditionType_Suppress,
            ua.ObjectIds.AlarmConditionType_Unsuppress,
        ),
        Kind.CONFIGURE,
    ),
}
"""Class of the methods that conditions have from the standard's types; its other methods are everybody's."""


@lru_cache(maxsize=1024)
def granted(roles: frozenset[str], kind: str) -> Permission:
    """What these roles together may do with a node of this class."""
    bits = Permission(0)
    for role, kinds in GRANTS.items():
        if role in roles:
            bits |= kinds.get(kind, Permission(0))
    return bits


def permits(user: User, node: Node, permission: Permission) -> bool:
    """True when one of the user's roles grants all of `permission` on the node; unknown means no."""
    if not sees(user, node):
        return False
    return granted(user.roles, node.permissions) & permission == permission


def sees(user: User, node: Node) -> bool:
    """True when the node is in the user's scope, and what it holds may travel on his channel."""
    if node.permissions in ENCRYPTED and not user.encrypted:
        return False
    if user.scope is None:
        return True
    return node.permissions != Kind.SECURITY and (node.tenant == EVERYBODYS or node.tenant in user.scope)
