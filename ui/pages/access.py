"""The Users page: one's own password for everybody; users, roles and certificates for a SecurityAdmin.

All of it are methods of the server's object `security`, called in the person's own session, so the server decides and records.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any, Final

from nicegui.element import Element

from server.client import ClientError
from server.core.roles import GRANTED, Role

from ..looking import Following
from ..page import Page
from ..refusal import Refused
from ..visit import Visit

SECURITY: Final = "security"
EVERY_S: Final = 5.0
PASSWORD_LENGTH_MIN: Final = 10

_DOES: Final = {
    Role.OBSERVER: "Sees everything, changes nothing.",
    Role.OPERATOR: "Takes manual override, stops the site, acknowledges alarms.",
    Role.ENGINEER: "Sets devices and controllers, reads the journal.",
    Role.SUPERVISOR: "Finalises bills and manages tenants.",
    Role.CONFIGURE_ADMIN: "Changes the configuration, reads journal and audit trail.",
    Role.CONTROLLER: "For programs: proposes constraints as a foreign controller.",
    Role.BRIDGE: "For programs: control on another host; decides every set-point where the site has none of its own.",
    Role.SECURITY_ADMIN: "Manages users and certificates, reads the audit trail.",
}
_REFUSALS: Final = {
    ("AddUser", "BadAlreadyExists"): "There is a user of this name already.",
    ("AddUser", "BadInvalidArgument"): "A name has letters, digits and . _ @ -, at most 64 of them, and a user needs a role.",
    ("SetRoles", "BadInvalidArgument"): "A user needs at least one role.",
    ("SetRoles", "BadInvalidState"): "This is the last SecurityAdmin; give the role to another user first.",
    ("RemoveUser", "BadInvalidState"): "This is the last SecurityAdmin; give the role to another user first.",
    ("RemoveUser", "BadInvalidSelfReference"): "You cannot remove yourself.",
    ("ChangeOwnPassword", "BadUserAccessDenied"): "The old password is not right.",
    ("ChangeOwnPassword", "BadIdentityTokenRejected"): "The old password is not right.",
    ("ChangeOwnPassword", "BadOutOfRange"): f"A password has {PASSWORD_LENGTH_MIN} characters or more.",
    ("ChangeOwnPassword", "BadAlreadyExists"): "The new password is the old one.",
    ("TrustCertificate", "BadNotFound"): "This certificate is not among the rejected ones any more.",
    ("RejectCertificate", "BadNotFound"): "This certificate is not among the trusted ones any more.",
}

log = logging.getLogger("ems.ui")


class AccessDesk(Element, component="../static/ems_access.js"):
    """The whole page. Emits add, roles, reset, remove, password, trust and reject; `reveal` shows a one-time password."""

    def __init__(self, name: str, own: list[str], *, may: bool) -> None:
        super().__init__()
        roles = [{"name": str(role), "does": _DOES[role]} for role in GRANTED]
        self._props.update(name=name, own=own, roles=roles, may=may, shortest=PASSWORD_LENGTH_MIN)

    def reveal(self, user: str, password: str) -> None:
        """Show a one-time password; it is kept nowhere."""
        self.run_method("reveal", user, password)


class Registers(Following):
    """Users and certificates as the server lists them, asked now and then while somebody looks."""

    def __init__(self, visit: Visit) -> None:
        self.users: list[dict[str, Any]] = []
        self.certificates: list[dict[str, Any]] = []
        self._visit = visit

    async def read(self) -> None:
        """Ask now; what was known stays while the server is away."""
        client = self._visit.person.client
        try:
            self.users = users(*await client.call(SECURITY, "ListUsers"))
            self.certificates = certificates(*await client.call(SECURITY, "ListCertificates"))
        except ClientError as error:
            log.info("users and certificates wait: %s", error)
        self._visit.changed()

    async def _follow(self) -> None:
        while True:
            await self.read()
            await asyncio.sleep(EVERY_S)


def users(names: list[str], roles: list[str], states: list[str]) -> list[dict[str, Any]]:
    """Rows of the table of users."""
    rows = zip(names, roles, states, strict=True)
    return [{"name": n, "roles": [r for r in given.split(", ") if r], "state": state} for n, given, state in rows]


def certificates(
    thumbprints: list[str], subjects: list[str], uris: list[str], states: list[str], ends: list[datetime]
) -> list[dict[str, Any]]:
    """Rows of the table of certificates: what waits for a decision first, then those trusted, the site's own, authorities."""
    order = {"rejected": 0, "trusted": 1, "own": 2}
    rows = [_certificate(*row) for row in zip(thumbprints, subjects, uris, states, ends, strict=True)]
    return sorted(rows, key=lambda row: (order.get(row["state"], 3), row["name"], row["thumbprint"]))


