"""`ems bench`: measure this machine with the benchmarks of the source checkout."""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from server.core.errors import EmsError

from . import OK, command, table

BENCHES = ("control", "solver", "reaction", "elsewhere", "opcua", "opcua_scale", "history", "modbus", "idle")


def add(commands: Any) -> None:
    """The subcommand `ems bench`."""
    parser = command(
        commands,
        "bench",
        "measure this machine",
        "ems bench control",
        "ems bench opcua --json",
        "ems bench control duration_s=60 cycle_ms=10 channels=1000",
    )
    parser.add_argument("name", choices=BENCHES, help="what to measure")
    parser.add_argument("settings", nargs="*", metavar="NAME=NUMBER", help="other settings than the usual ones")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(do=_bench)


def _bench(options: argparse.Namespace) -> int:
    root = Path(__file__).resolve().parents[2]
    measure = load_bench(root, options.name).figures
    figures = measure(**_bench_settings(measure, options.settings))
    result = {"machine": machine(), "commit": commit(root), "figures": figures}
    rows = [(name, f"{value:g}") for name, value in figures.items()]
    print(
        json.dumps(result)
        if options.json
        else f"{result['machine']}, commit {result['commit']}\n{table(('figure', 'value'), rows)}"
    )
    return OK


def load_bench(root: Path, name: str) -> Any:
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
