"""What the doctor finds."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    NOTE = "note"
    """Worth knowing; nothing has to be done."""
    WARNING = "warning"
    """It works, but will not for ever or not as well as it could."""
    FAULT = "fault"
    """Something does not work."""


class Finding(NamedTuple):
    """topic: one or two words; text: a sentence in plain words; todo: what to do about it, empty where nothing is."""

    topic: str
    level: Level
    text: str
    todo: str = ""


def ok(topic: str, text: str) -> Finding:
    """All is well."""
    return Finding(topic, Level.OK, text)


def note(topic: str, text: str, todo: str = "") -> Finding:
    """Worth knowing."""
    return Finding(topic, Level.NOTE, text, todo)


def warning(topic: str, text: str, todo: str) -> Finding:
    """Should be looked after."""
    return Finding(topic, Level.WARNING, text, todo)


def fault(topic: str, text: str, todo: str) -> Finding:
    """Must be looked after."""
    return Finding(topic, Level.FAULT, text, todo)
