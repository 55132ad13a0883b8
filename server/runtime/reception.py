"""Where the processes' reports arrive: log lines, last words, readiness, devices that went and came, serial numbers."""

from __future__ import annotations

import logging

from .adoption import Answer
from .registry import AliasTaken
from .reports import Report, Reports
from .running import RunningSite, log

_OWN = ("kind", "text", "time")
"""Fields of a journal record that a report's data may not replace."""

DRIVER_KINDS = ("up", "down", "warning", "info")
"""What drivers tell about their devices."""


class Reception:
    """Takes reports in and tells whom they concern."""

    def __init__(self, site: RunningSite) -> None:
        self.reports = Reports()
        self._site = site

    def listen(self) -> None:
        """Take in what waits."""
        for report in self.reports.take():
            if report.kind == "log":
                level = logging.getLevelName(str(report.data.get("level")))
                log.log(level if isinstance(level, int) else logging.WARNING, "%s: %s", report.process, report.text)
            else:
                self._take(report)

    def _take(self, report: Report) -> None:
        process = self._site.processes.get(report.process)
        if process is None:
            return
        alias = str(report.data.get("alias", ""))
        if report.kind == "ready":
            process.take_ready(report.pid)
            return
        if report.kind == "adopted":
            number, cycles = (int(report.data.get(name, 0)) for name in ("number", "cycles"))
            self._site.answered(Answer(number, report.text, cycles))
            return
        if report.kind == "failed" and report.pid == process.pid:
            process.last_words = report.text
        elif report.kind == "identity":
            self._learn(alias, report.process, str(report.data.get("serial", "")))
        elif report.kind == "complaint":
            process.complaint = report.text
        elif alias and report.kind in DRIVER_KINDS:
            self._site.board.heard(alias, report.kind, report.text, str(report.data.get("trouble", "")))
        reported = {"process": report.process, **{k: v for k, v in report.data.items() if k not in _OWN}}
        self._site.journal.event(report.kind, report.text, **reported)

    def _learn(self, alias: str, group: str, serial: str) -> None:
        """A driver found out which device answers under an alias."""
        entry = next((e for e in self._site.plan.entries if e.alias == alias and e.group == group), None)
        if entry is None:
            return
        try:
            self._site.registry.bind(alias, entry.driver, serial)
        except AliasTaken as error:
            self._site.note(logging.ERROR, "identity", str(error))
