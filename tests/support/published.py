"""Published data and cases that are not part of this project: tests that need them skip where they are absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "shared" / "data"
"""Where published files lie unless a variable names another one: beside the checkout."""


def published(name: str, variable: str) -> Path:
    """A published file: the one that an environment variable names, else the usual one."""
    return Path(os.environ.get(variable, FOLDER / name))


def needs(path: Path, variable: str) -> pytest.MarkDecorator:
    """Skips a test where a published file is absent."""
    return pytest.mark.skipif(not path.exists(), reason=f"no file {path}; {variable} names another")
