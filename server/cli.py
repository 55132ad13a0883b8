"""The command `ems`."""

from __future__ import annotations

import argparse
import ipaddress
import logging
import os
import subprocess
import sys
import webbrowser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from certs import CertificateError
from server.commands import FAILED, OK, audit, bench, certs, command, doctor, explain, reload, replay, secrets, status, users
from server.core.errors import EmsError


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
    for subcommand in (certs, users, audit, secrets, status, explain, replay, reload, doctor, bench):
        subcommand.add(commands)
    return parser


def _add_init(commands: Any) -> None:
    parser = command(
        commands,
        "init",
        "make a new site",
        "ems init site",
        'ems init /srv/ems --name "Head office" --host 0.0.0.0',
        "ems init control --bridge opc.tcp://10.0.0.5:4840",
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="a new or empty folder")
    parser.add_argument("--name", default="", help="what people call the site; default: the folder's name")
    parser.add_argument(
        "--host", type=_address, default="127.0.0.1", help="where both listen; 0.0.0.0 lets other machines connect"
    )
    parser.add_argument("--port", type=_port, default=4840, help="of the OPC UA server (default 4840)")
    parser.add_argument("--ui-port", type=_port, default=8443, help="of the panel (default 8443)")
    parser.add_argument("--bridge", default="", metavar="URL", help="only control, for the site whose OPC UA server is there")
    parser.set_defaults(do=_init)


def _init(options: argparse.Namespace) -> int:
    from server.runtime.create import ADMIN, create_bridge, create_site

    if options.bridge:
        certificate = create_bridge(options.directory, options.bridge)
        print(f"control for {options.bridge} was made in {options.directory}\nits certificate is {certificate}; at the site:")
        print(f"  ems certs trust {certificate.name}\n  ems users add bridge --role Bridge --certificate {certificate.name}")
        print('  site.toml: [control] mode = "remote"')
        print(f"next: copy the site's certs/ca/ca.der to {options.directory}/certs/site.der, then `ems run {options.directory}`")
        return OK
    ports = {"port": options.port, "ui_port": options.ui_port}
    site = create_site(options.directory, name=options.name, host=options.host, **ports)
    print(f"site {site.id} was made in {site.directory}")
    print(f"user      {ADMIN}\npassword  {site.password}    (shown this once)")
    print(f"next: add entries to {site.directory / 'entries'}, then `ems run {options.directory}`")
    return OK


def _add_run(commands: Any) -> None:
    parser = command(commands, "run", "run a site until Ctrl-C or SIGTERM", "ems run site", "ems run /srv/ems --verbose")
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--verbose", action="store_true", help="also tell what goes well")
    parser.set_defaults(do=_run)


def _run(options: argparse.Namespace) -> int:
    from server.runtime import supervisor

    _log_to_terminal(verbose=options.verbose)
    if not options.directory.is_dir():
        raise EmsError(f"{options.directory} is no folder; `ems init {options.directory}` makes a site")
    supervisor.run(options.directory, _tell_up)
    return OK


def _tell_up(status: Mapping[str, Any]) -> None:
    """Say that the site is up, where it is reached, and what is wrong with it."""
    ends = status["endpoints"]
    print(f"{status['state']}: panel {ends['panel'] or '-'}   OPC UA {ends['opcua']}", flush=True)
    for alarm in status["alarms"]:
        print(f"  {alarm['level']}: {alarm['source']}: {alarm['text']}", file=sys.stderr, flush=True)


def _add_demo(commands: Any) -> None:
    parser = command(
        commands,
        "demo",
        "run a whole site on a simulated plant",
        "ems demo",
        "ems demo --speed 60 --no-browser",
        "ems demo --dir showroom",
    )
    parser.add_argument("--dir", type=Path, default=Path("demo"), help="where the demo site is or will be (default ./demo)")
    parser.add_argument("--port", type=_port, help="of the OPC UA server; default 4840 or the next that is free")
    parser.add_argument("--ui-port", type=_port, help="of the panel; default 8443 or the next that is free")
    parser.add_argument("--no-browser", action="store_true", help="do not open the panel in a browser")
    parser.add_argument("--past", type=_days, default=7, help="days of simulated history to look back on; default 7, 0 for none")
    parser.add_argument("--speed", type=_speed, help="simulated seconds per second, 0 to 3600")
    parser.add_argument("--verbose", action="store_true", help="also tell what goes well")
    parser.set_defaults(do=_demo)


def _demo(options: argparse.Namespace) -> int:
    from server.runtime import supervisor
    from server.runtime.create import ADMIN
    from server.runtime.demo import adapt_demo, make_demo
    from server.runtime.ports import PortClaims

    _log_to_terminal(verbose=options.verbose)
    directory: Path = options.dir
    password = make_demo(directory)
    if password:  # known nowhere else, so it is told before anything can go wrong
        _tell_login(directory, f"{password}    (shown this once)")
    with PortClaims() as claims:
        notes = adapt_demo(directory, claims, port=options.port, ui_port=options.ui_port, speed=options.speed)
        if not password:
            _tell_login(directory, f"as before (lost? `ems users add {ADMIN} --replace --dir {directory}`)")
        for note in notes:
            print(note)
        panel, opcua = _addresses(directory)
        print(f"  panel     {panel}\n  OPC UA    {opcua}\n  stop      Ctrl-C", flush=True)
        past: list[subprocess.Popen[bytes]] = []
        try:
            supervisor.run(directory, lambda status: _show_demo(status, options, past))
        finally:
            for process in past:
                process.terminate()
                process.wait()
    return OK


def _show_demo(status: Mapping[str, Any], options: argparse.Namespace, past: list[subprocess.Popen[bytes]]) -> None:
    """Tell that the demo is up, and only then make the history that it looks back on."""
    from server.runtime.demo import begin_past

    _tell_demo_up(status, browser=not options.no_browser)
    past += filter(None, [begin_past(options.dir, options.past)])


def _tell_login(directory: Path, password: str) -> None:
    from server.runtime.create import ADMIN

    print(f"  site      {directory.resolve()}\n  user      {ADMIN}\n  password  {password}", flush=True)


def _addresses(directory: Path) -> tuple[str, str]:
    from server.runtime.config import read_site
    from server.runtime.plan import opcua_endpoint, panel_address

    file = read_site(directory)
    return panel_address(file), opcua_endpoint(file)


def _tell_demo_up(status: Mapping[str, Any], *, browser: bool) -> None:
    """Say that the demo is up, and show the panel where there is a screen."""
    panel = status["endpoints"]["panel"]
    row = next((p for p in status["processes"] if p["name"] == "ui"), None)
    if row is None or row["state"] != "running":
        reason = row["reason"] if row is not None else "it is not part of the site"
        print(f"{status['state']}, but the panel does not answer: {reason}", file=sys.stderr, flush=True)
        return
    authority = Path(status["site"]["directory"]) / "certs" / "ca" / "ca.pem"
    print(f"{status['state']}: {panel}\n  A browser warns until it knows the site's own authority, {authority}", flush=True)
    if browser and _has_screen():
        webbrowser.open(panel)


def _has_screen() -> bool:
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _log_to_terminal(*, verbose: bool) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"
    )


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not in 1..65535")
    return int(text)


def _days(text: str) -> int:
    if not text.isdecimal() or int(text) > 31:
        raise argparse.ArgumentTypeError(f"{text} is not in 0..31")
    return int(text)


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no IP address") from None


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number") from None
    if not 0 <= speed <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not in 0..3600")
    return speed


if __name__ == "__main__":
    sys.exit(main())
