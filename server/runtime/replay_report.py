"""What a replay found, for people, as JSON, and as a table of every step. The same replay gives the same bytes."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, Final

from server.core.ticks import stamp

from .comparison import Comparison, Row
from .journaled import Decided, Record, holder
from .replay import Difference, Period, Played

OPEN_LOOP: Final = (
    "The loop is open: the plant did what it did. A difference is that of one decision; what it would have changed in the plant, "
    "such as the charge of a battery, is not followed."
)
NODES_NAMED: Final = 8


@dataclass(frozen=True)
class Report:
    """What was replayed and what came of it. inputs: how many were read; silent: those of which the period tells nothing;
    unrecorded: those of which no history is kept. decided: recorded decisions. notes: what went wrong in the engine."""

    site: str
    period: Period
    comparison: Comparison
    decided: Decided
    inputs: int
    silent: Sequence[str]
    unrecorded: Sequence[str]
    problems: Sequence[str]
    notes: Sequence[str]

    def data(self) -> dict[str, Any]:
        """As JSON."""
        period, rows = self.period, self.comparison.rows
        return {
            "site": self.site,
            "from": stamp(period.start),
            "to": stamp(period.end),
            "step_s": period.step_s,
            "tolerance": period.tolerance,
            "loop": "open",
            "inputs": {"read": self.inputs, "silent": list(self.silent), "unrecorded": list(self.unrecorded)},
            "problems": list(self.problems),
            "notes": list(self.notes),
            "setpoints": [row.data() for row in rows if row.is_setpoint],
            "sums": [row.data() for row in rows if not row.is_setpoint],
            "differences": [self._difference(d) for d in self.comparison.differences],
        }

    def json(self) -> str:
        """One JSON object."""
        return json.dumps(self.data(), indent=1, ensure_ascii=False)

    def text(self, table: Callable[[Sequence[str], Sequence[Sequence[Any]]], str]) -> str:
        """For people."""
        return "\n\n".join(part for part in self._parts(table) if part)

    def _parts(self, table: Callable[[Sequence[str], Sequence[Sequence[Any]]], str]) -> Iterator[str]:
        rows, period = self.comparison.rows, self.period
        yield f"{self.site}, {stamp(period.start)} to {stamp(period.end)}, a step each {period.step_s:g} s, open loop"
        head = ("set-point", "cycles", "same", "not recorded", "mean difference", "largest", "energy")
        yield table(head, [_cells(row) for row in rows if row.is_setpoint])
        yield _sums(rows)
        yield "\n".join(self._told(d) for d in self.comparison.differences)
        yield "\n".join(self._remarks())
        yield self._verdict(rows)

    def _told(self, difference: Difference) -> str:
        """Where a set-point begins to differ, with both explanations."""
        told = self._difference(difference)
        was, now = (_power(told[name]["value"]) for name in ("recorded", "replayed"))
        why_was, why_now = told["recorded"]["text"] or "no reason was journaled", told["replayed"]["text"] or "-"
        return f"{told['time']}  {told['node']}\n  recorded  {was:>10}  {why_was}\n  replayed  {now:>10}  {why_now}"

    def _difference(self, d: Difference) -> dict[str, Any]:
        record: Record = self.decided.at(d.node, d.time) or {}
        replayed: dict[str, Any] = {"value": _number(d.replayed), "text": "", "by": "", "asks": []}
        if d.decision is not None:
            replayed |= {"text": d.decision.text, "by": d.decision.by, "asks": d.decision.data()["asks"]}
        text = f"{holder(record)}, since {record['since']}" if record else ""
        was = {"value": _number(d.recorded), "text": text, "by": record.get("by", ""), "asks": record.get("asks", [])}
        return {"time": stamp(d.time), "node": d.node, "recorded": was, "replayed": replayed}

    def _remarks(self) -> Iterator[str]:
        yield from self.problems
        yield from self.notes
        if self.silent:
            yield f"nothing is known in this period of {_some(self.silent)}"
        if self.unrecorded:
            yield f"no history is kept of {_some(self.unrecorded)}; they are Bad in the replay"

    def _verdict(self, rows: Sequence[Row]) -> str:
        setpoints = [row for row in rows if row.is_setpoint and row.cycles]
        different = [row.node for row in setpoints if row.differs]
        within = f"beyond {self.period.tolerance:g}"
        if not setpoints:
            return "No set-point was recorded in this period, so there is nothing to compare."
        if not different:
            return f"No difference {within}."
        return f"{len(different)} of {len(setpoints)} set-points differ {within}: {_some(different)}.\n{OPEN_LOOP}"


class CsvFile:
    """Every step as a row: time, then each set-point recorded and replayed; empty where there is none."""

    def __init__(self, file: IO[str], rows: Sequence[Row]) -> None:
        self._columns = [i for i, row in enumerate(rows) if row.is_setpoint]
        self._writer = csv.writer(file, lineterminator="\n")
        names = [rows[i].node for i in self._columns]
        self._writer.writerow(["time", *(f"{n} {which}" for n in names for which in ("recorded", "replayed"))])

    def add(self, played: Played) -> None:
        """Write some more steps."""
        for i, time in enumerate(played.times.tolist()):
            pairs = ((played.recorded[i, c], played.replayed[i, c]) for c in self._columns)
            self._writer.writerow([stamp(time), *(_cell(float(value)) for pair in pairs for value in pair)])


def _cells(row: Row) -> Sequence[str]:
    energy = "-" if row.energy_kwh is None else f"{row.energy_kwh:+.3f} kWh"
    if not row.cycles:
        return row.node, "0", "-", str(row.unknown), "-", "-", "-"
    unit = f" {row.unit}" if row.unit else ""
    same = f"{_share(row)} %"
    return row.node, str(row.cycles), same, str(row.unknown), _shown(row.mean, unit), _shown(row.largest, unit), energy


def _share(row: Row) -> str:
    """Per cent of the cycles that are the same; 100 only where all are."""
    return "100" if not row.differs else f"{min(100 * row.same / row.cycles, 99.9):.1f}"


def _shown(value: float, unit: str) -> str:
    return "-" if value != value else f"{value:+.1f}{unit}"


def _sums(rows: Sequence[Row]) -> str:
    """How well the recording carries: the site's sums are computed anew from the same inputs."""
    sums = [row for row in rows if not row.is_setpoint and row.cycles]
    other = [f"{row.node} ({_share(row)} % same)" for row in sums if row.differs]
    if not sums:
        return ""
    return f"sums of the site: {len(sums) - len(other)} of {len(sums)} the same" + (f"; other: {_some(other)}" if other else "")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NODES_NAMED} more" if len(names) > NODES_NAMED else ""
    return ", ".join(names[:NODES_NAMED]) + more


def _number(value: float) -> float | None:
    return None if value != value else round(value, 3) + 0.0


def _cell(value: float) -> str:
    return "" if value != value else f"{round(value, 3) + 0.0:g}"


def _power(value: float | None) -> str:
    return "not asserted" if value is None else f"{value:.1f}"
