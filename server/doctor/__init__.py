"""`ems doctor`: looks at a site and its machine, running or not, changes nothing, and says in plain words what to do.

finding.py    what is found: topic, level, text, what to do
patient.py    what is looked at: the site's files, and its status when it runs
machine.py    versions, clock, disk, memory, permissions of the machine
files.py      configuration, file modes, certificates, stored data
site.py       ports, processes, cycle, alarms
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from . import files, machine, site
from .finding import Finding, Level
from .patient import Patient

__all__ = ["CHECKS", "Finding", "Level", "examine"]

Check = Callable[[Patient], Iterator[Finding]]

CHECKS: Final[tuple[Check, ...]] = (
    machine.versions,
    machine.kernel,
    machine.clock,
    machine.time_zone,
    machine.disk,
    machine.memory,
    machine.real_time,
    files.configuration,
    files.entries,
    files.modes,
    files.certificates,
    files.history,
    files.journal,
    site.ports,
    site.processes,
    site.cycle,
    site.alarms,
)


def examine(directory: Path | None) -> list[Finding]:
    """Everything that is found about the site in DIR and this machine; None: the machine alone."""
    patient = Patient.of(directory)
    return [finding for check in CHECKS for finding in check(patient)]
