"""Subcommands of `ems`, one file each where they are more than a few lines, and what they share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from server.core.errors import EmsError

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
        raise EmsError(f"{given} is no site: it has no site.toml; `ems init {given}` makes one")
    raise EmsError("there is no site here (./site.toml, ./site, ./demo); name one with --dir, or make one with `ems init DIR`")


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Columns as wide as their longest line; a cell may have several."""
    cells = [[str(cell).splitlines() for cell in row] for row in (head, *rows)]
    lines = [line for row in cells for line in zip_longest(*row, fillvalue="")]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)
