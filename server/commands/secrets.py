"""`ems secrets`: the encrypted passwords and tokens of entries."""

from __future__ import annotations

import argparse
import getpass
import sys
from typing import Any

from server.core.errors import EmsError

from . import OK, add_dir, command, find_site, table


def add(commands: Any) -> None:
    """The subcommand `ems secrets`."""
    parser = command(
        commands,
        "secrets",
        "set and rotate the encrypted secrets of entries",
        "ems secrets list",
        "ems secrets set broker0 password             asks for it",
        "echo $TOKEN | ems secrets set car0 token --stdin",
        "ems secrets rotate                           a new key; everything is encrypted under it",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = command(
        actions, "list", "list the secrets of all entries and how they are kept, never their values", "ems secrets list"
    )
    listing.set_defaults(do=_list)
    put = command(actions, "set", "write a secret, encrypted, into an entry", "ems secrets set broker0 password")
    put.add_argument("entry", help="alias of the entry")
    put.add_argument("field", help="name of the setting, such as password or broker.password")
    put.add_argument("--stdin", action="store_true", help="read it from standard input")
    put.set_defaults(do=_set)
    rotate = command(actions, "rotate", "make a new key and encrypt everything under it", "ems secrets rotate")
    rotate.set_defaults(do=_rotate)
    for action in (listing, put, rotate):
        add_dir(action)


def _list(options: argparse.Namespace) -> int:
    from server.runtime.secret_entries import held

    rows = held(find_site(options))
    print(table(("entry", "field", "state"), rows) if rows else "no entry has secrets")
    return OK


def _set(options: argparse.Namespace) -> int:
    from server.runtime import audit
    from server.runtime.secret_entries import EVENT, keeper
    from server.runtime.secrets import put, who

    directory = find_site(options)
    source = keeper(directory, options.entry, options.field)
    put(directory, source, options.field, _ask(stdin=options.stdin))
    audit.append(directory, EVENT, action="set", entry=options.entry, fields=[options.field], user=who())
    print(f"{source.shown}: {options.field} is set; it counts from the next start of the site on")
    return OK


def _ask(*, stdin: bool) -> str:
    try:
        secret = sys.stdin.readline().rstrip("\r\n") if stdin else getpass.getpass("secret: ")
    except EOFError:
        raise EmsError("nobody is there to type the secret; --stdin reads it from standard input") from None
    if not secret:
        raise EmsError("an empty secret is none")
    return secret


def _rotate(options: argparse.Namespace) -> int:
    from server.runtime.secret_entries import rotate

    done = rotate(find_site(options))
    print(f"encrypted under a new key: {', '.join(done) or 'nothing, no entry has secrets'}")
    return OK
