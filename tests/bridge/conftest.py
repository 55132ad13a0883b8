"""Tests of the bridge use the small sites of the core's and the runtime's tests."""

from __future__ import annotations

import sys
from pathlib import Path

for part in ("core", "runtime"):
    sys.path.insert(0, str(Path(__file__).parents[1] / part))
