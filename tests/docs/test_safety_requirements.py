"""Every safety requirement is kept by code and named by a test."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def _requirements() -> ModuleType:
    spec = importlib.util.spec_from_file_location("requirements", DOCS / "requirements.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


REQUIREMENTS = _requirements()
TRACED, UNKNOWN = REQUIREMENTS.traced()


def test_there_are_four_layers() -> None:
    layers = list(dict.fromkeys(r.layer for r in TRACED.values()))
    assert [layer.split(". ")[1] for layer in layers] == ["Device limits", "Software limits", "Watchdog", "Emergency stop"]


@pytest.mark.parametrize("requirement", TRACED.values(), ids=list(TRACED))
def test_a_requirement_is_kept_by_code_and_named_by_a_test(requirement: object) -> None:
    assert requirement.code, f"no docstring in the code names {requirement.id}"  # type: ignore[attr-defined]
    assert requirement.tests, f"no test names {requirement.id}"  # type: ignore[attr-defined]


def test_nothing_names_a_requirement_that_is_not_declared() -> None:
    assert UNKNOWN == []
