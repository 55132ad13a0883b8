"""Roles as nodes name them, and what each may do as an attribute of nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from asyncua import ua

from server.core.roles import SERVICES, Role

from .access import GRANTS, granted
from .nodes import NS_TYPES, NS_UA
from .vocabulary import role_symbol, type_ids


def _node(role: Role) -> ua.NodeId:
    if role in SERVICES:
        return ua.NodeId(type_ids()[role_symbol(role)], NS_TYPES)
    return ua.NodeId(getattr(ua.ObjectIds, f"WellKnownRole_{role}"), NS_UA)


ROLE_IDS: Final[Mapping[Role, ua.NodeId]] = {role: _node(role) for role in Role}
"""Node of each role: the standard's (Part 18), or our own."""


def role_permissions(kind: str, roles: Iterable[str] | None = None) -> list[ua.RolePermissionType]:
    """The RolePermissions attribute of a node of this class, or with `roles` only their part (UserRolePermissions)."""
    shown = [r for r in GRANTS if r is not Role.ANONYMOUS and (roles is None or r in roles)]
    return [
        ua.RolePermissionType(RoleId=ROLE_IDS[r], Permissions=ua.PermissionType(granted(frozenset([r]), kind))) for r in shown
    ]
