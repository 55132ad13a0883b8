"""The roles people and services have, by the names of OPC UA Part 18. What each may do is said where access is decided."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """A well-known role, as written in users.toml."""

    ANONYMOUS = "Anonymous"
    """Discovery only; nobody is given it, everybody without a login has it."""
    OBSERVER = "Observer"
    """Reads."""
    OPERATOR = "Operator"
    """Reads, sets set-points by hand, acknowledges."""
    ENGINEER = "Engineer"
    """Configures devices and controllers."""
    SUPERVISOR = "Supervisor"
    """Finalises bills, manages tenants."""
    CONFIGURE_ADMIN = "ConfigureAdmin"
    """Changes the configuration of the server."""
    SECURITY_ADMIN = "SecurityAdmin"
    """Manages certificates and users."""


GRANTED = tuple(role for role in Role if role is not Role.ANONYMOUS)
"""Roles a user can be given."""
