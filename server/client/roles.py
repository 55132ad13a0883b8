"""The roles that the server gives the user of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncua import ua

from server.core.roles import SERVICES, Role

if TYPE_CHECKING:
    from .client import Client

_BY_ID: Final = {getattr(ua.ObjectIds, f"WellKnownRole_{role}"): role for role in Role if role not in SERVICES}


async def read_roles(client: Client) -> frozenset[Role]:
    """The user's roles, as the server tells them with the root of the site (UserRolePermissions); those of people."""
    (found,) = await client.read(["site"], ua.AttributeIds.UserRolePermissions)
    rows = found.Value.Value if found.Value is not None else None
    return frozenset(_BY_ID[row.RoleId.Identifier] for row in rows or () if row.RoleId.Identifier in _BY_ID)
