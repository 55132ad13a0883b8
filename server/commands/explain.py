"""`ems explain`: who decided on each set-point, now or at some time in the past."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from server.core.ask import Ask
from server.core.errors import EmsError

from . import OK, command, moment, site_folder, table


def add(commands: Any) -> None:
    """The subcommand `ems explain`."""
    parser = command(
        commands,
        "explain",
        "tell who decided on each set-point, and why",
        "ems explain site",
        "ems explain site ess0 --at 2026-11-22T18:30",
        "ems explain site ess0/SetActivePower --json",
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="the site; it need not run")
    parser.add_argument(
        "device", nargs="?", default="", metavar="DEVICE", help="a device, or one of its set-points; default: all"
    )
    parser.add_argument("--at", default="now", metavar="TIME", help="such as 2026-11-22T18:30, local to the site; default: now")
    parser.add_argument("--json", action="store_true", help="one JSON object, by set-point")
    parser.set_defaults(do=_explain)


def _explain(options: argparse.Namespace) -> int:
    from server.runtime.config import read_site
    from server.runtime.journaled import decisions_at

    directory = site_folder(options.directory)
    at = moment(options.at, read_site(directory).site.timezone)
    found = decisions_at(directory / "data" / "journal", at)
    if not found:
        raise EmsError("the journal has no decision of that time; the site did not run, or an older version of it")
    wanted = {node: record for node, record in found.items() if options.device in ("", node, node.partition("/")[0])}
    if not wanted:
        known = ", ".join(dict.fromkeys(node.partition("/")[0] for node in found))
        raise EmsError(f"there is no decision on {options.device}; there are decisions on {known}")
    print(json.dumps(wanted, indent=1, ensure_ascii=False) if options.json else "\n\n".join(map(_told, wanted.values())))
    return OK


def _told(record: Mapping[str, Any]) -> str:
    """One decision: who holds the set-point, and what everybody asked when that was told."""
    from server.runtime.journaled import holder

    lines = [f"{record['node']}: {holder(record)}, since {record['since']}", f"  {record['time']}: {record['text']}"]
    rows = list(_rows(record))
    if rows:
        asked = table(("who", "asks", "gets", "because"), rows)
        lines += [f"    {line}" for line in asked.splitlines()]
    return "\n".join(lines)


def _rows(record: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    for told in record.get("asks", []):
        ask = Ask.of(told)
        got = f"{ask.granted_words}: {ask.limit_words}" if ask.granted is not None else "all of it" if ask.asked else "-"
        yield ask.who, ask.asked_words, got, ask.why or ask.node
