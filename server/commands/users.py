"""`ems users`: add, remove and list users."""

from __future__ import annotations

import argparse
import getpass
import sys
from pathlib import Path
from typing import Any

from server.core.errors import EmsError
from server.core.roles import GRANTED

from . import OK, add_dir, command, find_site, table


def add(commands: Any) -> None:
    """The subcommand `ems users`."""
    parser = command(
        commands,
        "users",
        "add, remove and list users",
        "ems users add anna --role Operator",
        "echo $PASSWORD | ems users add anna --role Operator --password-stdin",
        "ems users add gateway --role Observer --certificate gateway.der",
        "ems users list",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    add = command(actions, "add", "add a user; the password is asked for", "ems users add anna --role Observer --role Operator")
    add.add_argument("name")
    add.add_argument(
        "--role", action="append", default=[], choices=[str(role) for role in GRANTED], help="may be given several times"
    )
    add.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
    add.add_argument("--certificate", type=Path, help="the user logs in with this certificate (DER or PEM), not with a password")
    scope = add.add_mutually_exclusive_group()
    scope.add_argument(
        "--scope", action="append", default=[], help="show only what belongs to this tenant; may be given several times"
    )
    scope.add_argument("--whole-site", action="store_true", help="show the whole site again")
    add.add_argument("--replace", action="store_true", help="change a user that exists")
    add.set_defaults(do=_users_add)
    remove = command(actions, "remove", "remove a user", "ems users remove anna")
    remove.add_argument("name")
    remove.set_defaults(do=_users_remove)
    listing = command(actions, "list", "list users and their roles", "ems users list --dir site")
    listing.set_defaults(do=_users_list)
    for action in (add, remove, listing):
        add_dir(action)


def _users_add(options: argparse.Namespace) -> int:
    from server.runtime.users import UserError, Users, check_roles

    users = Users(find_site(options))
    exists = options.name in users
    if exists and not options.replace:
        raise UserError(f"there is a user {options.name} already; --replace changes it")
    if not exists:
        check_roles(options.role)
    certificate = _read_certificate(options.certificate) if options.certificate else b""
    password = "" if certificate else _ask_password(stdin=options.password_stdin)
    change = users.change if exists else users.add
    account = change(options.name, roles=options.role, password=password, certificate=certificate)
    if options.scope or options.whole_site:
        account = users.confine(options.name, options.scope or None)
    _note(options, "change" if exists else "add", options.name, roles=sorted(account.roles), scope=sorted(account.scope or ()))
    print(f"user {account.name}: {', '.join(sorted(account.roles))}")
    return OK


def _read_certificate(path: Path) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    from certs.certificate import read

    return read(path).public_bytes(Encoding.DER)


def _ask_password(*, stdin: bool) -> str:
    if stdin:
        return sys.stdin.readline().rstrip("\r\n")
    try:
        password, again = getpass.getpass("password: "), getpass.getpass("again: ")
    except EOFError:
        raise EmsError("nobody is there to type the password; --password-stdin reads it from standard input") from None
    if again != password:
        raise EmsError("the two are not the same")
    return password


def _users_remove(options: argparse.Namespace) -> int:
    from server.runtime.users import Users

    Users(find_site(options)).remove(options.name)
    _note(options, "remove", options.name)
    print(f"user {options.name} was removed")
    return OK


def _note(options: argparse.Namespace, action: str, name: str, **fields: Any) -> None:
    from server.runtime import audit
    from server.runtime.secrets import who

    audit.append(find_site(options), "users", action=action, name=name, user=who(), **fields)


def _proof(user: Any) -> str:
    if user.certificate_sha256:
        return "certificate"
    return "one-time password" if user.one_time else "password"


def _users_list(options: argparse.Namespace) -> int:
    from server.runtime.users import Users

    known = Users(find_site(options))
    rows = [(u.name, _proof(u), ", ".join(sorted(u.roles)), ", ".join(sorted(u.scope or ["whole site"]))) for u in known]
    print(table(("name", "logs in by", "roles", "sees"), rows))
    return OK
