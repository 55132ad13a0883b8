"""The state of every configuration entry, with Home Assistant's names, as channels of the supervisor's block.

An entry is loaded when its process runs and its devices can be heard. Why it is not is the process's last words, or what
the driver said when the device went down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from server.core.image import Image
from server.core.layout import Layout
from server.core.natures import CommState, ConfigEntry, Device, EntryState
from server.core.site import ENTRY_PREFIX
from server.core.ticks import from_unix_ns

from .entry_plan import EntryPlan
from .memory import OwnerBlock
from .process import Process, ProcessState
from .staging import Staging


@dataclass(frozen=True, slots=True)
class EntryReport:
    """What is known of an entry now. next_retry: UTC seconds, 0 for none."""

    state: EntryState
    reason: str = ""
    next_retry: float = 0.0


class EntryBoard:
    """Judges all entries, and publishes what changed."""

    def __init__(self, entries: Sequence[EntryPlan], layout: Layout, block: OwnerBlock) -> None:
        self.entries = entries
        self.reports: dict[str, EntryReport] = {}
        self.words: dict[str, str] = {}
        self._put = Staging(block, layout)
        self._comm = {e.alias: _comm_slots(e, layout) for e in entries}

    def heard(self, alias: str, kind: str, text: str, trouble: str = "") -> None:
        """A driver said something about an entry: why it is `down`, or else what is still wrong with it, "" for nothing."""
        self.words[alias] = text if kind == "down" else trouble

    def update(self, processes: Mapping[str, Process], image: Image | None) -> bool:
        """Judge every entry anew and stage the reports that changed; True when one did."""
        changed = False
        for entry in self.entries:
            report = self._judge(entry, processes.get(entry.group), image)
            if report != self.reports.get(entry.alias):
                self.reports[entry.alias] = report
                self._stage(entry.alias, report)
                changed = True
        return changed

    @property
    def broken(self) -> bool:
        """True when an entry cannot be set up."""
        return any(report.state is EntryState.SetupError for report in self.reports.values())

    def _judge(self, entry: EntryPlan, process: Process | None, image: Image | None) -> EntryReport:
        if entry.problem:
            return EntryReport(EntryState.SetupError, entry.problem)
        if process is None:
            return EntryReport(EntryState.NotLoaded, "disabled in its file")
        if process.state is ProcessState.RUNNING:
            found = self._judge_devices(entry.alias, image)
            failing = process.trouble and found.state is EntryState.SetupInProgress
            return EntryReport(EntryState.SetupRetry, process.trouble) if failing else found
        if process.state is ProcessState.RESTARTING:
            return EntryReport(EntryState.SetupRetry, process.reason, process.next_retry)
        if process.state is ProcessState.STARTING:
            return EntryReport(EntryState.SetupRetry if process.trouble else EntryState.SetupInProgress, process.trouble)
        if process.state is ProcessState.WAITING:
            return EntryReport(EntryState.SetupInProgress)
        return EntryReport(EntryState.NotLoaded, "the site is being stopped")

    def _judge_devices(self, alias: str, image: Image | None) -> EntryReport:
        heard = [image.get(slot) if image is not None else None for slot in self._comm[alias]]
        if CommState.Down in heard:
            return EntryReport(EntryState.SetupRetry, self.words.get(alias) or "the device does not answer")
        if None in heard:
            return EntryReport(EntryState.SetupInProgress, self.words.get(alias, ""))
        return EntryReport(EntryState.Loaded, self.words.get(alias, ""))

    def _stage(self, alias: str, report: EntryReport) -> None:
        alias = ENTRY_PREFIX + alias
        self._put.value(alias, ConfigEntry.State, float(report.state))
        next_retry = from_unix_ns(round(report.next_retry * 1e9)) if report.next_retry else 0
        self._put.value(alias, ConfigEntry.NextRetry, float(next_retry))
        self._put.text(alias, ConfigEntry.Reason, report.reason)


def _comm_slots(entry: EntryPlan, layout: Layout) -> list[int]:
    found = (layout.find(o.alias, Device.CommState) for o in entry.objects)
    return [c.slot for c in found if c is not None]
