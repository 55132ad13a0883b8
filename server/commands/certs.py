"""`ems certs`: issue, renew, trust, reject, revoke and list certificates."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from certs import TrustList, list_certificates, renew_authority, revoke
from server.core.errors import EmsError

from . import OK, add_dir, command, find_site, table

_RENEW_DAYS = 90
_AUTHORITY = "ca"


def add(commands: Any) -> None:
    """The subcommand `ems certs`."""
    parser = command(
        commands,
        "certs",
        "issue, renew, trust, reject and revoke certificates",
        "ems certs list",
        "ems certs renew                   every certificate of our own that expires within 90 days",
        "ems certs trust 3fa81f06          a client that was refused, by the start of its thumbprint",
        "ems certs trust scada.der         a certificate or authority from a file",
        "ems certs create gateway --host 10.0.0.5",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add_create(actions)
    _add_renew(actions)
    for name, does, do in (
        ("trust", "trust a certificate: a refused one by its thumbprint, or one from a file", _trust),
        ("reject", "take trust away from a certificate", _reject),
        ("revoke", "revoke a certificate that the site's authority issued", _revoke),
    ):
        action = command(actions, name, does, f"ems certs {name} 3fa81f06")
        action.add_argument(
            "certificate", help="the first 4 or more characters of its thumbprint" + (", or a file" * (name == "trust"))
        )
        _finish(action, do)
    _finish(command(actions, "list", "list all certificates the site knows", "ems certs list --dir site"), _list)


def _add_create(actions: Any) -> None:
    create = command(actions, "create", "issue a certificate of the site's authority", "ems certs create server --days 400")
    create.add_argument("name", help="server, panel, historian, or the name of another application")
    create.add_argument("--host", action="append", default=[], help="a further name or address under which it is dialled")
    create.add_argument(
        "--uri", default="", help="ApplicationUri of the application; default: made from the site's id and the name"
    )
    create.add_argument("--days", type=int, default=825, help="how long it is valid (default 825)")
    _finish(create, _create)


def _add_renew(actions: Any) -> None:
    does = "issue certificates of our own anew; running parts take them up without losing sessions"
    renew = command(actions, "renew", does, "ems certs renew", "ems certs renew server --revoke", "ems certs renew ca")
    renew.add_argument(
        "name", nargs="*", help=f"server, panel, ..., or ca for the authority; default: what expires within {_RENEW_DAYS} days"
    )
    renew.add_argument("--days", type=int, default=825, help="how long the new ones are valid (default 825)")
    renew.add_argument("--revoke", action="store_true", help="revoke the old ones: their keys may have become known")
    _finish(renew, _renew)


def _finish(action: argparse.ArgumentParser, do: Callable[[argparse.Namespace], int]) -> None:
    action.set_defaults(do=do)
    add_dir(action)


def _create(options: argparse.Namespace) -> int:
    from server.runtime.config import NAME, read_site
    from server.runtime.create import issue_own

    directory = find_site(options)
    if not NAME.fullmatch(options.name):
        raise EmsError(f"'{options.name}' is not a name: lower-case letters, digits, - and _ (at most 32) are")
    file = read_site(directory)
    hosts = (*(file.opcua.hosts if options.name == "server" else ()), *options.host)
    issued = issue_own(directory, options.name, site_id=file.site.id, uri=options.uri, hosts=hosts, days=options.days)
    _note(directory, "create", options.name)
    print(f"{issued}\n{issued.with_suffix('.pem')}\n{issued.with_suffix('.key.pem')}")
    return OK


def _renew(options: argparse.Namespace) -> int:
    from server.runtime.create import renew_own

    directory = find_site(options)
    names = options.name or [
        _AUTHORITY if c.file.parent.name == _AUTHORITY else c.file.stem
        for c in list_certificates(directory)
        if (c.state == "own" or c.file.parent.name == _AUTHORITY) and c.days_left() < _RENEW_DAYS
    ]
    for name in names:
        file = (
            renew_authority(directory) if name == _AUTHORITY else renew_own(directory, name, options.days, revoke=options.revoke)
        )
        _note(directory, "renew", name)
        print(f"renewed: {file}")
    if not names:
        print(f"nothing expires within {_RENEW_DAYS} days; name what is to be renewed all the same")
    return OK


def _trust(options: argparse.Namespace) -> int:
    directory = find_site(options)
    trust, file = TrustList(directory), Path(options.certificate)
    is_path = file.is_file() or file.suffix or len(file.parts) > 1
    kept = trust.trust_file(file) if is_path else trust.trust(options.certificate)
    _note(directory, "trust", kept.name)
    print(f"trusted: {kept}")
    return OK


def _reject(options: argparse.Namespace) -> int:
    directory = find_site(options)
    kept = TrustList(directory).reject(options.certificate)
    _note(directory, "reject", kept.name)
    print(f"rejected: {kept}")
    return OK


def _revoke(options: argparse.Namespace) -> int:
    from certs.certificate import describe

    directory = find_site(options)
    gone = describe(revoke(directory, options.certificate))
    _note(directory, "revoke", gone)
    print(f"revoked: {gone}")
    return OK


def _list(options: argparse.Namespace) -> int:
    found = list_certificates(find_site(options))
    rows = [
        (c.state, c.thumbprint[:8], f"{c.not_after:%Y-%m-%d}", _left(c.days_left()), c.common_name, c.application_uri)
        for c in found
    ]
    print(table(("state", "thumbprint", "valid until", "left", "name", "application"), rows))
    return OK


def _left(days: int) -> str:
    from server.runtime.certificate_watch import WARN_DAYS

    return "EXPIRED" if days < 0 else f"{days} days{' (renew)' * (days < WARN_DAYS)}"


def _note(directory: Path, action: str, certificate: str) -> None:
    from server.runtime import audit
    from server.runtime.secrets import who

    audit.append(directory, "certificates", action=action, certificate=certificate, user=who())
