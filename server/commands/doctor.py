"""`ems doctor`: what is wrong with a site or its machine, and what to do about it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from server.core.errors import EmsError

from . import FAILED, OK, command, find_site


def add(commands: Any) -> None:
    """The subcommand `ems doctor`."""
    does = "look at a site and its machine, and say what to do"
    parser = command(commands, "doctor", does, "ems doctor", "ems doctor /srv/ems", "ems doctor site --json")
    parser.description = f"{parser.description} Changes nothing. The exit status is 1 when something is broken, else 0."
    where = "the site, running or not; default: ., ./site or ./demo, else the machine alone"
    parser.add_argument("directory", type=Path, nargs="?", metavar="DIR", help=where)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(do=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    from server.doctor import Level, examine
    from server.doctor.words import in_words

    directory = _directory(options.directory)
    findings = examine(directory)
    worst = max((f.level for f in findings), key=list(Level).index)
    if options.json:
        rows = [finding._asdict() for finding in findings]
        print(json.dumps({"site": str(directory) if directory else None, "worst": worst, "findings": rows}, indent=1))
    else:
        print(in_words(findings, colours=sys.stdout.isatty()))
    return FAILED if worst is Level.FAULT else OK


def _directory(given: Path | None) -> Path | None:
    try:
        return find_site(argparse.Namespace(dir=given))
    except EmsError:
        if given is not None:
            raise
        return None
