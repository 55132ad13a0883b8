"""Subcommands of `ems`, one file each where they are more than a few lines, and what they share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from server.core.errors import EmsError
from server.core.ticks import from_datetime

OK: Final = 0
FAILED: Final = 1
NOT_RUNNING: Final = 3
"""Exit status of `ems status` for a site that is not running."""


def command(commands: Any, name: str, does: str, *examples: str) -> argparse.ArgumentParser:
    """A subcommand with its help; `does` is one line, `examples` are command lines."""
    shown = "\n".join(f"  {line}" for line in examples)
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=does,
        description=f"{does[:1].upper()}{does[1:]}.",
        epilog=f"examples:\n{shown}" if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def add_dir(parser: argparse.ArgumentParser) -> None:
    """The option --dir of a command about a site."""
    parser.add_argument("--dir", type=Path, help="the site; default: this folder, ./site or ./demo, whichever is one")


def find_site(options: argparse.Namespace) -> Path:
    """The site that is meant. EmsError when there is none."""
    given: Path | None = options.dir
    places = [given] if given is not None else [Path("."), Path("site"), Path("demo")]
    for place in places:
        if (place / "site.toml").exists():
            return place.resolve()
    if given is not None:
        return site_folder(given)
    raise EmsError("there is no site here (./site.toml, ./site, ./demo); name one with --dir, or make one with `ems init DIR`")


def site_folder(directory: Path) -> Path:
    """A folder that is a site. EmsError when it is none."""
    if not (directory / "site.toml").exists():
        raise EmsError(f"{directory} is no site: it has no site.toml; `ems init {directory}` makes one")
    return directory.resolve()


def moment(text: str, timezone: str) -> int:
    """A time in ticks: ISO 8601, local to `timezone` where it has no zone, or `now`. EmsError for what is none."""
    if text == "now":
        return from_datetime(datetime.now(UTC))
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise EmsError(f"'{text}' is no time; 2026-11-22T06:00, 2026-11-22T05:00Z and `now` are") from None
    return from_datetime(found if found.tzinfo else found.replace(tzinfo=ZoneInfo(timezone)))


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Columns as wide as their longest line; a cell may have several."""
    cells = [[str(cell).splitlines() for cell in row] for row in (head, *rows)]
    lines = [line for row in cells for line in zip_longest(*row, fillvalue="")]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)
