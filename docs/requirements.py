"""Safety requirements, where the code keeps them and which tests name them.

A requirement is declared once, in the docstring of server/core/safety.py, below its layer. Code and tests name it in a docstring.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
DECLARED_IN: Final = ROOT / "server" / "core" / "safety.py"
CODE: Final = ("server", "drivers", "controllers")
_ID: Final = re.compile(r"REQ-SAFE-\d{3}")
_DECLARATION: Final = re.compile(r"^ {4}(REQ-SAFE-\d{3})  (.+(?:\n {6,}\S.*)*)", re.MULTILINE)
_LAYER: Final = re.compile(r"^(\d\. .+)$", re.MULTILINE)


@dataclass
class Requirement:
    """One requirement. code, tests: `server/core/safety.py: within_device`."""

    id: str
    layer: str
    text: str
    code: list[str] = field(default_factory=list)
    tests: list[str] = field(default_factory=list)


def declared() -> dict[str, Requirement]:
    """All requirements by id, in the order of their layers."""
    text = ast.get_docstring(ast.parse(DECLARED_IN.read_text())) or ""
    found: dict[str, Requirement] = {}
    for part in re.split(r"^(?=\d\. )", text, flags=re.MULTILINE):
        layer = _LAYER.match(part)
        for id_, words in _DECLARATION.findall(part) if layer else ():
            found[id_] = Requirement(id_, layer[1] if layer else "", " ".join(words.split()))
    return found


def traced() -> tuple[dict[str, Requirement], list[str]]:
    """All requirements with their code and tests, and what names a requirement that is not declared."""
    found = declared()
    unknown: list[str] = []
    for folder, is_test in (*((name, False) for name in CODE), ("tests", True)):
        for place, id_ in _named(ROOT / folder):
            if id_ not in found:
                unknown.append(f"{place} names {id_}")
            else:
                (found[id_].tests if is_test else found[id_].code).append(place)
    return found, unknown


def _named(folder: Path) -> Iterator[tuple[str, str]]:
    """Where docstrings name requirements: (place, id)."""
    for file in sorted(folder.rglob("*.py")):
        if "node_modules" in file.parts or "REQ-SAFE-" not in (text := file.read_text()):
            continue
        for node in ast.walk(ast.parse(text)):
            for id_ in _ID.findall(_doc(node)):
                if not (file == DECLARED_IN and isinstance(node, ast.Module)):
                    name = getattr(node, "name", "")
                    yield f"{file.relative_to(ROOT)}{f': {name}' if name else ''}", id_


def _doc(node: ast.AST) -> str:
    """A docstring: of a module, class or function, or of what is assigned above it."""
    if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        return ast.get_docstring(node) or ""
    return ""


def page(head: str) -> str:
    """The reference page."""
    requirements, _ = traced()
    lines = [
        head,
        "# Safety requirements\n",
        "What each protection layer promises, the code that keeps it, and the tests that name it.\n",
    ]
    for layer in dict.fromkeys(r.layer for r in requirements.values()):
        lines += [f"## {layer}\n", "| id | requirement | code | tests |", "|---|---|---|---|"]
        lines += [_row(r) for r in requirements.values() if r.layer == layer]
        lines.append("")
    return "\n".join(lines)


def _row(requirement: Requirement) -> str:
    code, tests = ("<br>".join(f"`{place}`" for place in places) for places in (requirement.code, requirement.tests))
    return f"| {requirement.id} | {requirement.text} | {code} | {tests} |"
