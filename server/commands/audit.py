"""`ems audit`: verify and read the audit trail."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from . import FAILED, OK, add_dir, command, find_site, table

_SHOWN_ELSEWHERE = ("seq", "time", "event", "user", "hash")
_CELL_MAX = 100


def add(commands: Any) -> None:
    """The subcommand `ems audit`."""
    parser = command(
        commands,
        "audit",
        "verify and read the audit trail",
        "ems audit verify             says which row is the first that was tampered with; exit status 1 then",
        "ems audit tail --rows 20",
        "ems audit tail --json | jq 'select(.event == \"login-refused\")'",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    verify = command(actions, "verify", "check that no row was changed, taken out, put in, moved or cut off", "ems audit verify")
    verify.set_defaults(do=_verify)
    tail = command(actions, "tail", "show the newest rows", "ems audit tail --rows 20 --dir site")
    tail.add_argument("--rows", type=_rows, default=20, help="how many (default 20)")
    tail.add_argument("--json", action="store_true", help="one JSON object per row")
    tail.set_defaults(do=_tail)
    for action in (verify, tail):
        add_dir(action)


def _verify(options: argparse.Namespace) -> int:
    from server.runtime.audit_chain import verify

    report = verify(find_site(options))
    for remark in report.remarks:
        print(remark)
    if report.broken:
        print(f"BROKEN: {report.broken}\n{report.rows} rows before it are whole")
        return FAILED
    print(f"whole: {report.rows} rows, {report.first} to {report.last}" if report.rows else "no rows")
    return OK


def _tail(options: argparse.Namespace) -> int:
    from server.runtime.audit import tail

    rows = tail(find_site(options), options.rows)
    if options.json:
        print("\n".join(map(json.dumps, rows)))
    else:
        print(table(("row", "time (UTC)", "event", "user", "what"), [_cells(row) for row in rows]))
    return OK


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    what = ", ".join(f"{k} {v}" for k, v in row.items() if k not in _SHOWN_ELSEWHERE and v not in (None, ""))
    shown = what if len(what) <= _CELL_MAX else f"{what[: _CELL_MAX - 3]}..."
    return str(row["seq"]), str(row["time"])[:19], str(row["event"]), str(row.get("user", "")), shown


def _rows(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"{text} is not in 1..100000")
    return int(text)
