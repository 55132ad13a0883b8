"""`ems reload`: new and changed controllers for a site that runs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any, Final

from . import FAILED, NOT_RUNNING, OK, add_dir, command, find_site

EVENT: Final = "reload"
WITHIN_S: Final = 90.0


def add(commands: Any) -> None:
    """The subcommand `ems reload`."""
    parser = command(
        commands,
        "reload",
        "load new and changed controllers into a running site: their files, and the [[controller]] tables of site.toml",
        "ems reload",
        "ems reload --dir site --json",
    )
    add_dir(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(do=_reload)


def _reload(options: argparse.Namespace) -> int:
    from server.runtime import audit
    from server.runtime.bus import NotRunning, request
    from server.runtime.secrets import who

    directory = find_site(options)
    try:
        outcome = request(directory, "reload", timeout_s=WITHIN_S)
    except NotRunning as error:
        print(json.dumps({"how": "not running"}) if options.json else error)
        return NOT_RUNNING
    del outcome["ok"]
    audit.append(directory, EVENT, user=who(), loaded=outcome["loaded"], refused=outcome["refused"])
    print(json.dumps(outcome, indent=1) if options.json else _text(outcome))
    return FAILED if outcome["refused"] else OK


def _text(outcome: Mapping[str, Any]) -> str:
    lines = [f"refused  {what}: {why}" for what, why in outcome["refused"].items()]
    lines += [f"loaded   {text}" for text in outcome["loaded"]]
    lines += [f"done     {outcome['took']}"] if outcome["took"] else []
    lines += [f"note     {text}" for text in outcome["notes"]]
    if not outcome["loaded"]:
        lines.append("nothing was loaded: everything else is what runs already")
    return "\n".join(lines)
