"""`python -m tests.soak --minutes 30 --seed 1`: exit status 1 when memory grows or control misses a cycle."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from .curve import report
from .soak import soak


def main() -> int:
    """Soak, print the curves, save the record."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Random drills on the running demo, for long.")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=20, help="OPC UA clients that come and go meanwhile")
    parser.add_argument("--out", type=Path, help="where the record goes; default soak/<time>-<seed>.json")
    options = parser.parse_args()
    path = options.out or Path("soak") / f"{time.strftime('%Y%m%d-%H%M%S')}-{options.seed}.json"
    record = soak(options.minutes, options.seed, options.clients, lambda line: print(line, flush=True), path.with_suffix(""))
    record.save(path)
    print(f"\n{report(record)}\nrecord: {path}")
    return 1 if record.verdict() else 0


if __name__ == "__main__":
    sys.exit(main())
