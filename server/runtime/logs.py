"""Log files of a site: DIR/data/log/<name>.log, cut before they grow out of bounds.

Each process appends to its own file. The supervisor moves what is there into <name>.log.1 and empties the file, which a
writer that appends never notices.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

LOG_BYTES_MAX: Final = 5_000_000
LOGS_KEPT: Final = 3


def cut_logs(folder: Path, bytes_max: int = LOG_BYTES_MAX, kept: int = LOGS_KEPT) -> list[Path]:
    """Move aside every log of more than `bytes_max`, keeping `kept` older pieces of each. The logs that were cut."""
    large = [path for path in sorted(folder.glob("*.log")) if path.stat().st_size > bytes_max]
    for path in large:
        _cut(path, kept)
    return large


def _cut(path: Path, kept: int) -> None:
    for number in range(kept - 1, 0, -1):
        older = path.with_name(f"{path.name}.{number}")
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{number + 1}"))
    piece = path.with_name(f"{path.name}.1")
    try:
        shutil.copyfile(path, piece)
    except OSError:  # no room for a copy: room is what is needed most
        piece.unlink(missing_ok=True)
    os.truncate(path, 0)
