"""What conditions remember over a restart: one JSON file, replaced as a whole, never written on the server's loop.

A change marks the file stale; a task writes it a moment later, at once when somebody waits for it (`saved`). So an alarm that
was acknowledged when the client got its answer stays acknowledged, whatever is killed. What is remembered of an alarm that
is not declared at present, because its entry is broken for a while, is kept.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from server.core.condition import Condition
from server.runtime.files import write_atomically

_log = logging.getLogger("ems.opcua")

QUIET_S: Final = 0.5
"""Changes within this time are written together."""
FORMAT: Final = 1


class ConditionStore:
    """The file. `load` once, then `note` every change; `run` writes until it is cancelled."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._kept: dict[str, str] = {}
        self._changes = 0
        self._written = 0
        self._stale = asyncio.Event()
        self._wanted = asyncio.Event()
        self._news = asyncio.Condition()
        self._failed = False

    def load(self, conditions: Iterable[Condition]) -> None:
        """Give conditions the state they had. A damaged file is put aside and said, one that cannot be read is said."""
        kept = self._read()
        self._kept = {node: json.dumps(state) for node, state in kept.items()}
        for condition in conditions:
            state = kept.get(condition.spec.node)
            if state is None:
                continue
            try:
                condition.load(state)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                _log.warning("%s begins anew, what was kept of it does not fit: %s", condition.spec.node, error)

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            content = json.loads(self._file.read_bytes())
            found: dict[str, dict[str, Any]] = content["conditions"]
            return {str(node): dict(state) for node, state in found.items()}
        except FileNotFoundError:
            return {}
        except OSError as error:
            _log.error("states of alarms cannot be read: %s", error)
        except (ValueError, TypeError, KeyError) as error:
            aside = self._file.with_suffix(".damaged.json")
            self._file.replace(aside)
            _log.error("states of alarms are lost, the damaged file is now %s: %r", aside.name, error)
        return {}

    def note(self, condition: Condition) -> None:
        """A condition changed."""
        self._kept[condition.spec.node] = json.dumps(condition.dump())
        self._changes += 1
        self._stale.set()

    async def saved(self) -> None:
        """Wait until what changed so far is on disk, or cannot be written."""
        change = self._changes
        self._wanted.set()
        async with self._news:
            await self._news.wait_for(lambda: self._written >= change)

    async def run(self) -> None:
        """Write what changes; what is left when cancelled, too."""
        try:
            while True:
                await self._stale.wait()
                try:
                    await asyncio.wait_for(self._wanted.wait(), QUIET_S)
                except TimeoutError:
                    pass
                await self._write()
        finally:
            if self._changes > self._written:
                self._save(self._taken())

    async def _write(self) -> None:
        change = self._changes
        self._stale.clear()
        self._wanted.clear()
        await asyncio.to_thread(self._save, self._taken())
        async with self._news:
            self._written = change
            self._news.notify_all()

    def _taken(self) -> list[tuple[str, str]]:
        return list(self._kept.items())

    def _save(self, kept: list[tuple[str, str]]) -> None:
        rows = ",\n".join(f"{json.dumps(node)}: {state}" for node, state in kept)
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._file, f'{{"format": {FORMAT}, "conditions": {{\n{rows}\n}}}}\n'.encode(), 0o600)
            self._failed = False
        except OSError as error:
            if not self._failed:
                _log.error("states of alarms cannot be kept: %s", error)
            self._failed = True
