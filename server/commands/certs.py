"""`ems certs`: issue, trust, reject and list certificates."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from certs import TrustList, list_certificates
from server.core.errors import EmsError

from . import OK, add_dir, command, find_site, table


def add(commands: Any) -> None:
    """The subcommand `ems certs`."""
    parser = command(
        commands,
        "certs",
        "issue, trust and reject certificates",
        "ems certs list",
        "ems certs trust 3fa81f06          a client that was refused, by the start of its thumbprint",
        "ems certs trust scada.der         a certificate or authority from a file",
        "ems certs create gateway --host 10.0.0.5",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    create = command(actions, "create", "issue a certificate of the site's authority", "ems certs create server --days 400")
    create.add_argument("name", help="server, panel, historian, or the name of another application")
    create.add_argument("--host", action="append", default=[], help="a further name or address under which it is dialled")
    create.add_argument(
        "--uri", default="", help="ApplicationUri of the application; default: made from the site's id and the name"
    )
    create.add_argument("--days", type=int, default=825, help="how long it is valid (default 825)")
    create.set_defaults(do=_certs_create)
    for name, does, do in (
        ("trust", "trust a certificate: a refused one by its thumbprint, or one from a file", _certs_trust),
        ("reject", "take trust away from a certificate", _certs_reject),
    ):
        action = command(actions, name, does, f"ems certs {name} 3fa81f06")
        action.add_argument(
            "certificate", help="the first 4 or more characters of its thumbprint" + (", or a file" * (name == "trust"))
        )
        action.set_defaults(do=do)
        add_dir(action)
    listing = command(actions, "list", "list all certificates the site knows", "ems certs list --dir site")
    listing.set_defaults(do=_certs_list)
    add_dir(create)
    add_dir(listing)


def _certs_create(options: argparse.Namespace) -> int:
    from server.runtime.config import NAME, read_site
    from server.runtime.create import issue_own

    directory = find_site(options)
    if not NAME.fullmatch(options.name):
        raise EmsError(f"'{options.name}' is not a name: lower-case letters, digits, - and _ (at most 32) are")
    file = read_site(directory)
    hosts = (*(file.opcua.hosts if options.name == "server" else ()), *options.host)
    issued = issue_own(directory, options.name, site_id=file.site.id, uri=options.uri, hosts=hosts, days=options.days)
    print(f"{issued}\n{issued.with_suffix('.pem')}\n{issued.with_suffix('.key.pem')}")
    return OK


def _certs_trust(options: argparse.Namespace) -> int:
    trust, file = TrustList(find_site(options)), Path(options.certificate)
    is_path = file.is_file() or file.suffix or len(file.parts) > 1
    print(f"trusted: {trust.trust_file(file) if is_path else trust.trust(options.certificate)}")
    return OK


def _certs_reject(options: argparse.Namespace) -> int:
    print(f"rejected: {TrustList(find_site(options)).reject(options.certificate)}")
    return OK


def _certs_list(options: argparse.Namespace) -> int:
    found = list_certificates(find_site(options))
    rows = [(c.state, c.thumbprint[:8], f"{c.not_after:%Y-%m-%d}", c.common_name, c.application_uri) for c in found]
    print(table(("state", "thumbprint", "valid until", "name", "application"), rows))
    return OK
