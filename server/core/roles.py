"""The roles people and services have: those of OPC UA Part 18, and two of our own for programs. What each may do is said where
access is decided."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """A role, as written in users.toml."""

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
    CONTROLLER = "Controller"
    """Reads, and proposes constraints: a foreign controller."""
    BRIDGE = "Bridge"
    """Reads, and decides set-points: the control process of a site whose control runs on another host."""


SERVICES = (Role.CONTROLLER, Role.BRIDGE)
"""Roles of the product's own namespace, for programs; nobody has them unless they are given by name."""

GRANTED = tuple(role for role in Role if role is not Role.ANONYMOUS)
"""Roles a user can be given."""

PEOPLES = tuple(role for role in GRANTED if role not in SERVICES)
"""Roles of people: those of the first administrator."""
