"""What is wrong with the processes of the site, as channels of the supervisor's block: the OPC UA server raises alarms from it.

The supervisor itself is one of them; its trouble is what it had to leave out of the configuration, and a disk it cannot write.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from server.core.channel import Level
from server.core.layout import PROCESS, SUPERVISOR, ChannelUse, Layout, ObjectSpec
from server.core.natures import ProcessStatus
from server.core.site import PROCESS_PREFIX

from .memory import OwnerBlock
from .process import Part, Process
from .staging import Staging


class Trouble(NamedTuple):
    """What is wrong with a process, in words; Ok and empty when nothing is."""

    level: Level = Level.Ok
    text: str = ""
    restarts: int = 0


def trouble_of(process: Process) -> Trouble:
    """A process that had to be started again and has not run for long since, or that says that something is wrong."""
    if process.trouble:
        level = Level.Warning if process.spec.part is Part.SERVICE else Level.Fault
        text = f"process is started again: {process.trouble}" if process.restarts else process.trouble
        return Trouble(level, text, process.restarts)
    if process.ready and process.complaint:
        return Trouble(Level.Warning, process.complaint, process.restarts)
    return Trouble(restarts=process.restarts)


class ProcessBoard:
    """Stages what changed. Objects that the layout does not have are left out."""

    def __init__(self, layout: Layout, block: OwnerBlock) -> None:
        self._stage = Staging(block, layout)
        self._aliases = {o.alias for o in layout.objects if o.kind == PROCESS}
        self._known: dict[str, Trouble] = {}

    def update(self, processes: Iterable[Process], own: Iterable[str]) -> bool:
        """Stage every process and ourselves; True when something changed. own: what is wrong with the supervisor's work."""
        text = "; ".join(own)
        found: Mapping[str, Trouble] = {
            SUPERVISOR: Trouble(Level.Warning, text) if text else Trouble(),
            **{process.name: trouble_of(process) for process in processes},
        }
        changed = {PROCESS_PREFIX + name: trouble for name, trouble in found.items() if self._known.get(name) != trouble}
        self._known.update(found)
        for alias, trouble in changed.items():
            if alias in self._aliases:
                self._stage.value(alias, ProcessStatus.State, float(trouble.level))
                self._stage.value(alias, ProcessStatus.Restarts, float(trouble.restarts))
                self._stage.text(alias, ProcessStatus.Reason, trouble.text)
        return bool(changed)


def process_objects(names: Iterable[str]) -> Iterator[ObjectSpec]:
    """The objects that show the site's processes."""
    uses = tuple(ChannelUse(spec) for spec in ProcessStatus.channels().values())
    for name in names:
        doc = f"The process {name}."
        yield ObjectSpec(PROCESS_PREFIX + name, PROCESS, SUPERVISOR, (ProcessStatus,), uses, "Process", doc)