def _certificate(thumbprint: str, subject: str, uri: str, state: str, end: datetime) -> dict[str, Any]:
    days = (end.replace(tzinfo=end.tzinfo or UTC) - datetime.now(UTC)).days
    return {"thumbprint": thumbprint, "name": subject, "uri": uri or "", "state": state, "until": f"{end:%Y-%m-%d}", "days": days}


async def show(visit: Visit) -> None:
    """Build the page for one tab of a person."""
    registers = Registers(visit)
    may = visit.may(Role.SECURITY_ADMIN)
    if may:
        await registers.read()
        visit.attach(registers)
    visit.values(lambda: {"users": registers.users, "trust": registers.certificates})
    desk = AccessDesk(visit.person.name, sorted(map(str, visit.person.roles)), may=may)
    Deeds(visit, desk, registers).offer()


class Deeds:
    """What a person does on the page, each a method of the server."""

    def __init__(self, visit: Visit, desk: AccessDesk, registers: Registers) -> None:
        self._visit = visit
        self._desk = desk
        self._registers = registers

    def offer(self) -> None:
        """Listen to the page."""
        for name, deed in (
            ("add", self._add), ("roles", self._roles), ("reset", self._reset), ("remove", self._remove),
            ("password", self._password), ("trust", self._trust), ("reject", self._reject),
        ):  # fmt: skip
            self._visit.on(self._desk, name, deed)

    async def _call(self, method: str, *arguments: str) -> list[Any]:
        try:
            found = await self._visit.person.client.call(SECURITY, method, *arguments)
        except ClientError as error:
            words = _REFUSALS.get((method, error.status))
            raise Refused(words) if words else error from None
        if self._visit.may(Role.SECURITY_ADMIN):
            await self._registers.read()
        return found

    async def _add(self, wish: dict[str, Any]) -> str:
        name = str(wish["name"]).strip()
        (password,) = await self._call("AddUser", name, ",".join(map(str, wish["roles"])))
        self._desk.reveal(name, password)
        return f"{name} was added."

    async def _roles(self, wish: dict[str, Any]) -> str:
        await self._call("SetRoles", str(wish["name"]), ",".join(map(str, wish["roles"])))
        return f"{wish['name']} has other roles now."

    async def _reset(self, wish: dict[str, Any]) -> str:
        (password,) = await self._call("ResetPassword", str(wish["name"]))
        self._desk.reveal(str(wish["name"]), password)
        return f"{wish['name']} has a new one-time password."

    async def _remove(self, wish: dict[str, Any]) -> str:
        await self._call("RemoveUser", str(wish["name"]))
        return f"{wish['name']} was removed."

    async def _password(self, wish: dict[str, Any]) -> str:
        await self._call("ChangeOwnPassword", str(wish["old"]), str(wish["new"]))
        self._visit.person.client.use_password(str(wish["new"]))
        return "Your password is changed."

    async def _trust(self, wish: dict[str, Any]) -> str:
        await self._call("TrustCertificate", str(wish["thumbprint"]))
        return f"{wish['name']} is trusted from now on."

    async def _reject(self, wish: dict[str, Any]) -> str:
        await self._call("RejectCertificate", str(wish["thumbprint"]))
        return f"{wish['name']} is not trusted any more; its connections are closed."


PAGE = Page("/users", "Users", icon="users", key="u", place=70, show=show)
