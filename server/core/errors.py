"""Errors of the domain. An operating error is expected and typed; it says what was waited for and what was there."""

from __future__ import annotations


class EmsError(Exception):
    """Base of every expected error; its text is fit for a person."""


class DeclarationError(EmsError):
    """A nature, controller or driver is declared wrongly; raised when it is defined or loaded."""


class ConfigError(EmsError):
    """A setting is wrong. The text is `file: field: what is wrong`."""

    def __init__(self, file: str, field: str, problem: str) -> None:
        super().__init__(f"{file}: {field}: {problem}" if field else f"{file}: {problem}")
        self.file = file
        self.field = field
        self.problem = problem
