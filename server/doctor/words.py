"""Findings as a person reads them in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .finding import Finding, Level

_COLOURS: Final = {Level.OK: 32, Level.NOTE: 36, Level.WARNING: 33, Level.FAULT: 31}
_LEVEL_WIDTH: Final = max(map(len, Level))


def in_words(findings: Sequence[Finding], *, colours: bool) -> str:
    """One line for each finding, one below it for what to do, and a verdict."""
    topic_width = max(len(f.topic) for f in findings)
    indent = " " * (topic_width + _LEVEL_WIDTH + 4)
    lines = []
    for finding in findings:
        level = f"{finding.level:{_LEVEL_WIDTH}}"
        shown = f"\033[{_COLOURS[finding.level]}m{level}\033[0m" if colours else level
        lines.append(f"{shown}  {finding.topic:{topic_width}}  {finding.text}")
        lines += [f"{indent}-> {finding.todo}"] if finding.todo else []
    return "\n".join([*lines, "", _verdict(findings)])


def _verdict(findings: Sequence[Finding]) -> str:
    faults, warnings = (sum(f.level is level for f in findings) for level in (Level.FAULT, Level.WARNING))
    return f"{faults} to mend, {warnings} to look after" if faults + warnings else "nothing to do"
