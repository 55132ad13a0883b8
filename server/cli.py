"""The command `ems`."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import importlib
import inspect
import json
import logging
import os
import platform
import subprocess
import sys
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from certs import CertificateError, TrustList, list_certificates
from server.core.errors import EmsError
from server.core.roles import GRANTED
from server.runtime.bus import NotRunning, request

OK, FAILED, USAGE, NOT_RUNNING = 0, 1, 2, 3
PANEL_WITHIN_S: Final = 60.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status: 0 done, 1 failed, 2 wrong usage, 3 the site is not running."""
    options = build_parser().parse_args(arguments)
    try:
        return int(options.do(options))
    except (EmsError, CertificateError) as error:
        print(error, file=sys.stderr)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        print(f"{place}{error.strerror or error}", file=sys.stderr)
    except KeyboardInterrupt:
        print(file=sys.stderr)
    return FAILED


def build_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands; each has examples in its help."""
    parser = argparse.ArgumentParser(prog="ems", description="An energy management system on OPC UA.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_init(commands)
    _add_run(commands)
    _add_demo(commands)
    _add_certs(commands)
    _add_users(commands)
    _add_status(commands)
    _add_bench(commands)
    return parser


def _command(commands: Any, name: str, does: str, *examples: str) -> argparse.ArgumentParser:
    shown = "\n".join(f"  {line}" for line in examples)
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=does,
        description=f"{does[:1].upper()}{does[1:]}.",
        epilog=f"examples:\n{shown}" if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def _add_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dir", type=Path, help="the site; default: this folder, ./site or ./demo, whichever is one")


def _site(options: argparse.Namespace) -> Path:
    """The site that is meant. EmsError when there is none."""
    given: Path | None = options.dir
    places = [given] if given is not None else [Path("."), Path("site"), Path("demo")]
    for place in places:
        if (place / "site.toml").exists():
            return place.resolve()
    if given is not None:
        raise EmsError(f"{given} is no site: it has no site.toml; `ems init {given}` makes one")
    raise EmsError("there is no site here (./site.toml, ./site, ./demo); name one with --dir, or make one with `ems init DIR`")


# init


def _add_init(commands: Any) -> None:
    parser = _command(commands, "init", "make a new site", "ems init site", 'ems init /srv/ems --name "Head office"')
    parser.add_argument("directory", type=Path, metavar="DIR", help="a new or empty folder")
    parser.add_argument("--name", default="", help="what people call the site; default: the folder's name")
    parser.add_argument("--port", type=_port, default=4840, help="of the OPC UA server (default 4840)")
    parser.add_argument("--ui-port", type=_port, default=8443, help="of the panel (default 8443)")
    parser.set_defaults(do=_init)


def _init(options: argparse.Namespace) -> int:
    from server.runtime.create import ADMIN, create_site

    site = create_site(options.directory, name=options.name, port=options.port, ui_port=options.ui_port)
    print(f"site {site.id} was made in {site.directory}")
    print(f"user      {ADMIN}\npassword  {site.password}    (shown this once)")
    print(f"next: add entries to {site.directory / 'entries'}, then `ems run {options.directory}`")
    return OK


# run and demo


def _add_run(commands: Any) -> None:
    parser = _command(commands, "run", "run a site until Ctrl-C or SIGTERM", "ems run site", "ems run /srv/ems --verbose")
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--verbose", action="store_true", help="also tell what goes well")
    parser.set_defaults(do=_run)


def _run(options: argparse.Namespace) -> int:
    from server.runtime import supervisor

    _log_to_terminal(verbose=options.verbose)
    if not options.directory.is_dir():
        raise EmsError(f"{options.directory} is no folder; `ems init {options.directory}` makes a site")
    panel, opcua = _addresses(options.directory)
    supervisor.run(options.directory, lambda: _tell(f"panel {panel or '-'}   OPC UA {opcua}"))
    return OK


async def _tell(text: str) -> None:
    print(text, flush=True)


def _add_demo(commands: Any) -> None:
    parser = _command(
        commands,
        "demo",
        "run a whole site on a simulated plant",
        "ems demo",
        "ems demo --speed 60 --no-browser",
        "ems demo --dir /tmp/demo",
    )
    parser.add_argument("--dir", type=Path, default=Path("demo"), help="where the demo site is or will be (default ./demo)")
    parser.add_argument("--port", type=_port, help="of the OPC UA server; default 4840 or the next that is free")
    parser.add_argument("--ui-port", type=_port, help="of the panel; default 8443 or the next that is free")
    parser.add_argument("--no-browser", action="store_true", help="do not open the panel in a browser")
    parser.add_argument("--speed", type=_speed, help="simulated seconds per second, 0 to 3600")
    parser.add_argument("--verbose", action="store_true", help="also tell what goes well")
    parser.set_defaults(do=_demo)


def _demo(options: argparse.Namespace) -> int:
    from server.runtime import supervisor
    from server.runtime.create import ADMIN
    from server.runtime.demo import adapt_demo, make_demo

    _log_to_terminal(verbose=options.verbose)
    directory: Path = options.dir
    password = make_demo(directory)
    lost = f"as before (lost? `ems users add {ADMIN} --replace --dir {directory}`)"
    print(f"  site      {directory.resolve()}\n  user      {ADMIN}")
    print(f"  password  {password}    (shown this once)" if password else f"  password  {lost}", flush=True)
    for note in adapt_demo(directory, port=options.port, ui_port=options.ui_port, speed=options.speed):
        print(note)
    panel, opcua = _addresses(directory)
    print(f"  panel     {panel}\n  OPC UA    {opcua}\n  stop      Ctrl-C", flush=True)
    supervisor.run(directory, lambda: _open_panel(panel, browser=not options.no_browser))
    return OK


def _addresses(directory: Path) -> tuple[str, str]:
    from server.runtime.config import read_site
    from server.runtime.plan import opcua_endpoint, panel_address

    file = read_site(directory)
    return panel_address(file), opcua_endpoint(file)


async def _open_panel(address: str, *, browser: bool) -> None:
    """Wait until the panel answers, say so, and show it where there is a screen."""
    target = urlsplit(address)
    deadline = asyncio.get_running_loop().time() + PANEL_WITHIN_S
    while asyncio.get_running_loop().time() < deadline:
        try:
            _, writer = await asyncio.open_connection(target.hostname, target.port)
        except OSError:
            await asyncio.sleep(0.2)
            continue
        writer.close()
        print(f"running: {address}", flush=True)
        if browser and _has_screen():
            webbrowser.open(address)
        return
    print(f"the panel does not answer at {address}; `ems status` says why", file=sys.stderr, flush=True)


def _has_screen() -> bool:
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _log_to_terminal(*, verbose: bool) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"
    )


# certs


def _add_certs(commands: Any) -> None:
    parser = _command(
        commands,
        "certs",
        "issue, trust and reject certificates",
        "ems certs list",
        "ems certs trust 3fa81f06          a client that was refused, by the start of its thumbprint",
        "ems certs trust scada.der         a certificate or authority from a file",
        "ems certs create gateway --host 10.0.0.5",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    create = _command(actions, "create", "issue a certificate of the site's authority", "ems certs create server --days 400")
    create.add_argument("name", help="server, panel, historian, or the name of another application")
    create.add_argument("--host", action="append", default=[], help="a further name or address under which it is dialled")
    create.add_argument("--days", type=int, default=825, help="how long it is valid (default 825)")
    create.set_defaults(do=_certs_create)
    for name, does, do in (
        ("trust", "trust a certificate: a refused one by its thumbprint, or one from a file", _certs_trust),
        ("reject", "take trust away from a certificate", _certs_reject),
    ):
        action = _command(actions, name, does, f"ems certs {name} 3fa81f06")
        action.add_argument(
            "certificate", help="the first 4 or more characters of its thumbprint" + (", or a file" * (name == "trust"))
        )
        action.set_defaults(do=do)
        _add_dir(action)
    listing = _command(actions, "list", "list all certificates the site knows", "ems certs list --dir site")
    listing.set_defaults(do=_certs_list)
    _add_dir(create)
    _add_dir(listing)


def _certs_create(options: argparse.Namespace) -> int:
    from server.runtime.config import NAME, read_site
    from server.runtime.create import issue_own

    directory = _site(options)
    if not NAME.fullmatch(options.name):
        raise EmsError(f"'{options.name}' is not a name: lower-case letters, digits, - and _ (at most 32) are")
    file = read_site(directory)
    hosts = (*(file.opcua.hosts if options.name == "server" else ()), *options.host)
    issued = issue_own(directory, options.name, site_id=file.site.id, hosts=hosts, days=options.days)
    print(f"{issued}\n{issued.with_suffix('.pem')}\n{issued.with_suffix('.key.pem')}")
    return OK


def _certs_trust(options: argparse.Namespace) -> int:
    trust, file = TrustList(_site(options)), Path(options.certificate)
    print(f"trusted: {trust.trust_file(file) if file.is_file() else trust.trust(options.certificate)}")
    return OK


def _certs_reject(options: argparse.Namespace) -> int:
    print(f"rejected: {TrustList(_site(options)).reject(options.certificate)}")
    return OK


def _certs_list(options: argparse.Namespace) -> int:
    found = list_certificates(_site(options))
    rows = [(c.state, c.thumbprint[:8], f"{c.not_after:%Y-%m-%d}", c.common_name, c.application_uri) for c in found]
    print(_table(("state", "thumbprint", "valid until", "name", "application"), rows))
    return OK


# users


def _add_users(commands: Any) -> None:
    parser = _command(
        commands,
        "users",
        "add, remove and list users",
        "ems users add anna --role Operator",
        "echo $PASSWORD | ems users add anna --role Operator --password-stdin",
        "ems users add gateway --role Observer --certificate gateway.der",
        "ems users list",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    add = _command(actions, "add", "add a user; the password is asked for", "ems users add anna --role Observer --role Operator")
    add.add_argument("name")
    add.add_argument(
        "--role", action="append", default=[], choices=[str(role) for role in GRANTED], help="may be given several times"
    )
    add.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
    add.add_argument("--certificate", type=Path, help="the user logs in with this certificate (DER or PEM), not with a password")
    add.add_argument("--replace", action="store_true", help="change a user that exists")
    add.set_defaults(do=_users_add)
    remove = _command(actions, "remove", "remove a user", "ems users remove anna")
    remove.add_argument("name")
    remove.set_defaults(do=_users_remove)
    listing = _command(actions, "list", "list users and their roles", "ems users list --dir site")
    listing.set_defaults(do=_users_list)
    for action in (add, remove, listing):
        _add_dir(action)


def _users_add(options: argparse.Namespace) -> int:
    from server.runtime.users import UserError, Users, check_roles

    users = Users(_site(options))
    exists = options.name in users
    if exists and not options.replace:
        raise UserError(f"there is a user {options.name} already; --replace changes it")
    if not exists:
        check_roles(options.role)
    certificate = _read_certificate(options.certificate) if options.certificate else b""
    password = "" if certificate else _ask_password(stdin=options.password_stdin)
    change = users.change if exists else users.add
    account = change(options.name, roles=options.role, password=password, certificate=certificate)
    print(f"user {account.name}: {', '.join(sorted(account.roles))}")
    return OK


def _read_certificate(path: Path) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    from certs.trust import parse

    return parse(path.read_bytes()).public_bytes(Encoding.DER)


def _ask_password(*, stdin: bool) -> str:
    if stdin:
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("password: ")
    if getpass.getpass("again: ") != password:
        raise EmsError("the two are not the same")
    return password


def _users_remove(options: argparse.Namespace) -> int:
    from server.runtime.users import Users

    Users(_site(options)).remove(options.name)
    print(f"user {options.name} was removed")
    return OK


def _users_list(options: argparse.Namespace) -> int:
    from server.runtime.users import Users

    rows = [
        (u.name, "certificate" if u.certificate_sha256 else "password", ", ".join(sorted(u.roles))) for u in Users(_site(options))
    ]
    print(_table(("name", "logs in by", "roles"), rows))
    return OK


# status


def _add_status(commands: Any) -> None:
    parser = _command(commands, "status", "tell how a running site is", "ems status", "ems status --dir site --json")
    _add_dir(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(do=_status)


def _status(options: argparse.Namespace) -> int:
    directory = _site(options)
    try:
        status = request(directory, "status")
    except NotRunning as error:
        print(json.dumps({"state": "stopped"}) if options.json else error)
        return NOT_RUNNING
    del status["ok"]
    print(json.dumps(status, indent=1) if options.json else _status_text(status))
    return OK


def _status_text(status: Mapping[str, Any]) -> str:
    cycle, ends = status["cycle"], status["endpoints"]
    processes = [
        (p["name"], p["state"], p["pid"] or "", p["restarts"], _shown(p["memory_mb"], " MB"), p["since"], p["reason"])
        for p in status["processes"]
    ]
    entries = [(e["alias"], e["driver"], e["state"], e["reason"], e["next_retry"] or "") for e in status["entries"]]
    alarms = [(a["level"], a["source"], a["since"], a["text"]) for a in status["alarms"]]
    work = f"last {_shown(cycle['last_ms'])} ms, worst {_shown(cycle['worst_ms'])} ms, jitter {_shown(cycle['jitter_ms'])} ms"
    parts = [
        f"{status['site']['name']}: {status['state']}   panel {ends['panel'] or '-'}   OPC UA {ends['opcua']}",
        f"cycle {cycle['period_ms']:g} ms: {cycle['counter']} done, {cycle['slips']} slips, {work}",
        _table(("process", "state", "pid", "restarts", "memory", "since", "reason"), processes),
        _table(("entry", "driver", "state", "reason", "next try"), entries) if entries else "no entries",
        _table(("alarm", "source", "since", "text"), alarms) if alarms else "no alarms",
    ]
    return "\n\n".join(parts)


def _shown(value: float | None, unit: str = "") -> str:
    return "-" if value is None else f"{value:g}{unit}"


# bench


def _add_bench(commands: Any) -> None:
    parser = _command(
        commands,
        "bench",
        "measure this machine",
        "ems bench control",
        "ems bench opcua --json",
        "ems bench control duration_s=60 cycle_ms=10 channels=1000",
    )
    parser.add_argument("name", choices=("control", "opcua"), help="what to measure")
    parser.add_argument("settings", nargs="*", metavar="NAME=NUMBER", help="other settings than the usual ones")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(do=_bench)


def _bench(options: argparse.Namespace) -> int:
    root = Path(__file__).resolve().parent.parent
    measure = _load_bench(root, options.name).figures
    figures = measure(**_bench_settings(measure, options.settings))
    result = {"machine": machine(), "commit": commit(root), "figures": figures}
    rows = [(name, f"{value:g}") for name, value in figures.items()]
    print(
        json.dumps(result)
        if options.json
        else f"{result['machine']}, commit {result['commit']}\n{_table(('figure', 'value'), rows)}"
    )
    return OK


def _load_bench(root: Path, name: str) -> Any:
    """The module tests/bench/<name>.py, whose `figures(**settings)` measures and gives {name: number}."""
    path = root / "tests" / "bench" / f"{name}.py"
    if not path.exists():
        raise EmsError(f"{path} is missing: benchmarks come with a source checkout")
    sys.path.insert(0, str(root))
    return importlib.import_module(f"tests.bench.{name}")


def _bench_settings(measure: Callable[..., Any], given: Sequence[str]) -> dict[str, float]:
    """`name=number` texts as arguments of a benchmark, in the type of their defaults."""
    known = inspect.signature(measure).parameters
    settings: dict[str, float] = {}
    for text in given:
        name, _, value = text.partition("=")
        if name not in known:
            raise EmsError(f"{name}: unknown setting; known: {', '.join(known) or 'none'}")
        try:
            settings[name] = type(known[name].default)(value)
        except ValueError:
            raise EmsError(f"{name}: '{value}' is not a number") from None
    return settings


def machine() -> str:
    """This machine in a few words: processor, cores, Python."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            model = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), model)
    except OSError:
        pass
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def commit(root: Path) -> str:
    """The commit of the source checkout, with + when it was changed; `unknown` outside of one."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty=+"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not in 1..65535")
    return int(text)


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number") from None
    if not 0 <= speed <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not in 0..3600")
    return speed


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Columns as wide as their longest text."""
    lines = [head, *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


if __name__ == "__main__":
    sys.exit(main())
