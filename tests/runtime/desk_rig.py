"""The documents of a site without a supervisor, and what control makes of its orders."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from controllers.fix_active_power import FixActivePower
from server.core.controller import controller_object
from server.core.layout import DEVICE, Layout, ObjectSpec, build_layout
from server.core.ticks import from_datetime
from server.core.timetable import Timetable
from server.runtime.calendar import Calendar
from server.runtime.documents import Documents
from server.runtime.intake import Intake

ESS = ObjectSpec("ess0", DEVICE, "battery", (), ())
LAYOUT = build_layout([controller_object(FixActivePower, "fix0", {"ess": "ess0", "power_w": 0.0}), ESS])
T0 = from_datetime(datetime(2026, 3, 1, tzinfo=UTC))
ROWS = {"start": "2026-03-01T00:00:00Z", "step_s": 900, "columns": {"power_w": [1, -2.5]}}


class Desk:
    """The supervisor's documents without a supervisor: orders that went to control, and what was noted."""

    def __init__(self, folder: Path, calendar: Calendar | None = None, layout: Layout = LAYOUT) -> None:
        self.orders: list[bytes] = []
        self.notes: list[tuple[str, str]] = []
        self.room = True
        self.layout = layout
        self.documents = Documents(
            folder,
            calendar or Calendar(),
            "Europe/Vienna",
            lambda: self.layout,
            self._put,
            lambda kind, text, **_: self._note(kind, text),
        )

    def _put(self, order: bytes) -> bool:
        if self.room:
            self.orders.append(order)
        return self.room

    def _note(self, kind: str, text: str) -> None:
        self.notes.append((kind, text))

    async def answer(self, op: str, **asked: Any) -> Mapping[str, Any]:
        found = self.documents.operations()[op](asked)
        return found if isinstance(found, Mapping) else await found

    def ask(self, op: str, **asked: Any) -> Mapping[str, Any]:
        return asyncio.run(self.answer(op, **asked))

    def hand_in(self, name: str, content: Any, **asked: Any) -> Mapping[str, Any]:
        return self.ask("set_document", name=name, content=json.dumps(content), user="anna", **asked)

    def intake(self) -> Intake:
        """What a control process that starts now begins with."""
        return taken(*self.documents.orders())


class Shelf(list[bytes]):
    """A ring without memory."""

    def next(self) -> bytes | None:
        return self.pop(0) if self else None


def taken(*orders: bytes, then: tuple[bytes, ...] = ()) -> Intake:
    tables: list[Timetable] = []
    intake = Intake(Shelf(then), orders, tables.append)  # type: ignore[arg-type]
    intake.tables = tables  # type: ignore[attr-defined]
    while intake.idle():
        pass
    return intake
