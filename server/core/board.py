"""Control's slots: where each result of a step goes, resolved once, written column by column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .controller import Now
from .layout import CONTROL
from .natures import RunState, Site, SiteMode
from .runner import Runner
from .site import SITE_ALIAS
from .status import BAD_NO_DATA, GOOD
from .sums import Value
from .topology import Topology
from .trips import Trips


class Board:
    """Control's slots: where each result goes, resolved once. Values are staged in lists and written column by column."""

    def __init__(self, topology: Topology, runners: Sequence[Runner], plain: Sequence[int]) -> None:
        layout = topology.layout
        first = layout.owner(CONTROL).first
        self._first = first
        self._runners = list(runners)
        self._units = [(u.setpoint - first, u.setpoint_q - first if u.setpoint_q >= 0 else -1) for u in topology.units]
        slots = [p for p, _ in self._units] + [q for _, q in self._units if q >= 0]
        self._setpoints = np.array(slots, np.int64)
        self._phases = np.array([slot - first for u in topology.units for slot in u.phase_setpoints], np.int64)
        self._plain = np.array([s - first for s in plain], np.int64)
        self._plain_slots = list(plain)
        apart = (Site.Explanation, Site.LastTransition)
        self._site = {n: topology.slot(SITE_ALIAS, s) - first for n, s in Site.channels().items() if s not in apart}
        self._transition = topology.slot(SITE_ALIAS, Site.LastTransition) - first
        self._site_index = np.array(list(self._site.values()), np.int64)
        shown = ("LastRunDuration", "RunState", "ErrorCount")
        self._showing = [r for r in runners if r.output_slots]
        self._shown = np.array([slot - first for r in self._showing for slot in r.output_slots], np.int64)
        self._runs = np.array([[r.slots[name] - first for r in runners] for name in shown], np.int64)
        self._run_values = np.zeros(self._runs.shape)
        self._states: list[RunState] = []
        self._errors: list[int] = []

    def start(self, records: NDArray[Any], now: Now, runners: Sequence[Runner]) -> None:
        """Write what only writes of clients change."""
        for runner in runners:
            values = {runner.slots["Enabled"]: float(runner.enabled), runner.slots["Priority"]: float(runner.rank.priority)}
            for slot, value in (values | runner.param_values()).items():
                self._put(records, slot - self._first, value, now)

    def _put(self, records: NDArray[Any], index: int, value: float, now: Now) -> None:
        records[index] = (value, now.time, now.monotonic_ns, GOOD, records[index]["changed"])

    def write(
        self,
        records: NDArray[Any],
        now: Now,
        active: list[float | None],
        reactive: list[float | None],
        phases: list[float | None],
        plain: Mapping[int, float],
        changed: Sequence[tuple[int, float]],
    ) -> None:
        """Set-points, those that are no power by slot, controllers' figures, and parameters that were just changed."""
        reactive = [q for q, (_, slot) in zip(reactive, self._units, strict=True) if slot >= 0]
        _column(records, self._setpoints, [*active, *reactive], now)
        if phases:
            _column(records, self._phases, phases, now)
        if len(self._plain):
            _column(records, self._plain, [plain.get(s) for s in self._plain_slots], now)
        if self._runners:
            self._write_runs(records, now)
        if self._showing:
            _column(records, self._shown, [value for r in self._showing for value in r.shown], now)
        for slot, value in changed:
            self._put(records, slot - self._first, value, now)

    def _write_runs(self, records: NDArray[Any], now: Now) -> None:
        """Controllers' figures. States and counts of errors seldom change, and only then become numbers again."""
        values, runners = self._run_values, self._runners
        values[0] = [r.duration_ns for r in runners]
        values[0] *= 1e-9
        if (states := [r.run_state for r in runners]) != self._states:
            values[1] = self._states = states
        if (errors := [r.errors for r in runners]) != self._errors:
            values[2] = self._errors = errors
        _stamped(records, self._runs, values, now)

    def write_values(self, records: NDArray[Any], now: Now, values: Mapping[int, Value]) -> None:
        """Values with their status, by slot."""
        index = np.array([slot - self._first for slot in values], np.int64)
        records["value"][index] = [v.number for v in values.values()]
        records["status"][index] = [v.status for v in values.values()]
        records["source"][index] = now.time
        records["arrival"][index] = now.monotonic_ns

    def write_transition(self, records: NDArray[Any], now: Now, number: int) -> None:
        """The site changed its mode; the source time tells when."""
        self._put(records, self._transition, float(number), now)

    def write_site(
        self,
        records: NDArray[Any],
        now: Now,
        sums: Mapping[str, Value],
        mode: SiteMode,
        worst: float,
        trips: Trips,
        override_s: float,
    ) -> None:
        """The site's channels."""
        own = {"Mode": mode, "WorstState": worst, "EmergencyStopActive": bool(trips), "OverrideRemaining": override_s}
        pairs = [sums[n] if n in sums else (float(own[n]), GOOD) for n in self._site]
        index = self._site_index
        records["value"][index] = [number for number, _ in pairs]
        records["status"][index] = [status for _, status in pairs]
        records["source"][index] = now.time
        records["arrival"][index] = now.monotonic_ns


def _column(records: NDArray[Any], index: NDArray[np.int64], values: Sequence[float | None], now: Now) -> None:
    """Write one value per slot; None and NaN keep the value and assert nothing."""
    column = np.array(values, np.float64)
    if (unknown := np.isnan(column)).any():
        records["status"][index[unknown]] = BAD_NO_DATA
        known = ~unknown
        index, column = index[known], column[known]
    _stamped(records, index, column, now)


def _stamped(records: NDArray[Any], index: NDArray[np.int64], values: NDArray[np.float64], now: Now) -> None:
    """Write one good value per slot."""
    records["value"][index] = values
    records["status"][index] = GOOD
    records["source"][index] = now.time
    records["arrival"][index] = now.monotonic_ns
