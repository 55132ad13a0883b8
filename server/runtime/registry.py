"""Which alias stands for which thing, for ever.

An alias (`ess0`) is part of every NodeId, of history and of other people's configuration. So it is bound to an identity
the first time it is used: the driver or controller type, and the serial number once that is known. Another thing under
the same alias is refused rather than taken for the old one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from server.core.errors import EmsError

from .files import write_atomically

VERSION = 1


class AliasTaken(EmsError):
    """An alias belongs to another identity."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What an alias stands for. kind: driver domain or controller type; serial: empty until known; created: UTC."""

    kind: str
    serial: str = ""
    created: str = ""

    def __str__(self) -> str:
        return f"{self.kind} with serial number {self.serial}" if self.serial else self.kind


class Registry:
    """The bindings of one site, in DIR/data/registry.json. `notes` says what was wrong with the file, if anything."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []
        self._bindings: dict[str, Identity] = {}
        self._changed = False
        self._load()

    def __getitem__(self, alias: str) -> Identity:
        return self._bindings[alias]

    def __contains__(self, alias: object) -> bool:
        return alias in self._bindings

    def bind(self, alias: str, kind: str, serial: str = "") -> None:
        """Bind an alias, or confirm its binding. Raises AliasTaken naming both identities."""
        wanted = Identity(kind, serial)
        bound = self._bindings.get(alias)
        if bound is None:
            self._put(alias, replace(wanted, created=_now()))
        elif bound.kind != kind or (bound.serial and serial and bound.serial != serial):
            since = f" since {bound.created}" if bound.created else ""
            raise AliasTaken(f"alias {alias} stands for {bound}{since}; {wanted} needs another alias")
        elif serial and not bound.serial:
            self._put(alias, replace(bound, serial=serial))

    def save(self) -> None:
        """Write the file if anything changed. Raises OSError."""
        if self._changed:
            content = {"version": VERSION, "aliases": {alias: asdict(i) for alias, i in sorted(self._bindings.items())}}
            write_atomically(self.path, json.dumps(content, indent=1).encode())
            self._changed = False

    def _put(self, alias: str, identity: Identity) -> None:
        self._bindings[alias] = identity
        self._changed = True

    def _load(self) -> None:
        try:
            self._bindings = _parse(self.path.read_bytes())
        except FileNotFoundError:
            return
        except (ValueError, TypeError) as error:
            aside = self.path.with_name(f"{self.path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}")
            self.path.rename(aside)
            self.notes.append(
                f"{self.path.name} is damaged ({error}); it was set aside as {aside.name}, and aliases are bound anew"
            )


def _parse(content: bytes) -> dict[str, Identity]:
    """Bindings from the file's bytes. Raises ValueError or TypeError when it is not what `save` writes."""
    data = json.loads(content)
    if not isinstance(data, dict) or data.get("version") != VERSION or not isinstance(data.get("aliases"), dict):
        raise ValueError(f"expected version {VERSION} with aliases")
    return {alias: _identity(alias, fields) for alias, fields in data["aliases"].items()}


def _identity(alias: str, fields: Mapping[str, Any]) -> Identity:
    identity = Identity(**fields)
    if not all(isinstance(value, str) for value in asdict(identity).values()):
        raise ValueError(f"{alias}: texts are expected")
    return identity


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
